//! Pure: what clients may take for granted of the counters that they have added to.

use std::collections::BTreeMap;

/// What one counter must read: `sure`, give or take what may or may not have been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// What was acknowledged and cannot have been lost since.
    pub sure: i64,
    /// The sum of the decrements, and of lost increments, that may have happened; at most 0.
    pub low: i64,
    /// The sum of the increments, and of lost decrements, that may have happened; at least 0.
    pub high: i64,
}

impl Expected {
    /// Whether a counter may read `value`.
    #[must_use]
    pub fn admits(&self, value: i64) -> bool {
        (self.sure + self.low..=self.sure + self.high).contains(&value)
    }

    fn may_have(&mut self, by: i64) {
        self.low += by.min(0);
        self.high += by.max(0);
    }
}

/// What became of additions so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By key.
    pub counters: BTreeMap<String, Expected>,
    /// Additions that were acknowledged.
    pub acknowledged: u64,
    /// Attempts that had no answer.
    pub unanswered: u64,
    /// Attempts that were refused because the log could not be written.
    pub refused: u64,
    /// Answers that there should not have been.
    pub violations: Vec<String>,
    /// What was acknowledged by one node's disk alone since its mark: by node and key, the sums of both signs.
    on_one_disk: BTreeMap<(usize, String), Expected>,
    /// How often each node's disk was lost.
    losses: BTreeMap<usize, u64>,
}

impl Tally {
    /// How often the disk of node `at` was lost. Ask before an addition, and say it with its outcome.
    #[must_use]
    pub fn losses(&self, at: usize) -> u64 {
        self.losses.get(&at).copied().unwrap_or(0)
    }

    /// An addition is on more than one disk, or its token was retried until it was.
    pub fn counted_for_good(&mut self, key: &str, by: i64) {
        self.acknowledged += 1;
        self.expected(key).sure += by;
    }

    /// An addition is on the disk that node `at` had when its `losses` were these.
    pub fn counted_on_disk(&mut self, key: &str, by: i64, at: usize, losses: u64) {
        self.counted_for_good(key, by);
        if self.losses(at) == losses {
            // Where it is lost, the counter has that much less.
            self.on_one_disk.entry((at, key.to_owned())).or_default().may_have(-by);
        } else {
            self.expected(key).may_have(-by);
        }
    }

    /// An addition without a token may have been counted.
    pub fn unknown(&mut self, key: &str, by: i64) {
        self.expected(key).may_have(by);
    }

    /// What node `at` has acknowledged so far will be on other disks before its own is lost.
    pub fn mark(&mut self, at: usize) {
        self.on_one_disk.retain(|(node, _), _| *node != at);
    }

    /// The disk of node `at` is lost, with what it has acknowledged since [`Tally::mark`].
    pub fn lost(&mut self, at: usize) {
        *self.losses.entry(at).or_default() += 1;
        let lost: Vec<_> = self.on_one_disk.extract_if(.., |(node, _), _| *node == at).collect();
        for ((_, key), Expected { low, high, .. }) in lost {
            self.expected(&key).low += low;
            self.expected(&key).high += high;
        }
    }

    fn expected(&mut self, key: &str) -> &mut Expected {
        self.counters.entry(key.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_one_disk_alone_had_may_be_lost_with_it() {
        let mut tally = Tally::default();
        tally.counted_for_good("a", 10);
        tally.counted_on_disk("a", 5, 0, 0);
        tally.mark(0);
        tally.counted_on_disk("a", 2, 0, 0);
        tally.counted_on_disk("a", -1, 0, 0);
        tally.counted_on_disk("a", 4, 1, 0);
        assert_eq!(tally.counters["a"], Expected { sure: 20, low: 0, high: 0 });
        tally.lost(0);
        assert_eq!(tally.counters["a"], Expected { sure: 20, low: -2, high: 1 });
        tally.counted_on_disk("a", 7, 0, 0);
        assert_eq!(tally.counters["a"], Expected { sure: 27, low: -9, high: 1 }, "an answer that came after the loss");
        tally.counted_on_disk("a", 1, 0, 1);
        tally.unknown("a", 3);
        tally.unknown("a", -1);
        let expected = tally.counters["a"];
        assert_eq!(expected, Expected { sure: 28, low: -10, high: 4 });
        assert!(expected.admits(18) && expected.admits(32) && !expected.admits(17) && !expected.admits(33));
    }
}
