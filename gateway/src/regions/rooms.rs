//! I/O: rooms of `global` namespaces that somebody here wants: the roster of the own region and those of the others as one.

use crate::hub::{
    Hub,
    broadcast::{Broadcast, Kind},
};
use crate::rosters;
use parking_lot::Mutex;
use peering::link::Sender;
use presence::{
    Deadlines, Diff,
    regions::{Ask, Input, Output, REGIONS_MAX, Rules, Union, Word},
};
use protocol::{
    message::StreamPosition,
    name::{Channel, Name},
    region::{FollowRoom, LeaveRoom, RegionMessage, RoomStamp},
    time::{Clock, Now},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::sleep,
};

/// Rooms that are held at the same time; more are those of the own region alone.
const ROOMS_MAX: usize = 100_000;
/// Questions for the own store that wait; more are asked again by themselves.
const ASKS_MAX: usize = 1024;
/// Looks, one a second, after which a room is let go that nobody watches: half a minute.
const UNWATCHED_LOOKS_MAX: u32 = 30;
/// What is due in rooms is done this often at most.
const WAKE_PAUSE: Duration = Duration::from_millis(5);

/// A question for the own store.
pub(super) type OwnAsk = (Channel, Ask);

/// The rooms.
pub(crate) struct Rooms {
    rules: Arc<Rules>,
    others: Vec<Arc<str>>,
    hub: Arc<Hub>,
    clock: Clock,
    random_u64: fn() -> u64,
    rooms: Mutex<HashMap<Channel, Arc<Mutex<Room>>>>,
    /// The links that are there.
    links: Mutex<BTreeMap<Arc<str>, Sender>>,
    asks: mpsc::Sender<OwnAsk>,
    /// When each room has something to do; the innermost of the locks.
    due: Mutex<Deadlines<Channel>>,
    /// The next of these is another one.
    sooner: Notify,
}

struct Room {
    union: Union,
    /// What stands in [`Rooms::due`].
    wake_ms: Option<u64>,
    /// Tells its places from those of any other union.
    epoch: String,
    /// For how many looks nobody has watched it.
    unwatched: u32,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Rooms {
    /// None yet; also the questions that they will have for the own store.
    pub(super) fn new(
        rules: Rules,
        others: Vec<Arc<str>>,
        hub: Arc<Hub>,
        clock: Clock,
        random_u64: fn() -> u64,
    ) -> (Rooms, mpsc::Receiver<OwnAsk>) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let others = others.into_iter().take(REGIONS_MAX - 1).collect();
        let (rules, rooms, links, due) = (Arc::new(rules), Mutex::default(), Mutex::default(), Mutex::default());
        (Rooms { rules, others, hub, clock, random_u64, rooms, links, asks, due, sooner: Notify::new() }, asked)
    }

    /// Whether the room is held.
    pub(crate) fn has(&self, channel: &Channel) -> bool {
        self.rooms.lock().contains_key(channel)
    }

    /// Holds a room from now on, of which nothing was missed: every diff of the own store is to be given from here on. Returns whom
    /// to wait for; nobody if there are too many rooms.
    pub(crate) fn hold(&self, channel: &Channel) -> Option<oneshot::Receiver<()>> {
        let (waiting, ready) = oneshot::channel();
        let now = (self.clock)();
        let (room, is_new) = {
            let mut rooms = self.rooms.lock();
            match rooms.get(channel) {
                Some(room) => (room.clone(), false),
                None if rooms.len() >= ROOMS_MAX => return None,
                None => {
                    let union = Union::new(self.rules.clone(), &self.others, (self.random_u64)(), now);
                    let epoch = format!("{:016x}", (self.random_u64)());
                    let room = Arc::new(Mutex::new(Room { union, epoch, wake_ms: None, unwatched: 0, waiting: Vec::new() }));
                    rooms.insert(channel.clone(), room.clone());
                    (room, true)
                }
            }
        };
        let mut room = room.lock();
        room.unwatched = 0;
        room.waiting.push(waiting);
        if is_new {
            self.step(channel, &mut room, Input::Heard(&self.rules.own, Word::Up), now);
            let linked: Vec<Arc<str>> = self.links.lock().keys().cloned().collect();
            linked.iter().for_each(|region| self.step(channel, &mut room, Input::Heard(region, Word::Up), now));
        }
        self.release(&mut room, now);
        Some(ready)
    }

