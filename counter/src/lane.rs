//! Pure: a lane is one producer as its gateway sees it: numbered batches that were sent, and of which it is not known yet
//! what became of them.

use crate::{
    bounded::Shortage,
    engine::{Ack, Added},
    refusal::AddError,
};
use protocol::{
    peer::Message,
    producer::{Fate, Op, OpFate, Produce, Produced},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Batches of a lane that may be under way: the first is answered in one round trip, and the disk of the replica gathers
/// the others. Not more than a mark remembers refusals of.
pub(crate) const WINDOW: u64 = 4;
/// Bytes of one batch; what is more goes into the next.
pub(crate) const BATCH_BYTES_MAX: usize = 256 << 10;
/// Pause before a question that was not answered is asked again: doubled each time, from the first to the second.
pub(crate) const ASK_MS: (u64, u64) = (200, 5_000);

/// A connection to a replica, as its driver numbers it.
pub type LinkId = u64;

/// One op of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    /// The call, as its caller numbers it.
    pub call: u64,
    /// The op's place in it.
    pub index: u32,
}

/// An op that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The answer.
    pub added: Added,
    /// A session vector that covers it.
    pub session: Arc<str>,
}

/// What became of an op.
pub type Settled = Result<Counted, AddError>;

/// An op of which somebody may wait to hear.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) id: OpId,
    pub(crate) op: Op,
    pub(crate) ack: Ack,
    pub(crate) deadline_ms: u64,
    /// Its caller was told that nothing is known.
    pub(crate) is_late: bool,
}

#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ops: Vec<Waiting>,
    pub(crate) ack: Ack,
    pub(crate) sent_ms: u64,
    /// When the first of its callers stops waiting.
    pub(crate) deadline_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) producer: u64,
    /// Known once the producer is open.
    pub(crate) epoch: Option<u64>,
    /// Where new batches go.
    pub(crate) link: LinkId,
    pub(crate) opened_ms: u64,
    pub(crate) next: u64,
    pub(crate) batches: BTreeMap<u64, Batch>,
    /// Who was asked what became of them; only once the lane takes no new ones.
    asked: BTreeMap<LinkId, Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    due_ms: u64,
    pause_ms: u64,
    waiting: BTreeSet<u64>,
}

impl Waiting {
    /// About how many bytes it takes.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Waiting>() + self.op.key.len() + self.op.token.len()
    }
}

impl Lane {
    pub(crate) fn new(producer: u64, link: LinkId, now_ms: u64) -> Lane {
        Lane { producer, epoch: None, link, opened_ms: now_ms, next: 0, batches: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// Whether another batch may be sent.
    pub(crate) fn has_room(&self) -> bool {
        let oldest = self.batches.first_key_value().map_or(self.next, |(number, _)| *number);
        self.epoch.is_some() && self.next - oldest < WINDOW
    }

    /// Since when the oldest question waits for its answer.
    pub(crate) fn waits_since(&self) -> Option<u64> {
        match self.epoch {
            None => Some(self.opened_ms),
            Some(_) => self.batches.first_key_value().map(|(_, batch)| batch.sent_ms),
        }
    }

    /// Makes a batch of what stands first in the queue, which all wants the same acknowledgement. Returns its message.
    pub(crate) fn fill(&mut self, queue: &mut VecDeque<Waiting>, now_ms: u64) -> Option<Message> {
        let ack = queue.front()?.ack;
        let (mut ops, mut bytes, mut deadline_ms) = (Vec::new(), 0, u64::MAX);
        while let Some(next) = queue.pop_front_if(|_| bytes < BATCH_BYTES_MAX) {
            bytes += next.weight();
            deadline_ms = deadline_ms.min(next.deadline_ms);
            ops.push(next);
        }
        let number = self.next;
        self.next += 1;
        self.batches.insert(number, Batch { ops, ack, sent_ms: now_ms, deadline_ms });
        self.message(number)
    }

    fn message(&self, number: u64) -> Option<Message> {
        let batch = self.batches.get(&number)?;
        let ops = batch.ops.iter().map(|waiting| waiting.op.clone()).collect();
        Some(Message::Produce(Produce { producer: self.producer, epoch: self.epoch?, number, ops, ack: batch.ack as u32 }))
    }

    /// Asks at `link` what became of all batches, if it is time: in their order, so that the origin that they are for does
    /// them now if it has not before.
    pub(crate) fn ask(&mut self, link: LinkId, lost_ms: u64, now_ms: u64) -> Vec<Message> {
        let asked = self.asked.entry(link).or_default();
        let is_due = asked.due_ms <= now_ms && (asked.waiting.is_empty() || asked.due_ms + lost_ms <= now_ms);
        if !is_due || self.batches.is_empty() {
            return Vec::new();
        }
        asked.pause_ms = (asked.pause_ms * 2).clamp(ASK_MS.0, ASK_MS.1);
        asked.due_ms = now_ms + asked.pause_ms;
        asked.waiting = self.batches.keys().copied().collect();
        self.batches.keys().filter_map(|number| self.message(*number)).collect()
    }

    /// `link` has answered.
    pub(crate) fn answered(&mut self, link: LinkId, number: u64) {
        if let Some(asked) = self.asked.get_mut(&link) {
            asked.waiting.remove(&number);
        }
    }

    /// `link` is gone.
    pub(crate) fn down(&mut self, link: LinkId) {
        self.asked.remove(&link);
    }
}

/// What the callers of a batch get to hear, in the order of its ops; `None` if nothing is known yet, or the ops were not
/// done and may be done elsewhere.
pub(crate) fn settle(batch: &Batch, produced: &Produced) -> Option<Vec<Settled>> {
    let unknown = || Err(AddError::Storage("whether it was counted can no longer be known: retry with the same token".into()));
    let acked = Ack::NAMES.iter().map(|(_, ack)| *ack).find(|ack| *ack as u32 == produced.acked).unwrap_or_default();
    let session: Arc<str> = produced.session.as_str().into();
    match produced.fate() {
        Fate::Done | Fate::Repeated if produced.results.len() == batch.ops.len() => {
            let results = produced.results.iter().map(|result| {
                let added = |duplicate| Counted { added: Added { value: result.value, duplicate, acked }, session: Arc::clone(&session) };
                match result.fate() {
                    OpFate::Counted => Ok(added(false)),
                    OpFate::Duplicate => Ok(added(true)),
                    OpFate::Overflow => Err(AddError::Overflow(crate::cell::Overflow::of(i128::from(result.value)))),
                    OpFate::TokenExpired => Err(AddError::TokenExpired { server_time_ms: produced.server_time_ms }),
                    OpFate::TokenReused => Err(AddError::TokenReused),
                    OpFate::TokensFull => Err(AddError::TokensFull),
                    OpFate::KeysFull => Err(AddError::KeysFull),
                    OpFate::VoteWornOut => Err(AddError::VoteWornOut),
                    OpFate::Short => Err(AddError::Short(Shortage::of(u64::try_from(result.value).unwrap_or(0), result.here))),
                    OpFate::LongKey => Err(AddError::LongKey),
                    OpFate::BadTime => Err(AddError::BadTime { server_time_ms: produced.server_time_ms }),
                }
            });
            Some(results.collect())
        }
        Fate::Unknown | Fate::Never => None,
        // An answer that does not fit its question tells as little.
        Fate::Done | Fate::Repeated | Fate::Vague | Fate::Forgotten => Some(batch.ops.iter().map(|_| unknown()).collect()),
    }
}
