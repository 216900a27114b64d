//! I/O: what services are to be told is handed out, slot by slot: of one slot nobody has more before that is done.

use super::{Shared, metrics::Metrics};
use crate::{
    deadlines::Deadlines,
    hook::{HookBatch, HookReceipt},
    redis::{self, HOOK_CHANGES},
};
use parking_lot::Mutex;
use ring_coordinator::slot::Slot;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// Batches that are handed out and not given back, each of another slot.
const AT_ONCE: usize = 8;
/// Events of one batch.
const BATCH_MAX: usize = 100;
/// What was not told, or could not be read, is tried again after so long.
const AGAIN_MS: u64 = 1_000;

/// What is to be handed out.
#[derive(Default)]
pub(super) struct Hooks {
    queues: Mutex<Queues>,
    /// Something is due.
    work: Notify,
}

#[derive(Default)]
struct Queues {
    nodes: BTreeMap<Arc<str>, Told>,
    /// Slots that may have something, each once, and from when on they are looked at: those first that wait for longest.
    due: Deadlines<Slot>,
    due_ms: BTreeMap<Slot, u64>,
    /// Each with whether it became due meanwhile.
    under_way: BTreeMap<Slot, bool>,
}

/// A node of which this gateway tells.
struct Told {
    until_ms: u64,
    is_settled: bool,
    pending: usize,
    is_look_due: bool,
}

impl Queues {
    /// What is due sooner stays where it is in the queue.
    fn set(&mut self, slot: Slot, at_ms: u64) {
        let before = self.due_ms.get(&slot).copied();
        if before.is_none_or(|before| at_ms < before) {
            before.into_iter().for_each(|before| self.due.cancel(before, &slot));
            self.due_ms.insert(slot, at_ms);
            self.due.set(at_ms, slot);
        }
    }

    /// Takes the next slot that is due and not under way.
    fn take(&mut self, now_ms: u64) -> Option<Slot> {
        while self.under_way.len() < AT_ONCE {
            let slot = self.due.pop_due(now_ms)?;
            self.due_ms.remove(&slot);
            match self.under_way.entry(slot) {
                Entry::Occupied(mut under_way) => _ = under_way.insert(true),
                Entry::Vacant(vacant) => {
                    vacant.insert(false);
                    return Some(slot);
                }
            }
        }
        None
    }
}

impl Hooks {
    /// Until when this gateway tells of the node, if it does.
    pub(super) fn tells(&self, node: &Arc<str>, until_ms: Option<u64>, is_settled: bool) {
        let mut queues = self.queues.lock();
        let Some(until_ms) = until_ms else {
            queues.nodes.remove(node);
            return;
        };
        let told = queues.nodes.entry(node.clone()).or_insert(Told { until_ms, is_settled, pending: 0, is_look_due: true });
        (told.until_ms, told.is_settled) = (until_ms, is_settled);
    }

    /// Whether something may have been missed since the last look.
    pub(super) fn is_look_due(&self, node: &str) -> bool {
        self.queues.lock().nodes.get(node).is_some_and(|told| told.is_look_due)
    }

    /// What a look at all slots of a node has found.
    pub(super) fn found(&self, node: &str, pending: &[(Slot, usize)], now_ms: u64) {
        let mut queues = self.queues.lock();
        if let Some(told) = queues.nodes.get_mut(node) {
            (told.pending, told.is_look_due) = (pending.iter().map(|(_, length)| length).sum(), false);
        }
        pending.iter().for_each(|(slot, _)| queues.set(*slot, now_ms));
        drop(queues);
        self.work.notify_one();
    }

    /// What the metrics show.
    pub(super) fn show(&self, metrics: &Metrics, now_ms: u64) {
        let queues = self.queues.lock();
        let told = || queues.nodes.values().filter(|told| now_ms < told.until_ms);
        metrics.hooks_pending.set(i64::try_from(told().map(|told| told.pending).sum::<usize>()).unwrap_or(i64::MAX));
        metrics.hooks_settled.set(i64::from(told().all(|told| told.is_settled)));
    }

    fn is_told(&self, node: &str, now_ms: u64) -> bool {
        self.queues.lock().nodes.get(node).is_some_and(|told| now_ms < told.until_ms)
    }

    /// A slot is not under way any more, and is looked at again then; without a time, if it became due meanwhile.
    fn give_back(&self, slot: Slot, at_ms: Option<u64>) {
        let mut queues = self.queues.lock();
        let is_due = queues.under_way.remove(&slot) == Some(true);
        at_ms.or(is_due.then_some(0)).into_iter().for_each(|at_ms| queues.set(slot, at_ms));
        drop(queues);
        self.work.notify_one();
    }
}

/// A slot that was taken; dropped, it is due again.
struct Taken<'a> {
    hooks: &'a Hooks,
    slot: Slot,
    is_handed_out: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.is_handed_out {
            self.hooks.give_back(self.slot, Some(0));
        }
    }
}

