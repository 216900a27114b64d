//! Pure: what gateways of different regions ask each other of users.

use super::{BadRegionFrame, REASON_BYTES_MAX, refuse_unless};
use crate::limits::{USER_BYTES_MAX, USERS_PER_QUERY_MAX};

/// To the region: is any of these online there?
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AskUsers {
    /// The question's number.
    #[prost(uint64, tag = "1")]
    pub ask: u64,
    /// At most [`USERS_PER_QUERY_MAX`].
    #[prost(string, repeated, tag = "2")]
    pub users: Vec<String>,
}

/// From the region: what is known there.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UsersKnown {
    /// The question.
    #[prost(uint64, tag = "1")]
    pub ask: u64,
    /// One for each user who was asked for, in that order.
    #[prost(message, repeated, tag = "2")]
    pub users: Vec<UserKnown>,
}

/// One user.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct UserKnown {
    /// Connections there, one held in grace among them; 0 of a user who is not online there.
    #[prost(uint32, tag = "1")]
    pub clients: u32,
    /// When the last connection of the latest stay ended, in milliseconds since 1970; absent if that is not known.
    #[prost(uint64, optional, tag = "2")]
    pub last_seen_ms: Option<u64>,
}

/// From the region: it cannot be told now.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UsersRefused {
    /// The question.
    #[prost(uint64, tag = "1")]
    pub ask: u64,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub reason: String,
}

impl AskUsers {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        refuse_unless(self.users.len() <= USERS_PER_QUERY_MAX, "more users than are asked for at once")?;
        refuse_unless(self.users.iter().all(|user| (1..=USER_BYTES_MAX).contains(&user.len())), "a user id of none or more than 255 bytes")
    }
}

impl UsersKnown {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        refuse_unless(self.users.len() <= USERS_PER_QUERY_MAX, "more users than are asked for at once")
    }
}

impl UsersRefused {
    pub(super) fn check(&self) -> Result<(), BadRegionFrame> {
        refuse_unless(self.reason.len() <= REASON_BYTES_MAX, "a reason of more than 1024 bytes")
    }
}
