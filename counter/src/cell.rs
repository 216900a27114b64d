//! Pure: one PN-counter. Per origin a slot `(p, n)` that only grows and is merged by maximum, and floors that observed
//! resets leave under slots. Value = Σ(p ⊖ floor.p) − Σ(n ⊖ floor.n), where an origin's floor is the highest that anybody set
//! and ⊖ stops at 0: a floor may come before the slot that it was taken from.
//!
//! The flat entries of the table are the storage; `crdts::PNCounter` is the law they are tested against (`law.rs`).

use crate::{
    table::{CellId, Entry, Table, Tally},
    vote,
};

/// The place of an origin in its replica's list of origins.
pub type OriginIndex = u16;

/// What one origin has counted in one counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Sum of the origin's increments.
    pub p: u64,
    /// Sum of the amounts of its decrements.
    pub n: u64,
    /// Position of the slot's newest change in the origin's stream.
    pub seq: u64,
}

/// What an observed reset takes off one origin's slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// Increments that no longer count.
    pub p: u64,
    /// Decrements that no longer count.
    pub n: u64,
}

impl Slot {
    /// The slot that knows what both know.
    #[must_use]
    pub fn join(self, other: Slot) -> Slot {
        Slot { p: self.p.max(other.p), n: self.n.max(other.n), seq: self.seq.max(other.seq) }
    }

    /// The slot after an addition of `by`; `None` if a sum would leave its range.
    #[must_use]
    pub fn plus(self, by: i64) -> Option<Slot> {
        let amount = by.unsigned_abs();
        Some(if by < 0 { Slot { n: self.n.checked_add(amount)?, ..self } } else { Slot { p: self.p.checked_add(amount)?, ..self } })
    }

    /// The sums without their position.
    #[must_use]
    pub fn sums(self) -> Floor {
        Floor { p: self.p, n: self.n }
    }
}

impl Floor {
    /// The floor that both set.
    #[must_use]
    pub fn join(self, other: Floor) -> Floor {
        Floor { p: self.p.max(other.p), n: self.n.max(other.n) }
    }

    /// What both know.
    #[must_use]
    pub fn meet(self, other: Floor) -> Floor {
        Floor { p: self.p.min(other.p), n: self.n.min(other.n) }
    }

    /// What remains above `floor`.
    #[must_use]
    pub fn above(self, floor: Floor) -> Floor {
        Floor { p: self.p.saturating_sub(floor.p), n: self.n.saturating_sub(floor.n) }
    }

    /// What the sums come to.
    #[must_use]
    pub fn balance(self) -> i128 {
        i128::from(self.p) - i128::from(self.n)
    }
}

/// A slot or the value would leave its range. Nothing changed; a smaller amount may fit. The value stands here in halves: an
/// error aligned as an i128 would make the results of all additions be compared sixteen bytes at a time, which waits for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is, or would be, outside the signed 64-bit range (it is {})", self.value())]
pub struct Overflow {
    high: i64,
    low: u64,
}

impl Overflow {
    /// That of a counter whose value is `value`.
    #[must_use]
    pub fn of(value: i128) -> Overflow {
        // Shifted, the high half fits; masked, the low one does.
        Overflow {
            high: i64::try_from(value >> 64).unwrap_or_default(),
            low: u64::try_from(value & i128::from(u64::MAX)).unwrap_or_default(),
        }
    }

    /// The value as it stands.
    #[inline]
    #[must_use]
    pub fn value(self) -> i128 {
        i128::from(self.high) << 64 | i128::from(self.low)
    }
}

/// One counter, as the table holds it.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    table: &'a Table,
    id: CellId,
}

