//! Pure: log records. Each states an absolute fact, so that applying it twice, or an older one after it, changes nothing.
//! The facts of an origin's stream travel between replicas in the same form. Little-endian; a byte for the kind, fixed
//! fields, then texts with a length byte.

use crate::{
    cell::{Floor, OriginIndex},
    table::Entry,
};

pub use crate::fact::{Fact, Use};

/// One record of the log, of a snapshot, or of a chunk of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The identity behind an origin index.
    Origin {
        /// The index that other records use.
        index: OriginIndex,
        /// Whether this disk counts, or once counted, as this origin.
        own: bool,
        /// The random number that tells lives of a node apart.
        epoch: u64,
        /// The origin's region.
        region: &'a str,
        /// The origin's node.
        node: &'a str,
    },
    /// An origin's stream is known up to here, and whole.
    Cursor {
        /// Whose stream.
        origin: OriginIndex,
        /// The position.
        seq: u64,
        /// What was acknowledged before this moment, in milliseconds since 1970, is included.
        as_of_ms: u64,
    },
    /// A fact of an origin's stream.
    Fact {
        /// Whose stream.
        by: OriginIndex,
        /// The position in it.
        seq: u64,
        /// What it says.
        fact: Fact<'a>,
    },
    /// A retired origin is part of another one now, and what was held of it was dropped here: the other one's slots, as
    /// they are sent, include it.
    Dropped {
        /// The retired origin.
        origin: OriginIndex,
        /// Who absorbed it.
        by: OriginIndex,
        /// Where in the absorber's stream.
        seq: u64,
        /// How long the retired origin's stream was.
        upto: u64,
    },
    /// A retired origin is part of another one's slots, as far as those are at least so new; see [`crate::inclusion`].
    Included {
        /// The retired origin.
        origin: OriginIndex,
        /// Who absorbed it.
        by: OriginIndex,
        /// Where in the absorber's stream.
        seq: u64,
    },
    /// Tokens minted before this are forgotten.
    Forgotten {
        /// Milliseconds since 1970.
        before_ms: u64,
    },
}

/// The bytes are no record. Inside a group whose checksum holds this is a format of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record cannot be read; the file was written by another version")]
pub struct Malformed;

const ORIGIN: u8 = 1;
const CURSOR: u8 = 2;
const FORGOTTEN: u8 = 3;
const DROPPED: u8 = 13;
const INCLUDED: u8 = 15;

/// Where the sums stand in a slot's record: after kind, origin and position.
const SUMS_AT: usize = 1 + 2 + 8;

