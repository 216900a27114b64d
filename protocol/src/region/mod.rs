//! Pure: what gateways of different regions say to each other, each as a [`crate::peer::Message::Link`]: Protobuf. A kind of message or a
//! field that is not known is ignored.
//!
//! A gateway follows the roster of a room that another region writes: it asks ([`FollowRoom`]) and is answered with what changed
//! since ([`RoomDiff`]) or with the roster ([`RoomPage`]); then come the changes, as they are told there, until it
//! has enough ([`LeaveRoom`]). Each question has a number, which is higher than that of the one before, ends that, and comes back in
//! all that follows on it. How many are online in the region it is told without asking ([`Totals`]); whether certain users are it asks
//! when somebody wants to know ([`AskUsers`]).

mod room;
mod stream;
#[cfg(test)]
mod tests;
mod totals;
mod users;

pub use room::{FollowRoom, LeaveRoom, REASON_BYTES_MAX, RoomDiff, RoomEntry, RoomPage, RoomRefused, RoomStale, RoomStamp};
pub use stream::{FollowStream, LeaveStream, StreamCurrent, StreamEnded, StreamFrom, StreamNext};
pub use totals::Totals;
pub use users::{AskUsers, UserKnown, UsersKnown, UsersRefused};

use crate::{limits::ROSTER_PAGE_MAX, peer::FRAME_BYTES_MAX};
use bytes::{Buf, Bytes};
use prost::{
    Message, Oneof,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// Fields of one message, those that repeat counted each: one page, and what is said of it. More are malformed, and are found
/// before they are decoded, because an empty field takes two bytes in the frame and a hundred times as many afterwards.
const FIELDS_MAX: usize = ROSTER_PAGE_MAX + 32;

/// One message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RegionFrame {
    /// The message itself; empty only if it is of a kind that we do not know.
    #[prost(oneof = "RegionMessage", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 17, 18, 19, 20, 21")]
    pub message: Option<RegionMessage>,
}

/// Every kind of message. Numbers below 16 are about who is where.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum RegionMessage {
    /// Tell me of a room.
    #[prost(message, tag = "1")]
    FollowRoom(FollowRoom),
    /// No more.
    #[prost(message, tag = "2")]
    LeaveRoom(LeaveRoom),
    /// A part of a roster.
    #[prost(message, tag = "3")]
    RoomPage(RoomPage),
    /// A change of a roster.
    #[prost(message, tag = "4")]
    RoomDiff(RoomDiff),
    /// I do not tell you of a room.
    #[prost(message, tag = "5")]
    RoomRefused(RoomRefused),
    /// How sure I am of a room.
    #[prost(message, tag = "6")]
    RoomStale(RoomStale),
    /// How many are online.
    #[prost(message, tag = "7")]
    Totals(Totals),
    /// Is any of these online?
    #[prost(message, tag = "8")]
    AskUsers(AskUsers),
    /// What is known of them.
    #[prost(message, tag = "9")]
    UsersKnown(UsersKnown),
    /// I cannot tell you now.
    #[prost(message, tag = "10")]
    UsersRefused(UsersRefused),
    /// Tell me what you publish into a channel.
    #[prost(message, tag = "16")]
    FollowStream(FollowStream),
    /// No more.
    #[prost(message, tag = "17")]
    LeaveStream(LeaveStream),
    /// From where on I tell it.
    #[prost(message, tag = "18")]
    StreamFrom(StreamFrom),
    /// A publication.
    #[prost(message, tag = "19")]
    StreamNext(StreamNext),
    /// You are as far as I am.
    #[prost(message, tag = "20")]
    StreamCurrent(StreamCurrent),
    /// I tell no more.
    #[prost(message, tag = "21")]
    StreamEnded(StreamEnded),
}

/// Why bytes are no message of this protocol. Nothing of it is taken in; the connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRegionFrame {
    /// More than [`FRAME_BYTES_MAX`].
    #[error("larger than {FRAME_BYTES_MAX} bytes")]
    Large,
    /// It is no Protobuf of this kind.
    #[error("malformed: {0}")]
    Malformed(String),
    /// It says what cannot be, or more than may be.
    #[error("{0}")]
    Refused(&'static str),
}

impl RegionMessage {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        RegionFrame { message: Some(self) }.encode_to_vec().into()
    }

    /// Reads and checks a message; `None` for a kind of message that we do not know.
    pub fn from_bytes(bytes: Bytes) -> Result<Option<RegionMessage>, BadRegionFrame> {
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(BadRegionFrame::Large);
        }
        if fields_of(&bytes) > FIELDS_MAX {
            return Err(BadRegionFrame::Refused("more members than a page holds"));
        }
        let frame = RegionFrame::decode(bytes).map_err(|error| BadRegionFrame::Malformed(error.to_string()))?;
        frame.message.as_ref().map_or(Ok(()), RegionMessage::check)?;
        Ok(frame.message)
    }

    fn check(&self) -> Result<(), BadRegionFrame> {
        match self {
            RegionMessage::FollowRoom(message) => message.check(),
            RegionMessage::LeaveRoom(message) => message.check(),
            RegionMessage::RoomPage(message) => message.check(),
            RegionMessage::RoomDiff(message) => message.check(),
            RegionMessage::RoomRefused(message) => message.check(),
            RegionMessage::RoomStale(message) => message.check(),
            // Any numbers may be.
            RegionMessage::Totals(_) => Ok(()),
            RegionMessage::AskUsers(message) => message.check(),
            RegionMessage::UsersKnown(message) => message.check(),
            RegionMessage::UsersRefused(message) => message.check(),
            RegionMessage::FollowStream(FollowStream { channel, epoch, .. }) => stream::check(channel, epoch),
            RegionMessage::StreamFrom(StreamFrom { channel, epoch, .. }) => stream::check(channel, epoch),
            RegionMessage::StreamEnded(StreamEnded { channel, reason, .. }) => stream::check(channel, reason),
            RegionMessage::LeaveStream(LeaveStream { channel })
            | RegionMessage::StreamNext(StreamNext { channel, .. })
            | RegionMessage::StreamCurrent(StreamCurrent { channel, .. }) => stream::check(channel, ""),
        }
    }
}

fn refuse_unless(is_good: bool, why: &'static str) -> Result<(), BadRegionFrame> {
    if is_good { Ok(()) } else { Err(BadRegionFrame::Refused(why)) }
}

/// How many fields the messages in a frame have, as far as it can be read; decoding gets no further.
fn fields_of(frame: &[u8]) -> usize {
    let (mut outer, mut fields) = (frame, 0);
    while let Some(inner) = next_field(&mut outer) {
        let Some(mut inner) = inner else { continue };
        while fields <= FIELDS_MAX && next_field(&mut inner).is_some() {
            fields += 1;
        }
    }
    fields
}

/// Takes the next field off: its bytes if it has a length, `Some(None)` if it is of another form.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (tag, form) = bytes.has_remaining().then(|| decode_key(bytes).ok())??;
    if form != WireType::LengthDelimited {
        return skip_field(form, tag, bytes, DecodeContext::default()).ok().map(|()| None);
    }
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (field, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(field))
}