impl<'a> Cell<'a> {
    /// A look at counter `id`.
    #[must_use]
    pub fn new(table: &'a Table, id: CellId) -> Cell<'a> {
        Cell { table, id }
    }

    /// The exact value, which merges may carry outside i64: what was counted, and the votes that are on. That of a vote is 1 while it is on.
    #[inline]
    #[must_use]
    pub fn value(self) -> i128 {
        if self.id.is_vote() {
            return i128::from(self.is_on());
        }
        if let Some((_, slot)) = self.table.only_slot(self.id) {
            return slot.sums().balance();
        }
        if let Some(tally) = self.table.only_tally(self.id) {
            return tally.on.into();
        }
        let slots: i128 = self.slots().map(|(_, slot)| slot.sums().balance()).sum();
        let floors = self.floors().into_iter().map(|(origin, floor)| self.slot(origin).sums().meet(floor).balance());
        let value = slots - floors.sum::<i128>() + i128::from(self.table.tally(self.id).on);
        // What was taken may be known here before what it was taken from.
        if value < 0 && self.table.is_bounded(self.id) { 0 } else { value }
    }

    /// The causal length of a vote: how often it was turned.
    #[must_use]
    pub fn length(self) -> u64 {
        if let Some((_, slot)) = self.table.only_slot(self.id) {
            return slot.p;
        }
        self.slots().map(|(_, slot)| slot.p).max().unwrap_or(0)
    }

    /// Whether it is a vote that is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.id.is_vote() && vote::is_on(self.length())
    }

    /// Whether anything was counted since the last reset, even if it adds up to nothing, or anybody has ever voted.
    #[must_use]
    pub fn is_live(self) -> bool {
        if let Some((_, slot)) = self.table.only_slot(self.id) {
            return slot.sums() != Floor::default();
        }
        let floors = self.floors();
        let floor = |origin: OriginIndex| floors.iter().find(|(of, _)| *of == origin).map(|(_, floor)| *floor).unwrap_or_default();
        self.slots().any(|(origin, slot)| slot.p > floor(origin).p || slot.n > floor(origin).n)
            || self.table.tally(self.id) != Tally::default()
    }

    /// `origin`'s slot after adding `by`, and the value then.
    #[inline]
    pub fn added(self, origin: OriginIndex, by: i64) -> Result<(Slot, i64), Overflow> {
        let (slot, value) = match self.table.only_slot(self.id) {
            // Most counters are counted by one origin.
            Some((only, slot)) if only == origin => (slot, slot.sums().balance()),
            _ => (self.slot(origin), self.value()),
        };
        let after = value + i128::from(by);
        match (slot.plus(by), i64::try_from(after)) {
            (Some(slot), Ok(after)) => Ok((slot, after)),
            _ => Err(Overflow::of(value)),
        }
    }

    /// `origin`'s slot; zeros if it never counted here.
    #[must_use]
    pub fn slot(self, origin: OriginIndex) -> Slot {
        // Most counters are counted by one origin.
        if let Some((at, slot)) = self.table.only_slot(self.id) {
            return if at == origin { slot } else { Slot::default() };
        }
        self.slots().find(|(at, _)| *at == origin).map(|(_, slot)| slot).unwrap_or_default()
    }

    /// The highest floor under `origin`'s slot; zeros if it was never reset here.
    #[must_use]
    pub fn floor(self, origin: OriginIndex) -> Floor {
        self.floors().into_iter().find(|(of, _)| *of == origin).map(|(_, floor)| floor).unwrap_or_default()
    }

    /// The floor that `by` has set under `origin`'s slot.
    #[must_use]
    pub fn floor_by(self, by: OriginIndex, origin: OriginIndex) -> Slot {
        let floor = self.entries().find(|entry| entry.by == Some(by) && entry.origin == origin);
        floor.map(|entry| entry.slot).unwrap_or_default()
    }

