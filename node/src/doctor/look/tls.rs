//! I/O: certificates and keys of files.

use crate::{
    config::Config,
    doctor::certificates::{Certificate, File},
};
use protocol::time::Now;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::fs;
use x509_parser::parse_x509_certificate;

/// Sections whose keys may name files of certificates.
const SECTIONS: [&str; 3] = ["tls", "etcd", "redis"];

/// Every file of certificates that the configuration names.
pub(in crate::doctor) fn look(config: &Config, now: Now) -> Vec<File> {
    let mut files = Vec::new();
    for section in SECTIONS {
        let Some(table) = config.effective.get(section).and_then(|section| section.as_table()) else { continue };
        let path = |key: &str| table.get(key).and_then(|value| value.as_str()).filter(|path| !path.is_empty());
        for name in table.keys().filter(|name| ["cert", "ca"].contains(&name.rsplit('_').next().unwrap_or_default())) {
            let Some(file) = path(name) else { continue };
            let key = name.strip_suffix("cert").and_then(|prefix| path(&format!("{prefix}key")));
            let doubt = key.and_then(|key| mismatch(file, key)).or_else(|| doubt_of_peers(config, section, name, now));
            files.push(File { key: format!("{section}.{name}"), path: file.to_owned(), certificates: certificates(file), doubt });
        }
    }
    files
}

fn certificates(path: &str) -> Result<Vec<Certificate>, String> {
    read(path)?.iter().map(certificate).collect()
}

fn read(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| format!("is damaged: {error}"))
}

fn certificate(der: &CertificateDer<'_>) -> Result<Certificate, String> {
    let (_, parsed) = parse_x509_certificate(der).map_err(|error| format!("is damaged: {error}"))?;
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
    let validity = parsed.validity();
    Ok(Certificate { subject: parsed.subject().to_string(), from_s: seconds(validity.not_before), until_s: seconds(validity.not_after) })
}

/// Why a certificate and a key do not belong together.
fn mismatch(cert: &str, key: &str) -> Option<String> {
    let chain = read(cert).ok()?;
    let own = fs::read(key).map_err(|error| format!("its key {key} cannot be read: {error}"));
    let own = own.and_then(|text| PrivateKeyDer::from_pem_slice(&text).map_err(|error| format!("its key {key} is damaged: {error}")));
    let fits = own.and_then(|own| {
        let certified = CertifiedKey::from_der(chain, own, &aws_lc_rs::default_provider());
        certified.map(drop).map_err(|error| format!("its key {key} does not fit: {error}"))
    });
    fits.err()
}

/// Why other nodes would refuse the one that this node shows them.
fn doubt_of_peers(config: &Config, section: &str, name: &str, now: Now) -> Option<String> {
    if (section, name) != ("tls", "cert") {
        return None;
    }
    let listens = config.listen.peer?;
    let tls = config.tls.as_ref()?.open(|path| fs::read(path)).ok()?;
    let address = config.counter.address.clone().unwrap_or_else(|| listens.to_string());
    tls.doubt(&address, now).map(|doubt| format!("other nodes that dial {address} refuse it: {doubt}"))
}
