//! I/O: the counters as a gateway uses them: those of its own process, or those of other nodes of its region.

use crate::{
    batch,
    engine::{Ack, AddOp, Added, Engine},
    interest::Interest,
    lanes::Counted,
    reading::Reading,
    readings::{ReadOne, from_words},
    refusal::AddError,
    remote::{Remote, Unreachable, added},
    session,
    token::Token,
};
use protocol::{name::CounterKey, producer::Read, trace::SPANS};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::sleep;
use tracing::{Instrument, info_span};

/// After which pauses it is tried again to take from a bounded counter of which there is enough elsewhere.
const RIGHTS_PAUSES_MS: [u64; 5] = [20, 40, 80, 160, 200];

/// Where the counters are. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Counters {
    /// In this process, and what of them is watched here.
    Here(Engine, Arc<Interest>),
    /// In other processes.
    Elsewhere(Remote),
}

/// How to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// A session that must be covered, and how long to wait for that.
    pub min: Option<(&'a str, Duration)>,
    /// Also what each member has counted.
    pub detail: bool,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The counters, in the order in which they were asked for.
    pub counters: Vec<ReadOne>,
    /// Whether the session that was asked for is covered.
    pub covered: bool,
    /// A session vector that covers what was read.
    pub session: String,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Retrying it never helps.
    #[error(transparent)]
    BadSession(#[from] session::BadSession),
    /// Retry.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl Counters {
    /// The counters of this process.
    #[must_use]
    pub fn here(engine: Engine) -> Counters {
        let interest = Arc::new(engine.interest());
        Counters::Here(engine, interest)
    }

    /// Why counters cannot be added to, or not be reached, now.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self {
            Counters::Here(engine, _) => engine.failure().map(|why| why.to_string()),
            Counters::Elsewhere(remote) => remote.trouble(),
        }
    }

    /// The counters of this process.
    #[must_use]
    pub fn engine(&self) -> Option<&Engine> {
        match self {
            Counters::Here(engine, _) => Some(engine),
            Counters::Elsewhere(_) => None,
        }
    }

    /// Where they are, for spans.
    fn place(&self) -> &'static str {
        match self {
            Counters::Here(..) => "here",
            Counters::Elsewhere(_) => "elsewhere",
        }
    }

    /// Makes an addition and returns once that is as safe as it asks for. Dropping the future does not undo it.
    /// Where there is not enough to be taken of a bounded counter, and enough elsewhere, it waits for that a moment.
    pub async fn add(&self, op: &AddOp) -> Result<Counted, AddError> {
        let span = info_span!(target: SPANS, "count", place = self.place(), counter = op.key.as_str());
        let counting = async {
            for pause_ms in RIGHTS_PAUSES_MS {
                match self.add_now(op).await {
                    Err(AddError::Short(shortage)) if shortage.left() >= op.by.unsigned_abs() => {
                        sleep(Duration::from_millis(pause_ms)).await;
                    }
                    counted => return counted,
                }
            }
            self.add_now(op).await
        };
        counting.instrument(span).await
    }

    async fn add_now(&self, op: &AddOp) -> Result<Counted, AddError> {
        match self {
            Counters::Here(engine, _) => {
                let added = engine.change(&op.key, op.change(), op.token, op.ack).await;
                added.map(|added| counted(engine, added))
            }
            Counters::Elsewhere(remote) => remote.change(batch::addition(op), op.ack).await,
        }
    }

    /// Turns `user`'s vote for `key` on or off, as [`Engine::vote`] does.
    pub async fn vote(&self, key: &CounterKey, user: &str, is_on: bool, ack: Option<Ack>) -> Result<Counted, AddError> {
        match self {
            Counters::Here(engine, _) => engine.vote(key, user, is_on, ack).await.map(|added| counted(engine, added)),
            Counters::Elsewhere(remote) => remote.change(batch::vote(key, user, is_on).map_err(AddError::BadVote)?, ack).await,
        }
    }

    /// Observed reset: what the node that does it knows of `key` no longer counts, what others count meanwhile does.
    pub async fn reset(&self, key: &CounterKey, token: Option<Token>, ack: Option<Ack>) -> Result<Counted, AddError> {
        match self {
            Counters::Here(engine, _) => engine.reset(key, token, ack).await.map(|added| counted(engine, added)),
            Counters::Elsewhere(remote) => remote.change(batch::op(key, None, token), ack).await,
        }
    }

    /// Does all of `ops`, in order; each has its own answer, without a wait for rights. Also returns a session that covers them.
    pub async fn add_many(&self, ops: Vec<AddOp>) -> (Vec<Result<Added, AddError>>, String) {
        let span = info_span!(target: SPANS, "count", place = self.place(), ops = ops.len());
        match self {
            Counters::Here(engine, _) => (engine.add_many(ops).instrument(span).await, engine.session()),
            Counters::Elsewhere(remote) => {
                let settled = remote.add_many(ops).instrument(span).await;
                // They may have been counted at several nodes.
                let mut sessions: Vec<&str> = settled.iter().flatten().map(|counted| &*counted.session).collect();
                sessions.dedup();
                (settled.iter().map(added).collect(), session::join(&sessions))
            }
        }
    }

    /// Reads counters.
    pub async fn read(&self, keys: &[CounterKey], wanted: Wanted<'_>) -> Result<Seen, ReadError> {
        match self {
            Counters::Here(engine, _) => {
                let covered = match wanted.min {
                    Some((session, most)) => engine.cover(session, most).await?,
                    None => true,
                };
                let entries = |key: &CounterKey| if wanted.detail { engine.entries(key) } else { BTreeMap::new() };
                let read = |key: &CounterKey| ReadOne { key: key.clone(), reading: engine.read(key), entries: entries(key) };
                Ok(Seen { counters: keys.iter().map(read).collect(), covered, session: engine.session() })
            }
            Counters::Elsewhere(remote) => {
                let (min, most) = wanted.min.unwrap_or_default();
                let read = Read {
                    keys: keys.iter().map(|key| key.as_str().to_owned()).collect(),
                    min: min.to_owned(),
                    wait_ms: u32::try_from(most.as_millis()).unwrap_or(u32::MAX),
                    detail: wanted.detail,
                    ..Read::default()
                };
                let answer = remote.ask(read).await?;
                if answer.bad_session || wanted.min.is_some_and(|(session, _)| session.is_empty()) {
                    return Err(session::BadSession.into());
                }
                let readings = answer.readings.unwrap_or_default();
                let session = readings.session.clone();
                Ok(Seen { counters: from_words(readings), covered: answer.covered, session })
            }
        }
    }

    /// Watches `key` for one more watcher and reads it; as often as it is watched it must be unwatched, also after an error.
    pub async fn watch(&self, key: &CounterKey) -> Result<ReadOne, ReadError> {
        match self {
            Counters::Here(engine, interest) => {
                interest.watch(key);
                Ok(read_one(engine, key.clone()))
            }
            Counters::Elsewhere(remote) => Ok(remote.watch(key).await?.ok_or(Unreachable)?),
        }
    }

    /// Ends one watch of `key`.
    pub fn unwatch(&self, key: &CounterKey) {
        match self {
            Counters::Here(_, interest) => interest.unwatch(key),
            Counters::Elsewhere(remote) => remote.unwatch(key),
        }
    }

    /// Waits for changes; returns the watched counters that changed since the last call. Dropping the future loses none.
    pub async fn changed(&self) -> Vec<ReadOne> {
        match self {
            Counters::Here(engine, interest) => interest.changed().await.into_iter().map(|key| read_one(engine, key)).collect(),
            Counters::Elsewhere(remote) => remote.changed().await,
        }
    }
}

fn counted(engine: &Engine, added: Added) -> Counted {
    Counted { added, session: engine.session().into() }
}

fn read_one(engine: &Engine, key: CounterKey) -> ReadOne {
    let reading: Result<Reading, _> = engine.read(&key);
    ReadOne { key, reading, entries: BTreeMap::new() }
}
