//! Pure: what is due when. An ordered set rather than a timing wheel: every operation is O(log n), cancelling leaves
//! nothing behind, the next deadline is exact (a wheel knows only its next slot), and it is a screen of code.

use std::collections::BTreeSet;

/// Deadlines on the monotonic clock, by key. The caller remembers the time it set, and with it cancels. Holds at most
/// what the caller's own table holds, one deadline per key.
#[derive(Debug)]
pub struct Deadlines<K>(BTreeSet<(u64, K)>);

impl<K> Default for Deadlines<K> {
    fn default() -> Deadlines<K> {
        Deadlines(BTreeSet::new())
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Makes `key` due at `at_ms`.
    pub fn set(&mut self, at_ms: u64, key: K) {
        self.0.insert((at_ms, key));
    }

    /// Takes back what [`Deadlines::set`] was told; nothing happens if that has been popped.
    pub fn cancel(&mut self, at_ms: u64, key: &K) {
        self.0.remove(&(at_ms, key.clone()));
    }

    /// Takes out the earliest key that is due at `now_ms`.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<K> {
        self.next_ms().filter(|at_ms| *at_ms <= now_ms)?;
        self.0.pop_first().map(|(_, key)| key)
    }

    /// When the earliest key is due.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        self.0.first().map(|(at_ms, _)| *at_ms)
    }

    /// How many are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The earlier of two deadlines, either of which may be missing.
pub(crate) fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_when_due_earliest_first_and_never_after_they_were_cancelled() {
        let mut deadlines = Deadlines::default();
        for (at_ms, key) in [(30, "c"), (10, "a"), (20, "b"), (20, "d")] {
            deadlines.set(at_ms, key);
        }
        deadlines.cancel(20, &"d");
        assert_eq!((deadlines.next_ms(), deadlines.pop_due(9)), (Some(10), None));
        assert_eq!((deadlines.pop_due(20), deadlines.pop_due(20), deadlines.pop_due(20)), (Some("a"), Some("b"), None));
        deadlines.cancel(10, &"a");
        assert_eq!((deadlines.len(), deadlines.pop_due(u64::MAX), deadlines.next_ms()), (1, Some("c"), None));
    }
}
