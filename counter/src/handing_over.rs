//! I/O: a node's end: what it has acknowledged is to be on another node's disk, too, before it goes.

use crate::{engine::Engine, links::Links};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How often it is looked whether a peer is connected, for a connection that ends wakes nobody.
const LOOK: Duration = Duration::from_millis(100);
/// Nobody is waited for who was not connected for so long; longer than a connection takes that is dialed anew.
const UNREACHED: Duration = Duration::from_secs(2);

impl Engine {
    /// Waits until a peer has on its disk what was counted here, for `most` at the longest and while some peer is to be reached; the
    /// number of changes that no other disk has then. Others then have no need of this node to show what it has acknowledged.
    pub async fn hand_over(&self, most: Duration) -> u64 {
        let deadline = Instant::now() + most;
        let mut given_up = Instant::now() + UNREACHED;
        let mut replicated = self.shared().replicated.subscribe();
        loop {
            let (missing, is_connected) = self.unreplicated();
            let now = Instant::now();
            if is_connected {
                given_up = now + UNREACHED;
            }
            if missing == 0 || now >= deadline.min(given_up) {
                return missing;
            }
            let look = (now + LOOK).min(deadline);
            let _ = timeout_at(look, replicated.changed()).await;
        }
    }

    /// Changes of this node that no peer's disk is known to have, and whether a peer is connected; none without peers.
    fn unreplicated(&self) -> (u64, bool) {
        let state = self.shared().state.lock();
        let replica = &state.ledger.replica;
        let of = |links: &Links| (replica.own_seq().saturating_sub(links.replicated(replica.own())), links.connected().next().is_some());
        state.links.as_ref().map_or((0, false), of)
    }
}
