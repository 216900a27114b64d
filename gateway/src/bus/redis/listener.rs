//! I/O: the channels that somebody here is subscribed to. What is heard of them goes through their feeds to the hub; a
//! channel's lock is held while it is delivered, so that the feed's order is the order of delivery.

use super::{
    joined::{Change, Joined},
    repairs::Repairs,
    routes::Routes,
};
use crate::{
    bus::{BusError, feed},
    hub::{Hub, broadcast::Broadcast},
};
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{envelope::Envelope, excerpt::excerpt, message::StreamPosition, name::Channel};
use ring_coordinator::{key::publications, slot::Slot};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64;

/// Locks that share the channels between them.
const SHARDS: usize = 64;
/// How long a subscriber waits until its channel is listened for; then it is told to try again.
const JOIN_PATIENCE: Duration = Duration::from_secs(4);
/// Milliseconds for which a channel without subscribers is listened for, in case that they come back.
const LEAVE_MS: u64 = 5_000;
/// A channel with so many subscribers here is among the first to be listened for after a reconnect.
const HOT_SUBSCRIBERS: usize = 100;
/// Milliseconds before the first read of a channel's place is tried again.
const RESTART_MS: u64 = 200;

/// All channels that are listened for, under the names of their Redis channels.
pub(super) struct Listener {
    pub(super) routes: Arc<Routes>,
    pub(super) repairs: Repairs,
    hub: Arc<Hub>,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    channels: HashMap<Arc<str>, Entry>,
    /// How many of them are not yet listened for where the newest step of the ring wants it.
    awaiting: usize,
    /// Channels that lost their last subscriber, and when to look again. Each stands here once at most.
    leaving: VecDeque<(u64, Arc<str>)>,
}

struct Entry {
    joined: Joined,
    /// Told when a subscriber may go on; of no use to anybody while there is none.
    ready: Arc<Notify>,
}

impl Listener {
    pub(super) fn new(routes: Arc<Routes>, hub: Arc<Hub>) -> Listener {
        Listener { routes, repairs: Repairs::default(), hub, shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Listens for a channel, and waits until it is certain that everything is heard.
    pub(super) async fn join(&self, channel: &Channel, has_history: bool) -> Result<(), BusError> {
        let name: Arc<str> = publications(Slot::of(channel), channel.as_str()).into();
        let joined = async {
            loop {
                let ready = {
                    let mut shard = self.shard(&name).lock();
                    let entry = self.entry(&mut shard, &name, channel, has_history);
                    if entry.joined.is_ready() {
                        return;
                    }
                    entry.ready.clone().notified_owned()
                };
                ready.await;
            }
        };
        if self.hub.subscribers(channel) == HOT_SUBSCRIBERS {
            let heat = |joined: &mut Joined, _: &mut Vec<_>| joined.nodes().for_each(|node| self.routes.nodes.wanted(node, &name, true));
            self.with(&name, heat);
        }
        let late = |_| BusError::Unavailable("it is not listened for yet".into());
        tokio::time::timeout(JOIN_PATIENCE, joined).await.map_err(late)
    }

    /// A channel may have lost its last subscriber.
    pub(super) fn leave(&self, channel: &Channel) {
        let name: Arc<str> = publications(Slot::of(channel), channel.as_str()).into();
        let due_ms = self.now_ms() + LEAVE_MS;
        let mut shard = self.shard(&name).lock();
        if let Some(entry) = shard.channels.get_mut(&name)
            && !self.hub.has_subscribers(channel)
            && !std::mem::replace(&mut entry.joined.is_leaving, true)
        {
            shard.leaving.push_back((due_ms, name));
        }
    }

    /// Lets go of channels that have had no subscribers for some seconds.
    pub(super) fn sweep(&self) {
        let now_ms = self.now_ms();
        for shard in &self.shards {
            let shard = &mut *shard.lock();
            while let Some((_, name)) = shard.leaving.pop_front_if(|(due_ms, _)| *due_ms <= now_ms) {
                let Some(entry) = shard.channels.get_mut(&name) else { continue };
                entry.joined.is_leaving = false;
                if self.hub.has_subscribers(&entry.joined.channel) {
                    continue;
                }
                entry.joined.nodes().for_each(|node| self.routes.nodes.unwanted(node, &name));
                shard.awaiting -= usize::from(entry.joined.awaits_step());
                shard.channels.remove(&name);
                self.routes.metrics.joined.dec();
            }
        }
    }

    /// Every channel goes by the newest view of the ring.
    pub(super) fn follow(&self) {
        let view = self.routes.view.load_full();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let names: Vec<Arc<str>> = shard.channels.keys().cloned().collect();
            for name in names {
                self.change(&mut shard, &name, |joined, orders| self.go_by(joined, &name, &view, orders));
            }
        }
    }

    /// Whether every channel is listened for where the newest step of the ring wants it.
    pub(super) fn follows(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().awaiting == 0)
    }

