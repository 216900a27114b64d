//! Pure: what an origin says in its stream, and the bytes of it.

use crate::{
    cell::{Floor, OriginIndex},
    cell_key,
    marks::Mark,
    record::{Malformed, put, put_sums, put_text, take, take_sums, take_text},
    window,
};
use protocol::name::NameRef;

const SLOT: u8 = 4;
const FLOOR: u8 = 5;
const TOKEN: u8 = 6;
const TAKEN_BACK: u8 = 7;
const RETIRED: u8 = 8;
const HOLDS: u8 = 9;
const ABSORBED_KEY: u8 = 10;
const ABSORBED: u8 = 11;
const ADDRESS: u8 = 12;
// 13 and 15 are records that are no facts.
const PRODUCED: u8 = 14;

/// What an origin says in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// It has counted this much in a counter, or turned a vote to this length.
    Slot {
        /// The counter, or the vote.
        key: &'a str,
        /// The sums; of a vote its length, and nothing.
        sums: Floor,
    },
    /// It has reset a counter: of another origin's slot, so much no longer counts.
    Floor {
        /// Whose slot.
        origin: OriginIndex,
        /// The counter.
        key: &'a str,
        /// The sums taken off.
        sums: Floor,
    },
    /// A token was used.
    Token(Use<'a>),
    /// What a token did in `origin` was taken back, because another origin had done it too.
    TakenBack {
        /// Where it was done twice.
        origin: OriginIndex,
        /// The token's 16 bytes.
        token: u128,
    },
    /// An origin counts no more; `heir` will take over what it has counted.
    Retired {
        /// The origin.
        origin: OriginIndex,
        /// `region/node` of the heir.
        heir: &'a str,
    },
    /// This replica durably holds an origin's stream up to here, and knows who its heir is, if it has one.
    Holds {
        /// The origin.
        origin: OriginIndex,
        /// The position.
        upto: u64,
        /// The digest of the slots that it holds of it, which of a retired origin may be newer than the position.
        digest: u64,
        /// `region/node` of the heir; empty for an origin that counts.
        heir: &'a str,
    },
    /// One counter of a retired origin, resets and all, is part of this origin's slot from now on.
    AbsorbedKey {
        /// The retired origin.
        origin: OriginIndex,
        /// The counter.
        key: &'a str,
        /// This origin's sums after it.
        sums: Floor,
    },
    /// All that a retired origin has counted is part of this origin's slots from now on.
    Absorbed {
        /// The retired origin.
        origin: OriginIndex,
        /// How long its stream was.
        upto: u64,
    },
    /// Other nodes may connect to this one at `HOST:PORT`.
    Address(&'a str),
    /// So many batches of a producer are part of this origin's slots, or were refused.
    Produced {
        /// The producer.
        producer: u64,
        /// How far it has come.
        mark: Mark,
    },
}

/// The use of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'a> {
    /// The token's 16 bytes.
    pub token: u128,
    /// The counter.
    pub key: &'a str,
    /// What was added; `None`: the counter was reset.
    pub by: Option<i64>,
    /// The side of the slot that it raised, after it.
    pub after: u64,
}