    /// The own store has told a diff; says whether the room is held, and so tells its watchers by itself. Called while the store's
    /// roster is locked.
    pub(crate) fn told(&self, channel: &Channel, diff: &Diff) -> bool {
        self.feed(channel, Input::Told(diff))
    }

    /// The same for whether it is stale.
    pub(crate) fn told_stale(&self, channel: &Channel, is_stale: bool) -> bool {
        self.feed(channel, Input::ToldStale(is_stale))
    }

    /// Something was heard of a room in a region.
    pub(super) fn heard(&self, channel: &Channel, region: &str, word: Word) {
        self.feed(channel, Input::Heard(region, word));
    }

    /// The link to a region is there.
    pub(super) fn up(&self, region: &Arc<str>, link: &Sender) {
        self.links.lock().insert(region.clone(), link.clone());
        self.all().iter().for_each(|(channel, _)| self.heard(channel, region, Word::Up));
    }

    /// It is not any more; it was heard last at `heard`.
    pub(super) fn down(&self, region: &Arc<str>, heard: Now) {
        self.links.lock().remove(region);
        self.all().iter().for_each(|(channel, _)| self.heard(channel, region, Word::Down { heard }));
    }

    /// Waits until something is due in rooms, and does it; to be called again and again.
    pub(super) async fn wake(&self) {
        let next_ms = self.due.lock().next_ms();
        match next_ms {
            None => return self.sooner.notified().await,
            Some(next_ms) => tokio::select! {
                () = sleep(Duration::from_millis(next_ms.saturating_sub((self.clock)().mono_ms)).max(WAKE_PAUSE)) => {}
                () = self.sooner.notified() => return,
            },
        }
        let now = (self.clock)();
        while let Some(channel) = self.pop_due(now) {
            let Some(room) = self.rooms.lock().get(&channel).cloned() else { continue };
            let mut room = room.lock();
            room.wake_ms.take_if(|wake_ms| *wake_ms <= now.mono_ms);
            self.step(&channel, &mut room, Input::Tick, now);
        }
    }

    fn pop_due(&self, now: Now) -> Option<Channel> {
        self.due.lock().pop_due(now.mono_ms)
    }

    /// Lets go of rooms that nobody has watched for a while; to be called once a second.
    pub(super) fn look(&self) {
        for (channel, room) in self.all() {
            let is_watched = Name::parse(&format!("presence:{channel}")).is_ok_and(|roster| self.hub.has_subscribers(&roster));
            let mut room = room.lock();
            room.unwatched = if is_watched || self.hub.has_subscribers(&channel) { 0 } else { room.unwatched + 1 };
            if room.unwatched >= UNWATCHED_LOOKS_MAX {
                self.rooms.lock().remove(&channel);
                if let Some(wake_ms) = room.wake_ms.take() {
                    self.due.lock().cancel(wake_ms, &channel);
                }
                for link in self.links.lock().values() {
                    _ = link.send(RegionMessage::LeaveRoom(LeaveRoom { channel: channel.as_str().to_owned() }).to_bytes());
                }
            }
        }
    }

    /// Reads a room that is held, together with the place of its last change and whether any of it may be old.
    pub(crate) fn read<T>(&self, channel: &Channel, read: impl FnOnce(&Union) -> T) -> Option<(T, StreamPosition, bool)> {
        let room = self.rooms.lock().get(channel)?.clone();
        let room = room.lock();
        let place = StreamPosition { offset: room.union.place(), epoch: room.epoch.clone() };
        Some((read(&room.union), place, !room.union.is_complete((self.clock)())))
    }

