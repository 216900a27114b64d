//! Pure: an embedded store beside an oracle that knows nothing but sessions, and readers that follow the store.

use crate::*;
use prometheus::Registry;
use proptest::prelude::*;
use protocol::{name::Channel, time::Now};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) const GRACE_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A new client of a user; user 0 is nobody in particular.
    Enter(u8),
    /// Any client so far comes (again) under its old id.
    Again(prop::sample::Index),
    /// Any client so far, also one that is here, is held, or has gone.
    Depart(prop::sample::Index, Departure),
    /// Any client so far has another status, or none any more.
    SetStatus(prop::sample::Index, bool),
    Wait(u64),
}

/// Schedules in which about half of `users` users are present, so that rooms of [`Tiers`] 3 and 6 change their tier.
pub(crate) fn steps(users: u8) -> impl Strategy<Value = Vec<Step>> {
    let departure = prop_oneof![Just(Departure::Clean), Just(Departure::Dropped), Just(Departure::Dropped)];
    let step = prop_oneof![
        4 => (0..=users).prop_map(Step::Enter),
        4 => (any::<prop::sample::Index>(), departure).prop_map(|(client, departure)| Step::Depart(client, departure)),
        1 => any::<prop::sample::Index>().prop_map(Step::Again),
        3 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(client, has_one)| Step::SetStatus(client, has_one)),
        3 => (1..400_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// In the order of arrival, the held one included; with their statuses.
    clients: Vec<(Arc<str>, String)>,
    held_until_ms: Option<u64>,
}

pub(crate) struct World {
    pub(crate) store: Embedded,
    pub(crate) channel: Channel,
    pub(crate) now: Now,
    pub(crate) metrics: Metrics,
    log: Arc<Mutex<Vec<Event>>>,
    /// Every client there ever was, with its user.
    sessions: Vec<(Arc<str>, Arc<str>)>,
    members: BTreeMap<MemberKey, Presence>,
    /// Edges of presence: whose, and whether it began.
    pub(crate) edges: Vec<(MemberKey, bool)>,
}

pub(crate) fn random_u64() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn world(tiers: Tiers) -> World {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = log.clone();
    let rules = Rules { region: "local".into(), grace_ms: GRACE_MS, tiers };
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let store = Embedded::new(rules, metrics.clone(), random_u64, Arc::new(move |event| sink.lock().unwrap().push(event)));
    let now = Now { mono_ms: 0, wall_ms: 1_000_000 };
    let store = store.with_hooks(now);
    let channel = Channel::parse("room").unwrap();
    World { store, channel, now, metrics, log, sessions: vec![], members: BTreeMap::new(), edges: vec![] }
}

pub(crate) fn member(client: &str, user: &str, chan_info: &str) -> Member {
    let (conn_info, chan_info) = ("{}".into(), chan_info.to_owned().into());
    Member::new(client.into(), user.into(), About { conn_info, chan_info, status: "".into() })
}

impl World {
    /// Does one step to the store and to the oracle, and returns what the store said.
    pub(crate) fn step(&mut self, step: Step) -> Vec<Event> {
        match step {
            Step::Enter(user) => {
                let user = if user == 0 { String::new() } else { format!("u{user}") };
                self.enter(&user, &format!("c{}", self.sessions.len()));
            }
            Step::Again(index) if !self.sessions.is_empty() => {
                let (user, client) = index.get(&self.sessions).clone();
                self.enter(&user, &client);
            }
            Step::Depart(index, departure) if !self.sessions.is_empty() => {
                let (user, client) = index.get(&self.sessions).clone();
                self.depart(&user, &client, departure);
            }
            Step::SetStatus(index, has_one) if !self.sessions.is_empty() => {
                let (user, client) = index.get(&self.sessions).clone();
                let status = if has_one { self.now.mono_ms.to_string() } else { String::new() };
                self.store.set_status(&self.channel, &client, status.clone().into(), self.now);
                let presence = self.members.get_mut(&MemberKey::of(&user, &client));
                presence
                    .into_iter()
                    .flat_map(|p| &mut p.clients)
                    .filter(|known| known.0 == client)
                    .for_each(|known| known.1.clone_from(&status));
            }
            Step::Wait(ms) => self.wait(ms),
            _ => {}
        }
        self.said()
    }

    pub(crate) fn enter(&mut self, user: &str, client: &str) {
        let (user, client): (Arc<str>, Arc<str>) = (user.into(), client.into());
        self.store.connect(&user, &client, self.now);
        self.store.join(&self.channel, member(&client, &user, "0"), self.now);
        let key = MemberKey::of(&user, &client);
        let presence = self.members.entry(key.clone()).or_default();
        if presence.clients.is_empty() {
            self.edges.push((key, true));
        }
        if presence.held_until_ms.take().is_some() {
            presence.clients.clear();
        }
        match presence.clients.iter_mut().find(|known| known.0 == client) {
            Some(known) => known.1.clear(),
            None => presence.clients.push((client.clone(), String::new())),
        }
        self.sessions.push((user, client));
    }

    pub(crate) fn depart(&mut self, user: &Arc<str>, client: &Arc<str>, departure: Departure) {
        self.store.leave(&self.channel, client, departure, self.now);
        self.store.disconnect(user, client, departure, self.now);
        let key = MemberKey::of(user, client);
        let Some(presence) = self.members.get_mut(&key) else { return };
        if presence.held_until_ms.is_some() || presence.clients.iter().all(|known| known.0 != *client) {
            return;
        }
        if departure == Departure::Dropped && presence.clients.len() == 1 {
            presence.held_until_ms = Some(self.now.mono_ms + GRACE_MS);
            return;
        }
        presence.clients.retain(|known| known.0 != *client);
        if presence.clients.is_empty() {
            self.members.remove(&key);
            self.edges.push((key, false));
        }
    }

    /// Lets time pass as a driver does: no tick is later than the store asked for.
    pub(crate) fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            let due_ms = self.store.tick(self.now).unwrap_or(u64::MAX).min(end.mono_ms);
            self.now = self.now.plus_ms(due_ms - self.now.mono_ms);
        }
        self.store.tick(self.now);
        let mut over: Vec<_> = self.members.iter().filter_map(|(key, p)| Some((p.held_until_ms?, key.clone()))).collect();
        over.retain(|(until_ms, _)| *until_ms <= self.now.mono_ms);
        over.sort();
        for (_, key) in over {
            self.members.remove(&key);
            self.edges.push((key, false));
        }
    }

    pub(crate) fn said(&self) -> Vec<Event> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// The roster as the sessions have it.
    pub(crate) fn truth(&self) -> BTreeMap<MemberKey, Entry> {
        let entry = |(key, presence): (&MemberKey, &Presence)| {
            let user = if let MemberKey::User(user) = key { user.clone() } else { "".into() };
            let client = presence.clients[0].0.clone();
            let num_clients = u32::try_from(presence.clients.len()).unwrap();
            let status = presence.clients.iter().map(|client| client.1.clone()).find(|status| !status.is_empty());
            let (conn_info, chan_info, status) = ("{}".into(), "0".into(), status.unwrap_or_default().into());
            let member = Arc::new(Member::new(client, user, About { conn_info, chan_info, status }));
            (key.clone(), Entry::new(member.clone(), num_clients, Some(member)))
        };
        self.members.iter().map(entry).collect()
    }

    pub(crate) fn count(&self) -> Stats {
        Stats { clients: self.members.values().map(|presence| presence.clients.len()).sum(), users: self.members.len() }
    }
}

