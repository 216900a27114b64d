//! Pure: one PN-counter. Per origin a slot `(p, n)` that only grows and is merged by maximum, and per origin a floor
//! that an observed reset leaves under it. Value = Σ(p − floor.p) − Σ(n − floor.n).
//!
//! The flat cell is the storage; `crdts::PNCounter` is the law it is tested against, here and, sampled, at run time.

use crdts::{
    CmRDT, Dot, PNCounter,
    pncounter::{Dir, Op},
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

/// A slot or the value would leave its range. Nothing changed; a smaller amount may fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is, or would be, outside the signed 64-bit range (it is {value})")]
pub struct Overflow {
    /// The value as it stands.
    pub value: i128,
}

/// One counter. Most counters are counted by one origin only, which costs no second allocation.
#[derive(Clone, Debug)]
pub struct Cell {
    first: (OriginIndex, Slot),
    more: Option<Box<More>>,
}

#[derive(Clone, Debug, Default)]
struct More {
    slots: Vec<(OriginIndex, Slot)>,
    floors: Vec<(OriginIndex, Floor)>,
}

impl Cell {
    /// A counter that nobody has counted; `origin` is the one most likely to.
    #[must_use]
    pub fn new(origin: OriginIndex) -> Cell {
        Cell { first: (origin, Slot::default()), more: None }
    }

    /// The exact value, which merges may carry outside i64.
    #[must_use]
    pub fn value(&self) -> i128 {
        let counted: i128 = self.slots().map(|(_, slot)| i128::from(slot.p) - i128::from(slot.n)).sum();
        let reset: i128 = self.floors().map(|(_, floor)| i128::from(floor.p) - i128::from(floor.n)).sum();
        counted - reset
    }

    /// Whether anything was counted since the last reset, even if it adds up to nothing.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.slots().any(|(origin, slot)| {
            let floor = self.floor(origin);
            slot.p > floor.p || slot.n > floor.n
        })
    }

    /// Adds `by` to `origin`'s slot and returns the new value.
    pub fn add(&mut self, origin: OriginIndex, by: i64) -> Result<i64, Overflow> {
        let value = self.value();
        let overflow = Overflow { value };
        let mut slot = self.slot(origin);
        let side = if by < 0 { &mut slot.n } else { &mut slot.p };
        *side = side.checked_add(by.unsigned_abs()).ok_or(overflow)?;
        let value = i64::try_from(value + i128::from(by)).map_err(|_| overflow)?;
        *self.slot_mut(origin) = slot;
        Ok(value)
    }

    /// Learns another replica's knowledge of `origin`; never fails. Returns whether the counts grew.
    pub fn merge_slot(&mut self, origin: OriginIndex, slot: Slot) -> bool {
        let mine = self.slot_mut(origin);
        let grew = slot.p > mine.p || slot.n > mine.n;
        *mine = Slot { p: mine.p.max(slot.p), n: mine.n.max(slot.n), seq: mine.seq.max(slot.seq) };
        grew
    }

    /// Learns of a reset; never fails. A floor was once a slot, so it also raises the slot. Returns whether it grew.
    pub fn merge_floor(&mut self, origin: OriginIndex, floor: Floor) -> bool {
        self.merge_slot(origin, Slot { p: floor.p, n: floor.n, seq: 0 });
        let mine = entry(&mut self.more.get_or_insert_default().floors, origin);
        let grew = floor.p > mine.p || floor.n > mine.n;
        *mine = Floor { p: mine.p.max(floor.p), n: mine.n.max(floor.n) };
        grew
    }

    /// Learns everything that `other` knows; never fails.
    pub fn merge(&mut self, other: &Cell) {
        other.slots().for_each(|(origin, slot)| _ = self.merge_slot(origin, slot));
        other.floors().for_each(|(origin, floor)| _ = self.merge_floor(origin, floor));
    }

    /// Observed reset: what is counted here so far no longer counts; what others count meanwhile does.
    /// Returns the floors that rose.
    pub fn reset(&mut self) -> Vec<(OriginIndex, Floor)> {
        let seen: Vec<_> = self.slots().map(|(origin, slot)| (origin, Floor { p: slot.p, n: slot.n })).collect();
        seen.into_iter().filter(|(origin, floor)| *floor != Floor::default() && self.merge_floor(*origin, *floor)).collect()
    }

    /// `origin`'s slot; zeros if it never counted here.
    #[must_use]
    pub fn slot(&self, origin: OriginIndex) -> Slot {
        self.slots().find(|(at, _)| *at == origin).map(|(_, slot)| slot).unwrap_or_default()
    }

    /// The slot of `origin`, to be written.
    pub(crate) fn slot_mut(&mut self, origin: OriginIndex) -> &mut Slot {
        if self.first.0 == origin {
            return &mut self.first.1;
        }
        entry(&mut self.more.get_or_insert_default().slots, origin)
    }

    /// `origin`'s floor; zeros if it was never reset here.
    #[must_use]
    pub fn floor(&self, origin: OriginIndex) -> Floor {
        self.floors().find(|(at, _)| *at == origin).map(|(_, floor)| floor).unwrap_or_default()
    }

    /// Every slot.
    pub fn slots(&self) -> impl Iterator<Item = (OriginIndex, Slot)> {
        std::iter::once(self.first).chain(self.more.iter().flat_map(|more| more.slots.iter().copied()))
    }

    /// Every floor.
    pub fn floors(&self) -> impl Iterator<Item = (OriginIndex, Floor)> {
        self.more.iter().flat_map(|more| more.floors.iter().copied())
    }

    /// The slots as the CRDT they are; floors and stream positions have no place in it.
    #[must_use]
    pub fn to_crdt(&self) -> PNCounter<OriginIndex> {
        let mut counter = PNCounter::new();
        for (origin, slot) in self.slots() {
            counter.apply(Op { dot: Dot::new(origin, slot.p), dir: Dir::Pos });
            counter.apply(Op { dot: Dot::new(origin, slot.n), dir: Dir::Neg });
        }
        counter
    }

    /// The cell of a CRDT whose actors are among `origins`. Its fields are private; an operation of no steps shows them.
    #[must_use]
    pub fn from_crdt(counter: &PNCounter<OriginIndex>, origins: impl IntoIterator<Item = OriginIndex>) -> Cell {
        let mut cell = Cell::new(0);
        for origin in origins {
            let p = counter.inc_many(origin, 0).dot.counter;
            let n = counter.dec_many(origin, 0).dot.counter;
            cell.merge_slot(origin, Slot { p, n, seq: 0 });
        }
        cell
    }

    /// Redoes an addition with `crdts`: whether `before`, with `by` added by `origin`, is `self`.
    #[must_use]
    pub fn obeys_law(&self, before: &Cell, origin: OriginIndex, by: i64) -> bool {
        let mut counter = before.to_crdt();
        let steps = by.unsigned_abs();
        counter.apply(if by < 0 { counter.dec_many(origin, steps) } else { counter.inc_many(origin, steps) });
        counter == self.to_crdt()
    }
}

