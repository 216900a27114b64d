//! I/O: an authority that signs certificates for servers and their clients, as files.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// An authority; its files live as long as it does.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
    ca: PathBuf,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority that nobody else has heard of.
    #[must_use]
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let own = KeyPair::generate().expect("a key for the authority");
        let issuer = CertifiedIssuer::self_signed(params, own).expect("the authority's certificate");
        let directory = tempfile::tempdir().expect("a directory for the authority");
        let ca = directory.path().join("ca.pem");
        fs::write(&ca, issuer.pem()).expect("writing the authority's certificate");
        Authority { issuer, directory, ca }
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// A certificate for a host name or an IP address, for servers and clients; its common name is the same.
    #[must_use]
    pub fn signs(&self, host: &str) -> Identity {
        self.sign(host, CertificateParams::new([host.to_owned()]).expect("a name for the certificate"))
    }

    /// The same, which ends after so long from now.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // The test's own clock.
    pub fn signs_for(&self, host: &str, life: Duration) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name for the certificate");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is later than 1970");
        params.not_after = date_time_ymd(1970, 1, 1) + now + life;
        self.sign(host, params)
    }

    fn sign(&self, host: &str, mut params: CertificateParams) -> Identity {
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let own = KeyPair::generate().expect("a key for the certificate");
        let cert = params.signed_by(&own, &self.issuer).expect("signing the certificate");
        let number = fs::read_dir(self.directory.path()).map_or(0, Iterator::count);
        let [cert_path, key_path] = ["cert", "key"].map(|kind| self.directory.path().join(format!("{number}-{kind}.pem")));
        fs::write(&cert_path, cert.pem()).expect("writing the certificate");
        fs::write(&key_path, own.serialize_pem()).expect("writing its key");
        Identity { cert: cert_path, key: key_path }
    }
}
