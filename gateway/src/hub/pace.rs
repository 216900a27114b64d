//! Pure: when what was delivered into a channel is written to its subscribers.

/// Milliseconds without a write after which a channel is quiet: what comes then comes by itself, most likely.
const QUIET_MS: u64 = 5;
/// Subscribers to whom whoever delivers into a quiet channel writes himself; to more of them it would hold him up.
const AT_ONCE_MAX: usize = 32;

/// When a write is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// By whoever delivers.
    Now,
    /// As soon as all who are ready to deliver have done so.
    Soon,
    /// At this time, on the monotonic clock in milliseconds.
    At(u64),
}

/// How often a channel is written to.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Milliseconds from one write to the next, at least.
    flush_ms: u64,
    last_ms: Option<u64>,
}

impl Pace {
    /// Of a channel whose namespace gathers publications for so many milliseconds.
    pub(super) fn new(flush_ms: u64) -> Pace {
        Pace { flush_ms, last_ms: None }
    }

    /// The turn of a channel into which something was delivered, while nothing waits in it.
    pub(super) fn turn(&self, now_ms: u64, subscribers: usize) -> Turn {
        let since_ms = self.last_ms.map_or(u64::MAX, |last_ms| now_ms.saturating_sub(last_ms));
        if since_ms < self.flush_ms {
            Turn::At(now_ms - since_ms + self.flush_ms)
        } else if since_ms >= QUIET_MS && subscribers <= AT_ONCE_MAX {
            Turn::Now
        } else {
            Turn::Soon
        }
    }

    pub(super) fn written(&mut self, now_ms: u64) {
        self.last_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_channel_of_few_is_written_to_at_once_and_any_other_soon() {
        let mut pace = Pace::new(0);
        assert_eq!(pace.turn(1_000, 32), Turn::Now);
        assert_eq!(pace.turn(1_000, 33), Turn::Soon);
        pace.written(1_000);
        assert_eq!((pace.turn(1_000, 1), pace.turn(1_004, 1)), (Turn::Soon, Turn::Soon));
        assert_eq!(pace.turn(1_005, 1), Turn::Now);
    }

    #[test]
    fn what_is_gathered_waits_from_the_last_write_on() {
        let mut pace = Pace::new(100);
        assert_eq!(pace.turn(1_000, 1_000), Turn::Soon, "nothing to wait for");
        pace.written(1_000);
        assert_eq!(pace.turn(1_000, 1), Turn::At(1_100));
        assert_eq!(pace.turn(1_099, 1), Turn::At(1_100));
        assert_eq!(pace.turn(1_100, 1), Turn::Now);
    }
}
