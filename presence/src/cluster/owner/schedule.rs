//! Pure: an owner, the nodes that it writes to, and one process's rosters that know the same clients: the oracle.

use super::{At, Call, Outcome, Owner, What, node::Cluster};
pub(super) use crate::world::member;
use crate::{
    cluster::{CHANGE_EDGES_MAX, Edge, RoomId},
    member::{Departure, Member, MemberKey},
    roster::{Input, Roster, Rules},
    tier::Tiers,
};
use prop::sample::Index;
use proptest::prelude::*;
use protocol::{name::Channel, time::Now};
use ring_coordinator::slot::Slot;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, LazyLock},
};

pub(super) const GRACE_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A new client of a user (0: nobody in particular) comes into a room.
    Enter(Index, u8),
    Again(Index),
    Depart(Index, Departure),
    SetStatus(Index, bool),
    Wait(u64),
    Send,
    /// A call under way reaches its node.
    Execute(Index),
    /// Its outcome is heard; if it has not reached its node it is lost.
    Answer(Index),
    /// The answer is lost.
    Unheard(Index),
    /// The gateway learns where slots are.
    Look,
    Shift(Index),
    Wipe(usize, bool),
    /// The gateway counts as dead in a slot, and its rows there may be taken away.
    Fence(Index, bool),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let departure = prop_oneof![1 => Just(Departure::Clean), 2 => Just(Departure::Dropped)];
    let step = prop_oneof![
        8 => (index(), 0..4_u8).prop_map(|(room, user)| Step::Enter(room, user)),
        8 => (index(), departure).prop_map(|(client, departure)| Step::Depart(client, departure)),
        2 => index().prop_map(Step::Again),
        3 => (index(), any::<bool>()).prop_map(|(client, has_one)| Step::SetStatus(client, has_one)),
        4 => (1..600_u64).prop_map(Step::Wait),
        16 => Just(Step::Send),
        12 => index().prop_map(Step::Execute),
        12 => index().prop_map(Step::Answer),
        2 => index().prop_map(Step::Unheard),
        2 => Just(Step::Look),
        1 => index().prop_map(Step::Shift),
        1 => (0..2_usize, any::<bool>()).prop_map(|(node, is_new_life)| Step::Wipe(node, is_new_life)),
        1 => (index(), any::<bool>()).prop_map(|(room, is_reaped)| Step::Fence(room, is_reaped)),
    ];
    prop::collection::vec(step, 1..120)
}

/// By room and client, and whether the client is held.
pub(super) type Rows = BTreeMap<(RoomId, Arc<str>), (Arc<Member>, bool)>;

struct Flight {
    call: Call,
    ring: u64,
    heard: Option<Outcome>,
}

pub(super) struct World {
    pub(super) owner: Owner,
    pub(super) cluster: Cluster,
    pub(super) now: Now,
    pub(super) calls: usize,
    pub(super) rosters: BTreeMap<RoomId, Roster>,
    /// Clients whose departure left their member in grace.
    held: BTreeSet<(RoomId, Arc<str>)>,
    sessions: Vec<(RoomId, Member)>,
    flights: Vec<Flight>,
    /// What the gateway believes: the ring, and where slots are.
    view: (u64, HashMap<Slot, At>),
    clock: u64,
    /// When each member was last absent in truth, and when it last came into a room at a node.
    absent: BTreeMap<(RoomId, MemberKey), u64>,
    came: BTreeMap<(RoomId, MemberKey), u64>,
}

/// Two channels in one slot, another one, and a partition of the users.
static ROOMS: LazyLock<Vec<RoomId>> = LazyLock::new(|| {
    let channels: Vec<RoomId> = (0..1_000).map(|n| RoomId::channel(&Channel::parse(&n.to_string()).unwrap())).collect();
    let mut slots: HashMap<Slot, &RoomId> = HashMap::new();
    let pair = channels.iter().find_map(|room| slots.insert(room.slot(), room).map(|other| [room, other]));
    let [one, other] = pair.unwrap();
    vec![one.clone(), other.clone(), RoomId::channel(&Channel::parse("room").unwrap()), RoomId::users(0)]
});

pub(super) fn rooms() -> &'static [RoomId] {
    &ROOMS
}

