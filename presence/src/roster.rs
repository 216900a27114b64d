//! Pure: one channel's roster: its clients, the members they make up, their graces, and when which change is told.

use crate::{
    clients::Clients,
    deadlines::{Deadlines, earliest},
    diff::{Diff, Since},
    journal::Journal,
    member::{Departure, Entry, Member, MemberKey, Stats},
    page::{Page, cursor_after},
    present::{Present, Untold},
    tier::{Tier, Tiers},
    version::{Stamp, Version},
};
use bytes::Bytes;
use protocol::{limits::ROSTER_PAGE_MAX, time::Now};
use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
    sync::Arc,
};

/// Graces that one [`Input::Tick`] ends; the rest stay due, so that a crowd's departure does not hold up the shard.
pub const GRACES_PER_TICK_MAX: usize = 1_000;

/// What all rosters of a store go by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The region that writes them.
    pub region: Arc<str>,
    /// How long a dropped member is held; 0 lets it leave at once.
    pub grace_ms: u64,
    /// How changes are told by size.
    pub tiers: Tiers,
}

/// A fact.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client entered, or came back; one already present is updated.
    Join(Member),
    /// A client went. Nothing happens if it is not present or is held: its first departure decides.
    Leave {
        /// Which.
        client: &'a str,
        /// How.
        departure: Departure,
    },
    /// A client's status is another now; nothing happens if it is not present.
    SetStatus {
        /// Which.
        client: &'a str,
        /// The new one; empty if it has none any more.
        status: Bytes,
    },
    /// Time passed. Graces end here and nowhere else, at the first tick at or after their deadline.
    Tick,
}

/// What became of one client, where somebody else decides who is here: the rows of a cluster.
#[derive(Clone, Debug)]
pub enum Fact {
    /// It is here, or is another one now.
    Here {
        /// The client.
        member: Arc<Member>,
        /// Its place among the clients of its member, lowest first.
        place: u64,
    },
    /// It is gone.
    Gone(Arc<str>),
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Announce a member with its first client.
    Joined(Arc<Member>),
    /// Announce that a member left, with its last client.
    Left(Arc<Member>),
    /// Count a member who came back within the grace, unnoticed.
    Resumed,
    /// Tell the next diff.
    Changed(Arc<Diff>),
}

/// The state machine.
#[derive(Debug)]
pub struct Roster {
    rules: Arc<Rules>,
    users: BTreeMap<MemberKey, Present>,
    clients: Clients,
    graces: Deadlines<MemberKey>,
    tier: Tier,
    journal: Journal,
    /// The members who have changed since the last diff, as they were then. Pages show these, so that what a page says
    /// is what its version says; otherwise one who came and went between two diffs would stay in some replicas.
    untold: BTreeMap<MemberKey, Untold>,
}

impl Roster {
    /// An empty roster. `generation` is random and not 0.
    #[must_use]
    pub fn new(rules: Arc<Rules>, generation: u64) -> Roster {
        Roster::at(rules, Stamp { generation, seq: 0 })
    }

    /// A roster of `clients`, each with its place, of whom nobody is told: they were here before.
    #[must_use]
    pub fn of(rules: Arc<Rules>, stamp: Stamp, clients: impl IntoIterator<Item = (Arc<Member>, u64)>) -> Roster {
        let mut roster = Roster::at(rules, stamp);
        for (member, place) in clients {
            roster.join(member, Some(place), &mut Vec::new());
        }
        roster.untold.clear();
        roster.tier = roster.tier.at(roster.users.len(), &roster.rules.tiers);
        roster.journal = Journal::new(roster.rules.region.clone(), stamp, roster.users.len());
        roster
    }

    fn at(rules: Arc<Rules>, stamp: Stamp) -> Roster {
        let journal = Journal::new(rules.region.clone(), stamp, 0);
        let (users, clients, graces, untold) = (BTreeMap::new(), Clients::default(), Deadlines::default(), BTreeMap::new());
        Roster { rules, users, clients, graces, tier: Tier::AtOnce, journal, untold }
    }

