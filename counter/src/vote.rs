//! Pure: votes. Whether a user has voted for a counter is a causal length (Yu, Rostad 2020): how often the vote was turned, odd while it
//! is on. Replicas merge it by maximum, so that a vote that is cast twice, or in two regions at once, is one vote, and whoever turns it
//! after having seen it wins. A vote is a cell of the table like a counter is, with one slot for each origin that has turned it, whose `p`
//! is the length that it has turned it to: streams, log, snapshots and digests know of nothing else. What a counter comes to by its
//! votes is how many are on.

use crate::cell::Floor;
use protocol::{limits::NAME_BYTES_MAX, name::NameRef};

/// Before the counter and before the user in a vote's key. No name and no user's id holds it.
const MARK: u8 = 0x1f;
/// A vote's key is no longer than a counter's.
const KEY_BYTES_MAX: usize = NAME_BYTES_MAX;
/// How often a vote can be turned: who does it more often has one that stays as it is, off.
pub const LENGTH_MAX: u64 = u16::MAX as u64 - 1;

/// The vote cannot be told apart by its key; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVote {
    /// Nobody votes.
    #[error("a vote needs a user")]
    Nobody,
    /// The key would not fit.
    #[error("the counter's key and the user's id have more than {} bytes together", KEY_BYTES_MAX - 2)]
    TooLong,
    /// The id holds a control character.
    #[error("a user's id holds no control characters")]
    Control,
}

/// The key of the cell of a vote.
#[derive(Clone, Debug)]
pub struct VoteKey(String);

impl VoteKey {
    /// That of `user` for `counter`.
    pub fn new(counter: NameRef<'_>, user: &str) -> Result<VoteKey, BadVote> {
        let (counter, length) = (counter.as_str(), counter.as_str().len() + user.len() + 2);
        if user.is_empty() {
            return Err(BadVote::Nobody);
        }
        if length > KEY_BYTES_MAX {
            return Err(BadVote::TooLong);
        }
        let has_control =
            if user.is_ascii() { user.bytes().any(|byte| byte.is_ascii_control()) } else { user.chars().any(char::is_control) };
        if has_control {
            return Err(BadVote::Control);
        }
        let mut key = String::with_capacity(length);
        key.push(MARK.into());
        key.push_str(counter);
        key.push(MARK.into());
        key.push_str(user);
        Ok(VoteKey(key))
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What came of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voted {
    /// The counter's value.
    pub value: i64,
    /// It was turned, and was not so before.
    pub is_news: bool,
}

/// Writes the key of a vote to the front of `out`; how long it is.
pub(crate) fn join(counter: &[u8], user: &[u8], out: &mut [u8]) -> usize {
    let (of_counter, of_user) = (1 + counter.len(), 2 + counter.len());
    (out[0], out[of_counter]) = (MARK, MARK);
    out[1..of_counter].copy_from_slice(counter);
    out[of_user..of_user + user.len()].copy_from_slice(user);
    of_user + user.len()
}

/// The counter and the user of a vote's key; `None` for the key of a counter.
#[inline]
pub(crate) fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = key.strip_prefix(&[MARK])?;
    let end = rest.iter().position(|byte| *byte == MARK)?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// Whether a cell with this key is that of a vote.
#[inline]
#[must_use]
pub fn is_vote(key: &str) -> bool {
    key.as_bytes().first() == Some(&MARK)
}

/// The counter and the user of a vote's key; `None` for the key of a counter.
#[must_use]
pub fn parts(key: &str) -> Option<(&str, &str)> {
    let (counter, user) = split(key.as_bytes())?;
    // The marks are one byte each.
    Some((&key[1..=counter.len()], &key[key.len() - user.len()..]))
}

/// Whether a slot with these sums can be one of a vote.
#[must_use]
pub fn is_length(sums: Floor) -> bool {
    sums.n == 0 && sums.p <= LENGTH_MAX
}

/// Whether a vote of this length is on.
#[must_use]
pub fn is_on(length: u64) -> bool {
    !length.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_votes_key_is_told_from_a_counters_and_taken_apart() {
        let counter = NameRef::parse(b"likes:17").unwrap();
        let key = VoteKey::new(counter, "Zoë 7").unwrap();
        assert_eq!(split(key.as_str().as_bytes()), Some((&b"likes:17"[..], "Zoë 7".as_bytes())));
        let refused = |user: &str| VoteKey::new(counter, user).unwrap_err();
        assert_eq!((refused(""), refused("a\u{1f}b"), refused("a\n")), (BadVote::Nobody, BadVote::Control, BadVote::Control));
        assert_eq!(refused(&"x".repeat(246)), BadVote::TooLong);
        assert_eq!(VoteKey::new(counter, &"x".repeat(245)).unwrap().as_str().len(), 255);
    }
}
