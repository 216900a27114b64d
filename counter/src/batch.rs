//! Pure: batches between the words in which they come and the ledger.

use crate::{
    engine::Op,
    group::Group,
    ledger::{Change, Changed, Ledger},
    op::{AddOp, Adding},
    producer::BatchId,
    refusal::AddError,
    token::Token,
    vote::{self, BadVote, VoteKey},
    window::{self, Event},
};
use protocol::{
    name::{CounterKey, NameRef},
    producer::{Fate, OpFate, OpResult, Produce, Produced},
    time::Now,
};

/// Before the key of an addition to a bounded counter. No name holds it.
const BOUNDED_MARK: char = '\u{1e}';

/// A batch that no gateway of ours sends; the connection ends, and nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch with an op that cannot be")]
pub struct BadBatch;

/// The results of a batch's ops, if it was done now.
pub type Results<'a> = Vec<(Change<'a>, Result<Changed, AddError>)>;

/// An addition of `by`, or a reset, in the words in which it travels.
#[must_use]
pub fn op(key: &CounterKey, by: Option<i64>, token: Option<Token>) -> protocol::producer::Op {
    let token = token.map(|token| token.number().to_be_bytes().to_vec().into()).unwrap_or_default();
    protocol::producer::Op { key: key.as_str().to_owned(), by, token }
}

/// An addition to a bounded counter, likewise: with a mark before the key, so that a node that knows of none refuses it.
fn op_bounded(key: &CounterKey, by: i64, token: Option<Token>) -> protocol::producer::Op {
    let op = op(key, Some(by), token);
    protocol::producer::Op { key: format!("{BOUNDED_MARK}{}", op.key), ..op }
}

/// An event of a windowed counter, likewise: with what is kept of it, and its time in seconds since 1970.
fn op_windowed(key: &CounterKey, by: i64, event: Event, token: Option<Token>) -> protocol::producer::Op {
    protocol::producer::Op { key: window::words(key.by_ref(), event), ..op(key, Some(by), token) }
}

/// Any of the three.
#[must_use]
pub fn addition(AddOp { key, by, how, token, .. }: &AddOp) -> protocol::producer::Op {
    match how {
        Adding::Plain => op(key, Some(*by), *token),
        Adding::Bounded => op_bounded(key, *by, *token),
        Adding::Windowed(event) => op_windowed(key, *by, *event, *token),
    }
}

/// A vote, likewise: under its own key, so that a node that knows of no votes refuses it, and 1 or −1.
pub fn vote(key: &CounterKey, user: &str, is_on: bool) -> Result<protocol::producer::Op, BadVote> {
    let (key, by) = (VoteKey::new(key.by_ref(), user)?.as_str().to_owned(), Some(if is_on { 1 } else { -1 }));
    Ok(protocol::producer::Op { key, by, ..protocol::producer::Op::default() })
}

/// Counts a batch, or says what became of it. The answer holds once what `out` has now is on disk.
pub fn produce<'a>(ledger: &mut Ledger, batch: &'a Produce, now: Now, out: &mut Group) -> Result<(Produced, Results<'a>), BadBatch> {
    let ops = batch.ops.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let Produce { producer, epoch, number, ack, .. } = *batch;
    let (fate, results) = ledger.produce(BatchId { producer, epoch, number }, &ops, now, out);
    let known = match fate {
        Fate::Done => results.iter().zip(&ops).map(|(result, op)| result_of(result, ledger.nearest(op.key))).collect(),
        Fate::Repeated => ops.iter().map(|op| OpResult { value: ledger.nearest(op.key), fate: OpFate::Counted.into(), here: 0 }).collect(),
        _ => Vec::new(),
    };
    let session = ledger.replica.session();
    let produced = Produced { producer, number, fate: fate.into(), results: known, acked: ack, session, server_time_ms: now.wall_ms };
    Ok((produced, ops.iter().map(|op| op.change).zip(results).collect()))
}

fn read(op: &protocol::producer::Op) -> Result<Op<'_>, BadBatch> {
    if let Some((counter, user)) = vote::parts(&op.key) {
        let key = NameRef::parse(counter.as_bytes()).map_err(|_| BadBatch)?;
        VoteKey::new(key, user).map_err(|_| BadBatch)?;
        let is_on = match op.by {
            Some(1) => true,
            Some(-1) => false,
            _ => return Err(BadBatch),
        };
        return Ok(Op { key, change: Change::Vote { user, is_on }, token: None });
    }
    let windowed = window::split(&op.key).map(|(counter, tail)| event(tail).map(|event| (counter, event)).ok_or(BadBatch)).transpose()?;
    let bounded = op.key.strip_prefix(BOUNDED_MARK);
    let counter = windowed.map(|(counter, _)| counter).or(bounded);
    let key = NameRef::parse(counter.unwrap_or(&op.key).as_bytes()).map_err(|_| BadBatch)?;
    let token = match op.token[..] {
        [] => None,
        ref bytes => Some(Token(u128::from_be_bytes(bytes.try_into().map_err(|_| BadBatch)?))),
    };
    let change = match (windowed, bounded, op.by) {
        (Some((_, event)), _, Some(by)) => Change::AddWindowed(by, event),
        (None, Some(_), Some(by)) => Change::AddBounded(by),
        (None, None, by) => by.map_or(Change::Reset, Change::Add),
        (_, _, None) => return Err(BadBatch),
    };
    Ok(Op { key, change, token })
}

