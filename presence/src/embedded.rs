//! Pure: the store of a node without Redis: all rosters and users in memory. It has locks, but no clock and no I/O;
//! every call is short and may be made from any thread.

use crate::{
    contacts::ContactsError,
    deadlines::{Deadlines, earliest},
    diff::Since,
    event::{Event, Sink},
    hook::HookKind,
    hook_queue::HookQueue,
    largest::{LOOKED_AT_MAX, Largest, Size, Top},
    member::{Departure, Member, Stats},
    metrics::{Metrics, shift},
    page::{BadCursor, Page, parse_cursor},
    roster::{Input, Output, Roster, Rules},
    users::{Erased, UserPresence, Users},
    version::{Stamp, Version},
};
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{name::Channel, time::Now};
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// The driver calls [`Embedded::tick`] when the last call said, and never later than this after it: what happens
/// between two ticks may be due sooner than the first one could know.
pub const TICK_PAUSE_MS_MAX: u64 = 100;
/// Empty rosters that a shard keeps for the sake of their diffs; one more is dropped as soon as its last member leaves,
/// and who knows a version of it gets a snapshot.
pub const VACANT_PER_SHARD_MAX: usize = 1_000;

/// More than a machine has cores, so that two busy channels seldom wait for each other.
pub(crate) const SHARDS: usize = 64;

/// The store. Rosters are spread over locked shards by channel; users are behind one lock, because contacts reach across
/// all of them and an edge costs less than a microsecond.
pub struct Embedded {
    rules: Arc<Rules>,
    shards: Box<[Mutex<Shard>]>,
    spread: RandomState,
    users: Mutex<Users>,
    metrics: Metrics,
    random_u64: fn() -> u64,
    sink: Sink,
    /// `None`: no service is told.
    hooks: Option<HookQueue>,
}

impl Embedded {
    /// An empty store. `random_u64` draws the rosters' generations.
    #[must_use]
    pub fn new(rules: Rules, metrics: Metrics, random_u64: fn() -> u64, sink: Sink) -> Embedded {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let users = Mutex::new(Users::new(rules.grace_ms));
        Embedded { rules: Arc::new(rules), shards, spread: RandomState::new(), users, metrics, random_u64, sink, hooks: None }
    }

    /// The store, which also keeps for services what [`crate::Presence::next_hooks`] gives out.
    #[must_use]
    pub fn with_hooks(mut self, now: Now) -> Embedded {
        self.hooks = Some(HookQueue::new((self.random_u64)(), now));
        self
    }

    pub(crate) fn hooks(&self) -> Option<&HookQueue> {
        self.hooks.as_ref()
    }

    /// A client entered `channel`, or came back; one already present is updated.
    pub fn join(&self, channel: &Channel, member: Member, now: Now) {
        self.change(channel, Input::Join(member), now);
    }

    /// A client left `channel`. Nothing happens if it is not there or is held: its first departure decides.
    pub fn leave(&self, channel: &Channel, client: &str, departure: Departure, now: Now) {
        self.change(channel, Input::Leave { client, departure }, now);
    }

    /// A client's status is another now, empty for none; nothing happens if it is not there.
    pub fn set_status(&self, channel: &Channel, client: &str, status: Bytes, now: Now) {
        self.change(channel, Input::SetStatus { client, status }, now);
    }

    /// A connection began. Nothing happens if it is known.
    pub fn connect(&self, user: &Arc<str>, client: &Arc<str>, now: Now) {
        self.change_users(now, |users, out| users.connect(user, client, out));
    }

    /// A connection of `user` ended. Nothing happens if it is not known, or has ended before.
    pub fn disconnect(&self, user: &Arc<str>, client: &Arc<str>, departure: Departure, now: Now) {
        self.change_users(now, |users, out| users.disconnect(user, client, departure, now, out));
    }

    /// Ends graces, tells batches and forgets old diffs that are due; returns when something is due next, on the
    /// monotonic clock. See [`TICK_PAUSE_MS_MAX`].
    pub fn tick(&self, now: Now) -> Option<u64> {
        let mut next_ms = None;
        for shard in &self.shards {
            // The lock is taken anew for each channel, so that others get in between.
            while self.tick_one(&mut shard.lock(), now) {}
            next_ms = earliest(next_ms, shard.lock().wakes.next_ms());
        }
        loop {
            let users_ms = self.change_users(now, |users, out| users.tick(now, out));
            if users_ms.is_none_or(|at_ms| at_ms > now.mono_ms) {
                return earliest(next_ms, users_ms);
            }
        }
    }

