//! Pure: the public keys of one issuer: which are known, how old they are, and when to ask for them again.

use super::TokenError;
use super::token::Key;
use jsonwebtoken::{Algorithm, jwk::Jwk};
use protocol::time::Now;
use serde::Deserialize;
use std::sync::Arc;

/// Age at which keys are asked for again, so that a withdrawn key stops verifying. Tokens meanwhile do not wait.
const FRESH_MS: u64 = 60 * 60 * 1000;
/// Age at which keys that could not be renewed are dropped: an issuer's outage of a day locks nobody out.
const KEEP_MS: u64 = 24 * 60 * 60 * 1000;
/// Pause between two requests while keys are at hand, however many tokens name unknown ones; until then those are invalid.
const PAUSE_MS: u64 = 30 * 1000;
/// Pause between two requests while there are no keys and every token of the issuer is unavailable.
const OUTAGE_PAUSE_MS: u64 = 5 * 1000;
/// Keys in one document; a longer one is refused and the last good one kept.
const KEYS_MAX: usize = 100;

/// The keys last read from an issuer's document.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    keys: Vec<Arc<Key>>,
    /// When the request was sent that brought `keys`.
    read_ms: Option<u64>,
    /// When the last request was sent.
    asked_ms: Option<u64>,
    asking: bool,
}

/// Why a key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// A request is under way: wait for it and look again.
    Pending,
    /// The issuer was asked and does not have it.
    Unknown,
    /// The issuer could not be asked.
    Unavailable,
}

impl From<Missing> for TokenError {
    fn from(missing: Missing) -> TokenError {
        match missing {
            Missing::Unknown => TokenError::Invalid("its issuer has no such key"),
            Missing::Pending | Missing::Unavailable => TokenError::Unavailable,
        }
    }
}

impl Keyring {
    /// Whether the document is to be requested for the sake of this key. On `true` the caller owes one [`Keyring::end`].
    pub(super) fn begin(&mut self, kid: Option<&str>, algorithm: Algorithm, now: Now) -> bool {
        let known = self.known(kid, algorithm, now).is_some();
        let wanted = !known || age(self.read_ms, now) >= FRESH_MS;
        let pause = if self.is_usable(now) { PAUSE_MS } else { OUTAGE_PAUSE_MS };
        let begins = wanted && !self.asking && age(self.asked_ms, now) >= pause;
        if begins {
            (self.asking, self.asked_ms) = (true, Some(now.mono_ms));
        }
        begins
    }

    /// The key that a token asks for.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm, now: Now) -> Result<Arc<Key>, Missing> {
        match self.known(kid, algorithm, now) {
            Some(key) => Ok(Arc::clone(key)),
            None if self.asking => Err(Missing::Pending),
            None if self.is_usable(now) && self.read_ms == self.asked_ms => Err(Missing::Unknown),
            None => Err(Missing::Unavailable),
        }
    }

    /// Ends a request; `None` when it failed, which keeps the keys there are.
    pub(super) fn end(&mut self, keys: Option<Vec<Key>>) {
        self.asking = false;
        if let Some(keys) = keys {
            self.keys = keys.into_iter().map(Arc::new).collect();
            self.read_ms = self.asked_ms;
        }
    }

    fn known(&self, kid: Option<&str>, algorithm: Algorithm, now: Now) -> Option<&Arc<Key>> {
        self.keys.iter().find(|key| key.is_for(kid, algorithm)).filter(|_| self.is_usable(now))
    }

    fn is_usable(&self, now: Now) -> bool {
        age(self.read_ms, now) < KEEP_MS
    }
}

/// The usable keys of a JWKS document (RFC 7517, section 5); others in it are passed over, as the RFC asks.
pub(crate) fn parse(document: &[u8]) -> Result<Vec<Key>, &'static str> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<serde_json::Value>,
    }
    let document: Document = serde_json::from_slice(document).map_err(|_| "it is not a JWKS document")?;
    if document.keys.len() > KEYS_MAX {
        return Err("it holds too many keys");
    }
    Ok(document.keys.into_iter().filter_map(|key| Key::from_jwk(&serde_json::from_value::<Jwk>(key).ok()?)).collect())
}

/// Milliseconds since `then`; endless if it never was.
fn age(then: Option<u64>, now: Now) -> u64 {
    then.map_or(u64::MAX, |then| now.mono_ms.saturating_sub(then))
}

#[cfg(test)]
mod tests {
    use super::super::token::tests::signer;
    use super::*;
    use serde_json::json;

    const START: Now = Now { mono_ms: 7, wall_ms: 0 };
    const ES: Algorithm = Algorithm::ES256;

    fn keys(kid: &str) -> Option<Vec<Key>> {
        let mut jwk = Jwk::from_encoding_key(&signer(ES), ES).unwrap();
        jwk.common.key_id = Some(kid.into());
        Some(parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap())
    }

    fn holding(kid: &str) -> Keyring {
        let mut ring = Keyring::default();
        assert!(ring.begin(Some(kid), ES, START));
        ring.end(keys(kid));
        ring
    }

    #[test]
    fn a_key_is_found_by_its_id_and_algorithm_together() {
        let ring = holding("a");
        assert!(ring.find(Some("a"), ES, START).is_ok());
        for (kid, algorithm) in [(Some("b"), ES), (None, ES), (Some("a"), Algorithm::RS256), (Some("a"), Algorithm::HS256)] {
            assert_eq!(ring.find(kid, algorithm, START).unwrap_err(), Missing::Unknown);
        }
    }

    #[test]
    fn one_request_runs_at_a_time() {
        let mut ring = Keyring::default();
        assert!(ring.begin(Some("a"), ES, START));
        assert!(!ring.begin(Some("a"), ES, START.plus_ms(KEEP_MS)));
        assert_eq!(ring.find(Some("a"), ES, START).unwrap_err(), Missing::Pending);
    }

    #[test]
    fn old_keys_are_renewed_without_waiting_and_outlive_an_outage_of_a_day() {
        let mut ring = holding("a");
        assert!(!ring.begin(Some("a"), ES, START.plus_ms(FRESH_MS - 1)));
        assert!(ring.begin(Some("a"), ES, START.plus_ms(FRESH_MS)));
        assert!(ring.find(Some("a"), ES, START.plus_ms(FRESH_MS)).is_ok());
        ring.end(None);
        assert_eq!(ring.find(Some("b"), ES, START.plus_ms(FRESH_MS)).unwrap_err(), Missing::Unavailable);
        assert!(ring.find(Some("a"), ES, START.plus_ms(KEEP_MS - 1)).is_ok());
        assert_eq!(ring.find(Some("a"), ES, START.plus_ms(KEEP_MS)).unwrap_err(), Missing::Unavailable);
    }

    #[test]
    fn a_document_with_strange_keys_keeps_its_good_ones_and_a_strange_document_is_refused() {
        let good = Jwk::from_encoding_key(&signer(ES), ES).unwrap();
        let count = |keys: serde_json::Value| parse(json!({ "keys": keys }).to_string().as_bytes()).map(|keys| keys.len());
        assert_eq!(count(json!([7, {}, { "kty": "XX" }, { "kty": "oct", "k": "AA" }, good])), Ok(1));
        assert_eq!(count(json!(vec![&good; KEYS_MAX])), Ok(KEYS_MAX));
        assert!(count(json!(vec![&good; KEYS_MAX + 1])).is_err());
        assert!(parse(b"").is_err() && parse(b"{}").is_err() && parse(b"<html>").is_err());
    }
}
