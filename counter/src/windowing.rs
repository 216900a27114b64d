//! Pure: the windows of a replica's counters: events are counted in their buckets, and buckets read. See [`crate::window`].

use crate::{
    cell::{Floor, Overflow, Slot},
    engine::Engine,
    group::Group,
    locating::Located,
    origin::weight,
    refusal::AddRefusal,
    replica::{KEYS_MAX, Replica},
    table::{CellId, KnownCell},
    window::{self, BucketAt, BucketCell, CELLS_MAX, Event, Half, Keys, WINDOWED_KEY_BYTES_MAX},
};
use protocol::{
    name::{CounterKey, NameRef},
    producer::{Buckets, BucketsWanted},
    time::Now,
    window::{KEPT_MAX, Kept, Unit},
};
use std::ops::Range;

/// What was counted in one minute, hour or day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its number, counted from 1970.
    pub number: u64,
    /// Events.
    pub count: u64,
    /// The sum of their values.
    pub sum: i64,
}

/// A cell that an event changes beside its counter: where it is, if it is there, and its own slot, as it is and as its sums are to be.
#[derive(Clone, Copy)]
struct Raised {
    cell: BucketCell,
    known: Option<KnownCell>,
    /// Whether it was kept with the counter.
    is_kept: bool,
    before: Slot,
    /// Whether it has no other entry.
    is_only: bool,
    sums: Floor,
}

/// All of them.
type AllRaised = [Option<Raised>; CELLS_MAX];

impl Replica {
    /// Counts one event, whose value is `by`, in the counter and in every bucket that is kept of its time; returns the counter's value.
    pub fn add_windowed(&mut self, at: Located<'_>, by: i64, event: Event, now: Now, out: &mut Group) -> Result<i64, AddRefusal> {
        if at.key.as_str().len() > WINDOWED_KEY_BYTES_MAX {
            return Err(AddRefusal::LongKey);
        }
        if !event.is_kept(now.wall_ms / 1_000) {
            return Err(AddRefusal::BadTime { server_time_ms: now.wall_ms });
        }
        if self.table.count() + 2 + CELLS_MAX > KEYS_MAX {
            return Err(AddRefusal::KeysFull);
        }
        self.ready_to_write(out);
        let mut raised = AllRaised::default();
        if !by.checked_sub(1).is_some_and(|excess| self.raised(at, event, (1, excess), &mut raised)) {
            return Err(AddRefusal::Overflow(Overflow::of(self.value(at.key).unwrap_or(0))));
        }
        let value = self.add(at, by, out)?;
        self.put_raised(at, &raised, out);
        Ok(value)
    }

    /// Takes back what a token's use counted, in the buckets that still have it.
    pub(crate) fn take_back_windowed(&mut self, counter: NameRef<'_>, event: Event, by: i64, out: &mut Group) {
        let at = self.locate(counter);
        let id = self.ensure_cell(at);
        self.settle(id);
        let own = self.look(id).slot(self.own);
        // A sum at its bound stays there, as one does that is merged.
        if let Some(slot) = own.plus(by.saturating_neg()) {
            self.put_own(id, counter.as_str(), slot, out);
        }
        let mut raised = AllRaised::default();
        if self.raised(at, event, (-1, by.saturating_sub(1).saturating_neg()), &mut raised) {
            self.put_raised(at, &raised, out);
        }
    }

    /// The own slots after so much was counted in both halves of every bucket of an event; `false`: one would leave its range.
    fn raised(&mut self, at: Located<'_>, event: Event, (count, excess): (i64, i64), all: &mut AllRaised) -> bool {
        for (number, unit) in event.kept.units().enumerate() {
            let bucket = BucketAt::new(event.kept, unit, event.at_s / unit.seconds());
            for (place, half, by) in [(2 * number, Half::Count, count), (2 * number + 1, Half::Excess, excess)] {
                if by == 0 {
                    continue;
                }
                let cell = bucket.cell(half);
                let kept = at.id.and_then(|counter| self.table.known_beside(counter, place, cell));
                let known = kept.or_else(|| self.bucket_cell(at, cell));
                let (before, is_only) = known.map_or((Slot::default(), false), |KnownCell { id, .. }| {
                    self.settle(id);
                    self.slot_by(id, self.own)
                });
                let Some(sums) = window::counted(before.sums(), bucket.turn, by) else { return false };
                if sums != before.sums() {
                    all[place] = Some(Raised { cell, known, is_kept: kept.is_some(), before, is_only, sums });
                }
            }
        }
        true
    }

