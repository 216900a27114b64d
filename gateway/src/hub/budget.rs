//! I/O: the memory that all clients' queues may take together. A queue's own bound keeps one slow client from taking much; this keeps
//! many of them from taking all there is. From four fifths on no new session is let in, from nine tenths on those that have most
//! waiting are closed with 3008 until it is four fifths again, and at the whole of it whoever has more than a little waiting and
//! must wait for more is closed at once.

use super::{backlog::Backlog, outbox::Outbox};
use parking_lot::MutexGuard;
use prometheus::IntGauge;
use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};
use tokio::sync::Notify;

#[cfg(test)]
mod tests;

/// Bytes in which queues are counted: what is less than one of these waits for nobody long, and costs no look at what all share.
pub const UNIT_BYTES: usize = 4 * 1024;
/// Bytes that may wait for one client while nothing is left.
pub(super) const SPARE_BYTES: u32 = 16 * 1024;

/// What all queues may take together.
#[derive(Debug)]
pub struct Budget {
    bytes_max: IntGauge,
    /// Bytes that wait, in whole units of each queue.
    queued: IntGauge,
    tight: Notify,
}

impl Budget {
    /// A budget of `bytes` bytes, as `bytes_max` shows; what waits is counted in `queued`.
    #[must_use]
    pub fn new(bytes: usize, bytes_max: IntGauge, queued: IntGauge) -> Budget {
        let budget = Budget { bytes_max, queued, tight: Notify::new() };
        budget.set(bytes);
        budget
    }

    /// Changes the budget.
    pub fn set(&self, bytes: usize) {
        self.bytes_max.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.tight.notify_one();
    }

    /// A queue had `before` bytes waiting, and has `after`.
    pub(super) fn change(&self, before: usize, after: usize) {
        let units = |bytes: usize| i64::try_from(bytes / UNIT_BYTES * UNIT_BYTES).unwrap_or(i64::MAX);
        let grown = units(after) - units(before);
        if grown != 0 {
            self.queued.add(grown);
            if grown > 0 && self.is_beyond(9, 10) {
                self.tight.notify_one();
            }
        }
    }

    /// Whether new sessions are to wait.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.is_beyond(8, 10)
    }

    /// Whether nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.is_beyond(10, 10)
    }

    fn is_beyond(&self, tenths: i64, of: i64) -> bool {
        self.queued.get() >= self.bytes_max.get() / of * tenths
    }

    /// Waits until somebody has to go.
    pub async fn tight(&self) {
        loop {
            self.tight.notified().await;
            if self.is_beyond(9, 10) {
                return;
            }
        }
    }

    /// Closes those of `outboxes` that have most waiting, until what is left is no more than four fifths; says how many.
    pub fn shed(&self, outboxes: Vec<Arc<Outbox>>) -> usize {
        let excess = self.queued.get() - self.bytes_max.get() / 10 * 8;
        let mut excess = usize::try_from(excess).unwrap_or_default();
        let mut waiting: Vec<(usize, Arc<Outbox>)> = outboxes.into_iter().map(|outbox| (outbox.room(), outbox)).collect();
        waiting.retain(|(bytes, _)| *bytes >= UNIT_BYTES);
        waiting.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut shed = 0;
        for (bytes, outbox) in waiting {
            if excess == 0 {
                break;
            }
            outbox.shed();
            excess = excess.saturating_sub(bytes);
            shed += 1;
        }
        shed
    }
}

/// The queue in somebody's hands. When it is let go, the budget hears how much more or less waits in it.
pub(super) struct Held<'a> {
    budget: Option<&'a Budget>,
    backlog: MutexGuard<'a, Backlog>,
    before: usize,
}

impl<'a> Held<'a> {
    pub(super) fn new(budget: Option<&'a Budget>, backlog: MutexGuard<'a, Backlog>) -> Held<'a> {
        Held { budget, before: backlog.room(), backlog }
    }
}

impl Deref for Held<'_> {
    type Target = Backlog;

    fn deref(&self) -> &Backlog {
        &self.backlog
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Backlog {
        &mut self.backlog
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(budget) = self.budget {
            budget.change(self.before, self.backlog.room());
        }
    }
}
