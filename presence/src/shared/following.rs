//! I/O: rooms whose rosters are needed here. A room's lock is held while its events are told, so that their order is the
//! order of the changes.

use super::{Shared, fetching::READS_MAX, silent};
use crate::{
    cluster::{
        Change, OwnerId, RoomId,
        replica::{Input, Output, Replica},
    },
    event::Event,
    failure::Unavailable,
    redis,
    roster::Output as Told,
};
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{excerpt::excerpt, time::Now};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::{MissedTickBehavior, interval, timeout},
};
use xxhash_rust::xxh3::xxh3_64;

/// Locks that share the rooms between them.
const SHARDS: usize = 64;
/// How long somebody waits until a room is known.
const PATIENCE: Duration = Duration::from_secs(4);
/// Milliseconds for which a room is kept that nobody wants any more, in case that somebody does again.
const IDLE_MS: u64 = 30_000;
/// How often deadlines of rooms are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Ticks between two looks for rooms that nobody wants.
const TICKS_PER_SWEEP: u32 = 20;

/// A room whose roster is kept here.
pub(super) struct Followed {
    pub(super) replica: Replica,
    /// Where it is listened for.
    node: Option<Arc<str>>,
    /// When somebody wanted it last.
    used_ms: u64,
    /// Told whenever it may be more current than before.
    changed: Arc<Notify>,
}

/// All rooms that are followed.
pub(super) struct Rooms {
    pub(super) shards: Vec<Mutex<HashMap<RoomId, Followed>>>,
    pub(super) reads: Semaphore,
    /// Rooms to be audited; filled anew when it is empty.
    audited: Mutex<Vec<RoomId>>,
}

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), reads: Semaphore::new(READS_MAX), audited: Mutex::default() }
    }
}

impl Rooms {
    pub(super) fn next_audited(&self) -> Option<RoomId> {
        let mut audited = self.audited.lock();
        if audited.is_empty() {
            self.shards.iter().for_each(|shard| audited.extend(shard.lock().keys().cloned()));
        }
        audited.pop()
    }

    #[allow(clippy::cast_possible_truncation)] // only the low bits choose a shard
    pub(super) fn shard(&self, room: &RoomId) -> &Mutex<HashMap<RoomId, Followed>> {
        &self.shards[xxh3_64(room.as_str().as_bytes()) as usize % SHARDS]
    }
}

/// The room whose changes go into this Redis channel.
fn room_of(channel: &str) -> Option<RoomId> {
    RoomId::parse(channel.strip_prefix("hc:{")?.split_once("}:pre:")?.1)
}

impl Shared {
    /// Looks after the rooms for ever.
    pub(super) async fn keep_rooms(self: Arc<Shared>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for count in (0..TICKS_PER_SWEEP).cycle() {
            ticks.tick().await;
            let now = self.now();
            for shard in &self.rooms.shards {
                let due: Vec<RoomId> = {
                    let rooms = shard.lock();
                    let is_due = |followed: &Followed| followed.replica.next_wake().is_some_and(|at_ms| at_ms <= now.mono_ms);
                    rooms.iter().filter(|(_, followed)| is_due(followed)).map(|(room, _)| room.clone()).collect()
                };
                due.iter().for_each(|room| _ = self.with(room, |followed, out| followed.replica.handle(Input::Tick, now, out)));
            }
            if count == 0 {
                self.sweep_rooms(now);
                self.show();
            }
        }
    }

    /// Follows the room from now on, as long as somebody wants it. Returns when its replica is as `is_enough` says.
    pub(super) async fn follow_room(self: &Arc<Shared>, room: &RoomId, is_enough: impl Fn(&Replica) -> bool) -> Result<(), Unavailable> {
        self.until(room, PATIENCE, is_enough).await.map_err(|()| match self.link(room.slot()) {
            Ok((node, ..)) => silent(&node, &"the roster was not read in time"),
            Err(error) => error,
        })
    }