    fn bucket_cell(&self, at: Located<'_>, cell: BucketCell) -> Option<KnownCell> {
        let mut keys = Keys::beside(at.key)?;
        let key = keys.of_bucket(cell);
        let id = self.table.find(self.table.hash_beside(at.hash, key), key)?;
        Some(KnownCell { cell, id, weight: weight(key) })
    }

    fn make_bucket_cell(&mut self, at: Located<'_>, cell: BucketCell) -> Option<KnownCell> {
        let mut keys = Keys::beside(at.key)?;
        let key = keys.of_bucket(cell);
        let id = self.table.insert(self.table.hash_beside(at.hash, key), key, self.own);
        Some(KnownCell { cell, id, weight: weight(key) })
    }

    fn put_raised(&mut self, at: Located<'_>, all: &AllRaised, out: &mut Group) {
        for (place, raised) in all.iter().enumerate() {
            let Some(Raised { cell, known, is_kept, before, is_only, sums }) = raised else { continue };
            let Some(known) = known.or_else(|| self.make_bucket_cell(at, *cell)) else { continue };
            self.put_bucket(known, (*before, *is_only), *sums, out);
            if !is_kept && let Some(counter) = at.id {
                self.table.keep_beside(counter, place, known);
            }
        }
    }

    /// As [`Replica::put_own`], of a slot that was just read.
    fn put_bucket(&mut self, KnownCell { id, weight, .. }: KnownCell, (before, is_only): (Slot, bool), sums: Floor, out: &mut Group) {
        let own = self.own;
        let seq = if out.patch_slot(before.seq, sums) {
            before.seq
        } else {
            out.own_slot(own, self.table.key(id, &mut [0; 256]), before.seq, sums)
        };
        let slot = Slot { p: sums.p, n: sums.n, seq };
        if is_only {
            self.table.put_only_slot(id, slot);
        } else {
            self.table.put_slot(id, own, slot);
        }
        self.origins[own].weigh(weight, before.sums(), sums);
        self.know_seq(own, seq);
    }

    /// Buckets of a counter, those with these numbers: of one in which nothing was counted, or that is kept no longer, zeros.
    #[must_use]
    pub fn buckets(&self, counter: NameRef<'_>, kept: Kept, unit: Unit, numbers: Range<u64>) -> Vec<Bucket> {
        let Some(mut keys) = Keys::beside(counter) else { return numbers.map(|number| Bucket { number, ..Bucket::default() }).collect() };
        numbers.map(|number| self.bucket(&mut keys, number, BucketAt::new(kept, unit, number))).collect()
    }

    fn bucket(&self, keys: &mut Keys, number: u64, at: BucketAt) -> Bucket {
        let mut sum = |half| {
            let key = keys.of_bucket(at.cell(half));
            let id = self.table.find(self.table.hash(key), key)?;
            Some(self.look(id).slots().map(|(_, slot)| window::amount(slot.sums(), at.turn)).sum::<i128>())
        };
        // That something was taken back may be known before that it was counted.
        let count = sum(Half::Count).unwrap_or(0).max(0);
        let sum = count + sum(Half::Excess).unwrap_or(0);
        // Of 65,536 origins none has counted as much as 2^44.
        Bucket { number, count: u64::try_from(count).unwrap_or(u64::MAX), sum: i64::try_from(sum).unwrap_or(i64::MAX) }
    }

    /// The cell that stands for the purpose of tokens of such events, if there is one.
    pub(crate) fn window_token_cell(&self, counter: NameRef<'_>, kept: Kept) -> Option<CellId> {
        let key = window::token_key(counter, kept)?;
        self.table.find(self.table.hash(&key), &key)
    }
}

/// What was asked of buckets, and the answer, in the words in which they travel; `None` for what there cannot be.
pub(crate) fn told(engine: &Engine, key: &CounterKey, wanted: &BucketsWanted) -> Option<Buckets> {
    let number = |count: u32| u16::try_from(count).ok().filter(|count| *count <= KEPT_MAX);
    let kept = Kept { minutes: number(wanted.minutes)?, hours: number(wanted.hours)?, days: number(wanted.days)? };
    let (unit, end) = (Unit::of_seconds(wanted.seconds.into())?, wanted.first.checked_add(wanted.count.into())?);
    let buckets = engine.buckets(key.by_ref(), kept, unit, wanted.first..end);
    Some(Buckets { counts: buckets.iter().map(|bucket| bucket.count).collect(), sums: buckets.iter().map(|bucket| bucket.sum).collect() })
}

