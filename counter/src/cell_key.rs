//! Pure: what a cell of the table is, as its key tells: a counter, a vote for one, or what a bounded one needs beside its sums.

use crate::{
    cell::Floor,
    escrow::{self, EscrowKey},
    vote::{self, VoteKey},
    window::{self, WINDOWED_KEY_BYTES_MAX},
};
use protocol::name::NameRef;

/// The counter that a cell with this key belongs to.
#[must_use]
pub fn counter_of(key: &str) -> &str {
    if let Some((counter, _)) = window::split(key) {
        return counter;
    }
    // The marks are one byte each, and both parts are text.
    let counter = |bytes: &[u8]| &key[1..=bytes.len()];
    let bytes = key.as_bytes();
    let of_vote = vote::split(bytes).map(|(of, _)| counter(of));
    of_vote.or_else(|| escrow::split(bytes).map(|found| counter(found.counter))).unwrap_or(key)
}

/// Whether a cell may have this key.
#[must_use]
pub fn is_key(key: &str) -> bool {
    if let Some((counter, user)) = vote::parts(key) {
        return NameRef::parse(counter.as_bytes()).is_ok_and(|counter| VoteKey::new(counter, user).is_ok());
    }
    if let Some((counter, tail)) = window::split(key) {
        return counter.len() <= WINDOWED_KEY_BYTES_MAX && NameRef::parse(counter.as_bytes()).is_ok() && window::is_tail(tail);
    }
    if let Some(found) = escrow::split(key.as_bytes()) {
        let again = NameRef::parse(found.counter).ok().and_then(|counter| EscrowKey::new(counter, found.kind, found.epoch));
        return again.is_some_and(|again| again.as_str() == key);
    }
    NameRef::parse(key.as_bytes()).is_ok()
}

/// Whether a slot of a cell with this key can have these sums.
#[inline]
#[must_use]
pub fn can_hold(key: &str, sums: Floor) -> bool {
    (!vote::is_vote(key) || vote::is_length(sums)) && (!window::is_window(key) || window::is_of_one_turn(sums))
}

/// Whether a cell with this key stands beside a counter, as what it needs besides its sums.
#[inline]
#[must_use]
pub fn stands_beside(key: &str) -> bool {
    escrow::is_escrow(key) || window::is_window(key)
}

/// Whether a cell with this key is a counter.
#[inline]
#[must_use]
pub fn is_counter(key: &str) -> bool {
    !vote::is_vote(key) && !stands_beside(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escrow::Kind;

    #[test]
    fn each_kind_of_cell_is_told_from_the_others() {
        let counter = NameRef::parse(b"stock:7").unwrap();
        let vote = VoteKey::new(counter, "ann").unwrap();
        let rights = EscrowKey::new(counter, Kind::Rights, 7).unwrap();
        let bucket = "\u{1d}stock:7\u{1d}m04003f";
        for (key, is_one) in [("stock:7", true), (vote.as_str(), false), (rights.as_str(), false), (bucket, false)] {
            assert_eq!((counter_of(key), is_key(key), is_counter(key)), ("stock:7", true, is_one));
        }
        for bad in [
            "",
            "\u{1f}",
            "\u{1f}\u{1f}",
            "\u{1f}likes",
            "\u{1f}likes\u{1f}",
            "\u{1f}li kes\u{1f}ann",
            "\u{1f}likes\u{1f}a\u{1f}b",
            "li kes",
            "\u{1e}",
            "\u{1e}stock",
            "\u{1e}stock\u{1e}r",
            "\u{1e}stock\u{1e}r00000000000000G7",
            "\u{1e}stock\u{1e}r000000000000007",
            "\u{1e}stock\u{1e}r00000000000000a7b",
            "\u{1e}stock\u{1e}r00000000000000A7",
            "\u{1e}stock\u{1e}x00000000000000a7",
            "\u{1e}st ock\u{1e}r00000000000000a7",
            "\u{1d}",
            "\u{1d}stock",
            "\u{1d}stock\u{1d}",
            "\u{1d}stock\u{1d}m040040",
            "\u{1d}st ock\u{1d}m04003f",
        ] {
            assert!(!is_key(bad), "{bad:?}");
        }
    }
}
