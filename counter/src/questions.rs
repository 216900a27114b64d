//! I/O: what a gateway asks besides the values of counters, of its own process or of another node: votes, buckets, and the greatest.

use crate::{
    change_feed::ChangedCounter,
    counters::{Counters, ReadError},
    ranking::{NotYet, Ranking},
    readings::top_from_words,
    refusal::AddError,
    remote::Unreachable,
    voting::Voters,
    windowing::{self, Bucket},
};
use protocol::{
    name::CounterKey,
    producer::{Read, TopWanted, VotersWanted, Votes},
    window::{Kept, Unit},
};
use std::ops::Range;

/// Why the greatest counters are not told. Retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopError {
    /// They are not known yet.
    #[error(transparent)]
    NotYet(#[from] NotYet),
    /// No counter node answered, or one of an earlier version that keeps none in order.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl Counters {
    /// Which of `keys` `user` has voted for.
    pub async fn voted(&self, keys: &[CounterKey], user: &str) -> Result<Vec<bool>, ReadError> {
        match self {
            Counters::Here(engine, _) => Ok(keys.iter().map(|key| engine.has_voted(key.by_ref(), user)).collect()),
            Counters::Elsewhere(remote) => {
                let keys = keys.iter().map(|key| key.as_str().to_owned()).collect();
                let answer = remote.ask(Read { keys, voter: user.to_owned(), ..Read::default() }).await?;
                Ok(answer.votes.ok_or(Unreachable)?.voted)
            }
        }
    }

    /// Takes back every vote of `user`, as [`Engine::take_back_votes`] does; how many.
    pub async fn take_back_votes(&self, user: &str) -> Result<u64, AddError> {
        match self {
            Counters::Here(engine, _) => engine.take_back_votes(user).await.map(|taken| taken as u64),
            Counters::Elsewhere(remote) => {
                let unreachable = |why: Unreachable| AddError::Storage(format!("votes may not have been taken back: {why}").into());
                remote.take_back_votes(user).await.map_err(unreachable)
            }
        }
    }

    /// A page of those who have voted for `key`, as [`Engine::voters`] gives it.
    pub async fn voters(&self, key: &CounterKey, after: Option<&str>, limit: usize) -> Result<Option<Voters>, ReadError> {
        match self {
            Counters::Here(engine, _) => Ok(engine.voters(key.by_ref(), after, limit)),
            Counters::Elsewhere(remote) => {
                let page = VotersWanted { after: after.unwrap_or_default().to_owned(), limit: u32::try_from(limit).unwrap_or(u32::MAX) };
                let answer = remote.ask(Read { keys: vec![key.as_str().to_owned()], page: Some(page), ..Read::default() }).await?;
                let Votes { users, next, is_lost, .. } = *answer.votes.ok_or(Unreachable)?;
                Ok((!is_lost).then(|| Voters { users, next: Some(next).filter(|next| !next.is_empty()) }))
            }
        }
    }

    /// What was counted in a windowed counter in the buckets with these numbers, as [`Engine::buckets`] gives it.
    pub async fn buckets(&self, key: &CounterKey, kept: Kept, unit: Unit, numbers: Range<u64>) -> Result<Vec<Bucket>, ReadError> {
        match self {
            Counters::Here(engine, _) => Ok(engine.buckets(key.by_ref(), kept, unit, numbers)),
            Counters::Elsewhere(remote) => {
                let buckets = Some(windowing::question(kept, unit, &numbers));
                let answer = remote.ask(Read { keys: vec![key.as_str().to_owned()], buckets, ..Read::default() }).await?;
                Ok(windowing::heard(numbers.start, *answer.buckets.ok_or(Unreachable)?))
            }
        }
    }

    /// The greatest counters of `namespace`, as [`Ranking::top`] tells them.
    pub async fn top(&self, namespace: &str, limit: usize) -> Result<Vec<ChangedCounter>, TopError> {
        match self {
            Counters::Here(engine, _) => Ok(Ranking::new(engine.clone()).top(namespace, limit).await?),
            Counters::Elsewhere(remote) => {
                let wanted = TopWanted { namespace: namespace.to_owned(), limit: u32::try_from(limit).unwrap_or(u32::MAX) };
                let answer = remote.ask(Read { top: Some(wanted), ..Read::default() }).await?;
                Ok(top_from_words(*answer.top.ok_or(Unreachable)?)?)
            }
        }
    }
}