    fn all(&self) -> Vec<(Channel, Arc<Mutex<Room>>)> {
        self.rooms.lock().iter().map(|(channel, room)| (channel.clone(), room.clone())).collect()
    }

    fn feed(&self, channel: &Channel, input: Input<'_>) -> bool {
        let Some(room) = self.rooms.lock().get(channel).cloned() else { return false };
        let mut room = room.lock();
        let now = (self.clock)();
        self.step(channel, &mut room, input, now);
        self.release(&mut room, now);
        true
    }

    fn step(&self, channel: &Channel, room: &mut Room, input: Input<'_>, now: Now) {
        let mut out = Vec::new();
        room.union.handle(input, now, &mut out);
        self.schedule(channel, room);
        for output in out {
            match output {
                Output::Changed { diff, place } => self.tell(channel, &room.epoch, &diff, place),
                Output::Ask(region, ask) if region == self.rules.own => _ = self.asks.try_send((channel.clone(), ask)),
                Output::Ask(region, Ask { follow, since }) => {
                    let since = since.map(|stamp| RoomStamp { generation: stamp.generation, seq: stamp.seq });
                    let question = RegionMessage::FollowRoom(FollowRoom { channel: channel.as_str().to_owned(), follow, since });
                    if let Some(link) = self.links.lock().get(&region) {
                        _ = link.send(question.to_bytes());
                    }
                }
                Output::Stale(..) => {
                    if let Ok(roster) = Name::parse(&format!("presence:{channel}")) {
                        self.hub.deliver(&Broadcast::stale(roster, !room.union.is_complete(now)));
                    }
                }
            }
        }
    }

    /// Remembers when the room has something to do next.
    fn schedule(&self, channel: &Channel, room: &mut Room) {
        let next_ms = room.union.next_wake();
        if next_ms == room.wake_ms {
            return;
        }
        let mut due = self.due.lock();
        let first_ms = due.next_ms();
        if let Some(wake_ms) = std::mem::replace(&mut room.wake_ms, next_ms) {
            due.cancel(wake_ms, channel);
        }
        if let Some(next_ms) = next_ms {
            due.set(next_ms, channel.clone());
            if first_ms.is_none_or(|first_ms| next_ms < first_ms) {
                self.sooner.notify_one();
            }
        }
    }

    /// Tells watchers of the roster, and those who want to know who comes and goes.
    fn tell(&self, channel: &Channel, epoch: &str, diff: &Diff, place: u64) {
        diff.join.iter().for_each(|entry| self.hub.deliver(&Broadcast::join(channel.clone(), rosters::info_of(entry))));
        diff.leave.iter().for_each(|entry| self.hub.deliver(&Broadcast::leave(channel.clone(), rosters::info_of(entry))));
        if let Ok(roster) = Name::parse(&format!("presence:{channel}"))
            && self.hub.has_subscribers(&roster)
        {
            let place = StreamPosition { offset: place, epoch: epoch.to_owned() };
            self.hub.deliver(&Broadcast::state(roster, Kind::Roster, &place, serde_json::to_vec(diff).unwrap_or_default().into()));
        }
    }

    /// Nobody waits for a room that is known as far as there are links.
    fn release(&self, room: &mut Room, now: Now) {
        let links = self.links.lock();
        let is_known = |(region, as_of): (&Arc<str>, &presence::regions::AsOf)| {
            !as_of.is_gone || (*region != self.rules.own && !links.contains_key(region))
        };
        if !room.waiting.is_empty() && room.union.as_of(now).iter().all(is_known) {
            std::mem::take(&mut room.waiting).into_iter().for_each(|waiting| _ = waiting.send(()));
        }
    }
}
