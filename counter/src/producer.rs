//! Pure: batches of producers. An origin does the batches of a producer in their order, each once, and says so in the same
//! group of records. Asked about one that is for another origin, a replica says what it knows for certain: that it is part
//! of what it holds, or that it never can be; it can be sure of the latter only once nothing can be added to the origin's
//! stream any more.

use crate::{
    cell::OriginIndex,
    engine::Op,
    group::Group,
    ledger::{Changed, Ledger},
    lives::{LIVES_FULL, Tending},
    marks::{MARKS_MAX, Mark},
    record::Fact,
    refusal::AddError,
    table::BATCH,
};
use protocol::{name::NameRef, producer::Fate, time::Now};

/// Which batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchId {
    /// Whose.
    pub producer: u64,
    /// For which origin.
    pub epoch: u64,
    /// The first one is 0.
    pub number: u64,
}

/// Why a producer was not opened; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefusal {
    /// Gateways that reconnect all the time, or far too many of them.
    #[error("{MARKS_MAX} producers are known already; unused ones are closed after an hour")]
    Full,
    /// The producer's number is not new.
    #[error("there is such a producer already; make up another number")]
    Taken,
    /// This node cannot count.
    #[error("{LIVES_FULL}")]
    Lives,
}

impl Ledger {
    /// Opens a producer in the own origin, and returns its epoch.
    pub fn open(&mut self, producer: u64, out: &mut Group) -> Result<u64, OpenRefusal> {
        if self.marks.count() >= MARKS_MAX {
            return Err(OpenRefusal::Full);
        }
        if !self.replica.can_write() {
            return Err(OpenRefusal::Lives);
        }
        self.replica.ready_to_write(out);
        let own = self.replica.own();
        if self.marks.get(own, producer).is_some() {
            return Err(OpenRefusal::Taken);
        }
        self.say_mark(producer, Mark::default(), out);
        Ok(self.replica.origins()[own].id.epoch)
    }