    /// Every channel reads what it may have missed.
    pub(super) fn check(&self) {
        let now_ms = self.now_ms();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let names: Vec<Arc<str>> = shard.channels.keys().cloned().collect();
            for name in names {
                self.change(&mut shard, &name, |joined, orders| joined.check(now_ms, orders));
            }
        }
    }

    /// The slots of all channels, by the nodes that own them.
    pub(super) fn slots_by_owner(&self) -> HashMap<Arc<str>, HashSet<Slot>> {
        let view = self.routes.view.load_full();
        let mut slots: HashMap<Arc<str>, HashSet<Slot>> = HashMap::new();
        for shard in &self.shards {
            for entry in shard.lock().channels.values() {
                if let Some(owner) = view.owner(entry.joined.slot) {
                    slots.entry(owner.clone()).or_default().insert(entry.joined.slot);
                }
            }
        }
        slots
    }

    /// A channel is listened for at a node.
    pub(super) fn confirmed(&self, node: &str, name: &str) {
        let now_ms = self.now_ms();
        self.change(&mut self.shard(name).lock(), name, |joined, orders| joined.confirmed(node, now_ms, orders));
    }

    /// A node is not heard any more.
    pub(super) fn down(&self, node: &str) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let names: Vec<Arc<str>> = shard.channels.keys().cloned().collect();
            for name in names {
                self.change(&mut shard, &name, |joined, _| joined.down(node));
            }
        }
    }

    /// A message was heard.
    pub(super) fn heard(&self, node: &str, name: &str, payload: &Bytes) {
        let envelope = match Envelope::decode(payload.clone()) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::warn!(node, channel = name, %error, payload = excerpt(payload), "a message was dropped");
                return self.routes.metrics.dropped(node, "decode");
            }
        };
        let now = (self.routes.clock)();
        self.routes.metrics.arrived(envelope.publication.time, now.wall_ms);
        let known = self.change(&mut self.shard(name).lock(), name, |joined, orders| {
            let two = joined.has_two_feeds();
            joined.feed.heard(envelope, two, now.mono_ms, orders);
        });
        if !known {
            self.routes.metrics.dropped(node, "no_local_subscriber");
        }
    }

    /// Changes a channel's state, if it is still listened for, and carries out what follows from it.
    pub(super) fn with(&self, name: &str, change: impl FnOnce(&mut Joined, &mut Vec<feed::Order>)) -> bool {
        self.change(&mut self.shard(name).lock(), name, change)
    }

    fn change(&self, shard: &mut Shard, name: &str, change: impl FnOnce(&mut Joined, &mut Vec<feed::Order>)) -> bool {
        let Some(entry) = shard.channels.get_mut(name) else { return false };
        let joined = &mut entry.joined;
        let awaited = joined.awaits_step();
        let mut orders = Vec::new();
        change(joined, &mut orders);
        for order in orders {
            self.carry_out(name, joined, order);
        }
        if joined.hears_all() && *joined.feed.place() == feed::Place::Unknown && !std::mem::replace(&mut joined.is_starting, true) {
            self.repairs.order(0, name);
        }
        if joined.is_ready() {
            entry.ready.notify_waiters();
        }
        let awaits = joined.awaits_step();
        shard.awaiting = shard.awaiting + usize::from(awaits) - usize::from(awaited);
        true
    }

    fn carry_out(&self, name: &str, joined: &Joined, order: feed::Order) {
        match order {
            feed::Order::Deliver(epoch, publication) => {
                self.hub.deliver(&Broadcast::publication(joined.channel.clone(), epoch, publication));
            }
            feed::Order::ReadAt(at_ms) => self.repairs.order(at_ms, name),
            feed::Order::Lost(epoch, offset) => {
                tracing::warn!(channel = %joined.channel, "publications were lost; its subscribers are told");
                self.hub.lose(&joined.channel, &StreamPosition { offset, epoch: epoch.as_ref().to_owned() });
            }
            feed::Order::Note(note) => self.routes.metrics.noted(note),
        }
    }

    /// The first read of a channel's place has failed.
    pub(super) fn restart(&self, name: &str) {
        let at_ms = self.now_ms() + RESTART_MS;
        self.with(name, |_, orders| orders.push(feed::Order::ReadAt(at_ms)));
    }

    fn entry<'a>(&self, shard: &'a mut Shard, name: &Arc<str>, channel: &Channel, has_history: bool) -> &'a mut Entry {
        if !shard.channels.contains_key(name) {
            let entry = Entry { joined: Joined::new(channel.clone(), has_history), ready: Arc::default() };
            shard.channels.insert(name.clone(), entry);
            self.routes.metrics.joined.inc();
            let view = self.routes.view.load_full();
            self.change(shard, name, |joined, orders| self.go_by(joined, name, &view, orders));
        } else if has_history {
            self.change(shard, name, |joined, _| joined.feed.keeps_history());
        }
        shard.channels.entry(name.clone()).or_insert_with(|| unreachable!("it was inserted above"))
    }

    fn go_by(&self, joined: &mut Joined, name: &Arc<str>, view: &ring_coordinator::view::View, orders: &mut Vec<feed::Order>) {
        let mut changes = Vec::new();
        joined.follow(view, self.now_ms(), &mut changes, orders);
        for change in changes {
            match change {
                Change::Want(node) => {
                    let is_hot = self.hub.subscribers(&joined.channel) >= HOT_SUBSCRIBERS;
                    self.routes.nodes.wanted(&node, name, is_hot);
                }
                Change::Unwant(node) => self.routes.nodes.unwanted(&node, name),
            }
        }
    }

    fn now_ms(&self) -> u64 {
        (self.routes.clock)().mono_ms
    }

    #[allow(clippy::cast_possible_truncation)] // only the low bits choose a shard
    fn shard(&self, name: &str) -> &Mutex<Shard> {
        &self.shards[xxh3_64(name.as_bytes()) as usize % SHARDS]
    }
}
