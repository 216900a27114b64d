//! Pure: which counters were added to most often of late, in bounded memory: a sketch for each of the last windows of time.
//!
//! A sketch counts from below: what it says of a counter is never more than there was, and less by a part of
//! [`KEPT`] + 1 of all that it has seen at most. (Misra and Gries, "Finding repeated elements", 1982; the least are dropped many at a
//! time as by Anderson and others, "A High-Performance Algorithm for Identifying Frequent Items in Data Streams", 2017, which costs
//! less for each addition than to look for the least one, as Space-Saving of Metwally and others, 2005, does.)

use protocol::time::Now;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Counters that a sketch keeps when it drops the least ones.
const KEPT: usize = 256;
/// Counters in a sketch; with one more the least are dropped, so that this is done once for as many new ones as are kept.
const HELD_MAX: usize = 2 * KEPT;
/// How long a window is, in milliseconds.
const WINDOW_MS: u64 = 10_000;
/// Windows that are remembered, the one that has begun among them: what is older than a minute is forgotten with its window.
const WINDOWS: u64 = 6;

/// The counters of the last minute.
#[derive(Debug)]
pub(crate) struct Hot {
    /// By the number of the window, the newest last.
    windows: VecDeque<(u64, Sketch)>,
    since_ms: u64,
}

/// The counters that were added to most often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hottest {
    /// Each with its additions, the most first.
    pub counters: Vec<(Arc<str>, u64)>,
    /// Additions to all counters.
    pub additions: u64,
    /// Additions to any one counter that may be missing at most.
    pub missed_max: u64,
    /// Milliseconds in which they were made, a minute at most.
    pub window_ms: u64,
}

impl Hot {
    /// Nothing was added before `now`.
    pub(crate) fn new(now: Now) -> Hot {
        Hot { windows: VecDeque::new(), since_ms: now.mono_ms }
    }

    /// Counters were added to so often each.
    pub(crate) fn count<'a>(&mut self, additions: impl Iterator<Item = (&'a str, u64)>, now: Now) {
        let window = self.forget_before(now);
        if self.windows.back().is_none_or(|(newest, _)| *newest < window) {
            self.windows.push_back((window, Sketch::default()));
        }
        if let Some((_, sketch)) = self.windows.back_mut() {
            additions.for_each(|(key, times)| sketch.count(key, times));
        }
    }

    /// At most `limit` counters.
    pub(crate) fn hottest(&mut self, limit: usize, now: Now) -> Hottest {
        let window = self.forget_before(now);
        let (mut sums, mut additions, mut missed_max) = (HashMap::<&Arc<str>, u64>::new(), 0, 0);
        for (_, sketch) in &self.windows {
            additions += sketch.additions;
            missed_max += sketch.missed_max;
            sketch.held.iter().for_each(|(key, times)| *sums.entry(key).or_default() += times);
        }
        let mut counters: Vec<_> = sums.into_iter().map(|(key, times)| (key.clone(), times)).collect();
        counters.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        counters.truncate(limit);
        let begin_ms = (window.saturating_sub(WINDOWS - 1) * WINDOW_MS).max(self.since_ms);
        Hottest { counters, additions, missed_max, window_ms: now.mono_ms.saturating_sub(begin_ms) }
    }

    /// Returns the number of the window that it is now.
    fn forget_before(&mut self, now: Now) -> u64 {
        let window = now.mono_ms / WINDOW_MS;
        while self.windows.front().is_some_and(|(oldest, _)| oldest + WINDOWS <= window) {
            self.windows.pop_front();
        }
        window
    }
}

#[derive(Debug, Default)]
struct Sketch {
    held: HashMap<Arc<str>, u64>,
    additions: u64,
    missed_max: u64,
}

impl Sketch {
    fn count(&mut self, key: &str, times: u64) {
        self.additions += times;
        if let Some(held) = self.held.get_mut(key) {
            *held += times;
            return;
        }
        self.held.insert(key.into(), times);
        if self.held.len() > HELD_MAX {
            self.drop_least();
        }
    }

    /// Takes from each as much as the first one has that is not kept. So much is taken from as many as are kept, and from one more,
    /// which is why it cannot happen often that much is taken.
    fn drop_least(&mut self) {
        let mut counts: Vec<u64> = self.held.values().copied().collect();
        let (_, first_dropped, _) = counts.select_nth_unstable_by(KEPT, |one, other| other.cmp(one));
        let taken = *first_dropped;
        self.missed_max += taken;
        self.held.retain(|_, times| {
            *times = times.saturating_sub(taken);
            *times > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(ms: u64) -> Now {
        Now { mono_ms: ms, wall_ms: 1_700_000_000_000 + ms }
    }

    fn named(hottest: &Hottest) -> Vec<(&str, u64)> {
        hottest.counters.iter().map(|(key, times)| (&**key, *times)).collect()
    }

    #[test]
    fn few_counters_are_counted_exactly_the_most_first() {
        let mut hot = Hot::new(at(5_000));
        hot.count([("a", 1), ("b", 5), ("c", 2)].into_iter(), at(6_000));
        hot.count([("a", 9), ("d", 2)].into_iter(), at(31_000));
        let hottest = hot.hottest(3, at(35_000));
        assert_eq!(named(&hottest), [("a", 10), ("b", 5), ("c", 2)]);
        assert_eq!((hottest.additions, hottest.missed_max, hottest.window_ms), (19, 0, 30_000));
    }

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let mut hot = Hot::new(at(0));
        hot.count([("old", 7)].into_iter(), at(9_999));
        hot.count([("new", 1)].into_iter(), at(10_000));
        assert_eq!(named(&hot.hottest(9, at(59_999))), [("old", 7), ("new", 1)]);
        let hottest = hot.hottest(9, at(60_000));
        assert_eq!((named(&hottest), hottest.additions, hottest.window_ms), (vec![("new", 1)], 1, 50_000));
        assert_eq!(hot.hottest(9, at(69_999)).window_ms, 59_999);
        assert_eq!((named(&hot.hottest(9, at(1_000_000))), hot.windows.len()), (vec![], 0));
    }

    /// A stream in which few counters are hot among many that are not.
    fn stream() -> impl Strategy<Value = Vec<(u32, u64)>> {
        let key = prop_oneof![1 => 0_u32..8, 3 => any::<u16>().prop_map(u32::from)];
        prop::collection::vec((key, 1_u64..4), 0..6_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_counter_is_said_to_have_more_than_it_has_nor_less_by_more_than_the_bound(stream in stream(), pause_ms in 0_u64..20) {
            let mut hot = Hot::new(at(0));
            let mut truth = BTreeMap::<String, u64>::new();
            for (place, (key, times)) in (0_u64..).zip(&stream) {
                let key = format!("key {key}");
                // Never more than a minute in all; sometimes across windows.
                hot.count([(&*key, *times)].into_iter(), at(place * pause_ms / 3));
                *truth.entry(key).or_default() += times;
            }
            let all: u64 = truth.values().sum();
            let hottest = hot.hottest(usize::MAX, at(39_999));
            prop_assert_eq!(hottest.additions, all);
            prop_assert!(hottest.missed_max <= all / (KEPT as u64 + 1));
            let found: BTreeMap<&str, u64> = named(&hottest).into_iter().collect();
            for (key, times) in &truth {
                let said = found.get(&**key).copied().unwrap_or(0);
                prop_assert!(said <= *times && times - said <= hottest.missed_max, "{} of {}, {}", said, times, hottest.missed_max);
            }
            prop_assert!(found.len() <= HELD_MAX * hot.windows.len());
        }
    }
}
