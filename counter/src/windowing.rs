//! Pure: the windows of a replica's counters: events are counted in their buckets, and buckets read. See [`crate::window`].

use crate::{
    cell::{Floor, Overflow, Slot},
    engine::Engine,
    group::Group,
    locating::Located,
    refusal::AddRefusal,
    replica::{KEYS_MAX, Replica},
    table::CellId,
    window::{self, BucketAt, Event, Half, Keys},
};
use protocol::{
    name::{CounterKey, NameRef},
    producer::{Buckets, BucketsWanted},
    time::Now,
    window::{KEPT_MAX, Kept, Unit},
};
use std::ops::Range;

/// Cells that one event changes beside its counter: two of each unit.
const CELLS_MAX: usize = 6;

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

/// The own slot of a bucket's cell, as it is to be.
#[derive(Clone, Copy)]
struct Raised {
    bucket: BucketAt,
    half: Half,
    hash: u64,
    id: Option<CellId>,
    slot: Slot,
}

/// Every cell that an event changes beside its counter.
type AllRaised = [Option<Raised>; CELLS_MAX];

impl Replica {
    /// Counts one event, whose value is `by`, in the counter and in every bucket that is kept of its time; returns the counter's value.
    pub fn add_windowed(&mut self, at: Located<'_>, by: i64, event: Event, now: Now, out: &mut Group) -> Result<i64, AddRefusal> {
        let mut keys = Keys::beside(at.key).ok_or(AddRefusal::LongKey)?;
        if !event.is_kept(now.wall_ms / 1_000) {
            return Err(AddRefusal::BadTime { server_time_ms: now.wall_ms });
        }
        if self.table.count() + 2 + CELLS_MAX > KEYS_MAX {
            return Err(AddRefusal::KeysFull);
        }
        self.ready_to_write(out);
        let raised = by.checked_sub(1).and_then(|excess| self.raised(at, &mut keys, event, (1, excess)));
        let Some(raised) = raised else { return Err(AddRefusal::Overflow(Overflow::of(self.value(at.key).unwrap_or(0)))) };
        let value = self.add(at, by, out)?;
        self.raise_all(raised, &mut keys, out);
        Ok(value)
    }

    /// Takes back what a token's use counted, in the buckets that still have it.
    pub(crate) fn take_back_windowed(&mut self, counter: NameRef<'_>, event: Event, by: i64, out: &mut Group) {
        let (at, keys) = (self.locate(counter), Keys::beside(counter));
        let id = self.ensure_cell(at);
        self.settle(id);
        let own = self.look(id).slot(self.own);
        // A sum at its bound stays there, as one does that is merged.
        if let Some(slot) = own.plus(by.saturating_neg()) {
            self.put_own(id, counter.as_str(), slot, out);
        }
        if let Some(mut keys) = keys
            && let Some(raised) = self.raised(at, &mut keys, event, (-1, by.saturating_sub(1).saturating_neg()))
        {
            self.raise_all(raised, &mut keys, out);
        }
    }

    /// The own slots after `by` was counted in both halves of every bucket of an event; `None`: one would leave its range.
    fn raised(&mut self, at: Located<'_>, keys: &mut Keys, event: Event, (count, excess): (i64, i64)) -> Option<AllRaised> {
        let mut all = AllRaised::default();
        for (unit, places) in event.kept.units().zip(all.chunks_exact_mut(2)) {
            let bucket = BucketAt::new(event.kept, unit, event.at_s / unit.seconds());
            for ((half, by), place) in [(Half::Count, count), (Half::Excess, excess)].into_iter().zip(places) {
                if by == 0 {
                    continue;
                }
                let key = keys.of_bucket(bucket, half);
                let hash = self.table.hash_beside(at.hash, key);
                let id = self.table.find(hash, key);
                id.into_iter().for_each(|id| self.settle(id));
                let known = id.map_or_else(Slot::default, |id| self.look(id).slot(self.own));
                let sums = window::counted(known.sums(), bucket.turn, by)?;
                if sums != known.sums() {
                    *place = Some(Raised { bucket, half, hash, id, slot: Slot { p: sums.p, n: sums.n, seq: known.seq } });
                }
            }
        }
        Some(all)
    }

    fn raise_all(&mut self, raised: AllRaised, keys: &mut Keys, out: &mut Group) {
        for Raised { bucket, half, hash, id, slot } in raised.into_iter().flatten() {
            let key = keys.of_bucket(bucket, half);
            let id = id.unwrap_or_else(|| self.table.insert(hash, key, self.own));
            self.put_own(id, key, slot, out);
        }
    }

    /// Buckets of a counter, those with these numbers: of one in which nothing was counted, or that is kept no longer, zeros.
    #[must_use]
    pub fn buckets(&self, counter: NameRef<'_>, kept: Kept, unit: Unit, numbers: Range<u64>) -> Vec<Bucket> {
        let Some(mut keys) = Keys::beside(counter) else { return numbers.map(|number| Bucket { number, ..Bucket::default() }).collect() };
        numbers.map(|number| self.bucket(&mut keys, number, BucketAt::new(kept, unit, number))).collect()
    }

    fn bucket(&self, keys: &mut Keys, number: u64, at: BucketAt) -> Bucket {
        let mut sum = |half| {
            let key = keys.of_bucket(at, half);
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
