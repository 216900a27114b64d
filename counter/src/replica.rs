//! Pure: one replica's counters and the origins that counted them. Every change puts absolute records into a group;
//! replaying records, in any order and any number of times, leads to the same replica.

use crate::{
    cell::{Cell, OriginIndex, Overflow},
    group::Group,
    record::{Malformed, Record},
    session::{self, BadSession},
};
use protocol::name::CounterKey;
use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
};

/// Counters a replica holds, about 100 bytes each and the key; at the bound additions to new ones are refused.
pub const KEYS_MAX: usize = 100_000_000;
/// One addition in this many is redone with `crdts`.
pub const LAW_SAMPLE: u64 = 1 << 10;

/// Who counts: a node of a region in one of its lives. The epoch is random; a node whose disk is gone takes a new one,
/// so that what it counts anew cannot hide under what others remember of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginId {
    /// The region's name, at most 255 bytes.
    pub region: String,
    /// The node's name, at most 255 bytes.
    pub node: String,
    /// The random number of this life.
    pub epoch: u64,
}

/// What one node has counted in one counter since its last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Sum of the increments.
    pub increments: u128,
    /// Sum of the amounts of the decrements.
    pub decrements: u128,
}

/// Why an addition was refused; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddRefusal {
    /// A smaller amount may fit.
    Overflow(Overflow),
    /// [`KEYS_MAX`] counters exist, and this is a new one.
    KeysFull,
}

/// All counters of one replica.
#[derive(Debug, Default)]
pub struct Replica {
    origins: Vec<Origin>,
    own: OriginIndex,
    index: HashMap<CounterKey, u32>,
    counters: Vec<(CounterKey, Cell)>,
    additions: u64,
    law_violations: u64,
}

#[derive(Debug)]
struct Origin {
    id: OriginId,
    own: bool,
    seq: u64,
}

