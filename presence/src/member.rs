//! Pure: who can be in a roster: clients, and the members that they make up.

use bytes::Bytes;
use protocol::payload;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// One client in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The connection's id, unique among all connections.
    pub client: Arc<str>,
    /// The user, the same for the life of the client; empty if nobody in particular.
    pub user: Arc<str>,
    /// `None` if nothing is said, as of most.
    about: Option<Box<About>>,
}

/// What is said of one client in a channel; each is empty if nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What the connection token says about the client.
    pub conn_info: Bytes,
    /// What the subscription token says about the client.
    pub chan_info: Bytes,
    /// What the client says about itself in the channel, as JSON. It is gone when the client leaves.
    pub status: Bytes,
}

static NOTHING: About = About { conn_info: Bytes::new(), chan_info: Bytes::new(), status: Bytes::new() };

impl Member {
    /// A client of `user`.
    #[must_use]
    pub fn new(client: Arc<str>, user: Arc<str>, about: About) -> Member {
        Member { client, user, about: (about != NOTHING).then(|| Box::new(about)) }
    }

    /// The same client with another status, empty for none.
    #[must_use]
    pub fn with_status(&self, status: Bytes) -> Member {
        Member::new(self.client.clone(), self.user.clone(), About { status, ..self.about().clone() })
    }

    /// What is said of it.
    #[must_use]
    pub fn about(&self) -> &About {
        self.about.as_deref().unwrap_or(&NOTHING)
    }

    /// What the client counts under.
    #[must_use]
    pub fn key(&self) -> MemberKey {
        MemberKey::of(&self.user, &self.client)
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

/// One member as readers of a roster see it: `{"user","client","num_clients","conn_info"?,"chan_info"?,"status"?}`, and
/// `"regions":[…]` where rosters of several regions are one. Two are equal if they look the same.
#[derive(Clone, Debug)]
pub struct Entry {
    first: Arc<Member>,
    num_clients: u32,
    /// The longest present of the user's clients that has a status, which may be another: that a user is away, say, is true of
    /// the person, and must not be hidden by a second device that has never said anything.
    spokesman: Option<Arc<Member>>,
    /// `None` in the roster of one region.
    regions: Option<Arc<Regions>>,
}

/// Names of regions in which a member is, sorted; never empty. A list behind one pointer, because entries are many.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Regions(Box<[Arc<str>]>);

impl Regions {
    pub(crate) fn of<'a>(sorted: impl IntoIterator<Item = &'a Arc<str>>) -> Arc<Regions> {
        Arc::new(Regions(sorted.into_iter().cloned().collect()))
    }
}

/// What of an entry is seen.
#[derive(PartialEq, Eq, Serialize)]
struct Seen<'a> {
    user: &'a str,
    client: &'a str,
    num_clients: u32,
    #[serde(serialize_with = "payload::serialize", skip_serializing_if = "Bytes::is_empty")]
    conn_info: &'a Bytes,
    #[serde(serialize_with = "payload::serialize", skip_serializing_if = "Bytes::is_empty")]
    chan_info: &'a Bytes,
    #[serde(serialize_with = "payload::serialize", skip_serializing_if = "Bytes::is_empty")]
    status: &'a Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<&'a Regions>,
}

impl Entry {
    /// A member of so many clients, whose longest present one is `first`, and of those with a status `spokesman`.
    #[must_use]
    pub fn new(first: Arc<Member>, num_clients: u32, spokesman: Option<Arc<Member>>) -> Entry {
        Entry { first, num_clients, spokesman, regions: None }
    }

    /// The same member, who is in `regions`.
    pub(crate) fn within(&self, regions: Arc<Regions>) -> Entry {
        Entry { regions: Some(regions), ..self.clone() }
    }

    /// The member whom `parts` are of, each in another region, who is in `regions`. What can be said once is said by the first
    /// part that says it.
    pub(crate) fn united(parts: &[&Entry], regions: Arc<Regions>) -> Option<Entry> {
        let first = parts.first()?.first.clone();
        let num_clients = parts.iter().fold(0, |sum: u32, part| sum.saturating_add(part.num_clients));
        let spokesman = parts.iter().find(|part| !part.status().is_empty()).and_then(|part| part.spokesman.clone());
        Some(Entry { first, num_clients, spokesman, regions: Some(regions) })
    }

    /// The user; empty for a client without one.
    #[must_use]
    pub fn user(&self) -> &Arc<str> {
        &self.first.user
    }

    /// The longest present of the user's clients.
    #[must_use]
    pub fn client(&self) -> &Arc<str> {
        &self.first.client
    }

    /// How many clients of the user are in the channel.
    #[must_use]
    pub fn num_clients(&self) -> u32 {
        self.num_clients
    }

    /// The user's status; empty for none.
    #[must_use]
    pub fn status(&self) -> &Bytes {
        let spokesman = self.spokesman.as_ref().map_or(&NOTHING, |spokesman| spokesman.about());
        &spokesman.status
    }

    /// What the first client's tokens say about it; its status is the client's own, see [`Entry::status`].
    #[must_use]
    pub fn about(&self) -> &About {
        self.first.about()
    }

    /// The names of the regions in which the member is, sorted; empty in the roster of one region.
    #[must_use]
    pub fn regions(&self) -> &[Arc<str>] {
        self.regions.as_ref().map_or(&[], |regions| &regions.0)
    }

    /// What a replica of the roster files the entry under.
    #[must_use]
    pub fn key(&self) -> MemberKey {
        self.first.key()
    }

    fn seen(&self) -> Seen<'_> {
        let About { conn_info, chan_info, .. } = self.first.about();
        let (num_clients, status) = (self.num_clients, self.status());
        Seen { user: self.user(), client: self.client(), num_clients, conn_info, chan_info, status, regions: self.regions.as_deref() }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.seen() == other.seen()
    }
}

impl Eq for Entry {}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.seen().serialize(serializer)
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
