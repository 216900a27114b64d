//! I/O: many things done evenly over a time.

use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(2);

/// Calls `each` with 0 up to `count`, evenly over `over`. If it was held up, it makes up for that at once.
pub(super) async fn evenly(count: usize, over: Duration, mut each: impl FnMut(usize)) {
    let (begun, mut ticks) = (Instant::now(), interval(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done = 0;
    while done < count {
        ticks.tick().await;
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share
        let due = (begun.elapsed().as_secs_f64() / over.as_secs_f64() * count as f64) as usize;
        let due = due.min(count);
        (done..due).for_each(&mut each);
        done = due;
    }
}
