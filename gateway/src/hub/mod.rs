//! I/O: all local subscribers, by channel. What is delivered into a channel waits until whoever is ready to deliver has had a
//! turn, and then goes to each subscriber by one write: where much is published many messages share a write, where little is
//! they go at once.

pub mod batch;
pub mod broadcast;
pub mod outbox;
pub mod topic;

#[cfg(test)]
mod tests;

use batch::Batch;
use broadcast::Broadcast;
use outbox::Outbox;
use parking_lot::Mutex;
use protocol::{message::StreamPosition, name::Channel};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::{sync::Notify, task::yield_now};
use topic::{ConnectionId, HoldOverflow, Topic};
use xxhash_rust::xxh3::xxh3_64;

/// Locks that share the channels between them.
const SHARDS: usize = 64;
/// Pushes that may wait in one channel; whoever delivers one more writes them out himself, and so is held up.
const WAITING_MAX: usize = 1_024;
/// Subscribers who are written to under one lock; others who come and go wait for so many writes.
const STEP: usize = 256;

/// The local subscribers of every channel.
pub struct Hub {
    shards: Vec<Mutex<HashMap<Channel, Arc<Place>>>>,
    /// Channels into which something was delivered, each once.
    dirty: Mutex<VecDeque<Arc<Place>>>,
    work: Notify,
}

/// One channel.
struct Place {
    channel: Channel,
    waiting: Mutex<Waiting>,
    /// Held while subscribers are written to, so that the order of what was delivered is the order of writing.
    writing: Mutex<()>,
    topic: Mutex<Table>,
}

#[derive(Default)]
struct Waiting {
    entries: Vec<Entry>,
    /// It stands among the dirty ones, or is being written out.
    is_dirty: bool,
}

enum Entry {
    Push(Arc<Broadcast>),
    Lose(StreamPosition),
}

#[derive(Default)]
struct Table {
    topic: Topic,
    /// It was empty, and is not in the hub any more.
    is_gone: bool,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), dirty: Mutex::default(), work: Notify::new() }
    }
}

impl Hub {
    /// Writes what was delivered, for ever. Several may run at once, and each takes another channel.
    pub async fn run(&self) {
        loop {
            self.work.notified().await;
            // Whoever else is ready to deliver does so first.
            yield_now().await;
            while self.flush_one() {
                yield_now().await;
            }
        }
    }

    /// Writes everything that was delivered.
    pub fn flush(&self) {
        while self.flush_one() {}
    }

    /// Adds a subscriber whose gate is closed until [`Hub::open`].
    pub fn add(&self, channel: &Channel, connection: ConnectionId, outbox: Arc<Outbox>, join_leave: bool) {
        loop {
            let place = self.shard(channel).lock().entry(channel.clone()).or_insert_with(|| Arc::new(Place::new(channel))).clone();
            place.catch_up();
            let mut table = place.topic.lock();
            if !table.is_gone {
                return table.topic.add(connection, outbox, join_leave);
            }
        }
    }

    /// Opens a subscriber's gate after its reply is in the outbox; see [`Topic::open`].
    pub fn open(&self, channel: &Channel, connection: ConnectionId, after: StreamPosition) -> Result<(), HoldOverflow> {
        self.place(channel).map_or(Ok(()), |place| place.topic.lock().topic.open(connection, after))
    }

    /// Removes a subscriber; says whether it was there.
    pub fn remove(&self, channel: &Channel, connection: ConnectionId) -> bool {
        let Some(place) = self.place(channel) else { return false };
        place.catch_up();
        let mut table = place.topic.lock();
        let was_there = table.topic.remove(connection);
        if table.topic.is_empty() && !std::mem::replace(&mut table.is_gone, true) {
            self.shard(channel).lock().remove(channel);
        }
        was_there
    }

    /// Delivers a push to the channel's subscribers.
    pub fn deliver(&self, broadcast: &Arc<Broadcast>) {
        if let Some(place) = self.place(&broadcast.channel) {
            self.append(place, Entry::Push(broadcast.clone()));
        }
    }

    /// Tells the channel's subscribers that publications were lost; see [`Topic::lose`].
    pub fn lose(&self, channel: &Channel, position: &StreamPosition) {
        if let Some(place) = self.place(channel) {
            self.append(place, Entry::Lose(position.clone()));
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
        self.place(channel).map_or(0, |place| place.topic.lock().topic.len())
    }

    /// Channels with local subscribers and how many each has, those that `wanted` admits.
    #[must_use]
    pub fn channels(&self, wanted: impl Fn(&Channel) -> bool) -> Vec<(Channel, usize)> {
        let mut found: Vec<Arc<Place>> = Vec::new();
        for shard in &self.shards {
            found.extend(shard.lock().values().filter(|place| wanted(&place.channel)).cloned());
        }
        found.iter().map(|place| (place.channel.clone(), place.topic.lock().topic.len())).collect()
    }

    /// Number of channels with local subscribers.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn place(&self, channel: &Channel) -> Option<Arc<Place>> {
        self.shard(channel).lock().get(channel).cloned()
    }

    fn append(&self, place: Arc<Place>, entry: Entry) {
        let (was_dirty, is_full) = {
            let mut waiting = place.waiting.lock();
            waiting.entries.push(entry);
            (std::mem::replace(&mut waiting.is_dirty, true), waiting.entries.len() >= WAITING_MAX)
        };
        if is_full {
            place.write();
        }
        if !was_dirty {
            self.dirty.lock().push_back(place);
            self.work.notify_one();
        }
    }

    /// Writes out the channel that has waited longest; false if none waits.
    fn flush_one(&self) -> bool {
        let Some(place) = self.dirty.lock().pop_front() else { return false };
        place.write();
        let is_dirty = {
            let mut waiting = place.waiting.lock();
            waiting.is_dirty = !waiting.entries.is_empty();
            waiting.is_dirty
        };
        if is_dirty {
            self.dirty.lock().push_back(place);
        }
        true
    }

    #[allow(clippy::cast_possible_truncation)] // only the low bits choose a shard
    fn shard(&self, channel: &Channel) -> &Mutex<HashMap<Channel, Arc<Place>>> {
        &self.shards[xxh3_64(channel.as_str().as_bytes()) as usize % SHARDS]
    }
}

impl Place {
    fn new(channel: &Channel) -> Place {
        Place { channel: channel.clone(), waiting: Mutex::default(), writing: Mutex::default(), topic: Mutex::default() }
    }

    /// Ends what was delivered before somebody comes or goes: it is for those who were there.
    fn catch_up(&self) {
        if self.waiting.lock().is_dirty {
            self.write();
        }
    }

    /// Writes what waits to all subscribers.
    fn write(&self) {
        let _turn = self.writing.lock();
        let mut pushes = Vec::new();
        let entries = std::mem::take(&mut self.waiting.lock().entries);
        for entry in entries {
            match entry {
                Entry::Push(push) => pushes.push(push),
                Entry::Lose(position) => {
                    self.write_all(std::mem::take(&mut pushes));
                    self.topic.lock().topic.lose(&self.channel, &position);
                }
            }
        }
        self.write_all(pushes);
    }

    fn write_all(&self, pushes: Vec<Arc<Broadcast>>) {
        if pushes.is_empty() {
            return;
        }
        let (batch, mut from) = (Batch::new(pushes), Some(0));
        while let Some(start) = from {
            from = self.topic.lock().topic.deliver(&batch, start, STEP);
        }
    }
}
