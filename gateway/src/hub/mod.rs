//! I/O: all local subscribers, by channel. What is delivered into a channel waits until whoever is ready to deliver has had a
//! turn, and then goes to each subscriber by one write: where much is published many messages share a write, where little is
//! they go at once.

mod backlog;
pub mod batch;
pub mod broadcast;
pub mod budget;
mod census;
mod line;
pub mod outbox;
mod pace;
mod place;
mod round;
#[cfg(target_os = "linux")]
pub(crate) mod sends;
#[cfg(not(target_os = "linux"))]
#[path = "no_sends.rs"]
pub(crate) mod sends;
pub mod topic;

#[cfg(test)]
mod tests;

use broadcast::Broadcast;
use outbox::Outbox;
use pace::{Pace, Turn};
use parking_lot::Mutex;
use place::{Entry, Place};
use protocol::{message::StreamPosition, name::Channel, namespace::Namespaces, time::Clock};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, broadcast as broadcast_queue},
    task::yield_now,
    time::timeout,
};
use topic::{ConnectionId, HoldOverflow};
use xxhash_rust::xxh3::xxh3_64;

/// Locks that share the channels between them.
const SHARDS: usize = 64;
/// Channels with losses that wait for one who wants to know.
const LOST_MAX: usize = 4096;
/// How long the hub waits for work before it looks whether some is due.
const IDLE: Duration = Duration::from_secs(60);

/// The local subscribers of every channel.
pub struct Hub {
    clock: Clock,
    namespaces: Namespaces,
    shards: Vec<Mutex<HashMap<Channel, Arc<Place>>>>,
    /// Channels into which something was delivered, each once, here or in `later`.
    dirty: Mutex<VecDeque<Arc<Place>>>,
    /// Those of namespaces that gather, by when they are due on the monotonic clock.
    later: Mutex<BTreeMap<(u64, Channel), Arc<Place>>>,
    work: Notify,
    /// The channels of which publications were lost.
    lost: broadcast_queue::Sender<Channel>,
}

impl Hub {
    /// Without subscribers. The `namespaces` say how long publications are gathered.
    #[must_use]
    pub fn new(namespaces: Namespaces, clock: Clock) -> Hub {
        Hub {
            clock,
            namespaces,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            dirty: Mutex::default(),
            later: Mutex::default(),
            work: Notify::new(),
            lost: broadcast_queue::Sender::new(LOST_MAX),
        }
    }

    /// The channels of which publications are lost from now on, see [`Hub::lose`]. Of more than some thousand that were not taken
    /// yet the oldest are left out.
    pub fn lost(&self) -> broadcast_queue::Receiver<Channel> {
        self.lost.subscribe()
    }

    /// Writes what was delivered, for ever. Several may run at once, and each takes another channel.
    pub async fn run(&self) {
        loop {
            let next_ms = self.release();
            while self.flush_one() {
                yield_now().await;
            }
            let pause = next_ms.map_or(IDLE, |next_ms| Duration::from_millis(next_ms.saturating_sub(self.now_ms())));
            if timeout(pause, self.work.notified()).await.is_ok() {
                // Whoever else is ready to deliver does so first.
                yield_now().await;
            }
        }
    }

    /// Writes everything that was delivered and is due.
    pub fn flush(&self) {
        self.release();
        while self.flush_one() {}
    }

    /// Adds a subscriber whose gate is closed until [`Hub::open`].
    pub fn add(&self, channel: &Channel, connection: ConnectionId, outbox: &Arc<Outbox>, join_leave: bool) {
        loop {
            let place = self.shard(channel).lock().entry(channel.clone()).or_insert_with(|| self.new_place(channel)).clone();
            place.catch_up(self.now_ms());
            if place.add(connection, outbox, join_leave) {
                return;
            }
        }
    }

    /// Opens a subscriber's gate after its reply is in the outbox; see [`topic::Topic::open`].
    pub fn open(&self, channel: &Channel, connection: ConnectionId, after: StreamPosition) -> Result<(), HoldOverflow> {
        self.place(channel).map_or(Ok(()), |place| place.open(connection, after))
    }

    /// Removes a subscriber; says whether it was there.
    pub fn remove(&self, channel: &Channel, connection: ConnectionId) -> bool {
        let Some(place) = self.place(channel) else { return false };
        place.catch_up(self.now_ms());
        let (was_there, is_over) = place.remove(connection);
        if is_over {
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

    /// Tells the channel's subscribers that publications were lost; see [`topic::Topic::lose`].
    pub fn lose(&self, channel: &Channel, position: &StreamPosition) {
        if let Some(place) = self.place(channel) {
            self.append(place, Entry::Lose(position.clone()));
        }
        // It may be that nobody listens.
        _ = self.lost.send(channel.clone());
    }

    fn place(&self, channel: &Channel) -> Option<Arc<Place>> {
        self.shard(channel).lock().get(channel).cloned()
    }

    fn append(&self, place: Arc<Place>, entry: Entry) {
        let now_ms = self.now_ms();
        match place.append(entry, now_ms) {
            None => {}
            // Not before those who wait already: nothing depends on it, and it is what one expects.
            Some(Turn::Now) if self.dirty.lock().is_empty() => self.write(place, now_ms),
            Some(Turn::Now | Turn::Soon) => self.enqueue(place),
            Some(Turn::At(at_ms)) => {
                self.later.lock().insert((at_ms, place.channel().clone()), place);
                self.work.notify_one();
            }
        }
    }

    /// Queues the channels that are due by now; returns when the next one is.
    fn release(&self) -> Option<u64> {
        let now_ms = self.now_ms();
        loop {
            let mut later = self.later.lock();
            let first = later.first_entry()?;
            if first.key().0 > now_ms {
                return Some(first.key().0);
            }
            let place = first.remove();
            drop(later);
            self.enqueue(place);
        }
    }

    fn enqueue(&self, place: Arc<Place>) {
        self.dirty.lock().push_back(place);
        self.work.notify_one();
    }

    /// Writes out the channel that has waited longest; false if none waits.
    fn flush_one(&self) -> bool {
        let place = self.dirty.lock().pop_front();
        place.map(|place| self.write(place, self.now_ms())).is_some()
    }

    fn write(&self, place: Arc<Place>, now_ms: u64) {
        place.write(now_ms);
        if !place.rest() {
            self.enqueue(place);
        }
    }

    fn now_ms(&self) -> u64 {
        (self.clock)().mono_ms
    }

    fn new_place(&self, channel: &Channel) -> Arc<Place> {
        let flush_ms = self.namespaces.of_channel(channel).map_or(0, |namespace| namespace.flush_ms);
        Arc::new(Place::new(channel, Pace::new(flush_ms)))
    }

    #[allow(clippy::cast_possible_truncation)] // only the low bits choose a shard
    fn shard(&self, channel: &Channel) -> &Mutex<HashMap<Channel, Arc<Place>>> {
        &self.shards[xxh3_64(channel.as_str().as_bytes()) as usize % SHARDS]
    }
}