fn event(tail: &str) -> Option<Event> {
    let (kept, at_s) = tail.split_at_checked(tail.len().checked_sub(16)?)?;
    Some(Event { kept: window::kept_in(kept)?, at_s: u64::from_str_radix(at_s, 16).ok()? })
}

fn result_of(result: &Result<Changed, AddError>, value: i64) -> OpResult {
    let here = if let Err(AddError::Short(shortage)) = result { shortage.here } else { 0 };
    let (value, fate) = match result {
        Ok(Changed { value, duplicate: false }) => (*value, OpFate::Counted),
        Ok(Changed { value, duplicate: true }) => (*value, OpFate::Duplicate),
        Err(AddError::Overflow(_)) => (value, OpFate::Overflow),
        Err(AddError::TokenExpired { .. }) => (value, OpFate::TokenExpired),
        Err(AddError::TokenReused) => (value, OpFate::TokenReused),
        Err(AddError::TokensFull) => (value, OpFate::TokensFull),
        Err(AddError::VoteWornOut) => (value, OpFate::VoteWornOut),
        Err(AddError::Short(shortage)) => (i64::try_from(shortage.left()).unwrap_or(i64::MAX), OpFate::Short),
        Err(AddError::LongKey) => (value, OpFate::LongKey),
        Err(AddError::BadTime { .. }) => (value, OpFate::BadTime),
        // The ledger knows nothing of storage, and votes were looked at when they were read.
        Err(AddError::KeysFull | AddError::Storage(_) | AddError::BadVote(_)) => (value, OpFate::KeysFull),
    };
    OpResult { value, fate: fate.into(), here }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::window::Kept;

    const EVENT: Event = Event { at_s: 1_790_000_000, kept: Kept { minutes: 60, hours: 48, days: 31 } };

    #[test]
    fn an_op_reads_back_and_what_is_none_is_refused() {
        let (key, token) = (CounterKey::parse("likes").unwrap(), Token(7 << 76 | 2 << 62));
        let cases = [
            (op(&key, Some(i64::MIN), Some(token)), Change::Add(i64::MIN), Some(token)),
            (op(&key, Some(0), None), Change::Add(0), None),
            (op(&key, None, Some(token)), Change::Reset, Some(token)),
            (op_bounded(&key, -2, Some(token)), Change::AddBounded(-2), Some(token)),
            (op_windowed(&key, 0, EVENT, Some(token)), Change::AddWindowed(0, EVENT), Some(token)),
            (vote(&key, "ann", true).unwrap(), Change::Vote { user: "ann", is_on: true }, None),
            (vote(&key, "ann", false).unwrap(), Change::Vote { user: "ann", is_on: false }, None),
        ];
        for (words, change, token) in cases {
            let read = read(&words).unwrap();
            assert_eq!((read.key.as_str(), read.change, read.token), ("likes", change, token));
        }
        let long = CounterKey::parse(&"x".repeat(255)).unwrap();
        assert_eq!(read(&op_windowed(&long, 1, EVENT, None)).unwrap().change, Change::AddWindowed(1, EVENT), "the ledger refuses it");
        assert_eq!(vote(&key, "", true), Err(BadVote::Nobody));
        let (good, cast) = (op(&key, None, None), vote(&key, "ann", true).unwrap());
        for bad in [
            protocol::producer::Op { key: "a b".to_owned(), ..good.clone() },
            protocol::producer::Op { token: vec![1; 15].into(), ..good },
            protocol::producer::Op { by: None, ..cast.clone() },
            protocol::producer::Op { by: Some(2), ..cast.clone() },
            protocol::producer::Op { by: None, ..op_bounded(&key, 1, None) },
            protocol::producer::Op { by: None, ..op_windowed(&key, 1, EVENT, None) },
            protocol::producer::Op { key: window::token_key(key.by_ref(), EVENT.kept).unwrap(), ..op(&key, Some(1), None) },
            protocol::producer::Op { key: cast.key.replace("likes", "li kes"), ..cast.clone() },
            protocol::producer::Op { key: cast.key.replace("ann", ""), ..cast },
        ] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
    }
}