    /// Every slot.
    pub fn slots(self) -> impl Iterator<Item = (OriginIndex, Slot)> + 'a {
        self.entries().filter(|entry| entry.by.is_none()).map(|entry| (entry.origin, entry.slot))
    }

    /// The highest floor under each slot that has one.
    #[must_use]
    pub fn floors(self) -> Vec<(OriginIndex, Floor)> {
        let mut floors = Vec::<(OriginIndex, Floor)>::new();
        for entry in self.entries().filter(|entry| entry.by.is_some()) {
            match floors.iter_mut().find(|(of, _)| *of == entry.origin) {
                Some((_, floor)) => *floor = floor.join(entry.slot.sums()),
                None => floors.push((entry.origin, entry.slot.sums())),
            }
        }
        floors
    }

    /// Every slot and every floor.
    pub fn entries(self) -> impl Iterator<Item = Entry> + 'a {
        self.table.entries(self.id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One counter in a table of its own.
    #[derive(Debug)]
    pub(crate) struct One(pub(crate) Table, pub(crate) CellId);

    impl One {
        pub(crate) fn new() -> One {
            let mut table = Table::new(7);
            let id = table.insert(table.hash("a"), "a", 0);
            One(table, id)
        }

        pub(crate) fn cell(&self) -> Cell<'_> {
            Cell::new(&self.0, self.1)
        }

        pub(crate) fn add(&mut self, origin: OriginIndex, by: i64) -> Result<i64, Overflow> {
            let (slot, value) = self.cell().added(origin, by)?;
            self.0.put_slot(self.1, origin, slot);
            Ok(value)
        }

        pub(crate) fn merge(&mut self, entries: &[Entry]) {
            for Entry { origin, by, slot } in entries.iter().copied() {
                match by {
                    None => self.0.put_slot(self.1, origin, self.cell().slot(origin).join(slot)),
                    Some(by) => self.0.put_floor(self.1, by, origin, self.cell().floor_by(by, origin).join(slot).sums(), slot.seq),
                }
            }
        }

        fn reset(&mut self, by: OriginIndex) {
            let seen: Vec<_> = self.cell().slots().collect();
            seen.into_iter().for_each(|(origin, slot)| self.0.put_floor(self.1, by, origin, slot.sums(), 0));
        }

        pub(crate) fn copy(&self) -> Vec<Entry> {
            self.cell().entries().collect()
        }
    }

    proptest! {
        /// With resets too, replicas that know the same show the same, whatever came in which order and how often.
        #[test]
        fn merging_is_commutative_associative_and_idempotent(
            adds in proptest::collection::vec((0..3_usize, -9..=9_i64), 1..20), resets in proptest::collection::vec((0..3_usize, 0..3_usize), 0..4)
        ) {
            let mut cells: Vec<One> = (0..3).map(|_| One::new()).collect();
            for (at, by) in adds {
                cells[at].add(OriginIndex::try_from(at).unwrap(), by).unwrap();
            }
            for (at, seen) in resets {
                let other = cells[seen].copy();
                cells[at].merge(&other);
                cells[at].reset(OriginIndex::try_from(at).unwrap());
            }
            let join = |order: &[usize]| {
                let mut joined = One::new();
                order.iter().for_each(|at| joined.merge(&cells[*at].copy()));
                let mut floors: Vec<_> = joined.cell().floors().into_iter().filter(|(_, floor)| *floor != Floor::default()).collect();
                floors.sort_unstable_by_key(|(origin, _)| *origin);
                (joined.cell().value(), joined.cell().is_live(), joined.cell().to_crdt(), floors)
            };
            let one = join(&[0, 1, 2]);
            for order in [&[2, 1, 0][..], &[1, 0, 2, 0, 1], &[0, 0, 1, 1, 2, 2]] {
                prop_assert_eq!(&join(order), &one);
            }
        }
    }

    #[test]
    fn an_addition_that_would_overflow_changes_nothing() {
        let mut one = One::new();
        assert_eq!(one.add(0, i64::MAX), Ok(i64::MAX));
        assert_eq!(one.add(0, 1), Err(Overflow::of(i64::MAX.into())), "the value would leave i64");
        assert_eq!(one.add(0, i64::MIN), Ok(-1));
        assert_eq!(one.add(0, i64::MAX), Ok(i64::MAX - 1));
        assert_eq!(one.add(0, -i64::MAX), Ok(-1));
        assert_eq!(one.add(0, 2), Err(Overflow::of(-1)), "the slot's p would pass u64");
    }

    #[test]
    fn a_merge_beyond_i64_never_fails_and_comes_back() {
        let mut one = One::new();
        one.add(0, i64::MAX).unwrap();
        one.merge(&[Entry { origin: 1, by: None, slot: Slot { p: 5, n: 0, seq: 1 } }]);
        assert_eq!(one.cell().value(), i128::from(i64::MAX) + 5);
        assert_eq!(one.add(0, -5), Ok(i64::MAX));
    }

    #[test]
    fn a_reset_spares_what_it_did_not_see() {
        let mut here = One::new();
        here.add(0, 10).unwrap();
        here.merge(&[Entry { origin: 1, by: None, slot: Slot { p: 3, n: 0, seq: 1 } }]);
        here.reset(0);
        assert_eq!((here.cell().value(), here.cell().is_live()), (0, false));
        here.merge(&[Entry { origin: 1, by: None, slot: Slot { p: 4, n: 0, seq: 2 } }]);
        assert_eq!((here.cell().value(), here.cell().is_live()), (1, true));
    }
}
