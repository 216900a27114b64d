//! Pure: one channel's roster: its clients, the members they make up, their graces, and when which change is told.

use crate::{
    deadlines::{Deadlines, earliest},
    diff::{Diff, Since},
    journal::Journal,
    member::{Departure, Entry, Member, MemberKey, Stats},
    page::{Page, cursor_after},
    tier::{Tier, Tiers},
    version::Version,
};
use bytes::Bytes;
use protocol::{limits::ROSTER_PAGE_MAX, time::Now};
use std::{
    collections::{BTreeMap, HashMap, btree_map},
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
    /// A client's `chan_info` is another now; nothing happens if it is not present.
    UpdateInfo {
        /// Which.
        client: &'a str,
        /// The new one.
        chan_info: Bytes,
    },
    /// Time passed. Graces end here and nowhere else, at the first tick at or after their deadline.
    Tick,
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
    clients: HashMap<Arc<str>, Arc<Member>>,
    graces: Deadlines<MemberKey>,
    tier: Tier,
    journal: Journal,
    /// The members who have changed since the last diff, as they were then. Pages show these, so that what a page says
    /// is what its version says; otherwise one who came and went between two diffs would stay in some replicas.
    untold: BTreeMap<MemberKey, Option<Entry>>,
}

impl Roster {
    /// An empty roster. `generation` is random and not 0.
    #[must_use]
    pub fn new(rules: Arc<Rules>, generation: u64) -> Roster {
        let journal = Journal::new(rules.region.clone(), generation);
        let (users, clients, graces, untold) = (BTreeMap::new(), HashMap::new(), Deadlines::default(), BTreeMap::new());
        Roster { rules, users, clients, graces, tier: Tier::AtOnce, journal, untold }
    }