    /// Waits until the room's replica is as `is_enough` says.
    pub(super) async fn until(self: &Arc<Shared>, room: &RoomId, most: Duration, is_enough: impl Fn(&Replica) -> bool) -> Result<(), ()> {
        let enough = async {
            loop {
                let changed = {
                    let mut rooms = self.rooms.shard(room).lock();
                    let followed = self.followed(&mut rooms, room);
                    if is_enough(&followed.replica) {
                        return;
                    }
                    followed.changed.clone().notified_owned()
                };
                changed.await;
            }
        };
        timeout(most, enough).await.map_err(|_| ())
    }

    /// Looks at a room that is followed.
    pub(super) fn look_at<T>(&self, room: &RoomId, look: impl FnOnce(&Replica) -> T) -> Option<T> {
        let mut rooms = self.rooms.shard(room).lock();
        let followed = rooms.get_mut(room)?;
        followed.used_ms = self.now().mono_ms;
        Some(look(&followed.replica))
    }

    /// An own write has brought this change; it will be heard, too.
    pub(super) fn brought(self: &Arc<Shared>, room: &RoomId, change: Change) {
        let now = self.now();
        self.with(room, |followed, out| followed.replica.handle(Input::Heard(change), now, out));
    }

    pub(super) fn hear_change(self: &Arc<Shared>, node: &str, channel: &str, payload: &Bytes) -> bool {
        let Some(room) = room_of(channel) else { return false };
        // What is kept of it must not keep alive everything that was received with it.
        let change = match Change::decode(Bytes::copy_from_slice(payload)) {
            Ok(change) => change,
            Err(error) => {
                tracing::warn!(node, channel, %error, payload = excerpt(payload), "a change was dropped");
                self.metrics.undecoded.inc();
                let now = self.now();
                self.with(&room, |followed, out| followed.replica.handle(Input::Listening, now, out));
                return true;
            }
        };
        let now = self.now();
        let is_owner = self.view.load().as_ref().is_some_and(|view| view.owner(room.slot()).is_some_and(|owner| **owner == *node));
        if is_owner && self.writing.heard_of(room.slot(), change.stamp.generation) {
            self.metrics.mismatches.inc();
        }
        self.with(&room, |followed, out| {
            if followed.node.as_deref() == Some(node) {
                followed.replica.handle(Input::Heard(change), now, out);
            }
        });
        true
    }

    pub(super) fn confirm(self: &Arc<Shared>, node: &str, channel: &str) -> bool {
        let Some(room) = room_of(channel) else { return false };
        let now = self.now();
        self.with(&room, |followed, out| {
            if followed.node.as_deref() == Some(node) {
                followed.replica.handle(Input::Listening, now, out);
            }
        });
        true
    }

    /// A node is not heard any more.
    pub(super) fn deafen(self: &Arc<Shared>, node: &str) {
        self.each(|followed, now, out| {
            if followed.node.as_deref() == Some(node) {
                followed.replica.handle(Input::Deaf, now, out);
            }
        });
    }

    /// Every room is listened for at the node that owns its slot.
    pub(super) fn follow_ring(self: &Arc<Shared>) {
        for shard in &self.rooms.shards {
            let rooms: Vec<RoomId> = shard.lock().keys().cloned().collect();
            for room in rooms {
                let now = self.now();
                self.with(&room, |followed, out| self.listen(&room, followed, now, out));
            }
        }
    }

    /// Owners of rows that are retained in any room.
    pub(super) fn retained_owners(&self) -> BTreeSet<OwnerId> {
        let of_shard = |shard: &Mutex<HashMap<RoomId, Followed>>| {
            shard.lock().values().flat_map(|followed| followed.replica.retained_owners()).collect::<Vec<_>>()
        };
        self.rooms.shards.iter().flat_map(of_shard).collect()
    }

    pub(super) fn each_room(self: &Arc<Shared>, change: impl Fn(&mut Replica, Now, &mut Vec<Output>)) {
        self.each(|followed, now, out| change(&mut followed.replica, now, out));
    }

