//! Pure: what gateways of different regions say to each other of a room's roster.

use super::{BadRegionFrame, refuse_unless};
use crate::{
    limits::{MEMBER_INFO_BYTES_MAX, NAME_BYTES_MAX, ROSTER_PAGE_MAX, STATUS_BYTES_MAX, USER_BYTES_MAX},
    name::NameRef,
};
use bytes::Bytes;

/// Bytes of a [`RoomRefused::reason`]; a longer one is malformed.
pub const REASON_BYTES_MAX: usize = 1024;

/// Asks for a room's roster and its changes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FollowRoom {
    /// The room.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question's number.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// What the asker knows; without it the roster is wanted.
    #[prost(message, optional, tag = "3")]
    pub since: Option<RoomStamp>,
}

/// Ends what [`FollowRoom`] began.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaveRoom {
    /// The room.
    #[prost(string, tag = "1")]
    pub channel: String,
}

/// A version of one region's roster.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RoomStamp {
    /// The roster's life; compared by equality only.
    #[prost(fixed64, tag = "1")]
    pub generation: u64,
    /// The place in it.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

/// A part of a roster, in answer to a question, or instead of a diff that would be larger than a page.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RoomPage {
    /// The room.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// Its number among the pages, from 0 on.
    #[prost(uint32, tag = "3")]
    pub index: u32,
    /// Of what version it is. If later pages are of later ones, the diffs in between are sent, too.
    #[prost(message, optional, tag = "4")]
    pub stamp: Option<RoomStamp>,
    /// At most [`ROSTER_PAGE_MAX`] members.
    #[prost(message, repeated, tag = "5")]
    pub entries: Vec<RoomEntry>,
    /// No page comes after it.
    #[prost(bool, tag = "6")]
    pub is_last: bool,
}

/// What changed in a roster, as its region tells it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RoomDiff {
    /// The room.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// What it continues.
    #[prost(message, optional, tag = "3")]
    pub from: Option<RoomStamp>,
    /// What it leads to.
    #[prost(message, optional, tag = "4")]
    pub to: Option<RoomStamp>,
    /// Who was absent. In all three lists together at most [`ROSTER_PAGE_MAX`].
    #[prost(message, repeated, tag = "5")]
    pub join: Vec<RoomEntry>,
    /// Who is absent now; user and client are enough.
    #[prost(message, repeated, tag = "6")]
    pub leave: Vec<RoomEntry>,
    /// Who stays and is another one now.
    #[prost(message, repeated, tag = "7")]
    pub update: Vec<RoomEntry>,
    /// Members after it.
    #[prost(uint32, tag = "8")]
    pub count: u32,
    /// Their clients.
    #[prost(uint32, tag = "9")]
    pub clients: u32,
    /// The room is too big for its names: the lists are empty, and `from` says nothing.
    #[prost(bool, tag = "10")]
    pub counts_only: bool,
}

/// A member of one region's roster.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RoomEntry {
    /// The user; empty for a client without one.
    #[prost(string, tag = "1")]
    pub user: String,
    /// The longest present of the user's clients there.
    #[prost(string, tag = "2")]
    pub client: String,
    /// The user's clients there.
    #[prost(uint32, tag = "3")]
    pub num_clients: u32,
    /// What the client's connection token says.
    #[prost(bytes = "bytes", tag = "4")]
    pub conn_info: Bytes,
    /// What its subscription token says.
    #[prost(bytes = "bytes", tag = "5")]
    pub chan_info: Bytes,
    /// The user's status there.
    #[prost(bytes = "bytes", tag = "6")]
    pub status: Bytes,
}

/// A question is not answered; it may be asked again after a while.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RoomRefused {
    /// The room.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// Why, for people.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// What was told and is told of a room may be old, because the sender cannot ask its Redis node; or is not any more. A room of
/// which this is not said after an answer is not.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RoomStale {
    /// The room.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The question.
    #[prost(uint64, tag = "2")]
    pub follow: u64,
    /// Which of the two.
    #[prost(bool, tag = "3")]
    pub is_stale: bool,
}

impl FollowRoom {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        check_channel(&self.channel)
    }
}

impl LeaveRoom {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        check_channel(&self.channel)
    }
}

impl RoomPage {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        check_channel(&self.channel)?;
        refuse_unless(self.stamp.is_some(), "a page without a stamp")?;
        refuse_unless(self.entries.len() <= ROSTER_PAGE_MAX, "more members than a page holds")?;
        self.entries.iter().try_for_each(|entry| entry.check(true))
    }
}

impl RoomDiff {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        let RoomDiff { channel, from, to, join, leave, update, count, clients, counts_only, .. } = self;
        check_channel(channel)?;
        refuse_unless(to.is_some() && (from.is_some() || *counts_only), "a diff without its stamps")?;
        refuse_unless(clients >= count, "fewer clients than members")?;
        let named = join.len() + leave.len() + update.len();
        refuse_unless(named == 0 || !counts_only, "names in a diff that has counts only")?;
        refuse_unless(named <= ROSTER_PAGE_MAX, "more members than a page holds")?;
        join.iter().chain(update).try_for_each(|entry| entry.check(true))?;
        leave.iter().try_for_each(|entry| entry.check(false))
    }
}

impl RoomRefused {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        refuse_unless(self.reason.len() <= REASON_BYTES_MAX, "a reason of more than 1024 bytes")?;
        check_channel(&self.channel)
    }
}

impl RoomStale {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        check_channel(&self.channel)
    }
}

impl RoomEntry {
    fn check(&self, is_here: bool) -> Result<(), BadRegionFrame> {
        let RoomEntry { user, client, num_clients, conn_info, chan_info, status } = self;
        refuse_unless(user.len() <= USER_BYTES_MAX, "a user id of more than 255 bytes")?;
        refuse_unless((1..=NAME_BYTES_MAX).contains(&client.len()), "a client id of none or more than 255 bytes")?;
        refuse_unless(*num_clients > 0 || !is_here, "a member without clients")?;
        let is_small = conn_info.len() <= MEMBER_INFO_BYTES_MAX && chan_info.len() <= MEMBER_INFO_BYTES_MAX;
        refuse_unless(is_small && status.len() <= STATUS_BYTES_MAX, "more about a member than may be said")
    }
}

fn check_channel(channel: &str) -> Result<(), BadRegionFrame> {
    refuse_unless(NameRef::parse(channel.as_bytes()).is_ok(), "the channel has no name of a channel")
}
