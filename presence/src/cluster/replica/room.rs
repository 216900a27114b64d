//! Pure: one room of a test: the node that has it, and a gateway that follows it.

use super::Replica;
use crate::{
    Diff, Entry, Member, MemberKey, Rules, Stamp, Stats, Tiers, Version,
    cluster::{
        change::{Change, RowChange},
        row::{OwnerId, Row},
    },
    world::apply,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Changes that the log keeps: few, so that gaps are read from it and from the room.
const LOG_MAX: usize = 6;

/// What the node has of it.
#[derive(Default)]
pub(super) struct Node {
    /// 0 if none is valid yet.
    pub(super) generation: u64,
    pub(super) last_n: u64,
    pub(super) generations: u64,
    pub(super) seq: u64,
    pub(super) arrivals: u64,
    pub(super) rows: BTreeMap<Arc<str>, Row>,
    pub(super) log: VecDeque<Change>,
    pub(super) ready: BTreeSet<OwnerId>,
}

impl Node {
    pub(super) fn stamp(&self) -> Stamp {
        Stamp { generation: if self.seq == 0 { 0 } else { self.generation }, seq: self.seq }
    }

    pub(super) fn begin_if_none(&mut self) {
        if self.generation == 0 {
            self.last_n += 1;
            self.generations += 1;
            self.generation = (self.last_n << 32) | ((1 << 20) + self.generations);
        }
    }

    pub(super) fn put(&mut self, member: &Arc<Member>, owner: &OwnerId, changes: &mut Vec<RowChange>) {
        let old = self.rows.get(&member.client);
        if old.is_some_and(|old| old.member == *member && old.owner == *owner) {
            return;
        }
        let arrival = old.map_or(self.arrivals + 1, |old| old.arrival);
        self.arrivals = self.arrivals.max(arrival);
        let row = Row { member: member.clone(), owner: owner.clone(), arrival };
        self.rows.insert(member.client.clone(), row.clone());
        changes.push(RowChange::Put(row));
    }

    pub(super) fn gone(&mut self, client: &Arc<str>, changes: &mut Vec<RowChange>) {
        if self.rows.remove(client).is_some() {
            changes.push(RowChange::Gone(client.clone()));
        }
    }

    pub(super) fn change(&mut self, rows: Vec<RowChange>) -> Option<Change> {
        if rows.is_empty() {
            return None;
        }
        self.seq += 1;
        let users: BTreeSet<MemberKey> = self.rows.values().map(|row| row.member.key()).collect();
        let change = Change { stamp: self.stamp(), stats: Stats { clients: self.rows.len(), users: users.len() }, rows };
        self.log.push_back(change.clone());
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
        Some(change)
    }
}

/// A gateway that is served in steps.
pub(super) struct Gateway {
    pub(super) replica: Replica,
    /// Published; from before the node lost everything; brought by own writes.
    pub(super) ways: [VecDeque<Change>; 3],
    pub(super) is_listening: bool,
    pub(super) reading: Option<Reading>,
    pub(super) ready: Option<(Stamp, BTreeSet<OwnerId>)>,
    pub(super) asked_ready_ms: Option<u64>,
    /// The replica's events, by member: present or not.
    pub(super) events: BTreeMap<MemberKey, bool>,
    pub(super) reader: Reader,
    /// Rosters that it has told.
    pub(super) told: Vec<(Version, BTreeMap<MemberKey, Entry>)>,
    pub(super) seq: Stamp,
    /// What it said last of that.
    pub(super) is_stale: bool,
    /// The roamer went away; or the node lost everything before the gateway knew where the roamer was, and nobody can tell
    /// it then that it is still with another owner, who has not announced itself.
    pub(super) has_lost_roamer: bool,
}

pub(super) enum Reading {
    Rows { from: Option<Stamp>, to: Stamp, rows: Vec<Row>, cursor: Option<Arc<str>>, is_over: bool },
    Log(Stamp),
}

/// Follows by the rules on the crate's first page.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) entries: Option<BTreeMap<MemberKey, Entry>>,
}

impl Gateway {
    pub(super) fn new(at_once_max: usize, generation: u64) -> Gateway {
        let tiers = Tiers { at_once_max, batched_max: 1_000 };
        Gateway {
            replica: Replica::new(Arc::new(Rules { region: "local".into(), grace_ms: 0, tiers }), generation),
            ways: Default::default(),
            is_listening: false,
            reading: None,
            ready: None,
            asked_ready_ms: None,
            events: BTreeMap::new(),
            reader: Reader::default(),
            told: Vec::new(),
            seq: Stamp::default(),
            is_stale: false,
            has_lost_roamer: false,
        }
    }

    /// The version of the roster as told.
    pub(super) fn version(&self) -> Version {
        self.replica.page(None, 1).unwrap().version
    }

    /// All pages, united.
    pub(super) fn pages(&self) -> BTreeMap<MemberKey, Entry> {
        let (mut entries, mut cursor) = (BTreeMap::new(), None);
        loop {
            let page = self.replica.page(cursor.as_deref(), 7).unwrap();
            entries.extend(page.snapshot.into_iter().map(|entry| (entry.key(), entry)));
            cursor = page.next;
            if cursor.is_none() {
                return entries;
            }
        }
    }

    pub(super) fn follow(&mut self, diff: &Diff) {
        let stamp = diff.version.stamp("local").unwrap();
        if stamp.generation == self.seq.generation && stamp.generation != 0 {
            assert!(stamp.seq > self.seq.seq, "{diff:?} is not after {:?}", self.seq);
        }
        self.seq = stamp;
        if let Some(entries) = &mut self.reader.entries {
            apply(entries, diff);
            assert_eq!(entries.len(), diff.count);
        }
    }

    pub(super) fn remember(&mut self) {
        let (version, pages) = (self.version(), self.pages());
        assert_eq!(*self.reader.entries.get_or_insert_with(|| pages.clone()), pages, "diffs alone make the roster");
        match self.told.iter().rev().find(|told| told.0 == version) {
            Some(told) => assert_eq!(told.1, pages, "{version} names one roster"),
            None => self.told.push((version, pages)),
        }
    }
}
