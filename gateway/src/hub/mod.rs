//! I/O: all local subscribers, by channel, behind sharded locks that are held for a few lines and never over an await.

pub mod broadcast;
pub mod outbox;
pub mod topic;

#[cfg(test)]
mod tests;

use broadcast::Broadcast;
use outbox::Outbox;
use parking_lot::Mutex;
use protocol::{message::StreamPosition, name::Channel};
use std::{collections::HashMap, sync::Arc};
use topic::{ConnectionId, HoldOverflow, Topic};
use xxhash_rust::xxh3::xxh3_64;

/// Locks that share the channels between them.
const SHARDS: usize = 64;

/// The local subscribers of every channel.
pub struct Hub {
    shards: Vec<Mutex<HashMap<Channel, Topic>>>,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Hub {
    /// Adds a subscriber whose gate is closed until [`Hub::open`].
    pub fn add(&self, channel: &Channel, connection: ConnectionId, outbox: Arc<Outbox>, join_leave: bool) {
        self.shard(channel).lock().entry(channel.clone()).or_default().add(connection, outbox, join_leave);
    }

    /// Opens a subscriber's gate after its reply is in the outbox; see [`Topic::open`].
    pub fn open(&self, channel: &Channel, connection: ConnectionId, after: StreamPosition) -> Result<(), HoldOverflow> {
        self.shard(channel).lock().get_mut(channel).map_or(Ok(()), |topic| topic.open(connection, after))
    }

    /// Removes a subscriber; says whether it was there.
    pub fn remove(&self, channel: &Channel, connection: ConnectionId) -> bool {
        let mut shard = self.shard(channel).lock();
        let Some(topic) = shard.get_mut(channel) else { return false };
        let was_there = topic.remove(connection);
        if topic.is_empty() {
            shard.remove(channel);
        }
        was_there
    }

    /// Delivers a push to the channel's subscribers.
    pub fn deliver(&self, broadcast: &Arc<Broadcast>) {
        if let Some(topic) = self.shard(&broadcast.channel).lock().get_mut(&broadcast.channel) {
            topic.deliver(broadcast);
        }
    }

    /// Tells the channel's subscribers that publications were lost; see [`Topic::lose`].
    pub fn lose(&self, channel: &Channel, position: &StreamPosition) {
        if let Some(topic) = self.shard(channel).lock().get_mut(channel) {
            topic.lose(channel, position);
        }
    }

    /// Whether anybody here is subscribed.
    #[must_use]
    pub fn has_subscribers(&self, channel: &Channel) -> bool {
        self.shard(channel).lock().contains_key(channel)
    }

    /// How many are subscribed here.
    #[must_use]
    pub fn subscribers(&self, channel: &Channel) -> usize {
        self.shard(channel).lock().get(channel).map_or(0, Topic::len)
    }

    /// Channels with local subscribers and how many each has, those that `wanted` admits.
    #[must_use]
    pub fn channels(&self, wanted: impl Fn(&Channel) -> bool) -> Vec<(Channel, usize)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(shard.lock().iter().filter(|(channel, _)| wanted(channel)).map(|(channel, topic)| (channel.clone(), topic.len())));
        }
        found
    }

    /// Number of channels with local subscribers.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    #[allow(clippy::cast_possible_truncation)] // only the low bits choose a shard
    fn shard(&self, channel: &Channel) -> &Mutex<HashMap<Channel, Topic>> {
        &self.shards[xxh3_64(channel.as_str().as_bytes()) as usize % SHARDS]
    }
}
