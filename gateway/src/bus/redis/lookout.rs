//! I/O: looks now and then whether the ring has gone on without this gateway. One that is cut off from etcd and publishes
//! nothing would else listen for ever at nodes that have lost their slots.

use super::listener::Listener;
use ring_coordinator::{redis::fences, slot::Slot};
use std::{sync::Arc, time::Duration};

/// How often.
const INTERVAL: Duration = Duration::from_secs(10);

/// Looks for ever.
pub(super) async fn run(listener: Arc<Listener>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        look(&listener).await;
    }
}

/// Compares the fences of all slots that are listened for with the epoch of our ring. A node that cannot be asked is another
/// matter, and looked after by others.
async fn look(listener: &Listener) {
    let routes = &listener.routes;
    for (node, slots) in listener.slots_by_owner() {
        let Ok(link) = routes.nodes.link(&node) else { continue };
        let slots: Vec<Slot> = slots.into_iter().collect();
        let Ok(fences) = fences(&link, &slots).await else { continue };
        if let Some(highest) = fences.into_iter().flatten().max() {
            routes.heard_of(&node, highest);
        }
    }
}