/// The question whose answer these are.
pub(crate) fn question(kept: Kept, unit: Unit, numbers: &Range<u64>) -> BucketsWanted {
    let seconds = u32::try_from(unit.seconds()).unwrap_or(u32::MAX);
    let count = u32::try_from(numbers.end.saturating_sub(numbers.start)).unwrap_or(u32::MAX).min(KEPT_MAX.into());
    let Kept { minutes, hours, days } = kept;
    BucketsWanted { minutes: minutes.into(), hours: hours.into(), days: days.into(), seconds, first: numbers.start, count }
}

/// The buckets from this number on, as they were told.
pub(crate) fn heard(first: u64, Buckets { counts, sums }: Buckets) -> Vec<Bucket> {
    (first..).zip(counts.into_iter().zip(sums)).map(|(number, (count, sum))| Bucket { number, count, sum }).collect()
}

/// The sums of an origin and of the one that it absorbs, in a bucket, and what digests took them for: they were added up.
pub(crate) fn absorbed(known: Floor, slot: Floor) -> (Floor, Floor) {
    let added = Floor { p: known.p.wrapping_add(slot.p), n: known.n.wrapping_add(slot.n) };
    (added, window::together(known, slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NOW: Now = Now { mono_ms: 0, wall_ms: 1_790_000_000_000 };
    /// As one namespace keeps them, and as it does after its configuration was changed.
    const KEPT: [Kept; 2] = [Kept { minutes: 60, hours: 48, days: 31 }, Kept { minutes: 0, hours: 24, days: 31 }];

    fn name(text: &str) -> NameRef<'_> {
        NameRef::parse(text.as_bytes()).unwrap()
    }

    proptest! {
        /// Whatever minute the events before were of, and in whatever groups they were put down: each counts in its own buckets, and records tell the same.
        #[test]
        fn events_count_in_the_buckets_of_their_time_whichever_came_before(
            events in proptest::collection::vec((0..3_usize, 0..4_u64, 0..2_usize, -3..4_i64, any::<bool>()), 1..120)
        ) {
            let counters = ["views:a", "views:b", "views:c"];
            let (mut replica, mut group) = (Replica::new(1), Group::new(1, 1));
            replica.count_as("eu", "c1", 7, &mut group);
            let (mut truth, mut bytes) = (BTreeMap::<_, (u64, i64)>::new(), Vec::new());
            for (counter, minutes_ago, kept, by, is_last) in events {
                // Some are of the hour before.
                let event = Event { at_s: NOW.wall_ms / 1_000 - 25 * 60 * minutes_ago, kept: KEPT[kept] };
                let at = replica.locate(name(counters[counter]));
                replica.add_windowed(at, by, event, NOW, &mut group).unwrap();
                for unit in event.kept.units() {
                    let bucket = truth.entry((counter, event.kept.of(unit), unit.seconds(), event.at_s / unit.seconds())).or_default();
                    *bucket = (bucket.0 + 1, bucket.1 + by);
                }
                if is_last {
                    bytes.extend_from_slice(group.records());
                    group = Group::new(group.number() + 1, replica.own_seq() + 1);
                }
            }
            bytes.extend_from_slice(group.records());
            let mut copy = Replica::new(2);
            Record::decode_all(&bytes).for_each(|record| copy.apply(&record.unwrap()).unwrap());
            for replica in [&replica, &copy] {
                for ((counter, kept, seconds, number), (count, sum)) in &truth {
                    let (unit, kept) = (Unit::of_seconds(*seconds).unwrap(), Kept { minutes: *kept, hours: *kept, days: *kept });
                    let found = replica.buckets(name(counters[*counter]), kept, unit, *number..number + 1);
                    prop_assert_eq!(&found, &[Bucket { number: *number, count: *count, sum: *sum }]);
                }
            }
            prop_assert_eq!(replica.origins[replica.own].digest(), copy.origins[copy.own].digest());
        }
    }
}
