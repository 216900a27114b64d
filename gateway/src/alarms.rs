//! I/O: when connections want to be woken, all of them by one timer. A timer of the runtime's for each would be a tenth of what
//! an idle connection costs.

use crate::hub::topic::ConnectionId;
use parking_lot::Mutex;
use presence::Deadlines;
use protocol::time::Clock;
use std::time::Duration;
use tokio::{sync::Notify, time::sleep};

/// Milliseconds between two rings at least: whoever is due meanwhile is woken together with others, and so much late at most.
const PAUSE_MS: u64 = 10;
/// Milliseconds between two looks when nobody waits for anything.
const IDLE_MS: u64 = 60_000;

/// One alarm for each connection at most.
#[derive(Default)]
pub(crate) struct Alarms {
    due: Mutex<Deadlines<ConnectionId>>,
    /// Somebody wants to be woken before all others.
    sooner: Notify,
}

impl Alarms {
    /// Changes when a connection is woken, in milliseconds on the monotonic clock, from what it was.
    pub(crate) fn change(&self, connection: ConnectionId, from: Option<u64>, to: Option<u64>) {
        let mut due = self.due.lock();
        if let Some(from_ms) = from {
            due.cancel(from_ms, &connection);
        }
        if let Some(to_ms) = to {
            let is_first = due.next_ms().is_none_or(|next_ms| to_ms < next_ms);
            due.set(to_ms, connection);
            if is_first {
                self.sooner.notify_one();
            }
        }
    }

    /// Wakes each connection at its time, for ever.
    pub(crate) async fn run(&self, clock: Clock, wake: impl Fn(ConnectionId)) {
        loop {
            let now_ms = clock().mono_ms;
            let next_ms = self.ring(now_ms, &wake);
            let pause_ms = next_ms.map_or(IDLE_MS, |next_ms| next_ms.saturating_sub(now_ms));
            if pause_ms > PAUSE_MS {
                tokio::select! {
                    () = sleep(Duration::from_millis(pause_ms)) => {}
                    () = self.sooner.notified() => {}
                }
            } else {
                sleep(Duration::from_millis(PAUSE_MS)).await;
            }
        }
    }

    /// Wakes whoever is due; returns when the next one is.
    fn ring(&self, now_ms: u64, wake: impl Fn(ConnectionId)) -> Option<u64> {
        let mut rung = Vec::new();
        let next_ms = {
            let mut due = self.due.lock();
            rung.extend(std::iter::from_fn(|| due.pop_due(now_ms)));
            due.next_ms()
        };
        rung.into_iter().for_each(wake);
        next_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(alarms: &Alarms, now_ms: u64) -> (Vec<ConnectionId>, Option<u64>) {
        let rung = Mutex::new(Vec::new());
        let next_ms = alarms.ring(now_ms, |connection| rung.lock().push(connection));
        (rung.into_inner(), next_ms)
    }

    #[test]
    fn each_is_woken_once_at_the_time_it_named_last() {
        let alarms = Alarms::default();
        alarms.change(1, None, Some(100));
        alarms.change(2, None, Some(50));
        alarms.change(3, None, Some(100));
        alarms.change(1, Some(100), Some(70));
        alarms.change(3, Some(100), None);
        assert_eq!(rung(&alarms, 49), (vec![], Some(50)));
        assert_eq!(rung(&alarms, 50), (vec![2], Some(70)));
        assert_eq!(rung(&alarms, 1_000), (vec![1], None));
        assert_eq!(rung(&alarms, 2_000), (vec![], None));
    }
}