impl Replica {
    /// Counts as `node` of `region` from now on: in the newest life that this disk knows of it, else in a new one with `epoch`.
    /// Returns the record that says so, or `None` if no index is left for another origin.
    pub fn count_as(&mut self, region: &str, node: &str, epoch: u64) -> Option<Record<'_>> {
        let is_mine = |origin: &Origin| origin.own && origin.id.region == region && origin.id.node == node;
        let at = self.origins.iter().rposition(is_mine);
        self.own = OriginIndex::try_from(at.unwrap_or(self.origins.len())).ok()?;
        if at.is_none() {
            self.origins.push(Origin { id: OriginId { region: region.to_owned(), node: node.to_owned(), epoch }, own: true, seq: 0 });
        }
        self.origin_record(self.own)
    }

    /// The newest position of the own stream.
    #[must_use]
    pub fn own_seq(&self) -> u64 {
        self.origins.get(usize::from(self.own)).map_or(0, |origin| origin.seq)
    }

    /// Adds `by` and returns the new value; 0 changes nothing.
    pub fn add(&mut self, key: &CounterKey, by: i64, out: &mut Group) -> Result<i64, AddRefusal> {
        let own = self.own;
        if by == 0 {
            let value = self.value(key).unwrap_or(0);
            return i64::try_from(value).map_err(|_| AddRefusal::Overflow(Overflow { value }));
        }
        if self.counters.len() >= KEYS_MAX && !self.index.contains_key(key) {
            return Err(AddRefusal::KeysFull);
        }
        self.additions += 1;
        let before = self.additions.is_multiple_of(LAW_SAMPLE).then(|| self.cell(key).cloned().unwrap_or_else(|| Cell::new(own)));
        let Ok(cell) = self.cell_mut(key.as_str(), || Ok::<_, Infallible>(key.clone()));
        let value = cell.add(own, by).map_err(AddRefusal::Overflow)?;
        let seq = out.own_slot(own, key.as_str(), cell.slot(own));
        cell.slot_mut(own).seq = seq;
        let broken = before.is_some_and(|before| !cell.obeys_law(&before, own, by));
        self.law_violations += u64::from(broken);
        self.know_seq(own, seq);
        Ok(value)
    }

    /// Observed reset: what is known of the counter here no longer counts. Returns whether anything did.
    pub fn reset(&mut self, key: &CounterKey, out: &mut Group) -> bool {
        let Some(at) = self.index.get(key.as_str()) else { return false };
        let floors = self.counters[*at as usize].1.reset();
        for (origin, floor) in &floors {
            out.own_record(|seq| Record::Floor { origin: *origin, key: key.as_str(), floor: *floor, seq });
        }
        if !floors.is_empty() {
            self.know_seq(self.own, out.next_seq() - 1);
        }
        !floors.is_empty()
    }

    /// Takes in one record of a log, a snapshot or another replica's stream; only its format can be wrong.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        match *record {
            Record::Origin { index, own, seq, epoch, region, node } => {
                let id = OriginId { region: region.to_owned(), node: node.to_owned(), epoch };
                let count = self.origins.len();
                match self.origins.get_mut(usize::from(index)) {
                    Some(origin) if origin.id == id => origin.seq = origin.seq.max(seq),
                    None if count == usize::from(index) => self.origins.push(Origin { id, own, seq }),
                    _ => return Err(Malformed),
                }
                if own {
                    self.own = index;
                }
            }
            Record::Slot { origin, key, slot } => {
                self.known(origin)?;
                self.cell_mut(key, || CounterKey::parse(key).map_err(|_| Malformed))?.merge_slot(origin, slot);
                self.know_seq(origin, slot.seq);
            }
            Record::Floor { origin, key, floor, seq } => {
                self.known(origin)?;
                self.cell_mut(key, || CounterKey::parse(key).map_err(|_| Malformed))?.merge_floor(origin, floor);
                self.know_seq(self.own, seq);
            }
            Record::Token { .. } | Record::Forgotten { .. } => {}
        }
        Ok(())
    }

    /// The exact value; `None` for a counter that nobody counted since its last reset.
    #[must_use]
    pub fn value(&self, key: &CounterKey) -> Option<i128> {
        self.cell(key).filter(|cell| cell.is_live()).map(Cell::value)
    }

    /// What each node, as `region/node`, has counted; the sum of the increments less that of the decrements is the value.
    #[must_use]
    pub fn entries(&self, key: &CounterKey) -> BTreeMap<String, Entry> {
        let mut entries = BTreeMap::<String, Entry>::new();
        let Some(cell) = self.cell(key) else { return entries };
        for (index, slot) in cell.slots() {
            let (OriginId { region, node, .. }, floor) = (&self.origins[usize::from(index)].id, cell.floor(index));
            if (slot.p, slot.n) == (floor.p, floor.n) {
                continue;
            }
            let entry = entries.entry(format!("{region}/{node}")).or_default();
            entry.increments += u128::from(slot.p - floor.p);
            entry.decrements += u128::from(slot.n - floor.n);
        }
        entries
    }

    /// How far each origin's stream is known here, as an opaque string.
    #[must_use]
    pub fn session(&self) -> String {
        session::encode(&self.origins.iter().filter(|origin| origin.seq > 0).map(|origin| (origin.id.epoch, origin.seq)).collect())
    }

    /// Whether everything that `session` saw is known here.
    pub fn covers(&self, session: &str) -> Result<bool, BadSession> {
        let is_known = |epoch: u64, seq: u64| self.origins.iter().any(|origin| origin.id.epoch == epoch && origin.seq >= seq);
        Ok(session::decode(session)?.into_iter().all(|(epoch, seq)| is_known(epoch, seq)))
    }

    /// How many counters there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.counters.len()
    }

    /// Additions that `crdts` would have done otherwise; must stay 0.
    #[must_use]
    pub fn law_violations(&self) -> u64 {
        self.law_violations
    }

    /// Appends the records of all origins to `out`, and again that of the present own one, because the last own one holds.
    pub fn copy_origins(&self, out: &mut Vec<u8>) {
        let all = (0..=OriginIndex::MAX).map_while(|index| self.origin_record(index));
        all.chain(self.origin_record(self.own)).for_each(|record| record.encode(out));
    }

    /// Appends the records of at most `count` counters from the `start`-th on; returns whether there are more.
    pub fn copy_counters(&self, start: usize, count: usize, out: &mut Vec<u8>) -> bool {
        for (key, cell) in self.counters.iter().skip(start).take(count) {
            let key = key.as_str();
            cell.slots().for_each(|(origin, slot)| Record::Slot { origin, key, slot }.encode(out));
            cell.floors().for_each(|(origin, floor)| Record::Floor { origin, key, floor, seq: 0 }.encode(out));
        }
        start + count < self.counters.len()
    }

    fn origin_record(&self, index: OriginIndex) -> Option<Record<'_>> {
        let Origin { id: OriginId { region, node, epoch }, own, seq } = self.origins.get(usize::from(index))?;
        Some(Record::Origin { index, own: *own, seq: *seq, epoch: *epoch, region, node })
    }

    fn known(&self, origin: OriginIndex) -> Result<(), Malformed> {
        if usize::from(origin) < self.origins.len() { Ok(()) } else { Err(Malformed) }
    }

    fn know_seq(&mut self, origin: OriginIndex, seq: u64) {
        if let Some(origin) = self.origins.get_mut(usize::from(origin)) {
            origin.seq = origin.seq.max(seq);
        }
    }

    fn cell(&self, key: &CounterKey) -> Option<&Cell> {
        self.index.get(key.as_str()).map(|at| &self.counters[*at as usize].1)
    }

    fn cell_mut<E>(&mut self, key: &str, name: impl FnOnce() -> Result<CounterKey, E>) -> Result<&mut Cell, E> {
        let at = if let Some(at) = self.index.get(key) {
            *at as usize
        } else {
            let (at, name) = (self.counters.len(), name()?);
            // KEYS_MAX fits in 32 bits.
            self.index.insert(name.clone(), u32::try_from(at).unwrap_or(u32::MAX));
            self.counters.push((name, Cell::new(self.own)));
            at
        };
        Ok(&mut self.counters[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Slot;

    fn key(text: &str) -> CounterKey {
        CounterKey::parse(text).unwrap()
    }

    fn replica(node: &str, epoch: u64) -> (Replica, Group) {
        let (mut replica, mut group) = (Replica::default(), Group::new(1, 1));
        group.push(&replica.count_as("eu", node, epoch).unwrap());
        (replica, group)
    }

    fn replay(bytes: &[u8]) -> Replica {
        let mut copy = Replica::default();
        Record::decode_all(bytes).for_each(|record| copy.apply(&record.unwrap()).unwrap());
        copy
    }

    #[test]
    fn what_a_replica_puts_down_leads_to_the_same_replica_even_twice() {
        let (mut replica, mut group) = replica("c1", 7);
        replica.add(&key("a"), 5, &mut group).unwrap();
        replica.add(&key("b"), -3, &mut group).unwrap();
        replica.reset(&key("a"), &mut group);
        replica.add(&key("a"), 2, &mut group).unwrap();
        let twice = [group.records(), group.records()].concat();
        let mut snapshot = Vec::new();
        replica.copy_origins(&mut snapshot);
        assert!(replica.copy_counters(0, 1, &mut snapshot));
        assert!(!replica.copy_counters(1, 1, &mut snapshot));
        for mut copy in [replay(group.records()), replay(&twice), replay(&snapshot)] {
            assert_eq!(copy.value(&key("a")), Some(2));
            assert_eq!(copy.value(&key("b")), Some(-3));
            assert_eq!(copy.session(), replica.session());
            copy.count_as("eu", "c1", 99).unwrap();
            assert_eq!(copy.origins.len(), 1, "the same node goes on in the same life");
        }
    }

    #[test]
    fn a_node_with_another_name_counts_beside_what_the_disk_holds() {
        let (mut replica, mut group) = replica("c1", 7);
        replica.add(&key("a"), 5, &mut group).unwrap();
        replica.count_as("eu", "c2", 8).unwrap();
        let mut group = Group::new(2, replica.own_seq() + 1);
        replica.add(&key("a"), -1, &mut group).unwrap();
        assert_eq!(replica.value(&key("a")), Some(4));
        let entries = replica.entries(&key("a"));
        assert_eq!(entries["eu/c1"], Entry { increments: 5, decrements: 0 });
        assert_eq!(entries["eu/c2"], Entry { increments: 0, decrements: 1 });
        replica.reset(&key("a"), &mut group);
        assert!(replica.entries(&key("a")).is_empty());

        replica.count_as("eu", "c1", 9).unwrap();
        let mut snapshot = Vec::new();
        replica.copy_origins(&mut snapshot);
        assert_eq!(replay(&snapshot).own_seq(), replica.own_seq(), "back in the first life, also after a restart");
    }

    #[test]
    fn a_session_is_covered_where_everything_it_saw_is_known() {
        let (mut here, mut group) = replica("c1", 7);
        here.add(&key("a"), 1, &mut group).unwrap();
        let other = replay(group.records());
        assert_eq!(other.covers(&here.session()), Ok(true));
        let mut next = Group::new(2, here.own_seq() + 1);
        here.add(&key("a"), 1, &mut next).unwrap();
        assert_eq!(other.covers(&here.session()), Ok(false));
        assert_eq!(here.covers(&other.session()), Ok(true));
        assert_eq!(here.covers("1.ff-1"), Ok(false), "an origin never heard of");
        assert_eq!(here.covers("nonsense"), Err(BadSession));
    }

    #[test]
    fn adding_nothing_and_refused_additions_leave_no_trace() {
        let (mut replica, mut group) = replica("c1", 7);
        let size = group.byte_count();
        assert_eq!(replica.add(&key("a"), 0, &mut group), Ok(0));
        assert_eq!(replica.value(&key("a")), None);
        assert!(!replica.reset(&key("a"), &mut group));
        assert_eq!(group.byte_count(), size);
        replica.add(&key("a"), i64::MAX, &mut group).unwrap();
        let bytes = group.records().to_vec();
        assert!(matches!(replica.add(&key("a"), 1, &mut group), Err(AddRefusal::Overflow(_))));
        assert_eq!(group.records(), bytes);
    }

    #[test]
    fn sampled_additions_are_redone_with_crdts() {
        let (mut replica, mut group) = replica("c1", 7);
        for _ in 0..2 * LAW_SAMPLE {
            replica.add(&key("a"), 1, &mut group).unwrap();
        }
        assert_eq!((replica.additions, replica.law_violations()), (2 * LAW_SAMPLE, 0));
    }

    #[test]
    fn records_of_unknown_origins_or_bad_names_are_refused() {
        let (mut replica, _) = replica("c1", 7);
        let slot = Slot { p: 1, n: 0, seq: 1 };
        assert_eq!(replica.apply(&Record::Slot { origin: 1, key: "a", slot }), Err(Malformed));
        assert_eq!(replica.apply(&Record::Slot { origin: 0, key: "a b", slot }), Err(Malformed));
        assert_eq!(replica.apply(&Record::Slot { origin: 0, key: "a", slot }), Ok(()));
    }
}
