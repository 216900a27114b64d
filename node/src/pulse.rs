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

/// The gauge shows the latest of so many ticks, 15 s of them: whoever reads it every 15 s misses none, and of a process that gets
/// its CPU in pieces many a tick is in time.
const LAGS: usize = 30;

/// The time of the last tick.
#[derive(Debug, Default)]
pub struct Pulse {
    last_ms: AtomicU64,
}

impl Pulse {
    /// Ticks for ever; `lag` shows in seconds how late the latest of the last [`LAGS`] ticks came.
    pub async fn beat(&self, clock: Clock, lag: &prometheus::Gauge) {
        let mut ticks = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut lags = [0.0; LAGS];
        for turn in (0..LAGS).cycle() {
            lags[turn] = ticks.tick().await.elapsed().as_secs_f64();
            lag.set(lags.into_iter().fold(0.0, f64::max));
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

    #[tokio::test(start_paused = true)]
    async fn a_late_tick_shows_for_fifteen_seconds() {
        let lag = prometheus::Gauge::new("lag", "of a test").unwrap();
        let pulse = Pulse::default();
        let shown = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let before = lag.get();
            // As if nothing had run for so long.
            tokio::time::advance(Duration::from_secs(2)).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            let after = lag.get();
            tokio::time::sleep(Duration::from_secs(6)).await;
            (before, after, lag.get())
        };
        let now = || Now { mono_ms: 0, wall_ms: 0 };
        let (before, after, later) = tokio::select! { () = pulse.beat(now, &lag) => unreachable!("it ends"), shown = shown => shown };
        assert!(before < 0.1 && (1.5..2.1).contains(&after) && later < 0.1, "{before} {after} {later}");
    }
}
