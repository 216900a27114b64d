//! I/O: presence as a gateway uses it: in its own memory, or shared with all gateways through the ring's Redis nodes.

use crate::{
    diff::Since,
    embedded::Embedded,
    failure::{PageError, Unavailable},
    member::{Departure, Member, Stats},
    page::Page,
    read::Read,
    shared::Shared,
};
use bytes::Bytes;
use protocol::{name::Channel, time::Now};
use std::{collections::BTreeMap, sync::Arc};

/// One of the two. What is written is remembered at once; [`Presence::settled`] waits until everybody can read it.
pub enum Presence {
    /// One gateway alone.
    Embedded(Box<Embedded>),
    /// Gateways of a cluster.
    Shared(Arc<Shared>),
}

impl Presence {
    /// A client entered `channel`, or came back; one already present is updated.
    pub fn join(&self, channel: &Channel, member: Member, now: Now) {
        match self {
            Presence::Embedded(store) => store.join(channel, member, now),
            Presence::Shared(store) => store.join(channel, member),
        }
    }

    /// A client left `channel`. Nothing happens if it is not there or is held: its first departure decides.
    pub fn leave(&self, channel: &Channel, client: &str, departure: Departure, now: Now) {
        match self {
            Presence::Embedded(store) => store.leave(channel, client, departure, now),
            Presence::Shared(store) => store.leave(channel, client, departure, now),
        }
    }

    /// A client's status in `channel` is another now, empty for none; nothing happens if it is not there.
    pub fn set_status(&self, channel: &Channel, client: &str, status: Bytes, now: Now) {
        match self {
            Presence::Embedded(store) => store.set_status(channel, client, status, now),
            Presence::Shared(store) => store.set_status(channel, client, status),
        }
    }

    /// A connection began. Nothing happens if it is known.
    pub fn connect(&self, user: &Arc<str>, client: &Arc<str>, now: Now) {
        match self {
            Presence::Embedded(store) => store.connect(user, client, now),
            Presence::Shared(store) => store.connect(user, client),
        }
    }

    /// A connection of `user` ended. Nothing happens if it is not known, or has ended before.
    pub fn disconnect(&self, user: &Arc<str>, client: &Arc<str>, departure: Departure, now: Now) {
        match self {
            Presence::Embedded(store) => store.disconnect(user, client, departure, now),
            Presence::Shared(store) => store.disconnect(user, client, departure, now),
        }
    }

    /// Returns when everybody can read what was written of `channel` here, or after a second: a node that does not answer
    /// holds nobody up for longer.
    pub async fn settled(&self, channel: &Channel) {
        if let Presence::Shared(store) = self {
            store.settled(channel).await;
        }
    }

    /// The same for what was written of a connection itself: whether its user is online.
    pub async fn settled_online(&self, user: &str, client: &str) {
        if let Presence::Shared(store) = self {
            store.settled_online(user, client).await;
        }
    }

    /// Somebody here wants to be told of members who come and go, for as long as `is_wanted` of the store says so. Returns
    /// when none of them is missed any more: all are told, in any case later than the roster as it is known here now.
    pub async fn follow(&self, channel: &Channel) -> Result<(), Unavailable> {
        match self {
            Presence::Embedded(_) => Ok(()),
            Presence::Shared(store) => store.follow(channel).await,
        }
    }

    /// The clients in `channel`, those in grace included, as they are known here if the node cannot be asked: nobody to whom
    /// they are told has a place for a word about that.
    pub async fn clients(&self, channel: &Channel) -> Result<BTreeMap<Arc<str>, Arc<Member>>, Unavailable> {
        match self {
            Presence::Embedded(store) => Ok(store.clients(channel)),
            Presence::Shared(store) => store.clients(channel).await,
        }
    }

    /// Exact counts of `channel`.
    pub async fn stats(&self, channel: &Channel) -> Result<Read<Stats>, Unavailable> {
        match self {
            Presence::Embedded(store) => Ok(Read::sure(store.stats(channel))),
            Presence::Shared(store) => store.stats(channel).await,
        }
    }

    /// The page after `cursor`, or the first one; see [`crate::Roster::page`].
    pub async fn page(&self, channel: &Channel, cursor: Option<&str>, limit: usize) -> Result<Read<Page>, PageError> {
        match self {
            Presence::Embedded(store) => Ok(Read::sure(store.page(channel, cursor, limit)?)),
            Presence::Shared(store) => store.page(channel, cursor, limit).await,
        }
    }

    /// The first page of a channel that is followed, as it is known here, without asking anybody; stale if the last
    /// [`crate::Event::Stale`] of the channel said so.
    #[must_use]
    pub fn first_page(&self, channel: &Channel, limit: usize) -> Option<Read<Page>> {
        match self {
            Presence::Embedded(store) => store.page(channel, None, limit).ok().map(Read::sure),
            Presence::Shared(store) => store.first_page(channel, limit),
        }
    }

    /// How a reader that knows `version` catches up; a text that is no version gets a snapshot.
    pub async fn since(&self, channel: &Channel, version: &str) -> Result<Read<Since>, Unavailable> {
        match self {
            Presence::Embedded(store) => Ok(Read::sure(store.since(channel, version))),
            Presence::Shared(store) => store.since(channel, version).await,
        }
    }

    /// Whether nobody is here or in grace whom others can see only as long as this process lives.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match self {
            Presence::Embedded(_) => true,
            Presence::Shared(store) => store.is_idle(),
        }
    }

    /// Does what is due in memory; returns when something is due next. See [`crate::TICK_PAUSE_MS_MAX`]. What is shared runs by
    /// itself.
    pub fn tick(&self, now: Now) -> Option<u64> {
        match self {
            Presence::Embedded(store) => store.tick(now),
            Presence::Shared(_) => None,
        }
    }
}
