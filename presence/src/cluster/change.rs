//! Pure: what a node tells of one change of a room, to every gateway that follows it, and in the room's log. All numbers are
//! big-endian, as Lua's `struct` writes them:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version, 1 |
//! | 8 | the generation |
//! | 8 | the place in it, from 1 on |
//! | 4, 4 | clients and members after it |
//! | 2 | how many rows changed; then each: |
//! | 1 | `+` a row is there or is another one now, `-` it is gone |
//! | 2, n | the client |
//! | 8, 4, m | of `+` only: the place in the order of arrival, and the row |

use super::row::{BadRow, Row};
use crate::{member::Stats, version::Stamp};
use bytes::{Buf, BufMut, Bytes};
use std::sync::Arc;

/// Edges that one call may bring; so many rows change at most, and those of members who were held.
pub const CHANGE_EDGES_MAX: usize = 500;

const VERSION: u8 = 1;
const PUT: u8 = b'+';
const GONE: u8 = b'-';

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// It is there, or is another one now.
    Put(Row),
    /// The client is gone.
    Gone(Arc<str>),
}

/// One change of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it leads to.
    pub stamp: Stamp,
    /// Exact counts after it.
    pub stats: Stats,
    /// The rows, in order. A member who is in both kinds never was absent in between.
    pub rows: Vec<RowChange>,
}

/// The bytes are no change of this version. They are counted; whoever follows the room reads it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a change of a roster")]
pub struct BadChange;

impl From<BadRow> for BadChange {
    fn from(_: BadRow) -> BadChange {
        BadChange
    }
}

impl Change {
    /// Reads a change. The rows' infos are parts of `bytes`.
    pub fn decode(mut bytes: Bytes) -> Result<Change, BadChange> {
        let mut take = |length: usize| if bytes.len() < length { Err(BadChange) } else { Ok(bytes.split_to(length)) };
        if take(1)?[0] != VERSION {
            return Err(BadChange);
        }
        let mut head = take(8 + 8 + 4 + 4 + 2)?;
        let stamp = Stamp { generation: head.get_u64(), seq: head.get_u64() };
        let stats = Stats { clients: head.get_u32() as usize, users: head.get_u32() as usize };
        let mut rows = Vec::new();
        for _ in 0..head.get_u16() {
            let kind = take(1)?[0];
            let length = take(2)?.get_u16();
            let client = take(length.into())?;
            rows.push(match kind {
                PUT => {
                    let arrival = take(8)?.get_u64();
                    let length = take(4)?.get_u32();
                    RowChange::Put(Row::decode(&client, arrival, take(length as usize)?)?)
                }
                GONE => RowChange::Gone(std::str::from_utf8(&client).map_err(|_| BadChange)?.into()),
                _ => return Err(BadChange),
            });
        }
        if bytes.is_empty() { Ok(Change { stamp, stats, rows }) } else { Err(BadChange) }
    }

    /// The bytes, as the scripts write them.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let mut out = vec![VERSION];
        out.put_u64(self.stamp.generation);
        out.put_u64(self.stamp.seq);
        out.put_u32(number(self.stats.clients));
        out.put_u32(number(self.stats.users));
        out.put_u16(u16::try_from(self.rows.len()).unwrap_or(u16::MAX));
        for row in &self.rows {
            let (kind, client) = match row {
                RowChange::Put(row) => (PUT, &row.member.client),
                RowChange::Gone(client) => (GONE, client),
            };
            out.put_u8(kind);
            out.put_u16(u16::try_from(client.len()).unwrap_or(u16::MAX));
            out.put_slice(client.as_bytes());
            if let RowChange::Put(row) = row {
                let body = Row::body(&row.member, &row.owner);
                out.put_u64(row.arrival);
                out.put_u32(number(body.len()));
                out.put_slice(&body);
            }
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::row::OwnerId;
    use proptest::prelude::*;

    fn sample() -> Change {
        let member = |client: &str| Arc::new(crate::world::member(client, "u", "").with_status("1".into()));
        let owner = OwnerId { gateway: "g1".into(), incarnation: 17 };
        let put = RowChange::Put(Row { member: member("c1"), owner, arrival: 3 });
        Change {
            stamp: Stamp { generation: 7, seq: 9 },
            stats: Stats { clients: 2, users: 1 },
            rows: vec![put, RowChange::Gone("c2".into())],
        }
    }

    #[test]
    fn a_change_reads_back_and_no_part_of_one_does() {
        let bytes = sample().encode();
        assert_eq!(Change::decode(bytes.clone()), Ok(sample()));
        for cut in 0..bytes.len() {
            assert_eq!(Change::decode(bytes.slice(..cut)), Err(BadChange));
        }
        assert_eq!(Change::decode([&bytes[..], b"x"].concat().into()), Err(BadChange));
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let gone = Change { rows: vec![RowChange::Gone("c2".into())], ..sample() };
        assert_eq!(&gone.encode()[..], b"\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09\0\0\0\x02\0\0\0\x01\0\x01-\0\x02c2");
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_process(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Change::decode([&[VERSION][..], &bytes].concat().into());
        }
    }
}