    /// Takes in one fact and appends what follows from it.
    pub fn handle(&mut self, input: Input<'_>, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Join(member) => self.join(Arc::new(member), out),
            Input::Leave { client, departure } => self.leave(client, departure, now.mono_ms, out),
            Input::UpdateInfo { client, chan_info } => self.update_info(client, chan_info),
            Input::Tick => self.end_graces(now.mono_ms, out),
        }
        self.tell(now.mono_ms, out);
    }

    /// When the next [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        earliest(self.graces.next_ms(), earliest(self.tell_ms(), self.journal.expires_ms()))
    }

    /// The clients, those in grace included, in no order.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.clients.values()
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

    /// The version of the last diff.
    #[must_use]
    pub fn version(&self) -> Version {
        self.journal.version()
    }

    /// At most `limit` (1 to [`ROSTER_PAGE_MAX`]) members after `last`. While names are told this is the roster as told,
    /// which a batch may be behind [`Roster::stats`]; in a big room it is the roster as it is.
    #[must_use]
    pub fn page(&self, last: Option<&MemberKey>, limit: usize) -> Page {
        let limit = limit.clamp(1, ROSTER_PAGE_MAX);
        let range = (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let same = self.users.range(range).filter(|(key, _)| !self.untold.contains_key(key)).take(limit + 1);
        let same = same.filter_map(|(key, present)| Some((key, present.entry()?)));
        let untold = self.untold.range(range).filter_map(|(key, told)| Some((key, told.clone()?)));
        // One more of each than fits tells whether there is a next page.
        let mut found: Vec<_> = same.chain(untold.take(limit + 1)).collect();
        found.sort_by_key(|(key, _)| *key);
        let next = (found.len() > limit).then(|| cursor_after(found[limit - 1].0));
        Page { version: self.version(), snapshot: found.into_iter().take(limit).map(|(_, entry)| entry).collect(), next }
    }

    /// How a reader that knows `version` catches up.
    #[must_use]
    pub fn since(&self, version: &Version) -> Since {
        let diff = if self.tier == Tier::Counted { None } else { self.journal.since(version) };
        diff.map_or_else(|| Since::Snapshot(self.page(None, ROSTER_PAGE_MAX)), Since::Diff)
    }

    /// Whether nobody is here and nothing is remembered: a new roster would do as well.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.users.is_empty() && self.next_wake().is_none()
    }

    fn join(&mut self, member: Arc<Member>, out: &mut Vec<Output>) {
        let key = member.key();
        if let Some(other) = self.clients.get(&member.client).filter(|old| old.key() != key).cloned() {
            self.remove(&other, out);
        }
        self.keep_as_told(&key);
        let old = self.clients.insert(member.client.clone(), member.clone());
        match self.users.entry(key) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Present { clients: vec![member.clone()], held_until_ms: None });
                out.push(Output::Joined(member));
            }
            btree_map::Entry::Occupied(mut occupied) => {
                let held_until_ms = occupied.get_mut().held_until_ms.take();
                if let Some(until_ms) = held_until_ms {
                    self.graces.cancel(until_ms, occupied.key());
                    let held = std::mem::replace(&mut occupied.get_mut().clients, vec![member.clone()]);
                    for held in held.iter().filter(|held| held.client != member.client) {
                        self.clients.remove(&held.client);
                    }
                    out.push(Output::Resumed);
                } else {
                    occupied.get_mut().put(old.as_ref(), member);
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
        if departure == Departure::Dropped && present.clients.len() == 1 && self.rules.grace_ms > 0 {
            let until_ms = now_ms.saturating_add(self.rules.grace_ms);
            present.held_until_ms = Some(until_ms);
            self.graces.set(until_ms, member.key());
        } else {
            self.remove(&member, out);
        }
    }

    fn update_info(&mut self, client: &str, chan_info: Bytes) {
        let Some(old) = self.clients.get(client).cloned() else { return };
        let key = old.key();
        self.keep_as_told(&key);
        let new = Arc::new(Member { chan_info, ..Member::clone(&old) });
        self.clients.insert(new.client.clone(), new.clone());
        if let Some(present) = self.users.get_mut(&key) {
            present.put(Some(&old), new);
        }
    }

    fn end_graces(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        for _ in 0..GRACES_PER_TICK_MAX {
            let Some(key) = self.graces.pop_due(now_ms) else { return };
            if let Some(member) = self.users.get(&key).and_then(|present| present.clients.first()).cloned() {
                self.remove(&member, out);
            }
        }
    }

    fn remove(&mut self, member: &Arc<Member>, out: &mut Vec<Output>) {
        let key = member.key();
        self.keep_as_told(&key);
        self.clients.remove(&member.client);
        let Some(present) = self.users.get_mut(&key) else { return };
        present.clients.retain(|client| !Arc::ptr_eq(client, member));
        if present.clients.is_empty() {
            if let Some(until_ms) = present.held_until_ms {
                self.graces.cancel(until_ms, &key);
            }
            self.users.remove(&key);
            out.push(Output::Left(member.clone()));
        }
    }

    /// Called before a member changes.
    fn keep_as_told(&mut self, key: &MemberKey) {
        if self.tier != Tier::Counted && !self.untold.contains_key(key) {
            self.untold.insert(key.clone(), self.users.get(key).and_then(Present::entry));
        }
    }

    fn tell(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        self.journal.expire(now_ms);
        let before = self.tier;
        self.tier = before.at(self.users.len(), &self.rules.tiers);
        // Where names stop and where they begin again there is a diff without them, at which replicas notice.
        let counts_only = before == Tier::Counted || self.tier == Tier::Counted;
        let is_turn = counts_only && before != self.tier;
        if !is_turn && self.tell_ms().is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        let mut diff = Diff { counts_only, ..Diff::empty(self.version(), self.users.len()) };
        for (key, told) in std::mem::take(&mut self.untold) {
            if !counts_only {
                diff.add(told, self.users.get(&key).and_then(Present::entry));
            }
        }
        if counts_only || !diff.is_empty() {
            out.push(Output::Changed(self.journal.record(diff, now_ms)));
        }
    }

    /// When what is untold is to be told.
    fn tell_ms(&self) -> Option<u64> {
        let is_changed = match self.tier {
            Tier::Counted => self.users.len() != self.journal.count(),
            _ => !self.untold.is_empty(),
        };
        is_changed.then(|| self.journal.told_ms().saturating_add(self.tier.pause_ms()))
    }
}

/// A member: live with one client or more, or held with its last one.
#[derive(Debug)]
struct Present {
    /// In the order in which they came; never empty.
    clients: Vec<Arc<Member>>,
    held_until_ms: Option<u64>,
}

impl Present {
    fn put(&mut self, old: Option<&Arc<Member>>, new: Arc<Member>) {
        match self.clients.iter_mut().find(|client| old.is_some_and(|old| Arc::ptr_eq(client, old))) {
            Some(client) => *client = new,
            None => self.clients.push(new),
        }
    }

    fn entry(&self) -> Option<Entry> {
        let num_clients = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let Member { client, user, conn_info, chan_info } = self.clients.first()?.as_ref().clone();
        Some(Entry { user, client, num_clients, conn_info, chan_info })
    }
}
