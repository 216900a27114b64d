//! Pure: what gateways of different regions say to each other of the streams of channels whose namespace is `global`.

use super::{BadRegionFrame, REASON_BYTES_MAX, refuse_unless};
use crate::name::NameRef;
use bytes::Bytes;

/// To the region: tell what it publishes into a channel itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FollowStream {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question's number.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// The epoch of the channel's stream there, and the offset after which to begin, where some of it is known; an empty epoch: begin
    /// with the oldest that is kept.
    #[prost(string, tag = "3")]
    pub epoch: String,
    /// See `epoch`.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
}

/// To the region: a channel is not wanted any more.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaveStream {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel: String,
}

/// From the region: what follows is told from here on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamFrom {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// The epoch of its stream in the region; empty: it keeps no history, and what is published is told as it comes.
    #[prost(string, tag = "3")]
    pub epoch: String,
    /// Where its stream stood before the first publication that is told.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
    /// Whether nothing of the region's is missing between what was known and here.
    #[prost(bool, tag = "5")]
    pub follows: bool,
}

/// From the region: its next publication.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamNext {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// The offset of the region's publication before this one; 0 for its first one.
    #[prost(uint64, tag = "3")]
    pub after: u64,
    /// Its offset in the region; 0 where the namespace keeps no history.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
    /// The publication, as [`crate::envelope::body`] writes it.
    #[prost(bytes = "bytes", tag = "5")]
    pub body: Bytes,
}

/// From the region: everything that was published before the channel was asked for has been told.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamCurrent {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
}

/// From the region: no more is told of a channel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamEnded {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// Why.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Whether it may be asked for anew.
    #[prost(bool, tag = "4")]
    pub again: bool,
}

/// What holds of every message: it names a channel, and its text has a bound.
pub(super) fn check(channel: &str, text: &str) -> Result<(), BadRegionFrame> {
    refuse_unless(NameRef::parse(channel.as_bytes()).is_ok(), "the channel has no name of a channel")?;
    refuse_unless(text.len() <= REASON_BYTES_MAX, "a reason of more than 1024 bytes")
}
