//! Pure: what stands in Redis of one client in one room, and who has written it.

use crate::member::{About, Member};
use bytes::Bytes;
use prost::Message;
use std::{fmt, str::FromStr, sync::Arc};

/// Who writes rows: one incarnation of one gateway. Text: `g1.17`, as it stands in keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId {
    /// The gateway's name.
    pub gateway: Arc<str>,
    /// Which of its lives; a later one has a higher number.
    pub incarnation: u64,
}

impl fmt::Display for OwnerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.gateway, self.incarnation)
    }
}

impl FromStr for OwnerId {
    type Err = BadRow;

    fn from_str(text: &str) -> Result<OwnerId, BadRow> {
        let (gateway, incarnation) = text.rsplit_once('.').ok_or(BadRow)?;
        Ok(OwnerId { gateway: gateway.into(), incarnation: incarnation.parse().map_err(|_| BadRow)? })
    }
}

/// One client in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The client.
    pub member: Arc<Member>,
    /// Who holds its socket.
    pub owner: OwnerId,
    /// Its place in the order in which clients came into the room; the node gives it out.
    pub arrival: u64,
}

/// The bytes are no row. They were written by another version; they are counted and left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a row of a roster")]
pub struct BadRow;

/// All of a row but the client's id and its place, which stand beside it.
#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(string, tag = "1")]
    gateway: String,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(string, tag = "3")]
    user: String,
    #[prost(bytes = "bytes", tag = "4")]
    conn_info: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    chan_info: Bytes,
    /// Earlier gateways neither write nor read it: a row without it is one without a status.
    #[prost(bytes = "bytes", tag = "6")]
    status: Bytes,
}

impl Row {
    /// The row of `member` as `owner` writes it.
    #[must_use]
    pub fn body(member: &Member, owner: &OwnerId) -> Vec<u8> {
        let About { conn_info, chan_info, status } = member.about().clone();
        let (gateway, incarnation) = (owner.gateway.as_ref().to_owned(), owner.incarnation);
        Body { gateway, incarnation, user: member.user.as_ref().to_owned(), conn_info, chan_info, status }.encode_to_vec()
    }

    /// Reads a row of which these are the bytes.
    pub fn decode(client: &[u8], arrival: u64, body: Bytes) -> Result<Row, BadRow> {
        let client = std::str::from_utf8(client).map_err(|_| BadRow)?;
        let Body { gateway, incarnation, user, conn_info, chan_info, status } = Body::decode(body).map_err(|_| BadRow)?;
        let member = Member::new(client.into(), user.into(), About { conn_info, chan_info, status });
        Ok(Row { member: Arc::new(member), owner: OwnerId { gateway: gateway.into(), incarnation }, arrival })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_and_its_owner_read_back() {
        let owner = OwnerId { gateway: "g.1".into(), incarnation: u64::MAX };
        assert_eq!(owner.to_string().parse(), Ok(owner.clone()));
        for bad in ["", "g1", "g1.", "g1.x"] {
            assert_eq!(bad.parse::<OwnerId>(), Err(BadRow), "{bad:?}");
        }
        let info = (Bytes::from_static(b"\x00\xff"), Bytes::new());
        let status = Bytes::from_static(b"{\"mood\":\"away\"}");
        let member = Member::new("c".into(), "ü".into(), About { conn_info: info.0, chan_info: info.1, status });
        let row = Row::decode(b"c", 7, Row::body(&member, &owner).into()).unwrap();
        assert_eq!(row, Row { member: Arc::new(member), owner, arrival: 7 });
        assert_eq!(Row::decode(b"c", 7, Bytes::from_static(b"\xff")), Err(BadRow));
        assert_eq!(Row::decode(b"\xff", 7, Bytes::new()), Err(BadRow));
    }

    /// A row as gateways before statuses write and read it.
    #[derive(Clone, PartialEq, Message)]
    struct OldBody {
        #[prost(string, tag = "1")]
        gateway: String,
        #[prost(uint64, tag = "2")]
        incarnation: u64,
        #[prost(string, tag = "3")]
        user: String,
        #[prost(bytes = "bytes", tag = "4")]
        conn_info: Bytes,
        #[prost(bytes = "bytes", tag = "5")]
        chan_info: Bytes,
    }

    #[test]
    fn gateways_with_and_without_statuses_read_each_others_rows() {
        let owner = OwnerId { gateway: "g1".into(), incarnation: 17 };
        let (conn_info, chan_info) = (Bytes::from_static(b"1"), Bytes::from_static(b"2"));
        let old = OldBody { gateway: "g1".to_owned(), incarnation: 17, user: "u".to_owned(), conn_info, chan_info };
        let row = Row::decode(b"c", 7, old.encode_to_vec().into()).unwrap();
        assert_eq!((&row.member.about().chan_info[..], &row.member.about().status[..]), (&b"2"[..], &b""[..]));
        assert_eq!(Row::body(&row.member, &owner), old.encode_to_vec(), "and so a row without a status is the same to both");
        let with_status = row.member.with_status("3".into());
        assert_eq!(OldBody::decode(&Row::body(&with_status, &owner)[..]), Ok(old));
    }
}
