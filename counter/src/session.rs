//! Pure: session vectors. One says how far each origin's stream was known where somebody read or wrote; a replica that
//! covers it shows that reader everything it saw before. Clients carry it as an opaque string.
//!
//! `1` and then, per origin, `.epoch-seq` in hexadecimal, epochs ascending.

use crate::replica::Replica;
use std::{collections::BTreeMap, fmt::Write as _};

/// Bytes in a session string; a longer one is refused.
pub const SESSION_BYTES_MAX: usize = 4096;

/// The text is no session vector. Nothing changed; retrying it never helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session that this service gave out")]
pub struct BadSession;

/// Writes positions by origin epoch.
#[must_use]
pub fn encode(positions: &BTreeMap<u64, u64>) -> String {
    let mut text = String::from("1");
    for (epoch, seq) in positions {
        // Writing to a String cannot fail.
        _ = write!(text, ".{epoch:x}-{seq:x}");
    }
    text
}

/// The session that covers just what all of `sessions` do; texts that are none are left out.
#[must_use]
pub fn join(sessions: &[&str]) -> String {
    let mut joined = BTreeMap::new();
    for (epoch, seq) in sessions.iter().filter_map(|session| decode(session).ok()).flatten() {
        let known = joined.entry(epoch).or_default();
        *known = seq.max(*known);
    }
    encode(&joined)
}

/// Reads positions by origin epoch.
pub fn decode(text: &str) -> Result<BTreeMap<u64, u64>, BadSession> {
    let mut parts = text.split('.');
    if text.len() > SESSION_BYTES_MAX || parts.next() != Some("1") {
        return Err(BadSession);
    }
    let number = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| BadSession);
    parts.map(|part| part.split_once('-').ok_or(BadSession).and_then(|(epoch, seq)| Ok((number(epoch)?, number(seq)?)))).collect()
}

impl Replica {
    /// How far each origin's stream is known here, as an opaque string.
    #[must_use]
    pub fn session(&self) -> String {
        let counting = self.origins.iter().filter(|(_, origin)| origin.seq > 0 && origin.absorbed.is_none());
        encode(&counting.map(|(_, origin)| (origin.id.epoch, origin.seq)).collect())
    }

    /// Whether everything that `session` saw is known here.
    pub fn covers(&self, session: &str) -> Result<bool, BadSession> {
        let is_known = |epoch: u64, seq: u64| {
            let index = self.origins.find(epoch);
            index.is_some_and(|index| self.origins[index].seq >= seq || self.origins[index].absorbed.is_some())
        };
        Ok(decode(session)?.into_iter().all(|(epoch, seq)| is_known(epoch, seq)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_session_reads_back_and_needs_no_escaping(positions in proptest::collection::btree_map(any::<u64>(), any::<u64>(), 0..20)) {
            let text = encode(&positions);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-'));
            prop_assert_eq!(decode(&text), Ok(positions));
        }

        #[test]
        fn no_input_panics(text in ".{0,40}") {
            _ = decode(&text);
        }
    }

    #[test]
    fn joined_sessions_cover_what_each_of_them_does() {
        let [one, other] = [[(1, 5), (2, 7)], [(2, 6), (3, 1)]].map(|session| encode(&session.into()));
        assert_eq!(decode(&join(&[&one, &other])), Ok([(1, 5), (2, 7), (3, 1)].into()));
        assert_eq!(decode(&join(&[])), Ok(BTreeMap::new()));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "2", "1.", "1.x-1", "1.1", "1.1-", "1.11111111111111111-1", "likes"] {
            assert_eq!(decode(bad), Err(BadSession), "{bad:?}");
        }
        assert_eq!(decode(&format!("1{}", ".1-1".repeat(SESSION_BYTES_MAX))), Err(BadSession));
    }
}
