//! Pure: what is read of a room, and when: one thing at a time.

use crate::version::Stamp;
use ring_coordinator::backoff::Backoff;

/// How long a change waits for the one before it until the log is read. An own write's answer and what is published come
/// by two connections, so that either may be first.
pub const GAP_MS: u64 = 200;

/// What is under way, and what is due.
#[derive(Debug, Default)]
pub(super) struct Reading {
    asked: Option<Asked>,
    backoff: Backoff,
    /// Nothing is read before.
    retry_ms: u64,
    /// Since when a change is missing, and after which stamp.
    behind: Option<(u64, Stamp)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Rows,
    Log,
    /// The answer is not heeded.
    Void,
}

impl Reading {
    /// What is under way is of no use any more.
    pub(super) fn void(&mut self) {
        self.asked = self.asked.and(Some(Asked::Void));
    }

    /// An answer has come; whether it is the one that is waited for.
    pub(super) fn is_answer_to(&mut self, asked: Asked) -> bool {
        let is_heeded = self.asked.take() == Some(asked);
        if is_heeded {
            self.backoff.worked();
            self.retry_ms = 0;
        }
        is_heeded
    }

    /// The answer is that it was not possible.
    pub(super) fn failed(&mut self, random: u64, now_ms: u64) {
        self.asked = None;
        self.retry_ms = now_ms.saturating_add(self.backoff.after_failure_ms(random));
    }

    /// What is under way.
    pub(super) fn asked(&self) -> Option<Asked> {
        self.asked
    }

    /// All up to `position` is here; whether something after it is known to be missing.
    pub(super) fn notice(&mut self, is_behind: bool, position: Stamp, now_ms: u64) {
        if !is_behind {
            self.behind = None;
        } else if self.behind.is_none_or(|(_, at)| at != position) {
            self.behind = Some((now_ms, position));
        }
    }

    /// When the log, or else all rows, are to be read.
    pub(super) fn due_ms(&self, what: Asked) -> Option<u64> {
        let due_ms = if what == Asked::Log { self.behind?.0.saturating_add(GAP_MS) } else { 0 };
        self.asked.is_none().then_some(due_ms.max(self.retry_ms))
    }

    /// `what` is asked for.
    pub(super) fn ask(&mut self, what: Asked) {
        self.asked = Some(what);
    }
}