impl World {
    pub(super) fn new() -> World {
        let rules = Arc::new(Rules { region: "r".into(), grace_ms: GRACE_MS, tiers: Tiers::default() });
        let rosters: BTreeMap<RoomId, Roster> = rooms().iter().map(|room| (room.clone(), Roster::new(rules.clone(), 1))).collect();
        let (owner, now) = (Owner::new("g1".into(), 17, GRACE_MS), Now { mono_ms: 0, wall_ms: 1_000_000 });
        let (held, sessions, flights, absent, came) = (BTreeSet::new(), vec![], vec![], BTreeMap::new(), BTreeMap::new());
        let view = (1, HashMap::new());
        let cluster = Cluster::new(2);
        let mut world = World { owner, cluster, now, calls: 0, rosters, held, sessions, flights, view, clock: 0, absent, came };
        world.look();
        world
    }

    pub(super) fn step(&mut self, step: Step) {
        let client = |index: Index| (!self.sessions.is_empty()).then(|| index.get(&self.sessions).clone());
        match step {
            Step::Enter(room, user) => {
                let room = room.get(rooms()).clone();
                let user = if user == 0 { String::new() } else { format!("u{user}") };
                self.join(&room, member(&format!("c{}", self.sessions.len()), &user, ""));
            }
            Step::Again(index) => {
                let Some((room, member)) = client(index) else { return };
                self.join(&room, member);
            }
            Step::Depart(index, departure) => {
                let Some((room, member)) = client(index) else { return };
                self.leave(&room, &member.client, departure);
            }
            Step::SetStatus(index, has_one) => {
                let Some((room, member)) = client(index) else { return };
                self.set_status(&room, &member.client, has_one);
            }
            Step::Wait(ms) => self.wait(ms),
            Step::Send => drop(self.send()),
            Step::Execute(index) if !self.flights.is_empty() => self.execute(index.index(self.flights.len())),
            Step::Answer(index) if !self.flights.is_empty() => self.answer(index.index(self.flights.len())),
            Step::Unheard(index) if !self.flights.is_empty() => {
                let flight = self.flights.swap_remove(index.index(self.flights.len()));
                self.owner.finished(flight.call.slot, flight.call.number, Outcome::Retry, self.now);
            }
            Step::Look => self.look(),
            Step::Shift(room) => self.cluster.shift(room.get(rooms()).slot()),
            Step::Wipe(node, is_new_life) => self.cluster.wipe(node, is_new_life),
            Step::Fence(room, is_reaped) => {
                let least = self.owner.id().incarnation + 1;
                let data = self.cluster.data(room.get(rooms()).slot());
                data.least = least;
                if is_reaped {
                    data.rooms.values_mut().for_each(|rows| rows.retain(|row| row.owner.incarnation >= least));
                }
            }
            _ => {}
        }
        self.note();
    }

    pub(super) fn join(&mut self, room: &RoomId, member: Member) {
        self.owner.join(room, member.clone());
        self.held.remove(&(room.clone(), member.client.clone()));
        self.rosters.get_mut(room).unwrap().handle(Input::Join(member.clone()), self.now, &mut vec![]);
        self.sessions.push((room.clone(), member));
    }

    pub(super) fn leave(&mut self, room: &RoomId, client: &str, departure: Departure) {
        self.owner.leave(room, client, departure, self.now);
        let roster = self.rosters.get_mut(room).unwrap();
        let held = roster.held();
        roster.handle(Input::Leave { client, departure }, self.now, &mut vec![]);
        if roster.held() > held {
            self.held.insert((room.clone(), client.into()));
        }
    }

    pub(super) fn set_status(&mut self, room: &RoomId, client: &str, has_one: bool) {
        let status = if has_one { self.clock.to_string() } else { String::new() };
        self.owner.set_status(room, client, status.clone().into());
        let input = Input::SetStatus { client, status: status.into() };
        self.rosters.get_mut(room).unwrap().handle(input, self.now, &mut vec![]);
    }

