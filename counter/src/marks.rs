//! Pure: how far each producer has come. A producer is a gateway's sequence of numbered batches for one origin; its mark
//! says how many of them that origin has done, and stands in the same group of records as what they did. So whoever holds
//! the origin's stream knows which batches are in it, and a batch that is sent again is recognised anywhere.
//! This is the idea of Kafka's idempotent producers (KIP-98), with a watermark that travels with the state.

use crate::{
    cell::OriginIndex,
    record::{Fact, Record},
};
use protocol::time::Now;
use std::collections::BTreeMap;

/// Producers known at once, about 60 bytes each; at the bound a new one is refused. What other origins say of theirs is
/// remembered in any case.
pub const MARKS_MAX: usize = 65_536;
/// Batches of one producer of which the gateway may not know the fate: of so many it is remembered whether ops were refused.
pub const WINDOW_MAX: u64 = 8;
/// A producer that was not used, and is not connected, for so long is closed; and the marks of an origin are forgotten so
/// long after it was absorbed.
pub const IDLE_MS: u64 = 3_600_000;
/// How long a closed producer is remembered at least, for questions that are still under way.
pub const CLOSED_MS: u64 = 600_000;

/// What an origin says of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// All batches with smaller numbers are done.
    pub upto: u64,
    /// Bit n: an op of the batch numbered `upto - 1 - n` was refused.
    pub refusals: u8,
    /// No further batch will be done.
    pub closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    mark: Mark,
    seq: u64,
    /// When it was used last, or its origin was absorbed, in seconds since the first tick.
    since_s: u64,
}

/// The marks of all origins.
#[derive(Debug, Default)]
pub struct Marks {
    known: BTreeMap<(OriginIndex, u64), Known>,
    /// The monotonic clock at the first tick, and the seconds since.
    first_ms: u64,
    now_s: u64,
}

impl Mark {
    /// After one more batch.
    #[must_use]
    pub fn advanced(self, was_refused: bool) -> Mark {
        Mark { upto: self.upto + 1, refusals: self.refusals << 1 | u8::from(was_refused), ..self }
    }

    /// Whether every op of a batch that was done has counted, as far as is remembered.
    #[must_use]
    pub fn is_clear(self, number: u64) -> bool {
        let back = self.upto.saturating_sub(number + 1);
        back < WINDOW_MAX && self.refusals >> back & 1 == 0
    }
}

