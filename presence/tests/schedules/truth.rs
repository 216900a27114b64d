//! Who is connected, and what must never be told.

use crate::{
    gateway::{Gateway, State},
    world::{GATEWAYS, ROOMS, World},
};
use presence::{Member, MemberKey, Output as Told};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Nobody is on a roster for longer after the last presence, …
pub const GHOST_MS: u64 = 17_000;
/// … or after the last trouble that is no death: 12 s until etcd is steady again, 5 s of silence, 5 s until a look at the
/// owners, 5 s until an order is repeated, and what was under way.
const TROUBLE_MS: u64 = 30_000;
/// Who was taken for dead by the rules is over it after so long, at the latest 5 s after all is announced anew.
const EXCUSE_MS: u64 = 25_000;
/// As long as a reaped or closed row of the member may be on its way out, a drop does not hold the member.
pub const SOLE_MS: u64 = 60_000;
/// What is told was true so long before at the most, as far as the order of calls goes.
pub const LAG_MS: u64 = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    Live,
    /// Until then. `is_sole`: it is its member's only client, and surely was in Redis, too.
    Grace {
        until_ms: u64,
        is_sole: bool,
    },
}

/// A client of a gateway in a room.
#[derive(Clone, Debug)]
pub struct Client {
    pub member: Arc<Member>,
    pub holding: Holding,
    pub since_ms: u64,
    /// The owner's number of the wish.
    pub asked: u64,
    /// When its row was known to be written.
    pub stored_ms: Option<u64>,
}

impl Client {
    /// Whether its member must be shown.
    pub fn is_sure(&self) -> bool {
        matches!(self.holding, Holding::Live | Holding::Grace { is_sole: true, .. })
    }
}

/// From, to; the last one may go on.
pub type Intervals = BTreeMap<(usize, MemberKey), Vec<(u64, Option<u64>)>>;

#[derive(Debug, Default)]
pub struct Truth {
    /// When anything was wrong last, but for crashes.
    pub trouble_ms: u64,
    /// When a gateway crashed last.
    pub crash_ms: u64,
    /// When rows may have been lost last, or be where nobody looks.
    pub loss_ms: u64,
    /// When each change was made.
    pub published_ms: BTreeMap<(usize, u64, u64), u64>,
    last_ms: BTreeMap<(usize, MemberKey), u64>,
    /// When a client of the member went last.
    ended_ms: BTreeMap<(usize, MemberKey), u64>,
    /// When members surely were present, by a live client or their only one in grace.
    pub sure: Intervals,
    /// When they may have been: also those count who were in grace when other clients were here.
    pub possible: Intervals,
    /// When a client of the member came last; and how often one came and another one went at about the same time, so that the
    /// member may be told to have left and come again.
    joined_ms: BTreeMap<(usize, MemberKey), u64>,
    pub close_calls: BTreeMap<(usize, MemberKey), usize>,
    /// How long rows of the member may be on their way out, so that a drop does not surely hold it.
    pub sole_ms: u64,
}

impl Truth {
    pub fn end_graces(&mut self, gateway: &mut Gateway, now_ms: u64) {
        let is_over = |client: &Client| matches!(client.holding, Holding::Grace { until_ms, .. } if until_ms <= now_ms);
        for ((room, _), client) in gateway.clients.extract_if(.., |_, client| is_over(client)) {
            self.ended(room, &client.member.key(), now_ms);
        }
    }

    /// A client of the member came.
    pub fn joined(&mut self, room: usize, member: &MemberKey, now_ms: u64) {
        let key = (room, member.clone());
        if self.ended_ms.get(&key).is_some_and(|ended_ms| now_ms <= ended_ms + LAG_MS) {
            *self.close_calls.entry(key.clone()).or_default() += 1;
        }
        self.joined_ms.insert(key, now_ms);
    }

