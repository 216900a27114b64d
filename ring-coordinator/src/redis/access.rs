//! Pure: where a node is, and how one is let in: the address from the ring document, user, password and TLS from the
//! configuration.

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::sync::Arc;

/// A password. Its `Debug` shows nothing, so that it gets into no log.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Of its text.
    #[must_use]
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// How one is let in, the same at all nodes.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The ACL user; `None` is `default`.
    pub username: Option<String>,
    /// `None`: no password is asked for.
    pub password: Option<Secret>,
    /// Whom to believe at `rediss://` nodes; without it they are not connected to.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `Some` for `rediss://`: the name that its certificate must bear.
    pub tls_name: Option<ServerName<'static>>,
}

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAccess {
    /// Not an address.
    #[error("{url}: a node's url is redis://HOST:PORT or rediss://HOST:PORT, without credentials: {reason}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS is asked for, and nothing says whom to believe.
    #[error("{url}: TLS is not configured (redis.tls)")]
    NoTls {
        /// The address.
        url: String,
    },
    /// The certificates or the key for TLS.
    #[error("redis.tls: {0}")]
    Tls(String),
}

impl Access {
    /// Where the node of this URL is, if it can be reached with this.
    pub fn address(&self, url: &str) -> Result<Address, BadAccess> {
        let bad = |reason: &str| BadAccess::Url { url: without_credentials(url), reason: reason.to_owned() };
        let (scheme, place) = url.split_once("://").ok_or_else(|| bad("no scheme"))?;
        if place.contains(['@', '?', '#']) {
            return Err(bad("there is more than host and port"));
        }
        let (host, port) = place.trim_end_matches('/').rsplit_once(':').ok_or_else(|| bad("no port"))?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad("the port is no number from 1 to 65535"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() || host.contains(['/', ' ', '[', ']']) {
            return Err(bad("no host"));
        }
        let tls_name = match scheme {
            "redis" => None,
            "rediss" if self.tls.is_none() => return Err(BadAccess::NoTls { url: url.to_owned() }),
            "rediss" => Some(ServerName::try_from(host.clone()).map_err(|_| bad("no certificate can bear that name"))?),
            _ => return Err(bad("another scheme")),
        };
        Ok(Address { host, port, tls_name })
    }
}

/// The settings of TLS from the texts of PEM files: the certificates of the authorities that are believed, and, for nodes
/// that ask for it, a certificate of our own with its key.
pub fn tls(authorities: &[u8], own: Option<(&[u8], &[u8])>) -> Result<Arc<ClientConfig>, BadAccess> {
    let bad = |what: &str, error: &dyn std::fmt::Display| BadAccess::Tls(format!("{what}: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities).map_err(|error| bad("ca", &error))? {
        roots.add(certificate).map_err(|error| bad("ca", &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| bad("ca", &error))?.with_root_certificates(roots);
    Ok(Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain).map_err(|error| bad("cert", &error))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad("key", &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| bad("cert and key", &error))?
        }
    }))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(certificates) }
}

/// What may be shown of a URL.
fn without_credentials(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let access = Access::default();
        let address = |host: &str, port| Ok(Address { host: host.to_owned(), port, tls_name: None });
        assert_eq!(access.address("redis://redis-a.internal:6379"), address("redis-a.internal", 6379));
        assert_eq!(access.address("redis://[::1]:7000/"), address("::1", 7000));
        let url = "rediss://redis-a:6379".to_owned();
        assert_eq!(access.address(&url), Err(BadAccess::NoTls { url }));
        for bad in
            ["redis-a:6379", "redis://redis-a", "redis://redis-a:0", "redis://:6379", "http://a:1", "redis://a:1/2", "redis://a:1?db=2"]
        {
            assert!(matches!(access.address(bad), Err(BadAccess::Url { .. })), "{bad}");
        }
    }

    #[test]
    fn credentials_are_refused_and_not_shown() {
        let error = Access::default().address("redis://me:secret@redis-a:6379").unwrap_err().to_string();
        assert!(error.starts_with("redis://…@redis-a:6379: ") && !error.contains("secret"), "{error}");
        assert_eq!(format!("{:?}", Secret::new("secret")), "Secret(…)");
    }

    #[test]
    fn bad_certificates_are_refused_with_the_reason() {
        assert_eq!(tls(b"", None).unwrap_err().to_string(), "redis.tls: ca: it holds no certificate");
    }
}