    /// Lets time pass as a driver does: no tick is later than the owner asked for.
    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            let due_ms = self.owner.tick(self.now).unwrap_or(u64::MAX).clamp(self.now.mono_ms, end.mono_ms);
            self.now = self.now.plus_ms(due_ms - self.now.mono_ms);
            self.owner.tick(self.now);
            let now = self.now;
            self.rosters.values_mut().for_each(|roster| roster.handle(Input::Tick, now, &mut vec![]));
            self.note();
        }
    }

    pub(super) fn look(&mut self) {
        let slots = rooms().iter().map(RoomId::slot);
        self.view = (self.cluster.ring, slots.map(|slot| (slot, self.cluster.at(slot))).collect());
        self.owner.moved();
    }

    /// Takes the next call; what every call must be is checked here.
    pub(super) fn send(&mut self) -> Option<Call> {
        let places = &self.view.1;
        let call = self.owner.next(&|slot| places.get(&slot).cloned(), self.now)?;
        assert!(self.flights.iter().all(|flight| flight.call.slot != call.slot), "two calls under way in a slot");
        if let What::Write { room, edges } = &call.what {
            assert!(room.slot() == call.slot && (1..=CHANGE_EDGES_MAX).contains(&edges.len()));
            let mut said = HashMap::new();
            for edge in edges {
                let (client, kind) = match edge {
                    Edge::Put(member) => (&member.client, "put"),
                    Edge::Drop { client, .. } => (client, "drop"),
                    Edge::Gone { client, seen_ms } => {
                        assert!(self.rosters[room].clients().all(|member| member.client != *client), "{client} is not gone");
                        assert_eq!(seen_ms.is_some(), room.to_channel().is_none());
                        (client, "gone")
                    }
                };
                let before = said.insert(client, kind);
                assert!(matches!((before, kind), (None, _) | (Some("put"), "drop")), "{client}: {before:?} {kind}");
            }
        }
        self.calls += 1;
        self.flights.push(Flight { call: call.clone(), ring: self.view.0, heard: None });
        Some(call)
    }

    /// Whoever was in truth there all the time since the node knows of it is not seen to go.
    fn execute(&mut self, index: usize) {
        let Flight { call, ring, heard } = &mut self.flights[index];
        if heard.is_some() {
            return;
        }
        let (outcome, seen) = self.cluster.execute(call, *ring);
        *heard = Some(outcome);
        for member in seen.came {
            self.came.insert(member, self.clock);
        }
        for member in seen.went {
            let was_absent = self.absent.get(&member).is_some_and(|absent| *absent >= self.came[&member]);
            assert!(was_absent, "{member:?} was seen to go by {call:?}");
        }
    }

    fn answer(&mut self, index: usize) {
        let flight = self.flights.swap_remove(index);
        self.owner.finished(flight.call.slot, flight.call.number, flight.heard.unwrap_or(Outcome::Retry), self.now);
    }

    /// Calls succeed again; all that can be said is said.
    pub(super) fn drain(&mut self) {
        for _ in 0..10_000 {
            while self.send().is_some() {}
            if !self.flights.is_empty() {
                self.execute(0);
                self.answer(0);
            } else if let Some(due_ms) = self.owner.next_ms() {
                self.wait(due_ms.saturating_sub(self.now.mono_ms).max(1));
            } else {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// All rows, as the node of each room has them, and as they should be.
    pub(super) fn rows(&mut self) -> [Rows; 2] {
        let [mut stored, mut wanted] = [BTreeMap::new(), BTreeMap::new()];
        for (room, roster) in &self.rosters {
            for member in roster.clients() {
                let key = (room.clone(), member.client.clone());
                let is_held = self.held.contains(&key);
                wanted.insert(key, (member.clone(), is_held));
            }
            let rows = self.cluster.data(room.slot()).rooms.get(room).cloned().unwrap_or_default();
            for row in rows {
                assert_eq!(row.owner, *self.owner.id());
                stored.insert((room.clone(), row.member.client.clone()), (row.member, row.is_held));
            }
        }
        [stored, wanted]
    }

    fn note(&mut self) {
        self.clock += 1;
        let present: HashMap<&RoomId, HashSet<MemberKey>> =
            self.rosters.iter().map(|(room, roster)| (room, roster.clients().map(|client| client.key()).collect())).collect();
        for (room, member) in &self.sessions {
            if !present[room].contains(&member.key()) {
                self.absent.insert((room.clone(), member.key()), self.clock);
            }
        }
    }
}
