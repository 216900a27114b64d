//! An authority that signs nodes' certificates, good ones and bad ones.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use std::{fs, path::PathBuf};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, as files.
pub(crate) struct Identity {
    cert: PathBuf,
    key: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, directory }
    }

    /// A certificate for the host, good for a long time.
    pub(crate) fn signs(&self, host: &str) -> Identity {
        self.signs_until(host, 2100)
    }

    /// A certificate for the host, good until the end of the year before.
    pub(crate) fn signs_until(&self, host: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(year, 1, 1);
        let own = KeyPair::generate().unwrap();
        let cert = params.signed_by(&own, &self.issuer).unwrap();
        let number = fs::read_dir(self.directory.path()).unwrap().count();
        let [cert_path, key_path] = ["cert", "key"].map(|kind| self.directory.path().join(format!("{number}-{kind}.pem")));
        fs::write(&cert_path, cert.pem()).unwrap();
        fs::write(&key_path, own.serialize_pem()).unwrap();
        Identity { cert: cert_path, key: key_path }
    }

    /// The section `[tls]` of a node that has this identity and believes this authority.
    pub(crate) fn believed_by(&self, Identity { cert, key }: &Identity) -> String {
        format!("[tls]\ncert = {cert:?}\nkey = {key:?}\npeer_ca = {:?}\n", self.directory.path().join("ca.pem"))
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.directory.path().join("ca.pem")).unwrap()).unwrap();
        roots
    }
}

impl Identity {
    /// From now on the files of this one hold another one.
    pub(crate) fn replace_by(&self, other: &Identity) {
        fs::copy(&other.key, &self.key).unwrap();
        fs::copy(&other.cert, &self.cert).unwrap();
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_file(&self.cert).unwrap()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).unwrap()
    }
}