fn entry<T: Default>(list: &mut Vec<(OriginIndex, T)>, origin: OriginIndex) -> &mut T {
    let at = list.iter().position(|(at, _)| *at == origin).unwrap_or_else(|| {
        list.push((origin, T::default()));
        list.len() - 1
    });
    &mut list[at].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crdts::CvRDT;
    use proptest::prelude::*;

    const REPLICAS: OriginIndex = 3;

    #[derive(Clone, Debug)]
    enum Step {
        Add { at: usize, by: i64 },
        Merge { from: usize, to: usize },
        Replay { moment: usize, to: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let at = 0..usize::from(REPLICAS);
        let by = prop_oneof![4 => -5..=5_i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
        let step = prop_oneof![
            3 => (at.clone(), by).prop_map(|(at, by)| Step::Add { at, by }),
            2 => (at.clone(), at.clone()).prop_map(|(from, to)| Step::Merge { from, to }),
            1 => (any::<usize>(), at).prop_map(|(moment, to)| Step::Replay { moment, to }),
        ];
        proptest::collection::vec(step, 1..80)
    }

    proptest! {
        /// Additions, merges, and old states that arrive late, twice and in any order.
        #[test]
        fn the_flat_cell_is_the_crdt(steps in steps()) {
            let mut flat: Vec<Cell> = (0..REPLICAS).map(Cell::new).collect();
            let mut law: Vec<PNCounter<OriginIndex>> = vec![PNCounter::new(); usize::from(REPLICAS)];
            let mut history = vec![(flat[0].clone(), law[0].clone())];
            for step in steps {
                let touched = match step {
                    Step::Add { at, by } => {
                        let origin = OriginIndex::try_from(at).unwrap();
                        let before = flat[at].clone();
                        if flat[at].add(origin, by).is_ok() {
                            prop_assert!(flat[at].obeys_law(&before, origin, by));
                            let steps = by.unsigned_abs();
                            let op = if by < 0 { law[at].dec_many(origin, steps) } else { law[at].inc_many(origin, steps) };
                            law[at].apply(op);
                        }
                        at
                    }
                    Step::Merge { from, to } => {
                        let (cell, counter) = (flat[from].clone(), law[from].clone());
                        flat[to].merge(&cell);
                        law[to].merge(counter);
                        to
                    }
                    Step::Replay { moment, to } => {
                        let (cell, counter) = history[moment % history.len()].clone();
                        flat[to].merge(&cell);
                        law[to].merge(counter);
                        to
                    }
                };
                prop_assert_eq!(flat[touched].to_crdt(), law[touched].clone());
                prop_assert_eq!(flat[touched].value().to_string(), law[touched].read().to_string());
                prop_assert_eq!(Cell::from_crdt(&law[touched], 0..REPLICAS).to_crdt(), law[touched].clone());
                history.push((flat[touched].clone(), law[touched].clone()));
            }
        }

        /// With resets too, replicas that know the same show the same, whatever came in which order and how often.
        #[test]
        fn merging_is_commutative_associative_and_idempotent(
            adds in proptest::collection::vec((0..3_usize, -9..=9_i64), 1..20), resets in proptest::collection::vec((0..3_usize, 0..3_usize), 0..4)
        ) {
            let mut cells: Vec<Cell> = (0..3).map(Cell::new).collect();
            for (at, by) in adds {
                cells[at].add(OriginIndex::try_from(at).unwrap(), by).unwrap();
            }
            for (at, seen) in resets {
                let other = cells[seen].clone();
                cells[at].merge(&other);
                cells[at].reset();
            }
            let join = |order: &[usize]| {
                let mut cell = Cell::new(0);
                order.iter().for_each(|at| cell.merge(&cells[*at]));
                let mut floors: Vec<_> = cell.floors().filter(|(_, floor)| *floor != Floor::default()).map(|(at, floor)| (at, floor.p, floor.n)).collect();
                floors.sort_unstable();
                (cell.value(), cell.to_crdt(), floors)
            };
            let one = join(&[0, 1, 2]);
            for order in [&[2, 1, 0][..], &[1, 0, 2, 0, 1], &[0, 0, 1, 1, 2, 2]] {
                prop_assert_eq!(&join(order), &one);
            }
        }
    }

    #[test]
    fn an_addition_that_would_overflow_changes_nothing() {
        let mut cell = Cell::new(0);
        assert_eq!(cell.add(0, i64::MAX), Ok(i64::MAX));
        assert_eq!(cell.add(0, 1), Err(Overflow { value: i64::MAX.into() }), "the value would leave i64");
        assert_eq!(cell.add(0, i64::MIN), Ok(-1));
        assert_eq!(cell.add(0, i64::MAX), Ok(i64::MAX - 1));
        assert_eq!(cell.add(0, -i64::MAX), Ok(-1));
        let before = cell.to_crdt();
        assert_eq!(cell.add(0, 2), Err(Overflow { value: -1 }), "the slot's p would pass u64");
        assert_eq!(cell.to_crdt(), before);
    }

    #[test]
    fn a_merge_beyond_i64_never_fails_and_comes_back() {
        let mut cell = Cell::new(0);
        cell.add(0, i64::MAX).unwrap();
        cell.merge_slot(1, Slot { p: 5, n: 0, seq: 1 });
        assert_eq!(cell.value(), i128::from(i64::MAX) + 5);
        assert_eq!(cell.add(0, -5), Ok(i64::MAX));
    }

    #[test]
    fn a_reset_spares_what_it_did_not_see() {
        let mut here = Cell::new(0);
        here.add(0, 10).unwrap();
        here.merge_slot(1, Slot { p: 3, n: 0, seq: 1 });
        assert_eq!(here.reset().len(), 2);
        assert_eq!(here.value(), 0);
        assert!(!here.is_live());
        assert_eq!(here.reset(), [], "nothing more to reset");
        here.merge_slot(1, Slot { p: 7, n: 0, seq: 2 });
        assert_eq!(here.value(), 4, "what the other had counted meanwhile");
        here.add(0, 1).unwrap();
        here.add(0, -5).unwrap();
        assert!(here.value() == 0 && here.is_live());
    }

    #[test]
    fn a_wrong_cell_breaks_the_law() {
        let before = Cell::new(0);
        let mut after = before.clone();
        after.add(0, 2).unwrap();
        assert!(after.obeys_law(&before, 0, 2));
        assert!(!after.obeys_law(&before, 0, 3));
    }
}
