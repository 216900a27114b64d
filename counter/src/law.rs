//! Pure: `crdts::PNCounter` as the law of counters. The flat entries of the table are tested against it, and at run time one
//! change in many is done again by it. It also carries counters in and out.

use crate::cell::{Cell, OriginIndex, Slot};
use crdts::{
    CmRDT, CvRDT, Dot, PNCounter,
    pncounter::{Dir, Op},
};

/// One addition in this many, and one merge, is done again by the law.
pub const LAW_SAMPLE: u64 = 1 << 10;

/// What the law did to a counter that is being changed.
pub(crate) type ByLaw = Option<PNCounter<OriginIndex>>;

/// The samples of one replica.
#[derive(Debug, Default)]
pub(crate) struct Law {
    pub(crate) additions: u64,
    pub(crate) merges: u64,
    pub(crate) violations: u64,
}

impl Law {
    /// An addition of `by` in `origin`'s slot of `before`; to be given to [`Law::compare`] after it.
    #[inline]
    pub(crate) fn addition(&mut self, before: Cell<'_>, origin: OriginIndex, by: i64) -> ByLaw {
        self.additions += 1;
        self.additions.is_multiple_of(LAW_SAMPLE).then(|| added_by_law(before.to_crdt(), origin, by))
    }

    /// A merge of what is known of `origin`'s slot elsewhere; to be given to [`Law::compare`] after it.
    #[inline]
    pub(crate) fn merge(&mut self, before: Cell<'_>, origin: OriginIndex, slot: Slot) -> ByLaw {
        self.merges += 1;
        self.merges.is_multiple_of(LAW_SAMPLE).then(|| {
            let mut counter = before.to_crdt();
            counter.merge(one_slot(origin, slot));
            counter
        })
    }

    /// Counts the samples of another replica too.
    pub(crate) fn adopt(&mut self, other: &Law) {
        self.additions += other.additions;
        self.merges += other.merges;
        self.violations += other.violations;
    }

    /// Counts a change that came to something else than by the law.
    #[inline]
    pub(crate) fn compare(&mut self, by_law: ByLaw, after: Cell<'_>) {
        if by_law.is_some_and(|counter| counter != after.to_crdt()) {
            self.violations += 1;
        }
    }
}

impl Cell<'_> {
    /// The slots as the CRDT they are; floors and stream positions have no place in it.
    #[must_use]
    pub fn to_crdt(self) -> PNCounter<OriginIndex> {
        let mut counter = PNCounter::new();
        self.slots().for_each(|(origin, slot)| put(&mut counter, origin, slot));
        counter
    }
}

/// `counter` after `origin` has added `by`, by the law.
#[must_use]
pub fn added_by_law(mut counter: PNCounter<OriginIndex>, origin: OriginIndex, by: i64) -> PNCounter<OriginIndex> {
    let steps = by.unsigned_abs();
    counter.apply(if by < 0 { counter.dec_many(origin, steps) } else { counter.inc_many(origin, steps) });
    counter
}

/// The slots of a CRDT whose actors are among `origins`. Its fields are private; an operation of no steps shows them.
pub fn slots_of_crdt(
    counter: &PNCounter<OriginIndex>,
    origins: impl IntoIterator<Item = OriginIndex>,
) -> impl Iterator<Item = (OriginIndex, Slot)> {
    origins.into_iter().map(|origin| {
        let (p, n) = (counter.inc_many(origin, 0).dot.counter, counter.dec_many(origin, 0).dot.counter);
        (origin, Slot { p, n, seq: 0 })
    })
}

fn one_slot(origin: OriginIndex, slot: Slot) -> PNCounter<OriginIndex> {
    let mut counter = PNCounter::new();
    put(&mut counter, origin, slot);
    counter
}

fn put(counter: &mut PNCounter<OriginIndex>, origin: OriginIndex, slot: Slot) {
    counter.apply(Op { dot: Dot::new(origin, slot.p), dir: Dir::Pos });
    counter.apply(Op { dot: Dot::new(origin, slot.n), dir: Dir::Neg });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::tests::One;
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
            let mut flat: Vec<One> = (0..REPLICAS).map(|_| One::new()).collect();
            let mut law: Vec<PNCounter<OriginIndex>> = vec![PNCounter::new(); usize::from(REPLICAS)];
            let mut history = vec![(flat[0].copy(), law[0].clone())];
            for step in steps {
                let touched = match step {
                    Step::Add { at, by } => {
                        let origin = OriginIndex::try_from(at).unwrap();
                        if flat[at].add(origin, by).is_ok() {
                            law[at] = added_by_law(law[at].clone(), origin, by);
                        }
                        at
                    }
                    Step::Merge { from, to } => {
                        let (entries, counter) = (flat[from].copy(), law[from].clone());
                        flat[to].merge(&entries);
                        law[to].merge(counter);
                        to
                    }
                    Step::Replay { moment, to } => {
                        let (entries, counter) = history[moment % history.len()].clone();
                        flat[to].merge(&entries);
                        law[to].merge(counter);
                        to
                    }
                };
                prop_assert_eq!(flat[touched].cell().to_crdt(), law[touched].clone());
                prop_assert_eq!(flat[touched].cell().value().to_string(), law[touched].read().to_string());
                let mut back = One::new();
                let slots: Vec<_> = slots_of_crdt(&law[touched], 0..REPLICAS).collect();
                slots.into_iter().for_each(|(origin, slot)| back.0.put_slot(back.1, origin, slot));
                prop_assert_eq!(back.cell().to_crdt(), law[touched].clone());
                history.push((flat[touched].copy(), law[touched].clone()));
            }
        }
    }

    #[test]
    fn a_change_that_breaks_the_law_is_counted_when_it_is_sampled() {
        let (mut law, mut one) = (Law::default(), One::new());
        for round in 1..=2 * LAW_SAMPLE {
            let by_law = law.addition(one.cell(), 0, 1);
            one.add(0, if round == LAW_SAMPLE { 2 } else { 1 }).unwrap();
            law.compare(by_law, one.cell());
            assert_eq!(law.violations, u64::from(round >= LAW_SAMPLE), "round {round}");
        }
        for round in 1..=2 * LAW_SAMPLE {
            let known = Slot { p: round, n: 0, seq: round };
            let by_law = law.merge(one.cell(), 1, known);
            one.0.put_slot(one.1, 1, Slot { p: known.p + u64::from(round == LAW_SAMPLE), ..known });
            law.compare(by_law, one.cell());
            assert_eq!(law.violations, 1 + u64::from(round >= LAW_SAMPLE), "round {round}");
        }
    }
}
