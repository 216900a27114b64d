//! Pure: log records. Each states an absolute fact, so that applying it twice, or an older one after it, changes nothing.
//! Little-endian; a byte for the kind, fixed fields, then texts with a length byte.

use crate::cell::{Floor, OriginIndex, Slot};

/// One fact of the log or of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The identity behind an origin index, and how far its stream is known.
    Origin {
        /// The index that other records use.
        index: OriginIndex,
        /// Whether this disk counts, or once counted, as this origin.
        own: bool,
        /// The newest position of its stream.
        seq: u64,
        /// The random number that tells lives of a node apart.
        epoch: u64,
        /// The origin's region.
        region: &'a str,
        /// The origin's node.
        node: &'a str,
    },
    /// What an origin has counted in a counter.
    Slot {
        /// Who counted.
        origin: OriginIndex,
        /// The counter.
        key: &'a str,
        /// The sums.
        slot: Slot,
    },
    /// What a reset takes off an origin's slot.
    Floor {
        /// Whose slot.
        origin: OriginIndex,
        /// The counter.
        key: &'a str,
        /// The sums taken off.
        floor: Floor,
        /// Position in the stream of the origin that reset, which is the one whose log this is.
        seq: u64,
    },
    /// A token was used.
    Token {
        /// The token's 16 bytes.
        token: u128,
        /// What it was used for.
        fingerprint: u64,
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
const SLOT: u8 = 2;
const FLOOR: u8 = 3;
const TOKEN: u8 = 4;
const FORGOTTEN: u8 = 5;

/// Where the sums `p` and `n` stand in a slot record: after kind, origin and sequence number.
const SUMS_AT: usize = 1 + 2 + 8;

impl<'a> Record<'a> {
    /// Appends the record's bytes. Texts longer than 255 bytes cannot occur: names and node ids are checked before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Record::Origin { index, own, seq, epoch, region, node } => {
                out.push(ORIGIN);
                out.extend_from_slice(&index.to_le_bytes());
                out.push(u8::from(own));
                out.extend_from_slice(&seq.to_le_bytes());
                out.extend_from_slice(&epoch.to_le_bytes());
                put_text(out, region);
                put_text(out, node);
            }
            Record::Slot { origin, key, slot } => put_sums(out, SLOT, origin, slot, key),
            Record::Floor { origin, key, floor, seq } => put_sums(out, FLOOR, origin, Slot { p: floor.p, n: floor.n, seq }, key),
            Record::Token { token, fingerprint } => {
                out.push(TOKEN);
                out.extend_from_slice(&token.to_le_bytes());
                out.extend_from_slice(&fingerprint.to_le_bytes());
            }
            Record::Forgotten { before_ms } => {
                out.push(FORGOTTEN);
                out.extend_from_slice(&before_ms.to_le_bytes());
            }
        }
    }

    /// Reads one record off the front of `bytes`.
    pub fn decode(bytes: &mut &'a [u8]) -> Result<Record<'a>, Malformed> {
        Ok(match take::<1>(bytes)? {
            [ORIGIN] => Record::Origin {
                index: OriginIndex::from_le_bytes(take(bytes)?),
                own: take::<1>(bytes)? != [0],
                seq: u64::from_le_bytes(take(bytes)?),
                epoch: u64::from_le_bytes(take(bytes)?),
                region: take_text(bytes)?,
                node: take_text(bytes)?,
            },
            [SLOT] => {
                let (origin, slot, key) = take_sums(bytes)?;
                Record::Slot { origin, key, slot }
            }
            [FLOOR] => {
                let (origin, Slot { p, n, seq }, key) = take_sums(bytes)?;
                Record::Floor { origin, key, floor: Floor { p, n }, seq }
            }
            [TOKEN] => Record::Token { token: u128::from_le_bytes(take(bytes)?), fingerprint: u64::from_le_bytes(take(bytes)?) },
            [FORGOTTEN] => Record::Forgotten { before_ms: u64::from_le_bytes(take(bytes)?) },
            _ => return Err(Malformed),
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

/// Writes newer sums over those of the slot record at the front of `record`.
pub(crate) fn patch_sums(record: &mut [u8], slot: Slot) {
    record[SUMS_AT..SUMS_AT + 8].copy_from_slice(&slot.p.to_le_bytes());
    record[SUMS_AT + 8..SUMS_AT + 16].copy_from_slice(&slot.n.to_le_bytes());
}

fn put_sums(out: &mut Vec<u8>, kind: u8, origin: OriginIndex, slot: Slot, key: &str) {
    out.reserve(1 + 2 + 8 + 8 + 8 + 1 + key.len());
    out.push(kind);
    out.extend_from_slice(&origin.to_le_bytes());
    out.extend_from_slice(&slot.seq.to_le_bytes());
    out.extend_from_slice(&slot.p.to_le_bytes());
    out.extend_from_slice(&slot.n.to_le_bytes());
    put_text(out, key);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

fn take_sums<'a>(bytes: &mut &'a [u8]) -> Result<(OriginIndex, Slot, &'a str), Malformed> {
    let origin = OriginIndex::from_le_bytes(take(bytes)?);
    let seq = u64::from_le_bytes(take(bytes)?);
    let slot = Slot { p: u64::from_le_bytes(take(bytes)?), n: u64::from_le_bytes(take(bytes)?), seq };
    Ok((origin, slot, take_text(bytes)?))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed)?;
    *bytes = rest;
    Ok(*head)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let [length] = take::<1>(bytes)?;
    let (text, rest) = bytes.split_at_checked(usize::from(length)).ok_or(Malformed)?;
    *bytes = rest;
    std::str::from_utf8(text).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> Vec<Record<'static>> {
        let slot = Slot { p: 1, n: u64::MAX, seq: 3 };
        vec![
            Record::Origin { index: 7, own: true, seq: 9, epoch: u64::MAX, region: "eu", node: "c1" },
            Record::Slot { origin: 7, key: "likes", slot },
            Record::Floor { origin: 7, key: "likes", floor: Floor { p: 1, n: 2 }, seq: 4 },
            Record::Token { token: u128::MAX - 1, fingerprint: 5 },
            Record::Forgotten { before_ms: 6 },
        ]
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
        let mut bytes = Vec::new();
        Record::Slot { origin: 1, key: "k", slot: Slot { p: 1, n: 2, seq: 3 } }.encode(&mut bytes);
        let newer = Slot { p: 10, n: 20, seq: 3 };
        patch_sums(&mut bytes, newer);
        assert_eq!(Record::decode(&mut &bytes[..]), Ok(Record::Slot { origin: 1, key: "k", slot: newer }));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Record::decode_all(&bytes).for_each(drop);
        }
    }
}
