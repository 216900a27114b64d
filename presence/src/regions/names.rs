//! Pure: the members of one region in one room, as the room's readers here are told of them, and what is to be told next.

use super::word::Delta;
use crate::{
    diff::Diff,
    journal::Journal,
    member::{Entry, MemberKey, Regions},
    version::{Stamp, Version},
};
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// What is told is told whole: members, stamp and journal change together, in [`Names::settle`]. What came since waits, as the net
/// of it. Names that are not known are those of the stamp 0:0, of which nobody is a member, everywhere.
#[derive(Debug)]
pub(super) struct Names {
    members: BTreeMap<MemberKey, Entry>,
    /// Of all members.
    clients: usize,
    /// Who has changed since, and as what; `None` for one who has left.
    pending: BTreeMap<MemberKey, Option<Entry>>,
    /// Of what the members are.
    stamp: Stamp,
    /// What the pending changes lead to.
    head: Stamp,
    journal: Journal,
    /// What stands in the entries of those who are in no other region.
    alone: Arc<Regions>,
}

impl Names {
    pub(super) fn unknown(region: &Arc<str>) -> Names {
        let journal = Journal::new(region.clone(), Stamp::default(), 0);
        let (members, pending, alone) = (BTreeMap::new(), BTreeMap::new(), Regions::of([region]));
        Names { members, clients: 0, pending, stamp: Stamp::default(), head: Stamp::default(), journal, alone }
    }

    pub(super) fn get(&self, key: &MemberKey) -> Option<&Entry> {
        self.members.get(key)
    }

    /// The keys after `last`, in order.
    pub(super) fn keys_after<'a>(&'a self, last: Option<&'a MemberKey>) -> impl Iterator<Item = &'a MemberKey> {
        let range = (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.members.range(range).map(|(key, _)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn clients(&self) -> usize {
        self.clients
    }

    pub(super) fn alone(&self) -> &Arc<Regions> {
        &self.alone
    }

    /// Where the members are as told.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Where they are with what is pending.
    pub(super) fn head(&self) -> Stamp {
        self.head
    }

    /// The most who can be held with what is pending.
    pub(super) fn most(&self) -> usize {
        self.members.len() + self.pending.len()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.head != self.stamp
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &MemberKey> {
        self.pending.keys()
    }

    /// Takes in a delta that follows on the head.
    pub(super) fn apply(&mut self, delta: Delta) {
        self.pending.extend(delta.changes);
        self.go_to(delta.to);
    }

    /// The members are these now, whatever was pending.
    pub(super) fn replace(&mut self, entries: BTreeMap<MemberKey, Entry>, stamp: Stamp) {
        let gone = self.members.keys().filter(|key| !entries.contains_key(key)).map(|key| (key.clone(), None));
        self.pending = gone.collect();
        self.pending.extend(entries.into_iter().map(|(key, entry)| (key, Some(entry))));
        self.go_to(stamp);
    }

    /// What is pending is told now.
    pub(super) fn settle(&mut self, now_ms: u64) {
        let mut diff = Diff::empty(self.journal.version(), 0);
        for (key, after) in std::mem::take(&mut self.pending) {
            let before = match after.clone() {
                Some(after) => self.members.insert(key, after),
                None => self.members.remove(&key),
            };
            let clients = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.num_clients() as usize);
            self.clients = self.clients + clients(&after) - clients(&before);
            diff.add(before, after);
        }
        self.stamp = self.head;
        if diff.is_empty() {
            self.journal.pass(now_ms);
        } else {
            self.journal.record(diff, None, now_ms);
        }
    }

    /// What changed since `version`; `None` if that is not remembered.
    pub(super) fn since(&self, version: &Version) -> Option<Diff> {
        self.journal.since(version)
    }

    pub(super) fn expire(&mut self, now_ms: u64) {
        self.journal.expire(now_ms);
    }

    pub(super) fn expires_ms(&self) -> Option<u64> {
        self.journal.expires_ms()
    }

    fn go_to(&mut self, stamp: Stamp) {
        self.head = stamp;
        self.journal.reach(stamp);
    }
}
