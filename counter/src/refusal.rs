//! Pure: why a counter is not changed, by a replica alone, and as callers are told.

use crate::{
    bounded::Shortage,
    cell::Overflow,
    escrow::BOUNDED_KEY_BYTES_MAX,
    vote::{BadVote, LENGTH_MAX},
    window::WINDOWED_KEY_BYTES_MAX,
};
use std::sync::Arc;

/// Why an addition or a vote was refused; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddRefusal {
    /// A smaller amount may fit.
    Overflow(Overflow),
    /// [`crate::replica::KEYS_MAX`] counters exist, or as many votes, and this is a new one.
    KeysFull,
    /// The vote cannot be told apart.
    BadVote(BadVote),
    /// It was turned [`crate::vote::LENGTH_MAX`] times.
    WornOut,
    /// Of a bounded counter there are not enough rights here.
    Short(Shortage),
    /// The key of a bounded counter is longer than [`crate::escrow::BOUNDED_KEY_BYTES_MAX`], or that of a windowed one than
    /// [`crate::window::WINDOWED_KEY_BYTES_MAX`].
    LongKey,
    /// No bucket keeps an event of that time any more, or it is ahead of the clock.
    BadTime {
        /// The server's clock, in milliseconds since 1970.
        server_time_ms: u64,
    },
}

impl From<BadVote> for AddRefusal {
    fn from(bad: BadVote) -> AddRefusal {
        AddRefusal::BadVote(bad)
    }
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
    /// The vote cannot be told apart from others. Nothing changed.
    #[error("bad_vote: {0}")]
    BadVote(BadVote),
    /// The user has turned this vote as often as one can be. Nothing changed; it stays as it is.
    #[error("vote_worn_out: the vote was turned {LENGTH_MAX} times and stays as it is")]
    VoteWornOut,
    /// There is not enough to be taken from a bounded counter here. Nothing changed; if there is enough elsewhere, retry.
    #[error("insufficient: {0}")]
    Short(Shortage),
    /// The key of a bounded or a windowed counter is too long. Nothing changed.
    #[error(
        "bad_key: the key of a bounded counter has at most {BOUNDED_KEY_BYTES_MAX} bytes, that of a windowed one {WINDOWED_KEY_BYTES_MAX}"
    )]
    LongKey,
    /// The time of an event is older than all that is kept, or ahead of the clock. Nothing changed.
    #[error(
        "bad_time: no bucket keeps an event of that time, or it is ahead of the clock; the server's time is {server_time_ms} ms since 1970"
    )]
    BadTime {
        /// The server's clock, in milliseconds since 1970.
        server_time_ms: u64,
    },
    /// Too many counters, or too many votes. Nothing changed; existing ones go on.
    #[error("too_many_counters: the table of counters is full")]
    KeysFull,
    /// The log cannot be written, or this node can begin no other life. Refused before it changed anything, or not known to be durable: retry with the same token.
    #[error("storage_unavailable: {0}")]
    Storage(Arc<str>),
}

impl From<AddRefusal> for AddError {
    fn from(refusal: AddRefusal) -> AddError {
        match refusal {
            AddRefusal::Overflow(overflow) => AddError::Overflow(overflow),
            AddRefusal::KeysFull => AddError::KeysFull,
            AddRefusal::BadVote(bad) => AddError::BadVote(bad),
            AddRefusal::WornOut => AddError::VoteWornOut,
            AddRefusal::Short(shortage) => AddError::Short(shortage),
            AddRefusal::LongKey => AddError::LongKey,
            AddRefusal::BadTime { server_time_ms } => AddError::BadTime { server_time_ms },
        }
    }
}
