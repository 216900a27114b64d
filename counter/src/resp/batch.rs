//! I/O: the commands of one read, and their replies. Additions that follow each other wait here and are made under one
//! lock; whatever else a client asks sees all additions before it. A reply stands in its place as soon as its command is
//! executed, and is withdrawn if what it says does not become as safe as it must be.

use super::{
    command::refused,
    reply::{self, Reply, Version},
};
use crate::{
    engine::{Ack, Engine, Op},
    outcomes::Outcomes,
    refusal::AddError,
};
use bytes::BytesMut;
use std::mem::discriminant;

/// One addition, or one vote, as far as the command that asks for it can tell.
#[derive(Clone, Copy)]
pub(super) struct Addition<'a> {
    pub(super) op: Op<'a>,
    /// The level to wait for.
    pub(super) ack: Ack,
}

/// The commands being executed.
pub(super) struct Batch<'a, 'r> {
    /// The client asked for the end of the connection.
    pub(super) quit: bool,
    /// The change that the command being executed has staged.
    pub(super) staged: Option<(u64, Ack)>,
    pub(super) replies: &'r mut Replies,
    engine: &'r Engine,
    /// Additions that wait, all for the same level.
    additions: Vec<Op<'a>>,
    ack: Ack,
    outcomes: Outcomes,
}

/// Replies to commands that have been executed.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The replies' bytes, in the order of the commands.
    pub(super) bytes: BytesMut,
    promises: Vec<Promise>,
    /// What the promises wait for.
    due: Option<(u64, Ack)>,
    /// Additions that the last batch gathered, a good guess at those of the next.
    gathered: usize,
}

/// Replies that stand together and are true only once a group is safe.
#[derive(Debug)]
struct Promise {
    start: usize,
    end: usize,
    replies: usize,
}

impl<'a, 'r> Batch<'a, 'r> {
    pub(super) fn new(engine: &'r Engine, replies: &'r mut Replies) -> Batch<'a, 'r> {
        let additions = Vec::with_capacity(replies.gathered);
        Batch { quit: false, staged: None, replies, engine, additions, ack: Ack::Memory, outcomes: Outcomes::default() }
    }

    /// Makes `addition` with those around it: votes with votes.
    pub(super) fn add(&mut self, addition: Addition<'a>) {
        let is_alike = |before: &Op<'_>| discriminant(&before.change) == discriminant(&addition.op.change);
        if self.ack != addition.ack || !self.additions.last().is_none_or(is_alike) {
            self.flush();
            self.ack = addition.ack;
        }
        self.additions.push(addition.op);
    }

    /// The reply to the command that was just executed.
    pub(super) fn reply(&mut self, reply: Reply, version: Version) {
        self.flush();
        let start = self.replies.bytes.len();
        self.replies.push(reply, version);
        if let Some(staged) = self.staged.take() {
            self.replies.promise(start, 1, staged);
        }
    }

    /// Makes all additions that wait. Must come before anything that reads.
    pub(super) fn flush(&mut self) {
        if !self.additions.is_empty() {
            self.outcomes.clear();
            self.engine.stage_all(&self.additions, &mut self.outcomes);
            self.replies.gathered = self.additions.len();
            self.additions.clear();
            self.replies.answer_additions(&self.outcomes, self.ack);
        }
    }
}

impl Replies {
    /// Appends a reply that is true already.
    pub(super) fn push(&mut self, reply: Reply, version: Version) {
        reply.encode(version, &mut self.bytes);
    }

    /// What the replies wait for: a group, and how safe it must be.
    pub(super) fn due(&mut self) -> Option<(u64, Ack)> {
        self.due.take()
    }

    /// All promises are kept.
    pub(super) fn settled(&mut self) {
        self.promises.clear();
    }

    /// Says instead of every promise that it could not be kept.
    pub(super) fn withdraw(&mut self, error: &AddError) {
        let said = std::mem::take(&mut self.bytes);
        let mut from = 0;
        for Promise { start, end, replies } in self.promises.drain(..) {
            self.bytes.extend_from_slice(&said[from..start]);
            // An error has the same form in both versions.
            (0..replies).for_each(|_| refused(error).encode(Version::Resp2, &mut self.bytes));
            from = end;
        }
        self.bytes.extend_from_slice(&said[from..]);
    }

    fn answer_additions(&mut self, outcomes: &Outcomes, ack: Ack) {
        let (mut start, group) = (self.bytes.len(), outcomes.group());
        if let Some(values) = outcomes.values() {
            self.bytes.reserve(values.len() * reply::INTEGER_BYTES_MAX);
            values.iter().for_each(|value| reply::integer(*value, &mut self.bytes));
            return self.promise(start, values.len(), (group, ack));
        }
        let mut count = 0;
        for outcome in outcomes.iter() {
            match outcome {
                Ok(changed) => {
                    reply::integer(changed.value, &mut self.bytes);
                    count += 1;
                }
                Err(error) => {
                    self.promise(start, count, (group, ack));
                    refused(error).encode(Version::Resp2, &mut self.bytes);
                    (start, count) = (self.bytes.len(), 0);
                }
            }
        }
        self.promise(start, count, (group, ack));
    }

    /// The last `replies` replies, from `start` on, wait for `staged`.
    fn promise(&mut self, start: usize, replies: usize, (group, ack): (u64, Ack)) {
        if replies > 0 && ack != Ack::Memory {
            let due = self.due.unwrap_or((group, ack));
            self.due = Some((due.0.max(group), due.1.max(ack)));
            self.promises.push(Promise { start, end: self.bytes.len(), replies });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::Overflow, ledger::Changed};

    fn outcomes(group: u64, of: impl IntoIterator<Item = Result<i64, AddError>>) -> Outcomes {
        let mut outcomes = Outcomes::default();
        outcomes.group = group;
        of.into_iter().for_each(|outcome| outcomes.push(outcome.map(|value| Changed { value, duplicate: false })));
        outcomes
    }

    #[test]
    fn what_did_not_become_safe_is_withdrawn_in_its_place_and_nothing_else_is() {
        let mut replies = Replies::default();
        replies.push(Reply::Simple("PONG"), Version::Resp2);
        replies.answer_additions(&outcomes(8, [Ok(1), Ok(20), Err(AddError::Overflow(Overflow::of(0))), Ok(3)]), Ack::Fsync);
        replies.answer_additions(&outcomes(7, [Ok(5)]), Ack::Fsync);
        replies.answer_additions(&outcomes(9, [Ok(4)]), Ack::Memory);
        replies.push(Reply::text("x"), Version::Resp2);
        assert_eq!(replies.due(), Some((8, Ack::Fsync)), "what is acknowledged from memory waits for nothing");
        replies.withdraw(&AddError::Storage("full".into()));
        let lost = "-MISCONF Errors writing to the AOF file: full\r\n";
        let expected = format!("+PONG\r\n{lost}{lost}-ERR increment or decrement would overflow\r\n{lost}{lost}:4\r\n$1\r\nx\r\n");
        assert_eq!(std::str::from_utf8(&replies.bytes).unwrap(), expected);
        assert_eq!(replies.due(), None);
    }
}
