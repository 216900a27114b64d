//! Pure: the keys of what a bounded counter needs beside its sums, in the way of Balegas et al. 2015 (bounded counter CRDT). Each origin
//! has rights to take from the counter: what it has added itself, less what it has taken, and what others have given it. What
//! was given to an origin, less what that has given away, is an ordinary PN-counter with a key of its own, and what an origin has ever
//! wished to be given is another: streams, log, snapshots and digests know of nothing else, and whoever absorbs an origin has its rights.

use protocol::{limits::NAME_BYTES_MAX, name::NameRef};

/// Before the counter and behind it in such a key. No name holds it.
const MARK: u8 = 0x1e;
/// Behind the counter: the mark, the kind, and the epoch as 16 digits.
const TAIL_BYTES: usize = 18;
/// A bounded counter's key is no longer than this, so that those beside it fit.
pub const BOUNDED_KEY_BYTES_MAX: usize = NAME_BYTES_MAX - 1 - TAIL_BYTES;

/// What is counted beside a bounded counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The rights that an origin was given, less those that it has given away.
    Rights,
    /// How many rights an origin has wished to be given, in all.
    Wanted,
}

impl Kind {
    fn letter(self) -> u8 {
        match self {
            Kind::Rights => b'r',
            Kind::Wanted => b'w',
        }
    }
}

/// The key of such a cell.
#[derive(Clone, Copy, Debug)]
pub struct EscrowKey {
    bytes: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl EscrowKey {
    /// That of the origin with this epoch; `None` if the counter's key is longer than [`BOUNDED_KEY_BYTES_MAX`].
    #[must_use]
    pub fn new(counter: NameRef<'_>, kind: Kind, epoch: u64) -> Option<EscrowKey> {
        let counter = counter.as_str().as_bytes();
        if counter.len() > BOUNDED_KEY_BYTES_MAX {
            return None;
        }
        let (end, mut bytes) = (1 + counter.len(), [0; NAME_BYTES_MAX]);
        bytes[1..end].copy_from_slice(counter);
        (bytes[0], bytes[end], bytes[end + 1]) = (MARK, MARK, kind.letter());
        for (digit, byte) in (0..16_u32).zip(&mut bytes[end + 2..]) {
            let value = epoch >> (60 - 4 * digit) & 15;
            *byte = b"0123456789abcdef"[value.to_le_bytes()[0] as usize];
        }
        Some(EscrowKey { bytes, length: end + TAIL_BYTES })
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // All of it is text.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// A key, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) counter: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) epoch: u64,
}

/// Whether a cell with this key stands beside a bounded counter.
#[inline]
#[must_use]
pub fn is_escrow(key: &str) -> bool {
    key.as_bytes().first() == Some(&MARK)
}

/// The counter, the kind and the epoch; `None` for any other key.
#[inline]
pub(crate) fn split(key: &[u8]) -> Option<Parts<'_>> {
    let rest = key.strip_prefix(&[MARK])?;
    let (counter, tail) = rest.split_at(rest.len().checked_sub(TAIL_BYTES)?);
    let (&[MARK, kind], digits) = tail.split_first_chunk::<2>()? else { return None };
    let kind = [Kind::Rights, Kind::Wanted].into_iter().find(|known| known.letter() == kind)?;
    let epoch = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some(Parts { counter, kind, epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart_again() {
        let counter = NameRef::parse(b"stock:7").unwrap();
        for (kind, epoch) in [(Kind::Rights, 0), (Kind::Wanted, u64::MAX), (Kind::Rights, 0x0123_4567_89ab_cdef)] {
            let key = EscrowKey::new(counter, kind, epoch).unwrap();
            assert_eq!(split(key.as_str().as_bytes()), Some(Parts { counter: b"stock:7", kind, epoch }));
        }
        assert_eq!(split(b"stock:7"), None);
        let long = |length| "x".repeat(length);
        let made = |text: &str| EscrowKey::new(NameRef::parse(text.as_bytes()).unwrap(), Kind::Rights, 1).map(|key| key.as_str().len());
        assert_eq!((made(&long(BOUNDED_KEY_BYTES_MAX)), made(&long(BOUNDED_KEY_BYTES_MAX + 1))), (Some(NAME_BYTES_MAX), None));
    }
}
