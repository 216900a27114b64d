//! Pure: how long to wait before something is tried again: longer each time, and never the same for all who wait.

/// The first wait.
const FIRST_MS: u64 = 100;
/// The longest one. Short enough that a lease, or a node, is had again within seconds after the other end has come back.
const LAST_MS: u64 = 2_000;

/// Waits between attempts, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure, in milliseconds: between half of 100 ms · 2ⁿ and all of it, at most 2 s.
    pub fn after_failure_ms(&mut self, random: u64) -> u64 {
        let all_ms = FIRST_MS.checked_shl(self.failures.min(16)).unwrap_or(LAST_MS).min(LAST_MS);
        self.failures = self.failures.saturating_add(1);
        all_ms / 2 + random % (all_ms / 2 + 1)
    }

    /// It has worked: the next wait is short again.
    pub fn worked(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_short_again_after_a_success() {
        let mut backoff = Backoff::default();
        let longest: Vec<u64> = (0..8).map(|_| backoff.after_failure_ms(LAST_MS / 2)).collect();
        assert!(longest.iter().all(|wait| (50..=2_000).contains(wait)), "{longest:?}");
        assert_eq!(backoff.after_failure_ms(0), 1_000);
        assert_eq!(backoff.after_failure_ms(1_000), 2_000);
        backoff.worked();
        assert_eq!(backoff.after_failure_ms(0), 50);
        let mut worn = Backoff { failures: u32::MAX };
        assert_eq!(worn.after_failure_ms(1_000), 2_000);
    }
}
