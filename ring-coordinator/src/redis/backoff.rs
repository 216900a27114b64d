//! Pure: how long to wait before the next try of a connection. Tries never end.

/// After the first failure, in milliseconds.
const FIRST_MS: u64 = 100;
/// The longest.
const LONGEST_MS: u64 = 2_000;
/// A connection that stood for so long was a good one.
const GOOD_MS: u64 = 2_000;

/// Of one connection.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A try has ended, after the connection stood for so long. Returns how long to wait: half of it by chance, so that many
    /// gateways do not come back together.
    pub fn after(&mut self, stood_ms: u64, random: u64) -> u64 {
        if stood_ms >= GOOD_MS {
            self.failures = 0;
        }
        let longest = (FIRST_MS << self.failures.min(10)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        longest / 2 + random % (longest / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_two_seconds_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::default();
        let longest = [0; 7].map(|_| backoff.after(0, 2_000 * 1_001 * 801 * 401 * 201 * 101 * 51 - 1));
        assert!(longest.iter().all(|wait| (50..=2_000).contains(wait)));
        assert_eq!([0; 3].map(|_| backoff.after(1_999, 0)), [1_000; 3]);
        assert_eq!([0; 6].map(|_| backoff.after(2_000, 0)), [50; 6]);
        assert_eq!([0; 6].map(|_| backoff.after(0, 0)), [100, 200, 400, 800, 1_000, 1_000]);
    }
}
