//! Pure: text that must not be seen: signing secrets and API keys.

use std::{fmt, sync::Arc};
use subtle::ConstantTimeEq;

/// A secret. It has no way out but comparing and signing; `Debug` prints `***`.
#[derive(Clone, serde::Deserialize)]
#[serde(from = "String")]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes the text of a secret.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Secret {
        Secret(text.into())
    }

    /// Whether `offered` is this secret, in a time that tells nothing but whether the lengths agree. An empty secret matches nothing.
    #[must_use]
    pub fn matches(&self, offered: &str) -> bool {
        !self.0.is_empty() && bool::from(self.bytes().ct_eq(offered.as_bytes()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_alone_and_an_empty_one_nothing() {
        let key = Secret::new("key-1");
        assert!(key.matches("key-1"));
        for other in ["", "key-", "key-2", "key-11", "KEY-1"] {
            assert!(!key.matches(other), "{other:?}");
        }
        assert!(!Secret::new("").matches(""));
    }
}