impl<'a> Fact<'a> {
    /// The counter whose value the fact may change.
    #[must_use]
    pub fn counter(&self) -> Option<&'a str> {
        self.key().map(cell_key::counter_of)
    }

    /// Whether it speaks of a counter, or of a vote, as there can be one.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        match self {
            Fact::Slot { key, sums } => cell_key::is_key(key) && cell_key::can_hold(key, *sums),
            Fact::Token(Use { key, .. }) if window::is_window(key) => cell_key::is_key(key),
            Fact::Floor { key, .. } | Fact::AbsorbedKey { key, .. } | Fact::Token(Use { key, .. }) => {
                NameRef::parse(key.as_bytes()).is_ok()
            }
            _ => true,
        }
    }

    /// The counter, or the vote, that the fact is about.
    #[must_use]
    pub fn key(&self) -> Option<&'a str> {
        match self {
            Fact::Slot { key, .. } | Fact::Floor { key, .. } | Fact::AbsorbedKey { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The other origin that the fact speaks of.
    #[must_use]
    pub fn origin(&self) -> Option<OriginIndex> {
        match *self {
            Fact::Floor { origin, .. }
            | Fact::TakenBack { origin, .. }
            | Fact::Retired { origin, .. }
            | Fact::Holds { origin, .. }
            | Fact::AbsorbedKey { origin, .. }
            | Fact::Absorbed { origin, .. } => Some(origin),
            Fact::Slot { .. } | Fact::Token(_) | Fact::Address(_) | Fact::Produced { .. } => None,
        }
    }

    /// The same fact with that origin's index replaced.
    #[must_use]
    pub fn about(mut self, index: OriginIndex) -> Fact<'a> {
        match &mut self {
            Fact::Floor { origin, .. }
            | Fact::TakenBack { origin, .. }
            | Fact::Retired { origin, .. }
            | Fact::Holds { origin, .. }
            | Fact::AbsorbedKey { origin, .. }
            | Fact::Absorbed { origin, .. } => *origin = index,
            Fact::Slot { .. } | Fact::Token(_) | Fact::Address(_) | Fact::Produced { .. } => {}
        }
        self
    }

    pub(crate) fn encode(&self, by: OriginIndex, seq: u64, out: &mut Vec<u8>) {
        match *self {
            Fact::Slot { key, sums } => encode_slot(by, seq, sums, key, out),
            Fact::Floor { origin, key, sums } => put_about(out, (FLOOR, by, seq), origin, sums, key),
            Fact::AbsorbedKey { origin, key, sums } => put_about(out, (ABSORBED_KEY, by, seq), origin, sums, key),
            Fact::Token(Use { token, key, by: amount, after }) => {
                put(out, TOKEN, by, seq);
                out.extend_from_slice(&token.to_le_bytes());
                out.push(u8::from(amount.is_some()));
                out.extend_from_slice(&amount.unwrap_or(0).to_le_bytes());
                out.extend_from_slice(&after.to_le_bytes());
                put_text(out, key);
            }
            Fact::TakenBack { origin, token } => {
                put(out, TAKEN_BACK, by, seq);
                out.extend_from_slice(&origin.to_le_bytes());
                out.extend_from_slice(&token.to_le_bytes());
            }
            Fact::Retired { origin, heir } => {
                put(out, RETIRED, by, seq);
                out.extend_from_slice(&origin.to_le_bytes());
                put_text(out, heir);
            }
            Fact::Holds { origin, upto, digest, heir } => {
                put(out, HOLDS, by, seq);
                out.extend_from_slice(&origin.to_le_bytes());
                out.extend_from_slice(&upto.to_le_bytes());
                out.extend_from_slice(&digest.to_le_bytes());
                put_text(out, heir);
            }
            Fact::Absorbed { origin, upto } => {
                put(out, ABSORBED, by, seq);
                out.extend_from_slice(&origin.to_le_bytes());
                out.extend_from_slice(&upto.to_le_bytes());
            }
            Fact::Produced { producer, mark: Mark { upto, refusals, closed } } => {
                put(out, PRODUCED, by, seq);
                out.extend_from_slice(&producer.to_le_bytes());
                out.extend_from_slice(&upto.to_le_bytes());
                out.extend_from_slice(&[refusals, u8::from(closed)]);
            }
            Fact::Address(address) => {
                put(out, ADDRESS, by, seq);
                put_text(out, address);
            }
        }
    }

    pub(crate) fn decode(kind: u8, bytes: &mut &'a [u8]) -> Result<Fact<'a>, Malformed> {
        let index = |bytes: &mut &'a [u8]| Ok(OriginIndex::from_le_bytes(take(bytes)?));
        Ok(match kind {
            SLOT => {
                let sums = take_sums(bytes)?;
                Fact::Slot { key: take_text(bytes)?, sums }
            }
            FLOOR => {
                let (origin, sums) = (index(bytes)?, take_sums(bytes)?);
                Fact::Floor { origin, key: take_text(bytes)?, sums }
            }
            ABSORBED_KEY => {
                let (origin, sums) = (index(bytes)?, take_sums(bytes)?);
                Fact::AbsorbedKey { origin, key: take_text(bytes)?, sums }
            }
            TOKEN => {
                let (token, is_addition) = (u128::from_le_bytes(take(bytes)?), take::<1>(bytes)? != [0]);
                let (by, after) = (i64::from_le_bytes(take(bytes)?), u64::from_le_bytes(take(bytes)?));
                Fact::Token(Use { token, by: is_addition.then_some(by), after, key: take_text(bytes)? })
            }
            TAKEN_BACK => Fact::TakenBack { origin: index(bytes)?, token: u128::from_le_bytes(take(bytes)?) },
            RETIRED => Fact::Retired { origin: index(bytes)?, heir: take_text(bytes)? },
            HOLDS => Fact::Holds {
                origin: index(bytes)?,
                upto: u64::from_le_bytes(take(bytes)?),
                digest: u64::from_le_bytes(take(bytes)?),
                heir: take_text(bytes)?,
            },
            ABSORBED => Fact::Absorbed { origin: index(bytes)?, upto: u64::from_le_bytes(take(bytes)?) },
            ADDRESS => Fact::Address(take_text(bytes)?),
            PRODUCED => {
                let (producer, upto) = (u64::from_le_bytes(take(bytes)?), u64::from_le_bytes(take(bytes)?));
                let [refusals, closed] = take(bytes)?;
                Fact::Produced { producer, mark: Mark { upto, refusals, closed: closed != 0 } }
            }
            _ => return Err(Malformed),
        })
    }
}

/// Appends the record of [`Fact::Slot`], of which there are more than of all others together.
#[inline]
pub(crate) fn encode_slot(by: OriginIndex, seq: u64, sums: Floor, key: &str, out: &mut Vec<u8>) {
    out.reserve(1 + 2 + 8 + 16 + 1 + key.len());
    put(out, SLOT, by, seq);
    put_sums(out, sums);
    put_text(out, key);
}

/// The key of the [`Fact::Slot`] at the front of `bytes`, if it is one, and what comes after it. Neither is looked at.
#[inline]
pub(crate) fn slot_key(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, after) = bytes.split_first_chunk::<{ 1 + 2 + 8 + 16 + 1 }>()?;
    let ([kind, ..], [.., length]) = (head, head);
    (*kind == SLOT).then(|| after.split_at_checked(usize::from(*length)))?
}

fn put_about(out: &mut Vec<u8>, (kind, by, seq): (u8, OriginIndex, u64), origin: OriginIndex, sums: Floor, key: &str) {
    put(out, kind, by, seq);
    out.extend_from_slice(&origin.to_le_bytes());
    put_sums(out, sums);
    put_text(out, key);
}
