//! Pure: whether the runtime still ticks, by what the watchdog has seen itself. Time that passed while the watchdog was not running
//! either (SIGSTOP, a machine that slept or had no CPU for us) counts as one look: it says nothing about the runtime.

/// Milliseconds between two looks.
pub(super) const LOOK_MS: u64 = 250;
/// What one look can add to a stall, however late it came.
const LOOK_MS_MAX: u64 = 2 * LOOK_MS;
/// A stall that is longer, and then over, is counted. Half a second of it is the usual pause between ticks.
const COUNTED_MS: u64 = 1_500;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The runtime ticks, or may tick again soon.
    Fine,
    /// It ticks again after a stall of so many milliseconds.
    Passed(u64),
    /// No tick for as long as may be: it will not come back by itself.
    Stuck(u64),
}

/// How long no tick has been seen.
#[derive(Debug)]
pub(super) struct Stall {
    limit_ms: u64,
    last_tick: u64,
    looked_at_ms: u64,
    stalled_ms: u64,
}

impl Stall {
    /// Begins at `now_ms`, by a monotonic clock. `limit_ms` 0: never stuck.
    #[must_use]
    pub(super) fn new(limit_ms: u64, now_ms: u64) -> Stall {
        Stall { limit_ms, last_tick: 0, looked_at_ms: now_ms, stalled_ms: 0 }
    }

    /// Looks at the number of the last tick.
    pub(super) fn look(&mut self, tick: u64, now_ms: u64) -> Finding {
        let passed_ms = now_ms.saturating_sub(self.looked_at_ms).min(LOOK_MS_MAX);
        self.looked_at_ms = now_ms;
        self.stalled_ms += passed_ms;
        if tick != self.last_tick {
            self.last_tick = tick;
            let stalled_ms = std::mem::take(&mut self.stalled_ms);
            return if stalled_ms > COUNTED_MS { Finding::Passed(stalled_ms) } else { Finding::Fine };
        }
        if self.limit_ms > 0 && self.stalled_ms >= self.limit_ms { Finding::Stuck(self.stalled_ms) } else { Finding::Fine }
    }

    /// Whether ticks come as they should.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        self.stalled_ms <= COUNTED_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every [`LOOK_MS`] for `ms`, at the same tick all the time.
    fn watch(stall: &mut Stall, tick: u64, now_ms: &mut u64, ms: u64) -> Finding {
        let mut found = Finding::Fine;
        for _ in 0..ms / LOOK_MS {
            *now_ms += LOOK_MS;
            found = stall.look(tick, *now_ms);
        }
        found
    }

    #[test]
    fn a_runtime_that_ticks_is_fine_for_ever() {
        let (mut stall, mut now_ms) = (Stall::new(10_000, 0), 0);
        for tick in 1..200 {
            assert_eq!(watch(&mut stall, tick, &mut now_ms, 2 * LOOK_MS), Finding::Fine);
        }
    }

    #[test]
    fn no_tick_for_the_limit_is_stuck_and_not_a_look_earlier() {
        let (mut stall, mut now_ms) = (Stall::new(10_000, 0), 0);
        watch(&mut stall, 1, &mut now_ms, LOOK_MS);
        assert_eq!(watch(&mut stall, 1, &mut now_ms, 10_000 - LOOK_MS), Finding::Fine);
        assert!(!stall.is_over());
        assert_eq!(watch(&mut stall, 1, &mut now_ms, LOOK_MS), Finding::Stuck(10_000));
    }

    #[test]
    fn a_limit_of_zero_is_none_and_the_stall_is_told_when_it_has_passed() {
        let (mut stall, mut now_ms) = (Stall::new(0, 0), 0);
        watch(&mut stall, 1, &mut now_ms, LOOK_MS);
        assert_eq!(watch(&mut stall, 1, &mut now_ms, 60_000), Finding::Fine);
        assert_eq!(watch(&mut stall, 2, &mut now_ms, LOOK_MS), Finding::Passed(60_000 + LOOK_MS));
        assert!(stall.is_over());
    }

    #[test]
    fn a_process_that_was_stopped_as_a_whole_was_not_stalled() {
        let (mut stall, mut now_ms) = (Stall::new(10_000, 0), 0);
        watch(&mut stall, 1, &mut now_ms, LOOK_MS);
        for _ in 0..3 {
            now_ms += 3_600_000;
            assert_eq!(stall.look(1, now_ms), Finding::Fine);
        }
        assert_eq!(watch(&mut stall, 2, &mut now_ms, LOOK_MS), Finding::Passed(3 * LOOK_MS_MAX + LOOK_MS));
    }
}
