//! I/O: a task that ticks, so that a runtime whose threads are all stuck can be seen from outside.

use protocol::time::{Clock, Now};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Milliseconds between ticks.
const INTERVAL_MS: u64 = 500;
/// A tick older than this means that the runtime is stuck: `/healthz` says so, and whoever watches restarts the process.
const STALE_MS: u64 = 5_000;

/// The time of the last tick.
#[derive(Debug, Default)]
pub struct Pulse {
    last_ms: AtomicU64,
}

impl Pulse {
    /// Ticks for ever; `lag` shows in seconds how late the last tick came.
    pub async fn beat(&self, clock: Clock, lag: &prometheus::Gauge) {
        let mut ticks = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = ticks.tick().await;
            lag.set(due.elapsed().as_secs_f64());
            self.tick(clock());
        }
    }

    /// Whether a tick came recently.
    #[must_use]
    pub fn is_fresh(&self, now: Now) -> bool {
        now.mono_ms.saturating_sub(self.last_ms()) <= STALE_MS
    }

    /// When the last tick came, by the monotonic clock; 0 before the first.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms.load(Ordering::Relaxed)
    }

    fn tick(&self, now: Now) {
        self.last_ms.store(now.mono_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_is_stale_when_no_tick_came_for_five_seconds() {
        let (pulse, now) = (Pulse::default(), Now { mono_ms: 1000, wall_ms: 0 });
        pulse.tick(now);
        assert!(pulse.is_fresh(now.plus_ms(STALE_MS)));
        assert!(!pulse.is_fresh(now.plus_ms(STALE_MS + 1)));
    }
}
