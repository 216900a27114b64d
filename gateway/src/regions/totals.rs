//! I/O: how many are online in this region, for the gateways of other regions that follow this one.

use crate::gateway::Gateway;
use protocol::region::Totals;
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// How often it is told. With a ring that is a question to each partition of the users, as long as there is a link.
const PAUSE: Duration = Duration::from_secs(1);

/// What was told last, and who is told: each link waits for the next.
pub(super) type Latest = watch::Sender<Totals>;

/// Tells it for ever. What cannot be known is not told: those who hear nothing know that what they have is old.
pub(crate) async fn tell(gateway: &Gateway) {
    let latest = &gateway.regions.totals;
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if latest.receiver_count() == 0 {
            continue;
        }
        match gateway.presence.online_totals().await {
            Ok(online) => {
                let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
                _ = latest.send(Totals { num_clients: number(online.clients), num_users: number(online.users) });
            }
            Err(error) => tracing::debug!(%error, "other regions are not told how many are online"),
        }
    }
}