    fn each(self: &Arc<Shared>, change: impl Fn(&mut Followed, Now, &mut Vec<Output>)) {
        for shard in &self.rooms.shards {
            let rooms: Vec<RoomId> = shard.lock().keys().cloned().collect();
            let now = self.now();
            rooms.iter().for_each(|room| _ = self.with(room, |followed, out| change(followed, now, out)));
        }
    }

    fn followed<'a>(self: &Arc<Shared>, rooms: &'a mut HashMap<RoomId, Followed>, room: &RoomId) -> &'a mut Followed {
        let now = self.now();
        let followed = rooms.entry(room.clone()).or_insert_with(|| {
            let replica = Replica::new(self.rules.clone(), (self.random_u64)().max(1));
            self.metrics.followed.inc();
            Followed { replica, node: None, used_ms: now.mono_ms, changed: Arc::default() }
        });
        followed.used_ms = now.mono_ms;
        if followed.node.is_none() {
            // It knows nothing that it could tell.
            self.listen(room, followed, now, &mut Vec::new());
        }
        followed
    }

    fn listen(&self, room: &RoomId, followed: &mut Followed, now: Now, out: &mut Vec<Output>) {
        let owner = self.view.load().as_ref().and_then(|view| view.owner(room.slot()).cloned());
        if owner == followed.node {
            return;
        }
        let channel: Arc<str> = redis::changes(room).into();
        if let Some(before) = followed.node.take() {
            self.nodes.unwanted(&before, &channel);
            followed.replica.handle(Input::Deaf, now, out);
        }
        if let Some(owner) = &owner {
            self.nodes.wanted(owner, &channel, false);
        }
        followed.node = owner;
    }

    /// Changes a room that is followed, and carries out what follows from it.
    pub(super) fn with(self: &Arc<Shared>, room: &RoomId, change: impl FnOnce(&mut Followed, &mut Vec<Output>)) -> bool {
        let mut rooms = self.rooms.shard(room).lock();
        let Some(followed) = rooms.get_mut(room) else { return false };
        let mut out = Vec::new();
        change(followed, &mut out);
        for output in out {
            match output {
                Output::Told(told) => self.tell_of(room, told),
                Output::Stale(is_stale) => {
                    // Contacts have no place for it.
                    room.to_channel().into_iter().for_each(|channel| self.emit(Event::Stale { channel, is_stale }));
                }
                Output::Read | Output::ReadLog(_) | Output::AskReady => {
                    let (shared, room) = (self.clone(), room.clone());
                    tokio::spawn(async move { shared.fetch(&room, output).await });
                }
            }
        }
        followed.changed.notify_waiters();
        true
    }

    fn tell_of(&self, room: &RoomId, told: Told) {
        let Some(channel) = room.to_channel() else { return self.tell_of_user(told) };
        self.emit(match told {
            Told::Joined(member) => {
                self.metrics.joins.inc();
                Event::Joined { channel, member }
            }
            Told::Left(member) => {
                self.metrics.leaves.inc();
                self.writing.told_gone(room, &member.client, self.now());
                Event::Left { channel, member }
            }
            Told::Changed(diff) => Event::Changed { channel, diff },
            Told::Resumed => return,
        });
    }

    /// Lets go of rooms that nobody has wanted for a while.
    fn sweep_rooms(self: &Arc<Shared>, now: Now) {
        for shard in &self.rooms.shards {
            shard.lock().retain(|room, followed| {
                let is_wanted = match (room.to_channel(), self.told.get()) {
                    (Some(channel), Some((_, is_wanted))) => is_wanted(&channel),
                    _ => self.wants_users(room),
                };
                if is_wanted {
                    followed.used_ms = now.mono_ms;
                }
                let stays = now.mono_ms < followed.used_ms + IDLE_MS;
                if !stays {
                    self.metrics.followed.dec();
                    if let Some(node) = &followed.node {
                        self.nodes.unwanted(node, &redis::changes(room));
                    }
                }
                stays
            });
        }
    }
}
