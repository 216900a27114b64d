//! Pure: a certificate that this machine shows, with its private key: read from the texts of PEM files, and another one in its
//! place while connections go on.

use crate::expiry::expires_s;
use parking_lot::RwLock;
use rustls::{
    Error, InconsistentKeys, SignatureScheme,
    client::ResolvesClientCert,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{fmt, sync::Arc};

/// One that can be shown: its key fits.
#[derive(Clone)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    expires_s: u64,
}

/// Which of the two files is bad, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// The certificate chain.
    #[error("{0}")]
    Cert(String),
    /// The private key.
    #[error("{0}")]
    Key(String),
}

impl Certificate {
    /// Takes the texts of two PEM files: the certificate with those that lead to its authority, and its private key, without a
    /// passphrase.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Certificate, BadCertificate> {
        let chain = certificates(cert).map_err(BadCertificate::Cert)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| BadCertificate::Key(no_key(&error)))?;
        let no_certificate = |reason: &dyn fmt::Display| BadCertificate::Cert(format!("begins with no certificate: {reason}"));
        let expires_s = chain.first().and_then(|first| expires_s(first));
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
            Error::InvalidCertificate(error) => no_certificate(&format_args!("{error:?}")),
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => BadCertificate::Key("does not fit the certificate".to_owned()),
            error => BadCertificate::Key(format!("is no private key that can be used: {error}")),
        })?;
        let expires_s = expires_s.ok_or_else(|| no_certificate(&"it does not say when it ends"))?;
        Ok(Certificate { certified: Arc::new(certified), expires_s })
    }

    /// The second since 1970 at which it ends.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.expires_s
    }

    /// Whether nobody could tell this one from the other.
    #[must_use]
    pub fn is_same(&self, other: &Certificate) -> bool {
        self.chain() == other.chain()
    }

    /// It and those that lead to its authority.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certificate").field("expires_s", &self.expires_s).finish_non_exhaustive()
    }
}

/// The certificate that connections are shown which begin now.
#[derive(Debug)]
pub struct Shown(RwLock<Certificate>);

impl Shown {
    /// Begins with this one.
    #[must_use]
    pub fn new(certificate: Certificate) -> Arc<Shown> {
        Arc::new(Shown(RwLock::new(certificate)))
    }

    /// From now on it is this one. Connections that there are go on.
    pub fn renew(&self, certificate: Certificate) {
        *self.0.write() = certificate;
    }

    /// Which one it is.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.0.read().clone()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().certified))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The certificates in the text of a PEM file, at least one.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err("has no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is damaged: {error}")),
    }
}

fn no_key(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => {
            "has no private key in PEM form (-----BEGIN PRIVATE KEY-----); one with a passphrase cannot be used".to_owned()
        }
        error => format!("is damaged: {error}"),
    }
}
