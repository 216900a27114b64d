//! Pure: the counters with the greatest values of a namespace, exactly, out of the newest value of each: some more are kept than are ever
//! shown, and of those that are not kept it is known that none is greater than a bound. Only when so many of the kept ones have come to less
//! than that bound that there are too few must all counters be looked at again.

use crate::change_feed::ChangedCounter;
use protocol::name::CounterKey;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// How many are told at most.
pub const TOP_MAX: usize = 100;
/// How many are kept of each namespace.
const KEPT: usize = 4 * TOP_MAX;

/// The greater value first, and of equal ones by name.
type Rank = Reverse<(i128, Reverse<CounterKey>)>;

/// The greatest of one namespace.
#[derive(Debug, Default)]
struct Top {
    ranks: BTreeSet<Rank>,
    values: HashMap<CounterKey, i128>,
    /// Nothing that is not kept comes before this; `None`: everything is kept.
    bound: Option<Rank>,
}

/// The greatest of every namespace.
#[derive(Debug, Default)]
pub(crate) struct Tops {
    namespaces: BTreeMap<String, Top>,
}

fn rank(key: &CounterKey, value: i128) -> Rank {
    Reverse((value, Reverse(key.clone())))
}

impl Tops {
    /// The newest values of counters.
    pub(crate) fn learn(&mut self, counters: impl IntoIterator<Item = ChangedCounter>) {
        for ChangedCounter { key, value } in counters {
            // As `Namespaces::of_counter` has it.
            let namespace = key.namespace().filter(|name| *name != "counter").unwrap_or_default();
            match self.namespaces.get_mut(namespace) {
                Some(top) => top.learn(key, value),
                // Counters are in namespaces that are configured, of which there are a hundred.
                None => self.namespaces.entry(namespace.to_owned()).or_default().learn(key, value),
            }
        }
    }

    /// Up to `limit` of a namespace, the greatest first. Counters that come to nothing are not among them.
    pub(crate) fn of(&self, namespace: &str, limit: usize) -> Vec<ChangedCounter> {
        let top = self.namespaces.get(namespace).into_iter().flat_map(|top| &top.ranks);
        let counter = |Reverse((value, Reverse(key))): &Rank| ChangedCounter { key: key.clone(), value: *value };
        top.take(limit.min(TOP_MAX)).map(counter).collect()
    }

    /// Whether all counters must be looked at again before every answer can be exact.
    pub(crate) fn is_short(&self) -> bool {
        self.namespaces.values().any(|top| top.bound.is_some() && top.ranks.len() < TOP_MAX)
    }
}

impl Top {
    fn learn(&mut self, key: CounterKey, value: i128) {
        if let Some(before) = self.values.remove(&key) {
            self.ranks.remove(&rank(&key, before));
        }
        let rank = rank(&key, value);
        if value == 0 || self.bound.as_ref().is_some_and(|bound| *bound <= rank) {
            return;
        }
        self.values.insert(key, value);
        self.ranks.insert(rank);
        if self.ranks.len() > KEPT
            && let Some(last) = self.ranks.pop_last()
        {
            let Reverse((_, Reverse(key))) = &last;
            self.values.remove(key);
            self.bound = Some(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counter(key: &str, value: i128) -> ChangedCounter {
        ChangedCounter { key: CounterKey::parse(key).unwrap(), value }
    }

    /// The greatest of all that is there, by sorting it.
    fn sorted(all: &BTreeMap<String, i128>, limit: usize) -> Vec<ChangedCounter> {
        let mut all: Vec<_> = all.iter().filter(|(_, value)| **value != 0).map(|(key, value)| counter(key, *value)).collect();
        all.sort_by_key(|counter| (Reverse(counter.value), counter.key.as_str().to_owned()));
        all.truncate(limit);
        all
    }

    #[test]
    fn namespaces_are_told_apart_and_what_comes_to_nothing_is_left_out() {
        let mut tops = Tops::default();
        tops.learn([counter("likes:a", 3), counter("likes:b", 5), counter("views:a", 9), counter("plain", 1), counter("likes:c", 5)]);
        assert_eq!(tops.of("likes", 9), [counter("likes:b", 5), counter("likes:c", 5), counter("likes:a", 3)]);
        assert_eq!(
            (tops.of("likes", 1), tops.of("", 9), tops.of("other", 9)),
            (vec![counter("likes:b", 5)], vec![counter("plain", 1)], vec![])
        );
        tops.learn([counter("likes:b", 0), counter("likes:a", -1)]);
        assert_eq!(tops.of("likes", 9), [counter("likes:c", 5), counter("likes:a", -1)]);
        assert!(!tops.is_short());
    }

    #[test]
    fn it_says_when_too_few_of_the_kept_are_left() {
        let mut tops = Tops::default();
        tops.learn((0..KEPT as i128 + 50).map(|number| counter(&format!("k{number}"), 1_000 + number)));
        // Whoever was left out comes in again once it is greater than all that was left out.
        tops.learn([counter("k0", 1_000), counter("k1", 5_000)]);
        assert_eq!((tops.of("", 1), tops.of("", usize::MAX).len()), (vec![counter("k1", 5_000)], TOP_MAX));
        for number in (50..KEPT as i128 + 50).rev() {
            assert_eq!(tops.is_short(), tops.of("", TOP_MAX).len() < TOP_MAX);
            tops.learn([counter(&format!("k{number}"), 1)]);
        }
        assert!(tops.is_short());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// As long as it does not say that it is short it is what sorting everything gives.
        #[test]
        fn it_is_exact_or_says_that_it_is_not(changes in prop::collection::vec((0..900_u32, -3..2_000_i128), 1..3_000)) {
            let (mut tops, mut all) = (Tops::default(), BTreeMap::new());
            for (number, (key, value)) in changes.iter().enumerate() {
                // At first all grow, and then they are turned about.
                let (key, value) = (format!("k{key}"), if number < 1_500 { number as i128 } else { *value });
                all.insert(key.clone(), value);
                tops.learn([counter(&key, value)]);
                if tops.is_short() {
                    tops = Tops::default();
                    tops.learn(all.iter().map(|(key, value)| counter(key, *value)));
                    prop_assert!(!tops.is_short());
                }
                if number % 97 == 0 {
                    prop_assert_eq!(tops.of("", 1), sorted(&all, 1));
                    prop_assert_eq!(tops.of("", TOP_MAX), sorted(&all, TOP_MAX));
                }
            }
        }
    }
}
