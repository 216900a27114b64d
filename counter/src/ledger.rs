//! Pure: the whole durable state: counters, and the tokens that were used on them. A change and its token go into the
//! same group, so that after a crash both are there or neither.

use crate::{
    cell::Overflow,
    group::Group,
    record::{Malformed, Record},
    replica::{AddRefusal, Replica},
    token::{Standing, Token, TokenRefusal, Tokens},
};
use protocol::{name::CounterKey, time::Now};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What is done to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add this much; 0 changes nothing.
    Add(i64),
    /// Observed reset: what is known here so far no longer counts.
    Reset,
}

/// The answer to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The value after it.
    pub value: i64,
    /// The token was used before for the same; nothing changed now.
    pub duplicate: bool,
}

/// Why a change was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The value or a slot would leave its range. Nothing changed; a smaller amount may fit.
    #[error("counter_overflow: {0}")]
    Overflow(Overflow),
    /// The token is older than ten minutes or ahead of the clock. Nothing changed now; whether it did when the token was young is unknown here.
    #[error("token_expired: a token may be used for 10 minutes after it was minted; the server's time is {server_time_ms} ms since 1970")]
    TokenExpired {
        /// The server's clock, in milliseconds since 1970.
        server_time_ms: u64,
    },
    /// The token was used for another key or amount. Nothing changed; mint a token for each operation.
    #[error("token_reused: the token was used before for another key or amount")]
    TokenReused,
    /// Too many tokens are remembered. Nothing changed; retry later with the same token.
    #[error("too_many_tokens: the table of tokens is full; retry later")]
    TokensFull,
    /// Too many counters. Nothing changed; existing counters go on.
    #[error("too_many_counters: the table of counters is full")]
    KeysFull,
    /// The log cannot be written. Refused before it changed anything, or not known to be durable: retry with the same token.
    #[error("storage_unavailable: {0}")]
    Storage(Arc<str>),
}

/// The counters and the tokens.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The counters.
    pub replica: Replica,
    /// The tokens used on them.
    pub tokens: Tokens,
}

impl Ledger {
    /// Does `change` once per token.
    pub fn change(
        &mut self,
        key: &CounterKey,
        change: Change,
        token: Option<Token>,
        now: Now,
        out: &mut Group,
    ) -> Result<Changed, AddError> {
        let fingerprint = fingerprint(key, change);
        if let Some(token) = token {
            match self.tokens.judge(token, fingerprint, now) {
                Ok(Standing::New) => {}
                Ok(Standing::Duplicate) => return Ok(Changed { value: self.value(key).map_err(AddError::Overflow)?, duplicate: true }),
                Err(TokenRefusal::Expired) => return Err(AddError::TokenExpired { server_time_ms: now.wall_ms }),
                Err(TokenRefusal::Reused) => return Err(AddError::TokenReused),
                Err(TokenRefusal::Full) => return Err(AddError::TokensFull),
            }
        }
        let value = match change {
            Change::Add(by) => self.replica.add(key, by, out).map_err(|refusal| match refusal {
                AddRefusal::Overflow(overflow) => AddError::Overflow(overflow),
                AddRefusal::KeysFull => AddError::KeysFull,
            })?,
            Change::Reset => {
                self.replica.reset(key, out);
                0
            }
        };
        if let Some(token) = token {
            out.push(&self.tokens.remember(token, fingerprint));
        }
        Ok(Changed { value, duplicate: false })
    }

    /// The value; 0 for a counter that nobody counted.
    pub fn value(&self, key: &CounterKey) -> Result<i64, Overflow> {
        let value = self.replica.value(key).unwrap_or(0);
        i64::try_from(value).map_err(|_| Overflow { value })
    }

    /// Replays one record.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        match *record {
            Record::Token { token, fingerprint } => self.tokens.apply_used(token, fingerprint),
            Record::Forgotten { before_ms } => self.tokens.apply_forgotten(before_ms),
            _ => self.replica.apply(record)?,
        }
        Ok(())
    }
}

/// Tells apart what a token was used for; written to disk, so it must not change between versions.
fn fingerprint(key: &CounterKey, change: Change) -> u64 {
    match change {
        Change::Add(by) => xxh3_64_with_seed(key.as_str().as_bytes(), by.cast_unsigned()),
        Change::Reset => !xxh3_64_with_seed(key.as_str().as_bytes(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };

    #[test]
    fn a_retry_counts_once_also_after_a_replay() {
        let key = CounterKey::parse("likes").unwrap();
        let token = Token::parse(&uuid::Builder::from_unix_timestamp_millis(NOON.wall_ms, &[1; 10]).into_uuid().to_string()).unwrap();
        let (mut ledger, mut group) = (Ledger::default(), Group::new(1, 1));
        group.push(&ledger.replica.count_as("eu", "c1", 7).unwrap());
        let add = Change::Add(2);
        assert_eq!(ledger.change(&key, add, Some(token), NOON, &mut group), Ok(Changed { value: 2, duplicate: false }));
        assert_eq!(ledger.change(&key, add, Some(token), NOON, &mut group), Ok(Changed { value: 2, duplicate: true }));
        let mut copy = Ledger::default();
        Record::decode_all(group.records()).for_each(|record| copy.apply(&record.unwrap()).unwrap());
        for ledger in [&mut ledger, &mut copy] {
            assert_eq!(ledger.change(&key, add, Some(token), NOON, &mut group), Ok(Changed { value: 2, duplicate: true }));
            assert_eq!(ledger.change(&key, Change::Add(3), Some(token), NOON, &mut group), Err(AddError::TokenReused));
            assert_eq!(ledger.change(&key, Change::Reset, Some(token), NOON, &mut group), Err(AddError::TokenReused));
            let late = NOON.plus_ms(3_600_000);
            assert_eq!(
                ledger.change(&key, add, Some(token), late, &mut group),
                Err(AddError::TokenExpired { server_time_ms: late.wall_ms })
            );
        }
    }

    #[test]
    fn a_refused_addition_does_not_use_its_token_up() {
        let key = CounterKey::parse("likes").unwrap();
        let token = Token::parse(&uuid::Builder::from_unix_timestamp_millis(NOON.wall_ms, &[1; 10]).into_uuid().to_string()).unwrap();
        let (mut ledger, mut group) = (Ledger::default(), Group::new(1, 1));
        group.push(&ledger.replica.count_as("eu", "c1", 7).unwrap());
        ledger.change(&key, Change::Add(i64::MAX), None, NOON, &mut group).unwrap();
        assert!(matches!(ledger.change(&key, Change::Add(1), Some(token), NOON, &mut group), Err(AddError::Overflow(_))));
        ledger.change(&key, Change::Add(-1), None, NOON, &mut group).unwrap();
        assert_eq!(ledger.change(&key, Change::Add(1), Some(token), NOON, &mut group), Ok(Changed { value: i64::MAX, duplicate: false }));
    }
}
