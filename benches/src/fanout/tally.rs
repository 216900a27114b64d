//! Pure: what all subscribers together have received.

use crate::latency::Histogram;

/// Where one subscriber is in its channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The number that must come next.
    next: u64,
}

/// The sums, since the phase began.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Messages that came, each to one subscriber.
    pub(super) received: u64,
    /// Messages that were passed over: later ones of the same channel came, to the same subscriber.
    pub(super) skipped: u64,
    /// Messages that came again, or after a later one.
    pub(super) disordered: u64,
    /// Connections that ended, ever.
    pub(super) closed: u64,
    /// Reads that brought something: with fewer of them than messages, several came at once.
    pub(super) reads: u64,
    /// From the time at which a message should have been sent.
    pub(super) latency: Histogram,
    /// How many have each message, of those that not all have; by number from `first`.
    waiting: std::collections::VecDeque<u64>,
    first: u64,
    /// How many must have a message; 0: nobody wants to know.
    subscribers: u64,
}

impl Tally {
    /// Begins a phase: everything is 0 again, but for connections that ended.
    pub(super) fn begin(&mut self) {
        *self = Tally { closed: self.closed, ..Tally::default() };
    }

    /// From now on it counts which messages all `subscribers` of one channel have, from number `first` on.
    pub(super) fn watch(&mut self, first: u64, subscribers: u64) {
        (self.first, self.subscribers) = (first, subscribers);
        self.waiting.clear();
    }

    /// Notes a message. Returns how many more messages all have now, if somebody watches.
    pub(super) fn note(&mut self, place: &mut Place, seq: u64, ns: u64, now_ns: u64) -> u64 {
        self.received += 1;
        self.latency.add(now_ns.saturating_sub(ns));
        if seq < place.next {
            self.disordered += 1;
            return 0;
        }
        self.skipped += seq - place.next;
        place.next = seq + 1;
        let Some(index) = seq.checked_sub(self.first).filter(|_| self.subscribers > 0).and_then(|index| usize::try_from(index).ok()) else {
            return 0;
        };
        if index >= self.waiting.len() {
            self.waiting.resize(index + 1, 0);
        }
        self.waiting[index] += 1;
        let before = self.first;
        while self.waiting.front() == Some(&self.subscribers) {
            self.waiting.pop_front();
            self.first += 1;
        }
        self.first - before
    }

    /// What is wrong, in words, if `expected` messages had to come; `None` if nothing is.
    pub(super) fn fault(&self, expected: u64) -> Option<String> {
        let missing = expected.saturating_sub(self.received - self.disordered);
        let mut faults = Vec::new();
        for (count, what) in [(missing, "lost"), (self.disordered, "out of order"), (self.closed, "connections ended")] {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        }
        (!faults.is_empty()).then(|| format!("{} of {expected}", faults.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_missing_doubled_or_late_is_a_fault() {
        let (mut tally, mut place) = (Tally::default(), Place::default());
        for seq in 0..5 {
            tally.note(&mut place, seq, 0, 1_000_000);
        }
        assert_eq!(tally.fault(5), None);
        assert_eq!(tally.fault(6), Some("1 lost of 6".to_owned()));
        tally.note(&mut place, 7, 0, 0);
        assert_eq!((tally.skipped, tally.fault(8)), (2, Some("2 lost of 8".to_owned())));
        tally.note(&mut place, 6, 0, 0);
        tally.closed = 1;
        assert_eq!(tally.fault(8), Some("2 lost, 1 out of order, 1 connections ended of 8".to_owned()));
        tally.begin();
        tally.note(&mut place, 8, 0, 0);
        assert_eq!((tally.received, tally.skipped, tally.fault(1)), (1, 0, Some("1 connections ended of 1".to_owned())));
    }

    #[test]
    fn a_message_is_done_when_all_have_it_and_those_before_it() {
        let (mut tally, mut places) = (Tally::default(), [Place { next: 10 }; 2]);
        tally.watch(10, 2);
        let mut note = |who: usize, seq| tally.note(&mut places[who], seq, 0, 0);
        assert_eq!([note(0, 10), note(0, 11), note(1, 10), note(1, 11), note(1, 12), note(0, 12)], [0, 0, 1, 1, 0, 1]);
    }
}
