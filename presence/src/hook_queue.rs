//! I/O: the log of what services are still to be told of one process, and those who wait for it.

use crate::{
    hook::{HookBatch, HookKind},
    hook_log::HookLog,
    version::Stamp,
};
use parking_lot::Mutex;
use protocol::time::Now;
use std::sync::Arc;
use tokio::sync::Notify;

/// Its lock is the innermost one, held for a few lines.
pub(crate) struct HookQueue {
    log: Mutex<HookLog>,
    /// Wakes one of those who wait: there may be a batch.
    news: Notify,
}

impl HookQueue {
    pub(crate) fn new(generation: u64, now: Now) -> HookQueue {
        HookQueue { log: Mutex::new(HookLog::new(generation, now)), news: Notify::new() }
    }

    /// See [`HookLog::push`]. Called while what has changed is locked, so that the order is that of the changes.
    pub(crate) fn push(&self, kind: HookKind, name: Arc<str>, stamp: Option<Stamp>, now: Now) {
        self.log.lock().push(kind, name, stamp, now);
        self.news.notify_one();
    }

    /// Waits for the next batch.
    pub(crate) async fn next(&self) -> HookBatch {
        loop {
            // A word that comes before somebody waits for it is kept.
            if let Some(batch) = self.log.lock().take() {
                return batch;
            }
            self.news.notified().await;
        }
    }

    pub(crate) fn done(&self, batch: &HookBatch, is_told: bool) {
        self.log.lock().done(&batch.receipt, is_told);
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_end_of_the_batch_before_and_by_what_happens() {
        let queue = Arc::new(HookQueue::new(1, Now::default()));
        let waiting = || {
            let queue = queue.clone();
            tokio::spawn(async move { queue.next().await })
        };
        let first = queue.next().await;
        let second = waiting();
        queue.push(HookKind::Online, "ann".into(), None, Now::default());
        tokio::task::yield_now().await;
        assert!(!second.is_finished(), "one batch is under way");
        queue.done(&first, true);
        let second = second.await.unwrap();
        assert_eq!(second.hooks.iter().map(|hook| &*hook.name).collect::<Vec<_>>(), ["ann"]);

        let third = waiting();
        queue.done(&second, true);
        tokio::task::yield_now().await;
        assert!(!third.is_finished(), "nothing has happened");
        queue.push(HookKind::Offline, "ann".into(), None, Now::default());
        assert_eq!(third.await.unwrap().hooks[0].kind, HookKind::Offline);
    }
}