impl Marks {
    /// What `origin` has said of `producer`, and where in its stream.
    #[must_use]
    pub fn get(&self, origin: OriginIndex, producer: u64) -> Option<(Mark, u64)> {
        self.known.get(&(origin, producer)).map(|known| (known.mark, known.seq))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// How many of `origin` are not closed.
    #[must_use]
    pub fn open(&self, origin: OriginIndex) -> usize {
        self.of(origin).filter(|(_, known)| !known.mark.closed).count()
    }

    /// Remembers what `origin` says at `seq` of its stream; what it said before that no longer holds.
    pub fn remember(&mut self, origin: OriginIndex, producer: u64, mark: Mark, seq: u64) {
        let fresh = Known { mark, seq, since_s: self.now_s };
        let known = self.known.entry((origin, producer)).or_insert(fresh);
        if known.seq <= seq {
            *known = fresh;
        }
    }

    /// A producer is connected.
    pub fn touch(&mut self, origin: OriginIndex, producer: u64) {
        if let Some(known) = self.known.get_mut(&(origin, producer)) {
            known.since_s = self.now_s;
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        if self.first_ms == 0 {
            self.first_ms = now.mono_ms;
        }
        self.now_s = (now.mono_ms - self.first_ms) / 1000;
    }

    /// Producers of `origin` that nobody has used for [`IDLE_MS`].
    #[must_use]
    pub fn idle(&self, origin: OriginIndex) -> Vec<u64> {
        let is_idle = |known: &Known| !known.mark.closed && known.since_s + IDLE_MS / 1000 <= self.now_s;
        self.of(origin).filter(|(_, known)| is_idle(known)).map(|(producer, _)| producer).collect()
    }

    /// `origin` was absorbed: from now on its marks age.
    pub fn absorbed(&mut self, origin: OriginIndex) {
        let now_s = self.now_s;
        self.known.range_mut((origin, 0)..=(origin, u64::MAX)).for_each(|(_, known)| known.since_s = now_s);
    }

    /// Forgets all of `origin`.
    pub fn forget_origin(&mut self, origin: OriginIndex) {
        self.known.retain(|(of, _), _| *of != origin);
    }

    /// Forgets closed producers that every member knows to be closed, which `is_everywhere` tells, and those of origins
    /// that were absorbed long ago.
    pub fn forget(&mut self, is_everywhere: impl Fn(OriginIndex, u64) -> bool, is_absorbed: impl Fn(OriginIndex) -> bool) {
        let now_s = self.now_s;
        self.known.retain(|(origin, _), known| {
            let age_ms = (now_s - known.since_s) * 1000;
            let is_over = known.mark.closed && age_ms >= CLOSED_MS && is_everywhere(*origin, known.seq);
            !(is_over || age_ms >= IDLE_MS && is_absorbed(*origin))
        });
    }

    /// Per origin the position at which it closed a producer last.
    #[must_use]
    pub fn newest_closed(&self) -> BTreeMap<OriginIndex, u64> {
        let mut newest = BTreeMap::new();
        for ((origin, _), known) in self.known.iter().filter(|(_, known)| known.mark.closed) {
            let seq = newest.entry(*origin).or_default();
            *seq = known.seq.max(*seq);
        }
        newest
    }

    /// The newest position at which `origin` spoke of a producer.
    #[must_use]
    pub fn newest(&self, origin: OriginIndex) -> u64 {
        self.of(origin).map(|(_, known)| known.seq).max().unwrap_or(0)
    }

    /// Appends what the wanted positions of streams say.
    pub fn copy(&self, is_wanted: impl Fn(OriginIndex, u64) -> bool, out: &mut Vec<u8>) {
        for ((by, producer), Known { mark, seq, .. }) in self.known.iter().filter(|((by, _), known)| is_wanted(*by, known.seq)) {
            Record::Fact { by: *by, seq: *seq, fact: Fact::Produced { producer: *producer, mark: *mark } }.encode(out);
        }
    }

    fn of(&self, origin: OriginIndex) -> impl Iterator<Item = (u64, &Known)> {
        self.known.range((origin, 0)..=(origin, u64::MAX)).map(|((_, producer), known)| (*producer, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    #[test]
    fn the_newest_word_of_an_origin_holds_in_whatever_order_it_comes() {
        let marks = [(3, 1), (9, 4), (5, 2)].map(|(seq, upto)| (seq, Mark { upto, ..Mark::default() }));
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut known = Marks::default();
            order.into_iter().for_each(|at| known.remember(1, 7, marks[at].1, marks[at].0));
            assert_eq!(known.get(1, 7), Some((marks[1].1, 9)));
            assert_eq!((known.get(2, 7), known.get(1, 8)), (None, None));
        }
    }

    #[test]
    fn it_is_remembered_of_which_of_the_last_batches_ops_were_refused() {
        let mark = [false, true, false].into_iter().fold(Mark::default(), Mark::advanced);
        assert_eq!([0, 1, 2].map(|number| mark.is_clear(number)), [true, false, true]);
        let later = (0..WINDOW_MAX).fold(mark, |mark, _| mark.advanced(false));
        assert!(!later.is_clear(2), "too long ago to tell");
        assert!((3..3 + WINDOW_MAX).all(|number| later.is_clear(number)));
    }

    #[test]
    fn marks_go_when_nobody_can_ask_any_more() {
        let mut marks = Marks::default();
        marks.tick(at(1));
        let closed = Mark { closed: true, ..Mark::default() };
        marks.remember(0, 1, Mark::default(), 5);
        marks.remember(0, 2, closed, 6);
        marks.remember(1, 3, Mark::default(), 7);
        assert_eq!((marks.newest_closed(), marks.newest(0), marks.open(0)), ([(0, 6)].into(), 6, 1));
        marks.forget(|_, _| true, |_| true);
        assert_eq!(marks.count(), 3, "none is old");
        marks.tick(at(1 + CLOSED_MS));
        marks.touch(0, 1);
        marks.absorbed(1);
        marks.forget(|_, _| false, |_| false);
        assert_eq!(marks.count(), 3, "somebody does not know that one is closed");
        marks.forget(|origin, seq| (origin, seq) == (0, 6), |_| false);
        assert_eq!(marks.get(0, 2), None);
        marks.tick(at(1 + IDLE_MS));
        assert!(marks.idle(0).is_empty(), "connected since");
        marks.forget(|_, _| false, |_| true);
        assert_eq!(marks.count(), 2);
        marks.tick(at(1 + CLOSED_MS + IDLE_MS));
        assert_eq!(marks.idle(0), [1]);
        marks.forget(|_, _| false, |origin| origin == 1);
        assert_eq!((marks.count(), marks.get(1, 3)), (1, None));
    }
}