    /// The clients in `channel`, those in grace included.
    #[must_use]
    pub fn clients(&self, channel: &Channel) -> BTreeMap<Arc<str>, Arc<Member>> {
        let clients = self.read(channel, |roster| roster.clients().cloned().collect::<Vec<_>>()).unwrap_or_default();
        clients.into_iter().map(|member| (member.client.clone(), member)).collect()
    }

    /// Exact counts of `channel`.
    #[must_use]
    pub fn stats(&self, channel: &Channel) -> Stats {
        self.read(channel, Roster::stats).unwrap_or_default()
    }

    /// The page after `cursor`, or the first one; see [`Roster::page`].
    pub fn page(&self, channel: &Channel, cursor: Option<&str>, limit: usize) -> Result<Page, BadCursor> {
        let last = cursor.map(parse_cursor).transpose()?;
        Ok(self.read(channel, |roster| roster.page(last.as_ref(), limit)).unwrap_or_else(|| self.empty_page()))
    }

    /// How a reader that knows `version` catches up; a text that is no version gets a snapshot.
    #[must_use]
    pub fn since(&self, channel: &Channel, version: &str) -> Since {
        let catch_up = |roster: &Roster| match version.parse() {
            Ok(version) => roster.since(&version),
            Err(_) => Since::Snapshot(roster.page(None, usize::MAX)),
        };
        self.read(channel, catch_up).unwrap_or_else(|| Since::Snapshot(self.empty_page()))
    }

    /// The version of the last diff of `channel`.
    #[must_use]
    pub fn version(&self, channel: &Channel) -> Version {
        self.read(channel, Roster::version).unwrap_or_else(|| self.empty_page().version)
    }

