//! I/O: webhooks were turned off everywhere: what the nodes keep for them is deleted after a while, and nothing is logged any more.

use super::Shared;
use crate::redis::{self, WriteError};
use futures_util::future::join_all;
use parking_lot::Mutex;
use ring_coordinator::{redis::Link, slot::Slot};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// For so long nobody may have told services; after a restart of all gateways somebody does again, and nothing is missed.
const UNTOLD_MS: u64 = 600_000;
/// Slots of which it is deleted at once, and the pause after them: a node serves others in between.
const FORGET_AT_ONCE: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Since when nobody tells services of nodes that keep what is needed for that.
pub(super) type Untold = Mutex<BTreeMap<Arc<str>, u64>>;

impl Shared {
    /// Every few seconds, at each node.
    pub(super) async fn look_for_untold(&self, node: &Arc<str>, link: &Link) {
        if self.services.are_told {
            return;
        }
        if !redis::is_untold(link).await.unwrap_or(false) {
            self.services.untold.lock().remove(node);
            return;
        }
        let now_ms = self.now().mono_ms;
        {
            let mut untold = self.services.untold.lock();
            if now_ms < *untold.entry(node.clone()).or_insert(now_ms) + UNTOLD_MS {
                return;
            }
            // The next time comes as late.
            untold.remove(node);
        }
        match self.forget_told(node, link).await {
            Ok(true) => tracing::info!(%node, "presence: services are not told any more; what the node kept for that is deleted"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%node, %error, "presence: what the node keeps to tell services is not all deleted yet"),
        }
    }

    async fn forget_told(&self, node: &Arc<str>, link: &Link) -> Result<bool, WriteError> {
        let Some(view) = self.view.load_full() else { return Ok(false) };
        if !redis::begin_forgetting(link, &self.gateway).await? {
            return Ok(false);
        }
        let slots: Vec<Slot> = Slot::all().filter(|slot| view.owner(*slot) == Some(node)).collect();
        for slots in slots.chunks(FORGET_AT_ONCE) {
            sleep(PAUSE).await;
            for forgotten in join_all(slots.iter().map(|slot| redis::forget_told(link, *slot, view.epoch()))).await {
                if !forgotten? {
                    return Ok(false);
                }
            }
        }
        redis::end_forgetting(link).await?;
        Ok(true)
    }
}