/// All pages, united.
pub(crate) fn roster(store: &Embedded, channel: &Channel) -> BTreeMap<MemberKey, Entry> {
    let (mut entries, mut cursor) = (BTreeMap::new(), None);
    loop {
        let page = store.page(channel, cursor.as_deref(), 7).unwrap();
        entries.extend(page.snapshot.into_iter().map(|entry| (entry.key(), entry)));
        cursor = page.next;
        if cursor.is_none() {
            return entries;
        }
    }
}

pub(crate) fn apply(entries: &mut BTreeMap<MemberKey, Entry>, diff: &Diff) {
    diff.leave.iter().for_each(|entry| drop(entries.remove(&entry.key())));
    entries.extend(diff.join.iter().chain(&diff.update).map(|entry| (entry.key(), entry.clone())));
}

/// Follows a roster by the rules on the crate's first page.
#[derive(Default)]
pub(crate) struct Replica {
    pub(crate) version: Option<Version>,
    pub(crate) entries: BTreeMap<MemberKey, Entry>,
    pub(crate) resyncs: usize,
}

impl Replica {
    pub(crate) fn follow(&mut self, diff: &Diff, store: &Embedded, channel: &Channel) {
        if diff.counts_only || self.version.as_ref().is_some_and(|mine| diff.version <= *mine) {
            return;
        }
        let next = diff.version.stamp("local").unwrap();
        let mine = self.version.as_ref().and_then(|mine| mine.stamp("local")).unwrap_or_default();
        if next.seq == 1 {
            self.entries.clear();
        }
        if next.seq == 1 || (mine.generation == next.generation && mine.seq + 1 == next.seq) {
            apply(&mut self.entries, diff);
            self.version = Some(diff.version.clone());
            return;
        }
        self.resyncs += 1;
        match store.since(channel, &Version::of(&"local".into(), mine).to_string()) {
            Since::Diff(diff) => {
                apply(&mut self.entries, &diff);
                self.version = Some(diff.version);
            }
            Since::Snapshot(page) => {
                self.entries = roster(store, channel);
                self.version = Some(page.version);
            }
        }
    }
}