    /// Does all of `ops`, in order, unless they were done before; or says what is known of them. Results come with
    /// [`Fate::Done`] only.
    pub fn produce(&mut self, id: BatchId, ops: &[Op<'_>], now: Now, out: &mut Group) -> (Fate, Vec<Result<Changed, AddError>>) {
        let BatchId { producer, epoch, number } = id;
        let Some(origin) = self.replica.origins().find(epoch) else { return (Fate::Unknown, vec![]) };
        let known = self.marks.get(origin, producer);
        if !self.is_written(origin) {
            self.is_asked |= origin == self.replica.own();
            return (self.fate_elsewhere(origin, known, number), vec![]);
        }
        // Not even those that were closed are forgotten while anybody may ask.
        let Some((mark, _)) = known else { return (Fate::Forgotten, vec![]) };
        if number < mark.upto {
            return (if mark.is_clear(number) { Fate::Repeated } else { Fate::Vague }, vec![]);
        }
        if mark.closed || number > mark.upto {
            // What came before it is lost, as a crash may lose what was acknowledged in memory. Whatever is still under
            // way must not count behind the back of what is said now.
            self.close_mark(producer, mark, out);
            return (Fate::Never, vec![]);
        }
        let mut results = Vec::with_capacity(ops.len());
        for ops in ops.chunks(BATCH) {
            let located = self.replica.locate_all(ops);
            for (at, op) in located.into_iter().flatten().zip(ops) {
                results.push(self.change(at, op.change, op.token, now, out));
            }
        }
        self.say_mark(producer, mark.advanced(results.iter().any(Result::is_err)), out);
        (Fate::Done, results)
    }

    /// The gateway will not ask for the producer any more.
    pub fn close(&mut self, producer: u64, epoch: u64, out: &mut Group) {
        let origin = self.replica.origins().find(epoch).filter(|origin| self.is_written(*origin));
        if let Some((mark, _)) = origin.and_then(|origin| self.marks.get(origin, producer)) {
            self.close_mark(producer, mark, out);
        }
    }

    /// The value of a counter, or the nearest to it within 64 bits.
    #[must_use]
    pub fn nearest(&self, key: NameRef<'_>) -> i64 {
        let value = self.replica.value(key).unwrap_or(0);
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// What a replica that does not write the origin knows of a batch for it.
    fn fate_elsewhere(&self, origin: OriginIndex, known: Option<(Mark, u64)>, number: u64) -> Fate {
        let about = &self.replica.origins()[origin];
        match known {
            None if about.absorbed.is_some() => Fate::Forgotten,
            // It may not survive.
            Some((_, seq)) if about.absorbed.is_none() && seq > about.durable_seq => Fate::Unknown,
            Some((mark, _)) if number < mark.upto => {
                if mark.is_clear(number) {
                    Fate::Repeated
                } else {
                    Fate::Vague
                }
            }
            Some((mark, _)) if about.absorbed.is_some() || mark.closed => Fate::Never,
            _ => Fate::Unknown,
        }
    }

    /// Whether this replica writes the origin's stream, and may do so now.
    fn is_written(&self, origin: OriginIndex) -> bool {
        let replica = &self.replica;
        origin == replica.own() && !replica.is_provisional() && replica.origins()[origin].is_live()
    }

    fn say_mark(&mut self, producer: u64, mark: Mark, out: &mut Group) {
        self.replica.say(Fact::Produced { producer, mark }, out);
        self.marks.remember(self.replica.own(), producer, mark, self.replica.own_seq());
    }

    fn close_mark(&mut self, producer: u64, mark: Mark, out: &mut Group) {
        if !mark.closed {
            self.say_mark(producer, Mark { closed: true, ..mark }, out);
        }
    }

    /// `origin` was absorbed. Parts of a state that never came whole may have brought slots that its marks do not know of;
    /// then nothing can be said of its batches any more. All members hold the same of it, so they all come to this.
    pub(crate) fn settle_marks(&mut self, origin: OriginIndex) {
        let about = &self.replica.origins()[origin];
        if about.absorbed.is_some_and(|(_, _, upto)| about.ahead > upto) {
            self.marks.forget_origin(origin);
        } else {
            self.marks.absorbed(origin);
        }
    }

    /// The own origin has absorbed others.
    pub(crate) fn settle_own_marks(&mut self) {
        let own = self.replica.own();
        let absorbed = self.replica.origins().iter().filter(|(_, about)| about.absorbed.is_some_and(|(by, _, _)| by == own));
        let absorbed: Vec<OriginIndex> = absorbed.map(|(origin, _)| origin).collect();
        absorbed.into_iter().for_each(|origin| self.settle_marks(origin));
    }

    /// Closes producers that nobody uses, and forgets those that nobody can ask for.
    pub(crate) fn tend_marks(&mut self, now: Now, tending: Tending<'_>, out: &mut Group) {
        self.marks.tick(now);
        // A peer that never speaks must not leave a gateway in doubt for ever: another life is told of by all members.
        if tending.settled && std::mem::take(&mut self.is_asked) && self.replica.is_provisional() {
            self.replica.begin_life(out);
        }
        if !tending.promises {
            return;
        }
        let own = self.replica.own();
        let idle = if self.is_written(own) { self.marks.idle(own) } else { Vec::new() };
        for producer in idle {
            self.marks.get(own, producer).into_iter().for_each(|(mark, _)| self.close_mark(producer, mark, out));
        }
        let replica = &self.replica;
        let is_absorbed = |origin| replica.origins()[origin].absorbed.is_some();
        self.marks.forget(|origin, seq| replica.is_everywhere(origin, seq), is_absorbed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::Change, marks::IDLE_MS, record::Record};
    use protocol::name::CounterKey;

    const EPOCH: u64 = 7;

    fn ledger(node: &str, epoch: u64) -> (Ledger, Group) {
        let (mut ledger, mut group) = (Ledger::new(1), Group::new(1, 1));
        ledger.replica.count_as("eu", node, epoch, &mut group);
        (ledger, group)
    }

    fn batch(number: u64) -> BatchId {
        BatchId { producer: 1, epoch: EPOCH, number }
    }

    /// A batch that adds to two counters; the second one is refused if it is full.
    fn produce(ledger: &mut Ledger, id: BatchId, group: &mut Group) -> Fate {
        let keys = ["a", "b"].map(|key| CounterKey::parse(key).unwrap());
        let ops: Vec<_> = keys.iter().map(|key| Op { key: key.by_ref(), change: Change::Add(1), token: None }).collect();
        ledger.produce(id, &ops, Now::default(), group).0
    }

    fn value(ledger: &Ledger) -> i64 {
        ledger.nearest(CounterKey::parse("a").unwrap().by_ref())
    }

    /// Everything that was said of it is on disk, and is known.
    fn replay(ledger: &mut Ledger, group: &Group) {
        ledger.replay(group.records()).unwrap();
        ledger.replica.committed(&ledger.replica.cut());
    }

    fn absorb(ledger: &mut Ledger, upto: u64) {
        let origin = ledger.replica.origins().find(EPOCH).unwrap();
        let by = ledger.replica.own();
        let seq = ledger.replica.own_seq() + 1;
        ledger.apply(&Record::Fact { by, seq, fact: Fact::Absorbed { origin, upto } }).unwrap();
    }

    #[test]
    fn a_batch_counts_once_in_its_turn_also_after_a_replay() {
        let (mut ledger, mut group) = ledger("c1", EPOCH);
        assert_eq!(ledger.open(1, &mut group), Ok(EPOCH));
        assert_eq!(ledger.open(1, &mut group), Err(OpenRefusal::Taken));
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Done);
        let copy = &mut Ledger::new(2);
        replay(copy, &group);
        copy.replica.count_as("eu", "c1", 99, &mut Group::new(2, 1));
        for ledger in [&mut ledger, copy] {
            assert_eq!(produce(ledger, batch(0), &mut group), Fate::Repeated);
            assert_eq!(produce(ledger, batch(1), &mut group), Fate::Done);
            assert_eq!(value(ledger), 2);
            assert_eq!(produce(ledger, BatchId { producer: 2, ..batch(0) }, &mut group), Fate::Forgotten);
            assert_eq!(produce(ledger, BatchId { epoch: 8, ..batch(0) }, &mut group), Fate::Unknown);
        }
    }

    #[test]
    fn a_batch_with_a_refused_op_is_done_and_when_it_comes_again_nobody_knows_which() {
        let (mut ledger, mut group) = ledger("c1", EPOCH);
        let key = CounterKey::parse("b").unwrap();
        ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(i64::MAX), None, Now::default(), &mut group).unwrap();
        ledger.open(1, &mut group).unwrap();
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Done);
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Vague);
        assert_eq!(value(&ledger), 1);
    }

    #[test]
    fn a_batch_that_comes_before_its_turn_ends_its_producer_so_that_no_answer_is_overtaken() {
        let (mut ledger, mut group) = ledger("c1", EPOCH);
        ledger.open(1, &mut group).unwrap();
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Done);
        assert_eq!(produce(&mut ledger, batch(2), &mut group), Fate::Never);
        assert_eq!(produce(&mut ledger, batch(1), &mut group), Fate::Never, "a late copy of it");
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Repeated);
        ledger.open(2, &mut group).unwrap();
        ledger.close(2, EPOCH, &mut group);
        assert_eq!(produce(&mut ledger, BatchId { producer: 2, ..batch(0) }, &mut group), Fate::Never);
        assert_eq!(value(&ledger), 1);
    }

    #[test]
    fn a_node_that_is_not_sure_of_its_disk_counts_no_batch_and_opens_producers_in_a_new_life() {
        let (mut ledger, mut group) = ledger("c1", EPOCH);
        ledger.open(1, &mut group).unwrap();
        ledger.replica.doubt();
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Unknown);
        ledger.replica.trust();
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Done);
        ledger.replica.doubt();
        assert_eq!(produce(&mut ledger, batch(1), &mut group), Fate::Unknown);
        let tending = Tending { random: 1, address: None, settled: false, promises: false };
        ledger.tend(Now::default(), tending, &mut group);
        assert!(ledger.replica.is_provisional(), "its peers may speak yet");
        ledger.tend(Now::default(), Tending { settled: true, ..tending }, &mut group);
        assert!(!ledger.replica.is_provisional(), "rather a new life than a gateway that never hears");
        ledger.replica.doubt();
        assert_ne!(ledger.open(2, &mut group), Ok(EPOCH));
        assert_eq!(produce(&mut ledger, batch(1), &mut group), Fate::Unknown, "nobody knows what others hold of it");
        assert_eq!(value(&ledger), 1);
    }

    #[test]
    fn another_replica_says_only_what_nothing_can_change_any_more() {
        let (mut one, mut group) = ledger("c1", EPOCH);
        one.open(1, &mut group).unwrap();
        produce(&mut one, batch(0), &mut group);
        let upto = one.replica.own_seq();
        let (mut other, mut out) = ledger("c2", 8);
        assert_eq!(produce(&mut other, batch(0), &mut out), Fate::Unknown, "never heard of that origin");
        let id = one.replica.origins()[one.replica.own()].id.clone();
        let index = other.meet(&id, &mut out).unwrap();
        let records = Record::decode_all(group.records()).map(Result::unwrap);
        for record in records.filter(|record| matches!(record, Record::Fact { .. })) {
            let Record::Fact { seq, fact, .. } = record else { unreachable!() };
            other.apply(&Record::Fact { by: index, seq, fact }).unwrap();
        }
        other.apply(&Record::Cursor { origin: index, seq: upto, as_of_ms: 0 }).unwrap();
        assert_eq!(produce(&mut other, batch(0), &mut out), Fate::Unknown, "it is not on this disk yet");
        other.replica.committed(&other.replica.cut());
        assert_eq!(produce(&mut other, batch(0), &mut out), Fate::Repeated);
        assert_eq!(produce(&mut other, batch(1), &mut out), Fate::Unknown, "it may be counted there yet");
        absorb(&mut other, upto);
        assert_eq!(produce(&mut other, batch(0), &mut out), Fate::Repeated);
        assert_eq!(produce(&mut other, batch(1), &mut out), Fate::Never);
        assert_eq!(produce(&mut other, BatchId { producer: 3, ..batch(0) }, &mut out), Fate::Forgotten);
        assert_eq!(value(&other), 1, "none of these questions counts");
    }

    #[test]
    fn of_an_origin_that_left_parts_of_its_state_behind_nothing_is_said() {
        let (mut other, mut out) = ledger("c2", 8);
        let id = crate::origin::OriginId { region: "eu".to_owned(), node: "c1".to_owned(), epoch: EPOCH };
        let by = other.meet(&id, &mut out).unwrap();
        other.apply(&Record::Fact { by, seq: 1, fact: Fact::Produced { producer: 1, mark: Mark::default() } }).unwrap();
        other.apply(&Record::Cursor { origin: by, seq: 1, as_of_ms: 0 }).unwrap();
        // What batch 0 has counted came in a part, without its mark.
        let sums = crate::cell::Floor { p: 1, n: 0 };
        other.apply(&Record::Fact { by, seq: 2, fact: Fact::Slot { key: "a", sums } }).unwrap();
        absorb(&mut other, 1);
        assert_eq!((value(&other), produce(&mut other, batch(0), &mut out)), (1, Fate::Forgotten));
    }

    #[test]
    fn at_the_bound_a_new_producer_is_refused_and_known_ones_go_on() {
        let (mut ledger, mut group) = ledger("c1", EPOCH);
        ledger.open(1, &mut group).unwrap();
        (2..=MARKS_MAX as u64).for_each(|producer| ledger.marks.remember(0, producer, Mark::default(), 1));
        assert_eq!(ledger.open(u64::MAX, &mut group), Err(OpenRefusal::Full));
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Done);
    }

    #[test]
    fn a_producer_that_nobody_uses_is_closed() {
        let (mut ledger, mut group) = ledger("c1", EPOCH);
        let tending = Tending { random: 1, address: None, settled: true, promises: true };
        ledger.tend(Now { mono_ms: 1, wall_ms: 0 }, tending, &mut group);
        ledger.open(1, &mut group).unwrap();
        ledger.tend(Now { mono_ms: IDLE_MS, wall_ms: 0 }, tending, &mut group);
        assert_eq!(ledger.marks.open(ledger.replica.own()), 1);
        ledger.tend(Now { mono_ms: IDLE_MS + 1, wall_ms: 0 }, tending, &mut group);
        assert_eq!(ledger.marks.open(ledger.replica.own()), 0);
        assert_eq!(produce(&mut ledger, batch(0), &mut group), Fate::Never);
    }
}