impl Shared {
    /// See [`crate::Presence::next_hooks`].
    pub(crate) async fn next_hooks(&self) -> HookBatch {
        loop {
            let (slot, next_ms) = {
                let mut queues = self.services.hooks.queues.lock();
                let slot = queues.take(self.now().mono_ms);
                (slot, queues.due.next_ms().filter(|_| queues.under_way.len() < AT_ONCE))
            };
            let Some(slot) = slot else {
                let wait_ms = next_ms.map_or(AGAIN_MS, |at_ms| at_ms.saturating_sub(self.now().mono_ms).clamp(1, AGAIN_MS));
                _ = timeout(Duration::from_millis(wait_ms), self.services.hooks.work.notified()).await;
                continue;
            };
            let mut taken = Taken { hooks: &self.services.hooks, slot, is_handed_out: false };
            match self.read_hooks(slot).await {
                Ok(Some(batch)) => {
                    taken.is_handed_out = true;
                    // Others may wait for the next slot.
                    self.services.hooks.work.notify_one();
                    return batch;
                }
                found => {
                    taken.is_handed_out = true;
                    let again_ms = found.is_err().then(|| self.now().mono_ms + AGAIN_MS);
                    self.services.hooks.give_back(slot, again_ms);
                }
            }
        }
    }

    /// The oldest events of a slot; `None` if it has none, or they are not for this gateway to tell: a later look finds them.
    async fn read_hooks(&self, slot: Slot) -> Result<Option<HookBatch>, String> {
        let Some(node) = self.node_to_tell(slot) else { return Ok(None) };
        let (_, link, ring_epoch) = self.link(slot).map_err(|error| error.to_string())?;
        let logged = redis::hooks(&link, slot, ring_epoch, BATCH_MAX).await.map_err(|error| error.to_string())?;
        let Some(last) = logged.last().map(|last| last.id.clone()) else { return Ok(None) };
        let hooks: Vec<_> = logged.into_iter().filter_map(|logged| logged.hook).collect();
        if hooks.is_empty() {
            tracing::warn!(slot = slot.number(), "presence: what services were to be told could not be read, and is left out");
            redis::hooks_done(&link, slot, ring_epoch, &last).await.map_err(|error| error.to_string())?;
            return Err("there may be more".to_owned());
        }
        Ok(Some(HookBatch { hooks, receipt: HookReceipt::Shared { slot, node, last } }))
    }

    /// The node of a slot, if this gateway tells of it and it is not on its way.
    fn node_to_tell(&self, slot: Slot) -> Option<Arc<str>> {
        let view = self.view.load_full().filter(|view| view.previous(slot).is_none())?;
        view.owner(slot).filter(|node| self.services.hooks.is_told(node, self.now().mono_ms)).cloned()
    }

    /// See [`crate::Presence::are_hooks_ours`].
    pub(crate) fn are_hooks_ours(&self, batch: &HookBatch) -> bool {
        let HookReceipt::Shared { slot, node, .. } = &batch.receipt else { return false };
        self.node_to_tell(*slot).as_ref() == Some(node)
    }

    /// See [`crate::Presence::hooks_done`].
    pub(crate) async fn hooks_done(&self, batch: HookBatch, is_told: bool) {
        let HookReceipt::Shared { slot, last, .. } = batch.receipt else { return };
        let mut taken = Taken { hooks: &self.services.hooks, slot, is_handed_out: false };
        let mut is_done = false;
        if is_told && let Ok((_, link, ring_epoch)) = self.link(slot) {
            let done = redis::hooks_done(&link, slot, ring_epoch, &last).await;
            is_done = done.inspect_err(|error| tracing::debug!(%error, "presence: what was told will be told again")).is_ok();
        }
        taken.is_handed_out = true;
        let now_ms = self.now().mono_ms;
        self.services.hooks.give_back(slot, Some(if is_done { now_ms } else { now_ms + AGAIN_MS }));
    }

    /// A node says that there is something.
    pub(super) fn hear_hooks(&self, channel: &str, payload: &[u8]) -> bool {
        let is_news = channel == HOOK_CHANGES;
        if is_news && let Some(slot) = std::str::from_utf8(payload).ok().and_then(|text| Slot::new(text.parse().ok()?)) {
            self.services.hooks.queues.lock().set(slot, self.now().mono_ms);
            self.services.hooks.work.notify_one();
        }
        is_news
    }

    /// Listened for from now on: what was logged before may have been missed.
    pub(super) fn confirm_hooks(&self, node: &str, channel: &str) -> bool {
        let is_ours = channel == HOOK_CHANGES;
        if is_ours {
            self.services.hooks.queues.lock().nodes.get_mut(node).into_iter().for_each(|told| told.is_look_due = true);
        }
        is_ours
    }
}