impl<'a> Record<'a> {
    /// Appends the record's bytes. Texts longer than 255 bytes cannot occur: names and node ids are checked before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Record::Origin { index, own, epoch, region, node } => {
                put(out, ORIGIN, index, epoch);
                out.push(u8::from(own));
                put_text(out, region);
                put_text(out, node);
            }
            Record::Cursor { origin, seq, as_of_ms } => {
                put(out, CURSOR, origin, seq);
                out.extend_from_slice(&as_of_ms.to_le_bytes());
            }
            Record::Dropped { origin, by, seq, upto } => {
                put(out, DROPPED, origin, seq);
                out.extend_from_slice(&by.to_le_bytes());
                out.extend_from_slice(&upto.to_le_bytes());
            }
            Record::Included { origin, by, seq } => {
                put(out, INCLUDED, origin, seq);
                out.extend_from_slice(&by.to_le_bytes());
            }
            Record::Forgotten { before_ms } => put(out, FORGOTTEN, 0, before_ms),
            Record::Fact { by, seq, fact } => fact.encode(by, seq, out),
        }
    }

    /// The record of an entry of a counter.
    #[must_use]
    pub fn from_entry(entry: Entry, key: &'a str) -> Record<'a> {
        let sums = entry.slot.sums();
        match entry.by {
            None => Record::Fact { by: entry.origin, seq: entry.slot.seq, fact: Fact::Slot { key, sums } },
            Some(by) => Record::Fact { by, seq: entry.slot.seq, fact: Fact::Floor { origin: entry.origin, key, sums } },
        }
    }

    /// The counter, or the vote, that it speaks of.
    #[must_use]
    pub fn key(&self) -> Option<&'a str> {
        match self {
            Record::Fact { fact: Fact::Token(used), .. } => Some(used.key),
            Record::Fact { fact, .. } => fact.key(),
            _ => None,
        }
    }

    /// Reads one record off the front of `bytes`.
    pub fn decode(bytes: &mut &'a [u8]) -> Result<Record<'a>, Malformed> {
        let [kind] = take::<1>(bytes)?;
        let (index, number) = (OriginIndex::from_le_bytes(take(bytes)?), u64::from_le_bytes(take(bytes)?));
        Ok(match kind {
            ORIGIN => {
                Record::Origin { index, epoch: number, own: take::<1>(bytes)? != [0], region: take_text(bytes)?, node: take_text(bytes)? }
            }
            CURSOR => Record::Cursor { origin: index, seq: number, as_of_ms: u64::from_le_bytes(take(bytes)?) },
            DROPPED => Record::Dropped {
                origin: index,
                seq: number,
                by: OriginIndex::from_le_bytes(take(bytes)?),
                upto: u64::from_le_bytes(take(bytes)?),
            },
            INCLUDED => Record::Included { origin: index, seq: number, by: OriginIndex::from_le_bytes(take(bytes)?) },
            FORGOTTEN => Record::Forgotten { before_ms: number },
            kind => Record::Fact { by: index, seq: number, fact: Fact::decode(kind, bytes)? },
        })
    }

    /// Reads all records in `bytes`, in order.
    pub fn decode_all(mut bytes: &'a [u8]) -> impl Iterator<Item = Result<Record<'a>, Malformed>> {
        std::iter::from_fn(move || {
            if bytes.is_empty() {
                return None;
            }
            let record = Record::decode(&mut bytes);
            if record.is_err() {
                bytes = &[];
            }
            Some(record)
        })
    }
}

/// Writes newer sums over those of the slot's record at the front of `record`.
pub(crate) fn patch_sums(record: &mut [u8], sums: Floor) {
    record[SUMS_AT..SUMS_AT + 8].copy_from_slice(&sums.p.to_le_bytes());
    record[SUMS_AT + 8..SUMS_AT + 16].copy_from_slice(&sums.n.to_le_bytes());
}

pub(crate) fn put(out: &mut Vec<u8>, kind: u8, index: OriginIndex, number: u64) {
    out.push(kind);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_sums(out: &mut Vec<u8>, sums: Floor) {
    out.extend_from_slice(&sums.p.to_le_bytes());
    out.extend_from_slice(&sums.n.to_le_bytes());
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

pub(crate) fn take_sums(bytes: &mut &[u8]) -> Result<Floor, Malformed> {
    Ok(Floor { p: u64::from_le_bytes(take(bytes)?), n: u64::from_le_bytes(take(bytes)?) })
}

pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed)?;
    *bytes = rest;
    Ok(*head)
}

pub(crate) fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let [length] = take::<1>(bytes)?;
    let (text, rest) = bytes.split_at_checked(usize::from(length)).ok_or(Malformed)?;
    *bytes = rest;
    std::str::from_utf8(text).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::Mark;
    use proptest::prelude::*;

    fn samples() -> Vec<Record<'static>> {
        let sums = Floor { p: 1, n: u64::MAX };
        let facts = [
            Fact::Slot { key: "likes", sums },
            Fact::Floor { origin: 1, key: "likes", sums },
            Fact::Token(Use { token: u128::MAX - 1, key: "likes", by: Some(-3), after: 9 }),
            Fact::Token(Use { token: 1, key: "likes", by: None, after: 0 }),
            Fact::TakenBack { origin: 1, token: 2 },
            Fact::Retired { origin: 1, heir: "eu/c1" },
            Fact::Holds { origin: 1, upto: 5, digest: 6, heir: "" },
            Fact::AbsorbedKey { origin: 1, key: "likes", sums },
            Fact::Absorbed { origin: 1, upto: 6 },
            Fact::Address("c1.eu:7400"),
            Fact::Produced { producer: u64::MAX, mark: Mark { upto: 3, refusals: 5, closed: true } },
        ];
        let own = [
            Record::Origin { index: 7, own: true, epoch: u64::MAX, region: "eu", node: "c1" },
            Record::Cursor { origin: 7, seq: 9, as_of_ms: 8 },
            Record::Dropped { origin: 7, by: 6, seq: 5, upto: 4 },
            Record::Included { origin: 7, by: 6, seq: 5 },
            Record::Forgotten { before_ms: 6 },
        ];
        own.into_iter().chain((1..).zip(facts).map(|(seq, fact)| Record::Fact { by: 7, seq, fact })).collect()
    }

    #[test]
    fn every_record_reads_back_and_no_part_of_one_does() {
        let mut bytes = Vec::new();
        for record in samples() {
            let start = bytes.len();
            record.encode(&mut bytes);
            for cut in start..bytes.len() {
                assert_eq!(Record::decode(&mut &bytes[start..cut]), Err(Malformed));
            }
        }
        assert_eq!(Record::decode_all(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), samples());
    }

    #[test]
    fn a_slot_is_patched_in_place() {
        let record = |sums| Record::Fact { by: 1, seq: 3, fact: Fact::Slot { key: "k", sums } };
        let mut bytes = Vec::new();
        record(Floor { p: 1, n: 2 }).encode(&mut bytes);
        patch_sums(&mut bytes, Floor { p: 10, n: 20 });
        assert_eq!(Record::decode(&mut &bytes[..]), Ok(record(Floor { p: 10, n: 20 })));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Record::decode_all(&bytes).for_each(drop);
        }
    }
}
