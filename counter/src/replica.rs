//! Pure: one replica's counters and the origins that counted them. Every change puts absolute records into a group;
//! replaying records, in their order, from the start or from a snapshot, leads to the same replica.

use crate::{
    absorb::Folding,
    bounded::Demand,
    cell::{Cell, Floor, OriginIndex, Overflow, Slot},
    group::{Cut, Group},
    inclusion::Inclusion,
    law::Law,
    locating::Located,
    origin::{OriginId, Origins},
    record::Fact,
    refusal::AddRefusal,
    table::{CellId, Table},
};
use protocol::name::NameRef;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Counters a replica holds, about 60 bytes each with a key of 16; at the bound additions to new ones are refused.
pub const KEYS_MAX: usize = 100_000_000;

/// What one member has counted in one counter since its last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Sum of the increments.
    pub increments: u128,
    /// Sum of the amounts of the decrements.
    pub decrements: u128,
}

/// All counters of one replica.
#[derive(Debug)]
pub struct Replica {
    pub(crate) table: Table,
    pub(crate) origins: Origins,
    pub(crate) own: OriginIndex,
    /// The own origin may be older than what the peers know of it: nothing is counted as it before they have said.
    pub(crate) provisional: bool,
    /// Who this node is; the epoch is for its next life.
    pub(crate) home: OriginId,
    /// Counts what merges into existing slots without being a maximum, so that a copy of the table taken in pieces notices.
    pub(crate) absorptions: u64,
    /// An absorbed origin whose slots are still there.
    pub(crate) folding: Option<Folding>,
    /// Origins that are part of others' slots, of which only some are here.
    pub(crate) inclusions: Vec<Inclusion>,
    /// The counters that were reset, where floors are.
    pub(crate) floored: BTreeSet<CellId>,
    /// What is taken here of bounded counters.
    pub(crate) demands: HashMap<CellId, Demand>,
    /// Where others wish for rights to bounded counters.
    pub(crate) wishes: BTreeSet<CellId>,
    pub(crate) law: Law,
}

impl Replica {
    /// A replica that knows nothing. `seed` is random.
    #[must_use]
    pub fn new(seed: u64) -> Replica {
        let home = OriginId { region: String::new(), node: String::new(), epoch: 0 };
        let (table, origins) = (Table::new(seed), Origins::default());
        Replica {
            table,
            origins,
            own: 0,
            provisional: false,
            home,
            absorptions: 0,
            folding: None,
            inclusions: Vec::new(),
            floored: BTreeSet::new(),
            demands: HashMap::new(),
            wishes: BTreeSet::new(),
            law: Law::default(),
        }
    }

    /// The newest position of the own stream.
    #[must_use]
    pub fn own_seq(&self) -> u64 {
        if self.origins.contains(self.own) { self.origins[self.own].seq } else { 0 }
    }

    /// The own origin.
    #[must_use]
    pub fn own(&self) -> OriginIndex {
        self.own
    }

    /// Where the counters are.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// All origins.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Adds `by` and returns the new value; 0 changes nothing.
    pub fn add(&mut self, at: Located<'_>, by: i64, out: &mut Group) -> Result<i64, AddRefusal> {
        let key = at.key.as_str();
        let known = self.cell_id(at);
        if by == 0 {
            let value = known.map_or(0, |id| Cell::new(&self.table, id).value());
            return i64::try_from(value).map_err(|_| AddRefusal::Overflow(Overflow::of(value)));
        }
        if known.is_none() && self.table.count() >= KEYS_MAX {
            return Err(AddRefusal::KeysFull);
        }
        self.ready_to_write(out);
        let own = self.own;
        let id = known.unwrap_or_else(|| self.table.insert(at.hash, key, own));
        self.settle(id);
        let cell = Cell::new(&self.table, id);
        let (slot, value) = cell.added(own, by).map_err(AddRefusal::Overflow)?;
        let by_law = self.law.addition(cell, own, by);
        self.put_own(id, key, slot, out);
        self.law.compare(by_law, Cell::new(&self.table, id));
        Ok(value)
    }

    /// Observed reset: what is known of the counter here no longer counts. Returns whether anything did.
    pub fn reset(&mut self, at: Located<'_>, out: &mut Group) -> bool {
        let Some(id) = self.cell_id(at) else { return false };
        self.settle(id);
        let cell = Cell::new(&self.table, id);
        let seen: Vec<_> = cell.slots().filter(|(origin, slot)| slot.sums().above(cell.floor(*origin)) != Floor::default()).collect();
        if seen.is_empty() {
            return false;
        }
        self.ready_to_write(out);
        let (own, key) = (self.own, at.key.as_str());
        for (origin, slot) in seen {
            let sums = Cell::new(&self.table, id).floor_by(own, origin).sums().join(slot.sums());
            let seq = out.own_fact(own, Fact::Floor { origin, key, sums });
            self.merge_floor(id, key, (own, origin), sums, seq);
            self.know_seq(own, seq);
        }
        true
    }

