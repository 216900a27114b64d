//! Pure: how often a client may do a thing: a bucket that fills as time passes, from which each time takes one.

use protocol::{limits::APPEARANCES_PER_SECOND_MAX, time::Now};

/// Milliseconds in which one comes back.
const EACH_MS: u64 = 1_000 / APPEARANCES_PER_SECOND_MAX;

/// The bucket; full at first, with as many as come back in a second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When it is full again, on the monotonic clock.
    full_ms: u64,
}

impl Pace {
    /// Takes one, if there is one.
    pub(super) fn admits(&mut self, now: Now) -> bool {
        let full_ms = self.full_ms.max(now.mono_ms) + EACH_MS;
        let is_admitted = full_ms <= now.mono_ms + APPEARANCES_PER_SECOND_MAX * EACH_MS;
        if is_admitted {
            self.full_ms = full_ms;
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_as_long_as_a_second_has_and_then_each_has_to_come_back() {
        let mut pace = Pace::default();
        let mut admitted = |mono_ms: u64| (0..100).filter(|_| pace.admits(Now { mono_ms, wall_ms: 0 })).count();
        assert_eq!(admitted(5_000), 10);
        assert_eq!(admitted(5_099), 0);
        assert_eq!(admitted(5_100), 1, "refused ones have not made it longer");
        assert_eq!(admitted(5_350), 2);
        assert_eq!(admitted(60_000), 10, "no more than that is saved up");
    }
}
