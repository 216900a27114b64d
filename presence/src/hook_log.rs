//! Pure: what services are still to be told of one process, in its memory and in order.

use crate::{
    hook::{Hook, HookBatch, HookKind, HookReceipt},
    version::Stamp,
};
use protocol::time::Now;
use std::{collections::VecDeque, sync::Arc};

/// Hooks that wait to be told. With one more, all that wait are dropped for a single [`HookKind::ResyncNeeded`]: an endpoint that
/// is down for long costs no more memory than this, and learns that it has to read what is true.
pub const HOOKS_MAX: usize = 10_000;
/// Hooks of one batch.
pub const HOOKS_PER_BATCH_MAX: usize = 100;

/// The log. All of it is one queue, of which one batch is under way at a time.
#[derive(Debug)]
pub(crate) struct HookLog {
    /// Tells this process's hooks from those of another one.
    generation: u64,
    hooks: VecDeque<Hook>,
    /// How many there ever were: the number of the last one.
    queued: u64,
    is_under_way: bool,
}

impl HookLog {
    /// It begins with a [`HookKind::ResyncNeeded`]: who was here when a process before this one ended is not any more, and was not
    /// told gone.
    pub(crate) fn new(generation: u64, now: Now) -> HookLog {
        let mut log = HookLog { generation, hooks: VecDeque::new(), queued: 0, is_under_way: false };
        log.queue(HookKind::ResyncNeeded, "".into(), None, now);
        log
    }

    /// Something happened, and will be told after all that happened before. Without a `stamp` it gets one of the log's own.
    pub(crate) fn push(&mut self, kind: HookKind, name: Arc<str>, stamp: Option<Stamp>, now: Now) {
        if self.hooks.len() >= HOOKS_MAX {
            self.hooks.clear();
            self.queue(HookKind::ResyncNeeded, "".into(), None, now);
        }
        self.queue(kind, name, stamp, now);
    }

    /// A copy of the oldest that wait; `None` if there is none, or a batch is under way.
    pub(crate) fn take(&mut self) -> Option<HookBatch> {
        if self.is_under_way || self.hooks.is_empty() {
            return None;
        }
        self.is_under_way = true;
        let hooks: Vec<Hook> = self.hooks.iter().take(HOOKS_PER_BATCH_MAX).cloned().collect();
        let last = self.first() + hooks.len() as u64 - 1;
        Some(HookBatch { hooks, receipt: HookReceipt::Embedded(last) })
    }

    /// What is told is forgotten; what is not comes again, with what was queued meanwhile.
    pub(crate) fn done(&mut self, receipt: &HookReceipt, is_told: bool) {
        self.is_under_way = false;
        let HookReceipt::Embedded(last) = receipt else { return };
        while is_told && !self.hooks.is_empty() && self.first() <= *last {
            self.hooks.pop_front();
        }
    }

    fn queue(&mut self, kind: HookKind, name: Arc<str>, stamp: Option<Stamp>, now: Now) {
        self.queued += 1;
        let id = format!("{:016x}-{}", self.generation, self.queued).into();
        let stamp = stamp.unwrap_or(Stamp { generation: self.generation, seq: self.queued });
        self.hooks.push_back(Hook { id, kind, name, stamp, time_ms: now.wall_ms });
    }

    /// The number of the oldest that waits.
    fn first(&self) -> u64 {
        self.queued + 1 - self.hooks.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const NOW: Now = Now { mono_ms: 5, wall_ms: 1_700_000_000_000 };

    fn log() -> HookLog {
        HookLog::new(0xab, NOW)
    }

    fn online(log: &mut HookLog, users: std::ops::Range<usize>) {
        users.for_each(|user| log.push(HookKind::Online, user.to_string().into(), None, NOW));
    }

    fn names(batch: &HookBatch) -> Vec<&str> {
        batch.hooks.iter().map(|hook| &*hook.name).collect()
    }

    /// Takes one batch and tells it.
    fn told(log: &mut HookLog) -> Vec<Hook> {
        let batch = log.take().unwrap();
        log.done(&batch.receipt, true);
        batch.hooks
    }

    #[test]
    fn a_process_begins_by_saying_that_what_was_told_before_may_not_be_true() {
        let mut log = log();
        online(&mut log, 0..1);
        let hooks = told(&mut log);
        let expected = |number: u64, kind, name: &str| Hook {
            id: format!("00000000000000ab-{number}").into(),
            kind,
            name: name.into(),
            stamp: Stamp { generation: 0xab, seq: number },
            time_ms: NOW.wall_ms,
        };
        assert_eq!(hooks, [expected(1, HookKind::ResyncNeeded, ""), expected(2, HookKind::Online, "0")]);
        assert!(log.take().is_none());
    }

    #[test]
    fn what_is_not_told_comes_again_unchanged_and_one_batch_is_under_way_at_a_time() {
        let mut log = log();
        online(&mut log, 0..3);
        let first = log.take().unwrap();
        assert!(log.take().is_none());
        online(&mut log, 3..4);
        log.done(&first.receipt, false);
        let again = log.take().unwrap();
        assert_eq!(names(&again), ["", "0", "1", "2", "3"]);
        assert_eq!(again.hooks[..4], first.hooks);
        online(&mut log, 4..5);
        log.done(&again.receipt, true);
        assert_eq!(names(&log.take().unwrap()), ["4"]);
    }

    #[test]
    fn batches_have_at_most_a_hundred_and_follow_on_each_other() {
        let mut log = log();
        online(&mut log, 0..250);
        let batches: Vec<Vec<Hook>> = (0..3).map(|_| told(&mut log)).collect();
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 51]);
        let seqs: Vec<u64> = batches.iter().flatten().map(|hook| hook.stamp.seq).collect();
        assert_eq!(seqs, (1..=251).collect::<Vec<_>>());
    }

    #[test]
    fn beyond_the_bound_one_word_stands_for_all_that_waited_and_the_newest_follows() {
        let mut log = log();
        online(&mut log, 0..HOOKS_MAX - 1);
        assert_eq!(log.hooks.len(), HOOKS_MAX);
        let old = log.take().unwrap();
        online(&mut log, 7..8);
        assert_eq!(log.hooks.iter().map(|hook| hook.kind).collect::<Vec<_>>(), [HookKind::ResyncNeeded, HookKind::Online]);
        // What was under way and is told after all takes nothing newer with it.
        log.done(&old.receipt, true);
        let new = told(&mut log);
        assert_eq!(
            new.iter().map(|hook| (hook.kind, &*hook.name)).collect::<Vec<_>>(),
            [(HookKind::ResyncNeeded, ""), (HookKind::Online, "7")]
        );
        let ids: HashSet<_> = old.hooks.iter().chain(&new).map(|hook| &hook.id).collect();
        assert_eq!(ids.len(), HOOKS_PER_BATCH_MAX + 2, "an id is there twice");
        online(&mut log, 0..3 * HOOKS_MAX);
        assert!(log.hooks.len() <= HOOKS_MAX);
    }
}
