//! Pure: who can be in a roster: clients, and the members that they make up.

use bytes::Bytes;
use protocol::payload;
use serde::Serialize;
use std::sync::Arc;

/// One client in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The connection's id, unique among all connections.
    pub client: Arc<str>,
    /// The user, the same for the life of the client; empty if nobody in particular.
    pub user: Arc<str>,
    /// What the connection token says about the client; empty if nothing.
    pub conn_info: Bytes,
    /// What the subscription token says about the client; empty if nothing.
    pub chan_info: Bytes,
    /// What the client says about itself in the channel, as JSON; empty if nothing. It is gone when the client leaves.
    pub status: Bytes,
}

impl Member {
    /// What the client counts under.
    #[must_use]
    pub fn key(&self) -> MemberKey {
        MemberKey::of(&self.user, &self.client)
    }

    /// The entry of a member whose first client this is.
    pub(crate) fn to_entry(&self, num_clients: u32) -> Entry {
        let Member { client, user, conn_info, chan_info, status } = self.clone();
        Entry { user, client, num_clients, conn_info, chan_info, status }
    }
}

/// What rosters are ordered and counted by. The two kinds cannot meet, whatever ids users choose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberKey {
    /// A client without a user id stands for itself.
    Client(Arc<str>),
    /// All clients of one user.
    User(Arc<str>),
}

impl MemberKey {
    /// The key of `client` that belongs to `user`.
    #[must_use]
    pub fn of(user: &Arc<str>, client: &Arc<str>) -> MemberKey {
        if user.is_empty() { MemberKey::Client(client.clone()) } else { MemberKey::User(user.clone()) }
    }
}

/// One member as readers of a roster see it: `{"user","client","num_clients","conn_info"?,"chan_info"?,"status"?}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The user; empty for a client without one.
    pub user: Arc<str>,
    /// The longest present of the user's clients.
    pub client: Arc<str>,
    /// How many clients of the user are in the channel.
    pub num_clients: u32,
    /// Of that client.
    #[serde(serialize_with = "payload::serialize", skip_serializing_if = "Bytes::is_empty")]
    pub conn_info: Bytes,
    /// Of that client.
    #[serde(serialize_with = "payload::serialize", skip_serializing_if = "Bytes::is_empty")]
    pub chan_info: Bytes,
    /// Of the longest present of the user's clients that has one, which may be another: that a user is away, say, is true of
    /// the person, and must not be hidden by a second device that has never said anything.
    #[serde(serialize_with = "payload::serialize", skip_serializing_if = "Bytes::is_empty")]
    pub status: Bytes,
}

impl Entry {
    /// What a replica of the roster files the entry under.
    #[must_use]
    pub fn key(&self) -> MemberKey {
        MemberKey::of(&self.user, &self.client)
    }
}

/// How a client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// On purpose (unsubscribe, close 1000, a terminal code): it leaves at once.
    Clean,
    /// Any other way: a user's last client is held for the grace, during which nothing changes for anybody.
    Dropped,
}

/// Exact counts; a client held in grace counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections.
    pub clients: usize,
    /// Users, and each client without a user id.
    pub users: usize,
}