    /// One went.
    pub fn ended(&mut self, room: usize, member: &MemberKey, now_ms: u64) {
        let key = (room, member.clone());
        if self.joined_ms.get(&key).is_some_and(|joined_ms| now_ms <= joined_ms + LAG_MS) {
            *self.close_calls.entry(key.clone()).or_default() += 1;
        }
        self.ended_ms.insert(key, now_ms);
    }

    pub fn may_be_sole(&self, room: usize, member: &MemberKey, now_ms: u64) -> bool {
        self.ended_ms.get(&(room, member.clone())).is_none_or(|ended_ms| now_ms > ended_ms + self.sole_ms)
    }

    pub fn look_what_is_stored(&mut self, gateway: &mut Gateway, now_ms: u64) {
        for ((room, _), client) in gateway.clients.iter_mut().filter(|(_, client)| client.stored_ms.is_none()) {
            client.stored_ms = gateway.owner.is_stored(&ROOMS[*room], client.asked).then_some(now_ms);
        }
    }
}

impl World<'_> {
    /// All clients that are held by a process that is there, and by which.
    pub fn held(&self, room: usize) -> impl Iterator<Item = (usize, &Client)> {
        let there = self.gateways.iter().enumerate().filter(|(_, gateway)| gateway.state != State::Crashed);
        let clients = there.flat_map(|(index, gateway)| gateway.clients.iter().map(move |(key, client)| (index, key, client)));
        clients.filter(move |(_, key, _)| key.0 == room).map(|(index, _, client)| (index, client))
    }

    pub fn check_told(&mut self, index: usize, room: usize, outputs: &[Told], before: &BTreeSet<Arc<str>>, as_of_ms: u64) {
        let followed = &mut self.gateways[index].rooms[room];
        let Some((present, entries)) = &mut followed.told else {
            if followed.replica.is_current() || !outputs.is_empty() {
                let entries = followed.entries();
                followed.told = Some((entries.keys().cloned().collect(), entries));
            }
            return;
        };
        let mut wrongs = Vec::new();
        let mut left = Vec::new();
        for output in outputs {
            match output {
                Told::Joined(member) => {
                    followed.counts.entry(member.key()).or_default().0 += 1;
                    if !present.insert(member.key()) {
                        wrongs.push(format!("g{index} told that {:?} joined {room}, who was there", member.key()));
                    }
                }
                Told::Left(member) => {
                    followed.counts.entry(member.key()).or_default().1 += 1;
                    if !present.remove(&member.key()) {
                        wrongs.push(format!("g{index} told that {:?} left {room}, who was not there", member.key()));
                    }
                    left.push(member.key());
                }
                Told::Changed(diff) => {
                    diff.leave.iter().for_each(|entry| _ = entries.remove(&entry.key()));
                    entries.extend(diff.join.iter().chain(&diff.update).map(|entry| (entry.key(), entry.clone())));
                }
                Told::Resumed => {}
            }
        }
        if !outputs.is_empty() {
            let (entries, present) = (entries.clone(), present.clone());
            let pages = followed.entries();
            if entries != pages {
                wrongs.push(format!("g{index}: diffs of {room} alone make {entries:?}, and the roster is {pages:?}"));
            }
            if present != pages.keys().cloned().collect() {
                wrongs.push(format!("g{index}: events of {room} make {present:?}, and the roster is {pages:?}"));
            }
            self.note(|| format!("g{index} tells of {room}: {outputs:?}"));
        }
        for member in left {
            self.count("a member left");
            let holder = self.held(room).find(|(holder, client)| {
                let is_old = client.since_ms + LAG_MS <= as_of_ms;
                let is_stored = client.stored_ms.is_some_and(|stored_ms| stored_ms + LAG_MS <= as_of_ms && stored_ms > self.truth.loss_ms);
                let is_known = before.contains(&client.member.client) || is_stored;
                let is_excused = self.gateways[*holder].excused_ms + LAG_MS >= as_of_ms;
                client.member.key() == member && client.is_sure() && is_old && is_known && !is_excused
            });
            if let Some((holder, client)) = holder {
                wrongs.push(format!("g{index} told that {member:?} left {room}, whom g{holder} holds: {client:?}"));
            }
        }
        wrongs.iter().for_each(|wrong| self.blame(wrong));
    }

    /// Looks at everything after a step.
    pub fn judge(&mut self) {
        let now_ms = self.now.mono_ms;
        for room in 0..ROOMS.len() {
            let present: BTreeSet<MemberKey> = self.held(room).map(|(_, client)| client.member.key()).collect();
            let sure = self.held(room).filter(|(_, client)| client.is_sure()).map(|(_, client)| client.member.key()).collect();
            for member in &present {
                self.truth.last_ms.insert((room, member.clone()), now_ms);
            }
            record(&mut self.truth.possible, room, &present, now_ms);
            record(&mut self.truth.sure, room, &sure, now_ms);
            if now_ms.is_multiple_of(1_000) {
                self.look_for_ghosts(room, &present);
            }
        }
        for index in 0..GATEWAYS {
            self.excuse(index);
        }
    }

    fn look_for_ghosts(&mut self, room: usize, present: &BTreeSet<MemberKey>) {
        let now_ms = self.now.mono_ms;
        for index in 0..GATEWAYS {
            let replica = &self.gateways[index].rooms[room].replica;
            if !self.gateways[index].runs() || !replica.is_current() {
                continue;
            }
            let members: BTreeSet<MemberKey> = replica.clients().map(|member| member.key()).collect();
            for member in members.difference(present) {
                let last_ms = self.truth.last_ms.get(&(room, member.clone())).copied().unwrap_or_default();
                if now_ms > (last_ms + GHOST_MS).max(self.truth.trouble_ms + TROUBLE_MS) {
                    let ago_ms = now_ms - last_ms;
                    self.blame(&format!("g{index} shows {member:?} in {room}, who was there {ago_ms} ms ago"));
                }
            }
        }
    }

    /// A gateway whose record is gone is rightly taken for dead if it does not run, or where somebody cannot hear it.
    fn excuse(&mut self, index: usize) {
        let now_ms = self.now.mono_ms;
        let gateway = &self.gateways[index];
        if gateway.state == State::Crashed {
            return;
        }
        let meets = |other: usize| (0..2).any(|site| self.works(index, site).is_some() && self.works(other, site).is_some());
        let is_hidden = (0..GATEWAYS).any(|other| other != index && self.gateways[other].runs() && !meets(other));
        let has_record = self.etcd.records.contains_key(&gateway.name);
        let is_paused = !gateway.runs();
        let is_announced = gateway.owner.is_announced();
        let is_cut = (0..2).any(|site| self.works(index, site).is_none());
        let excused_ms = gateway.excused_ms;
        if is_paused || (is_hidden && !has_record) {
            self.trouble();
        }
        if !has_record && (is_paused || is_hidden) {
            self.gateways[index].excused_ms = now_ms + EXCUSE_MS;
        } else if now_ms < excused_ms && is_cut {
            // It cannot hear of it.
            self.gateways[index].excused_ms = now_ms + EXCUSE_MS;
        } else if now_ms < excused_ms && !is_announced {
            self.trouble();
            self.gateways[index].excused_ms = excused_ms.max(now_ms + 5_000);
        }
    }
}

fn record(intervals: &mut Intervals, room: usize, present: &BTreeSet<MemberKey>, now_ms: u64) {
    for member in present {
        let known = intervals.entry((room, member.clone())).or_default();
        if known.last().is_none_or(|(_, to)| to.is_some()) {
            known.push((now_ms, None));
        }
    }
    for ((_, member), known) in intervals.iter_mut().filter(|((of, _), _)| *of == room) {
        if let Some((_, to @ None)) = known.last_mut().filter(|_| !present.contains(member)) {
            *to = Some(now_ms);
        }
    }
}