    /// Channels with at least one member.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().occupied).sum()
    }

    /// The rooms with the most clients. The lock of a shard is held for its part of [`LOOKED_AT_MAX`] rooms at most.
    #[must_use]
    pub(crate) fn largest(&self, limit: usize) -> Largest {
        let (mut top, mut is_complete) = (Top::new(limit), true);
        for shard in &self.shards {
            let shard = shard.lock();
            is_complete &= shard.rooms.len() <= LOOKED_AT_MAX / SHARDS;
            for (channel, room) in shard.rooms.iter().take(LOOKED_AT_MAX / SHARDS) {
                top.offer(room.roster.stats().clients, || channel.clone());
            }
        }
        Largest::of(top.into_sorted(), |channel| Size::Region(self.stats(channel)), limit, is_complete)
    }

    /// What is known of `user`.
    #[must_use]
    pub fn user(&self, user: &str) -> UserPresence {
        self.users.lock().user(user)
    }

    /// What is known of each of `users`, in their order. The caller bounds their number.
    #[must_use]
    pub fn query<S: AsRef<str>>(&self, users: &[S]) -> Vec<UserPresence> {
        let known = self.users.lock();
        users.iter().map(|user| known.user(user.as_ref())).collect()
    }

    /// Exact counts of the node's connections and their users.
    #[must_use]
    pub fn online_totals(&self) -> Stats {
        self.users.lock().totals()
    }

    /// Replaces the contacts of `me`.
    pub fn set_contacts<S: AsRef<str>>(&self, me: &str, users: &[S]) -> Result<(), ContactsError> {
        let (mut known, mut out) = (self.users.lock(), Vec::new());
        known.set_contacts(me, users, &mut out)?;
        out.into_iter().for_each(|event| (self.sink)(event));
        Ok(())
    }

    /// The contacts of `me`, in order.
    #[must_use]
    pub fn contacts(&self, me: &str) -> Vec<Arc<str>> {
        self.users.lock().contacts(me)
    }

    /// The contacts of `me` who are online, in order.
    #[must_use]
    pub fn contacts_online(&self, me: &str) -> Vec<Arc<str>> {
        self.users.lock().contacts_online(me)
    }

    /// Removes what is kept about `user`; see [`Users::erase`]. Rosters name the user for the grace and
    /// [`crate::RECENT_MS`] after the last client has left, as ever.
    pub fn erase(&self, user: &str, now: Now) -> Erased {
        self.change_users(now, |users, out| users.erase(user, out))
    }

    fn shard(&self, channel: &Channel) -> &Mutex<Shard> {
        let hash = self.spread.hash_one(channel);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    fn read<T>(&self, channel: &Channel, look: impl FnOnce(&Roster) -> T) -> Option<T> {
        self.shard(channel).lock().rooms.get(channel).map(|room| look(&room.roster))
    }

    /// What is read where there is no roster. Its version is no roster's, so the first diff does not continue it, and
    /// applies to it all the same: the first diff of a roster names everybody.
    fn empty_page(&self) -> Page {
        Page { version: Version::of(&self.rules.region, Stamp::default()), snapshot: Vec::new(), next: None }
    }

    fn change(&self, channel: &Channel, input: Input<'_>, now: Now) {
        self.change_in(&mut self.shard(channel).lock(), channel, input, now);
    }

    fn change_in(&self, shard: &mut Shard, channel: &Channel, input: Input<'_>, now: Now) {
        if matches!(input, Input::Join(_)) && !shard.rooms.contains_key(channel) {
            let roster = Roster::new(self.rules.clone(), (self.random_u64)().max(1));
            shard.rooms.insert(channel.clone(), Room { roster, wake_ms: None });
        }
        let Some(room) = shard.rooms.get_mut(channel) else { return };
        let (members, held) = (room.roster.stats().users, room.roster.held());
        let mut out = Vec::new();
        room.roster.handle(input, now, &mut out);
        for output in out {
            self.emit(channel, output);
        }
        let (members_now, wake_ms) = (room.roster.stats().users, room.roster.next_wake());
        shift(&self.metrics.members, members, members_now);
        shift(&self.metrics.grace_pending, held, room.roster.held());
        shift(&self.metrics.rooms, usize::from(members > 0), usize::from(members_now > 0));
        self.note_edge(channel, members > 0, room, now);
        shard.occupied = shard.occupied + usize::from(members_now > 0) - usize::from(members > 0);

        let is_dropped = room.roster.is_spent() || (members_now == 0 && shard.rooms.len() - shard.occupied > VACANT_PER_SHARD_MAX);
        let wake_ms = wake_ms.filter(|_| !is_dropped);
        shard.wake_at(channel, wake_ms);
        if is_dropped {
            shard.rooms.remove(channel);
        }
    }

    /// Services are told when a channel's first member comes, and when its last one goes.
    fn note_edge(&self, channel: &Channel, was_occupied: bool, room: &Room, now: Now) {
        let Some(hooks) = &self.hooks else { return };
        let is_occupied = room.roster.stats().users > 0;
        if is_occupied != was_occupied {
            let kind = if is_occupied { HookKind::Occupied } else { HookKind::Vacated };
            hooks.push(kind, channel.as_str().into(), room.roster.version().stamp(&self.rules.region), now);
        }
    }

    fn emit(&self, channel: &Channel, output: Output) {
        let channel = channel.clone();
        (self.sink)(match output {
            Output::Joined(member) => {
                self.metrics.joins.inc();
                Event::Joined { channel, member }
            }
            Output::Left(member) => {
                self.metrics.leaves.inc();
                Event::Left { channel, member }
            }
            Output::Changed(diff) => Event::Changed { channel, diff },
            Output::Resumed => return self.metrics.flaps_avoided.inc(),
        });
    }

    /// Ticks the channel that is due first, if one is.
    fn tick_one(&self, shard: &mut Shard, now: Now) -> bool {
        let Some(channel) = shard.wakes.pop_due(now.mono_ms) else { return false };
        self.change_in(shard, &channel, Input::Tick, now);
        true
    }

    fn change_users<T>(&self, now: Now, change: impl FnOnce(&mut Users, &mut Vec<Event>) -> T) -> T {
        let mut users = self.users.lock();
        let mut out = Vec::new();
        let answer = change(&mut users, &mut out);
        for event in out {
            match (&self.hooks, &event) {
                (Some(hooks), Event::Online { user, .. }) => hooks.push(HookKind::Online, user.clone(), None, now),
                (Some(hooks), Event::Offline { user, .. }) => hooks.push(HookKind::Offline, user.clone(), None, now),
                _ => {}
            }
            (self.sink)(event);
        }
        let Stats { clients, users: online } = users.totals();
        self.metrics.clients_online.set(i64::try_from(clients).unwrap_or(i64::MAX));
        self.metrics.users_online.set(i64::try_from(online).unwrap_or(i64::MAX));
        answer
    }
}

#[derive(Default)]
struct Shard {
    rooms: HashMap<Channel, Room>,
    wakes: Deadlines<Channel>,
    /// Rooms with at least one member.
    occupied: usize,
}

impl Shard {
    fn wake_at(&mut self, channel: &Channel, wake_ms: Option<u64>) {
        let Some(room) = self.rooms.get_mut(channel) else { return };
        let before_ms = std::mem::replace(&mut room.wake_ms, wake_ms);
        if let Some(before_ms) = before_ms {
            self.wakes.cancel(before_ms, channel);
        }
        if let Some(wake_ms) = wake_ms {
            self.wakes.set(wake_ms, channel.clone());
        }
    }
}

struct Room {
    roster: Roster,
    wake_ms: Option<u64>,
}