    /// The exact value; `None` for a counter that nobody counted since its last reset.
    #[must_use]
    pub fn value(&self, key: NameRef<'_>) -> Option<i128> {
        self.cell(key).filter(|cell| cell.is_live()).map(Cell::value)
    }

    /// What each member, as `region/node`, has counted; the sum of the increments less that of the decrements is the value.
    #[must_use]
    pub fn entries(&self, key: NameRef<'_>) -> BTreeMap<String, Entry> {
        let mut entries = BTreeMap::<String, Entry>::new();
        let Some(cell) = self.cell(key) else { return entries };
        for (index, slot) in cell.slots() {
            let counts = slot.sums().above(cell.floor(index));
            if counts != Floor::default() {
                let entry = entries.entry(self.origins[index].member.clone()).or_default();
                entry.increments += u128::from(counts.p);
                entry.decrements += u128::from(counts.n);
            }
        }
        entries
    }

    /// Every slot and floor of a counter.
    #[must_use]
    pub fn entries_of(&self, key: NameRef<'_>) -> Vec<crate::table::Entry> {
        self.cell(key).map(|cell| cell.entries().collect()).unwrap_or_default()
    }

    /// How many counters there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.count()
    }

    /// Changes that `crdts` would have done otherwise; must stay 0.
    #[must_use]
    pub fn law_violations(&self) -> u64 {
        self.law.violations
    }

    /// How far all streams reach now.
    #[must_use]
    pub fn cut(&self) -> Cut {
        let cursors = self.origins.iter().map(|(index, origin)| (index, origin.seq)).collect();
        let is_known = self.origins.contains(self.own) && !self.is_folding_into(self.own);
        Cut { cursors, own: self.own, digest: is_known.then(|| self.origins[self.own].digest()) }
    }

    /// What is up to `cut` is on disk.
    pub fn committed(&mut self, cut: &Cut) {
        for (index, seq) in &cut.cursors {
            let origin = &mut self.origins[*index];
            origin.durable_seq = origin.durable_seq.max(*seq);
        }
    }

    pub(crate) fn cell(&self, key: NameRef<'_>) -> Option<Cell<'_>> {
        self.locate(key).id.map(|id| self.look(id))
    }

    pub(crate) fn look(&self, id: CellId) -> Cell<'_> {
        Cell::new(&self.table, id)
    }

    /// Writes the own slot and puts it down.
    #[inline]
    pub(crate) fn put_own(&mut self, id: CellId, key: &str, slot: Slot, out: &mut Group) {
        let own = self.own;
        let seq = out.own_slot(own, key, slot.seq, slot.sums());
        self.merge_slot(id, key, own, Slot { seq, ..slot });
        self.know_seq(own, seq);
    }

    pub(crate) fn know_seq(&mut self, origin: OriginIndex, seq: u64) {
        let origin = &mut self.origins[origin];
        origin.seq = origin.seq.max(seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        law::LAW_SAMPLE,
        record::{Malformed, Record},
        table::Place,
    };

    fn key(text: &str) -> NameRef<'_> {
        NameRef::parse(text.as_bytes()).unwrap()
    }

    fn add(replica: &mut Replica, text: &str, by: i64, group: &mut Group) -> Result<i64, AddRefusal> {
        replica.add(replica.locate(key(text)), by, group)
    }

    fn reset(replica: &mut Replica, text: &str, group: &mut Group) -> bool {
        replica.reset(replica.locate(key(text)), group)
    }

    fn replica(node: &str, epoch: u64) -> (Replica, Group) {
        let (mut replica, mut group) = (Replica::new(1), Group::new(1, 1));
        replica.count_as("eu", node, epoch, &mut group);
        (replica, group)
    }

    fn replay(bytes: &[u8]) -> Replica {
        let mut copy = Replica::new(2);
        Record::decode_all(bytes).for_each(|record| copy.apply(&record.unwrap()).unwrap());
        copy
    }

    #[test]
    fn what_a_replica_puts_down_leads_to_the_same_replica_even_twice() {
        let (mut replica, mut group) = replica("c1", 7);
        add(&mut replica, "a", 5, &mut group).unwrap();
        add(&mut replica, "b", -3, &mut group).unwrap();
        reset(&mut replica, "a", &mut group);
        add(&mut replica, "a", 2, &mut group).unwrap();
        let twice = [group.records(), group.records()].concat();
        let mut snapshot = Vec::new();
        replica.copy_origins(&mut snapshot);
        let mut place = Place::default();
        assert!(replica.copy_counters(&mut place, 1, &mut snapshot));
        assert!(!replica.copy_counters(&mut place, 2, &mut snapshot));
        for mut copy in [replay(group.records()), replay(&twice), replay(&snapshot)] {
            assert_eq!(copy.value(key("a")), Some(2));
            assert_eq!(copy.value(key("b")), Some(-3));
            assert_eq!(copy.session(), replica.session());
            copy.count_as("eu", "c1", 99, &mut group);
            assert_eq!(copy.origins.count(), 1, "the same node goes on in the same life");
        }
    }

    #[test]
    fn a_node_with_another_name_counts_beside_what_the_disk_holds() {
        let (mut replica, mut group) = replica("c1", 7);
        add(&mut replica, "a", 5, &mut group).unwrap();
        let mut group = Group::new(2, 1);
        replica.count_as("eu", "c2", 8, &mut group);
        add(&mut replica, "a", -1, &mut group).unwrap();
        assert_eq!(replica.value(key("a")), Some(4));
        let entries = replica.entries(key("a"));
        assert_eq!(entries["eu/c1"], Entry { increments: 5, decrements: 0 });
        assert_eq!(entries["eu/c2"], Entry { increments: 0, decrements: 1 });
        reset(&mut replica, "a", &mut group);
        assert!(replica.entries(key("a")).is_empty());

        replica.count_as("eu", "c1", 9, &mut group);
        let mut snapshot = Vec::new();
        replica.copy_origins(&mut snapshot);
        assert_eq!(replay(&snapshot).own_seq(), replica.own_seq(), "back in the first life, also after a restart");
    }

    #[test]
    fn a_session_is_covered_where_everything_it_saw_is_known() {
        let (mut here, mut group) = replica("c1", 7);
        add(&mut here, "a", 1, &mut group).unwrap();
        let other = replay(group.records());
        assert_eq!(other.covers(&here.session()), Ok(true));
        let mut next = Group::new(2, here.own_seq() + 1);
        add(&mut here, "a", 1, &mut next).unwrap();
        assert_eq!(other.covers(&here.session()), Ok(false));
        assert_eq!(here.covers(&other.session()), Ok(true));
        assert_eq!(here.covers("1.ff-1"), Ok(false), "an origin never heard of");
        assert_eq!(here.covers("nonsense"), Err(crate::BadSession));
    }

    #[test]
    fn adding_nothing_and_refused_additions_leave_no_trace() {
        let (mut replica, mut group) = replica("c1", 7);
        let size = group.byte_count();
        assert_eq!(add(&mut replica, "a", 0, &mut group), Ok(0));
        assert_eq!(replica.value(key("a")), None);
        assert!(!reset(&mut replica, "a", &mut group));
        assert_eq!(group.byte_count(), size);
        add(&mut replica, "a", i64::MAX, &mut group).unwrap();
        let bytes = group.records().to_vec();
        assert!(matches!(add(&mut replica, "a", 1, &mut group), Err(AddRefusal::Overflow(_))));
        assert_eq!(group.records(), bytes);
    }

    #[test]
    fn additions_and_merges_are_sampled_by_the_law() {
        let (mut replica, mut group) = replica("c1", 7);
        for _ in 0..2 * LAW_SAMPLE {
            add(&mut replica, "a", 1, &mut group).unwrap();
        }
        let copy = replay(group.records());
        assert_eq!((replica.law.additions, replica.law.merges, replica.law_violations()), (2 * LAW_SAMPLE, 0, 0));
        assert_eq!((copy.law.additions, copy.law.merges, copy.law_violations()), (0, 1, 0), "one record, one merge");
    }

    #[test]
    fn records_of_unknown_origins_or_bad_names_are_refused() {
        let (mut replica, _) = replica("c1", 7);
        let slot = |by, key| Record::Fact { by, seq: 1, fact: Fact::Slot { key, sums: Floor { p: 1, n: 0 } } };
        assert_eq!(replica.apply(&slot(1, "a")), Err(Malformed));
        assert_eq!(replica.apply(&slot(0, "a b")), Err(Malformed));
        assert_eq!(replica.apply(&slot(0, "a")), Ok(()));
    }
}