    /// Takes in one fact and appends what follows from it.
    pub fn handle(&mut self, input: Input<'_>, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Join(member) => self.join(Arc::new(member), None, out),
            Input::Leave { client, departure } => self.leave(client, departure, now.mono_ms, out),
            Input::SetStatus { client, status } => self.set_status(client, status),
            Input::Tick => self.end_graces(now.mono_ms, out),
        }
        self.tell(now.mono_ms, out);
    }

    /// Takes in `facts` as one step, which leads to `stamp`, and appends what follows from it. Versions told are stamps
    /// given here, and not every stamp is told. Who gives one gives all of them, and sends no [`Input`] but ticks.
    pub fn apply(&mut self, facts: impl IntoIterator<Item = Fact>, stamp: Stamp, now: Now, out: &mut Vec<Output>) {
        for fact in facts {
            match fact {
                Fact::Here { member, place } => self.join(member, Some(place), out),
                Fact::Gone(client) => {
                    if let Some(member) = self.clients.get(&client).cloned() {
                        self.remove(&member, out);
                    }
                }
            }
        }
        self.journal.reach(stamp);
        self.tell(now.mono_ms, out);
    }

    /// When the next [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        earliest(self.graces.next_ms(), earliest(self.tell_ms(), self.journal.expires_ms()))
    }

    /// The clients, those in grace included, in no order.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.clients.iter()
    }

    /// Exact counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { clients: self.clients.len(), users: self.users.len() }
    }

    /// Members held in grace.
    #[must_use]
    pub fn held(&self) -> usize {
        self.graces.len()
    }

    /// The version of the roster as told.
    #[must_use]
    pub fn version(&self) -> Version {
        self.journal.version()
    }

    /// At most `limit` (1 to [`ROSTER_PAGE_MAX`]) members after `last`. This is the roster as told, which a batch may be behind
    /// [`Roster::stats`].
    #[must_use]
    pub fn page(&self, last: Option<&MemberKey>, limit: usize) -> Page {
        let limit = limit.clamp(1, ROSTER_PAGE_MAX);
        let range = (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let same = self.users.range(range).filter(|(key, _)| !self.untold.contains_key(key)).take(limit + 1);
        let same = same.filter_map(|(key, present)| Some((key, present.entry()?)));
        let untold = self.untold.range(range).filter_map(|(key, told)| Some((key, told.entry.clone()?)));
        // One more of each than fits tells whether there is a next page.
        let mut found: Vec<_> = same.chain(untold.take(limit + 1)).collect();
        found.sort_by_key(|(key, _)| *key);
        let next = (found.len() > limit).then(|| cursor_after(found[limit - 1].0));
        Page { version: self.version(), snapshot: found.into_iter().take(limit).map(|(_, entry)| entry).collect(), next }
    }

    /// How a reader that knows `version` catches up.
    #[must_use]
    pub fn since(&self, version: &Version) -> Since {
        self.journal.since(version).map_or_else(|| Since::Snapshot(self.page(None, ROSTER_PAGE_MAX)), Since::Diff)
    }

    /// Whether nobody is here and nothing is remembered: a new roster would do as well.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.users.is_empty() && self.next_wake().is_none()
    }

    /// At `place`; if that is `None`, where it was, and otherwise after all others.
    fn join(&mut self, member: Arc<Member>, place: Option<u64>, out: &mut Vec<Output>) {
        let key = member.key();
        if let Some(other) = self.clients.get(&member.client).filter(|old| old.key() != key).cloned() {
            self.remove(&other, out);
        }
        // One who has only got another place stays as told, unless it is the first now or no longer.
        if !self.users.get(&key).is_some_and(|present| present.is_same_with(&member, place)) {
            self.keep_as_told(&key);
        }
        self.clients.put(member.clone());
        match self.users.entry(key) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Present::of(member.clone(), place));
                out.push(Output::Joined(member));
            }
            btree_map::Entry::Occupied(mut occupied) => {
                if let Some(until_ms) = occupied.get().held_until_ms {
                    self.graces.cancel(until_ms, occupied.key());
                    let held = std::mem::replace(occupied.get_mut(), Present::of(member.clone(), place));
                    for held in held.clients().filter(|held| held.client != member.client) {
                        self.clients.remove(&held.client);
                    }
                    out.push(Output::Resumed);
                } else {
                    occupied.get_mut().put(member, place);
                }
            }
        }
    }

    fn leave(&mut self, client: &str, departure: Departure, now_ms: u64, out: &mut Vec<Output>) {
        let Some(member) = self.clients.get(client).cloned() else { return };
        let Some(present) = self.users.get_mut(&member.key()) else { return };
        if present.held_until_ms.is_some() {
            return;
        }
        if departure == Departure::Dropped && present.clients().len() == 1 && self.rules.grace_ms > 0 {
            let until_ms = now_ms.saturating_add(self.rules.grace_ms);
            present.held_until_ms = Some(until_ms);
            self.graces.set(until_ms, member.key());
        } else {
            self.remove(&member, out);
        }
    }

    fn set_status(&mut self, client: &str, status: Bytes) {
        let Some(old) = self.clients.get(client).cloned() else { return };
        let key = old.key();
        self.keep_as_told(&key);
        let new = Arc::new(old.with_status(status));
        self.clients.put(new.clone());
        if let Some(present) = self.users.get_mut(&key) {
            present.put(new, None);
        }
    }

    fn end_graces(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        for _ in 0..GRACES_PER_TICK_MAX {
            let Some(key) = self.graces.pop_due(now_ms) else { return };
            if let Some(member) = self.users.get(&key).and_then(Present::first).cloned() {
                self.remove(&member, out);
            }
        }
    }

    fn remove(&mut self, member: &Arc<Member>, out: &mut Vec<Output>) {
        let key = member.key();
        self.keep_as_told(&key);
        self.clients.remove(&member.client);
        let Some(present) = self.users.get_mut(&key) else { return };
        if !present.remove(member) {
            if let Some(until_ms) = present.held_until_ms {
                self.graces.cancel(until_ms, &key);
            }
            self.users.remove(&key);
            if let Some(untold) = self.untold.get_mut(&key).filter(|untold| untold.entry.is_none()) {
                untold.passed = Some(member.clone());
            }
            out.push(Output::Left(member.clone()));
        }
    }

    /// Called before a member changes.
    fn keep_as_told(&mut self, key: &MemberKey) {
        if !self.untold.contains_key(key) {
            let entry = self.users.get(key).and_then(Present::entry);
            self.untold.insert(key.clone(), Untold { entry, passed: None });
        }
    }

    fn tell(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        self.journal.expire(now_ms);
        let before = self.tier;
        self.tier = before.at(self.users.len(), &self.rules.tiers);
        // Where names stop and where they begin again there is a diff without them, at which replicas notice.
        let counts_only = before == Tier::Counted || self.tier == Tier::Counted;
        let is_turn = counts_only && before != self.tier;
        let at_ms = self.tell_ms();
        if !is_turn && at_ms.is_none_or(|at_ms| at_ms > now_ms) {
            if at_ms.is_none() {
                self.journal.pass(now_ms);
            }
            return;
        }
        let mut diff = Diff::empty(self.version(), self.users.len());
        let mut passing = self.journal.has_stamps_between().then(|| Diff::empty(self.version(), self.users.len()));
        for (key, untold) in std::mem::take(&mut self.untold) {
            let entry = self.users.get(&key).and_then(Present::entry);
            match (&mut passing, &entry) {
                (Some(passing), Some(same)) if untold.entry == entry => passing.update.push(same.clone()),
                (Some(passing), None) => passing.leave.extend(untold.passed.map(|last| Entry::new(last, 1, None))),
                _ => {}
            }
            diff.add(untold.entry, entry);
        }
        let is_told = is_turn || !diff.is_empty();
        if is_told || passing.as_ref().is_some_and(|passing| !passing.is_empty()) {
            let named = self.journal.record(diff, passing, now_ms);
            // Whoever asks is told the names in a big room, too.
            let told = if counts_only { named.without_names() } else { named };
            out.extend(is_told.then(|| Output::Changed(Arc::new(told))));
        } else {
            self.journal.pass(now_ms);
        }
    }

    /// When what is untold is to be told.
    fn tell_ms(&self) -> Option<u64> {
        (!self.untold.is_empty()).then(|| self.journal.told_ms().saturating_add(self.tier.pause_ms()))
    }
}
