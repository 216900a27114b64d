//! Pure: where a node is, and how one is let in: the address from the ring document, user, password and TLS from the
//! configuration.

use std::sync::Arc;

/// A password. It has no `Debug`, so that it gets into no log.
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
    pub tls: Option<Arc<rustls::ClientConfig>>,
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
}
