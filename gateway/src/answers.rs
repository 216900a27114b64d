//! Pure: what was done, or why not, as replies say it.

use bytes::Bytes;
use counter::{AddError, Added, ReadError, TopError};
use presence::Unavailable;
use protocol::{
    code::ErrorCode,
    message::{Reply, RpcResult},
    name::CounterKey,
};
use serde::Serialize;
use serde_json::{Value, json};

/// An accepted increment: `{"key","value","value_s","duplicate","acked"}`.
pub(crate) fn added_json(key: &CounterKey, added: &Added) -> Value {
    let Added { value, duplicate, acked } = added;
    json!({ "key": key.as_str(), "value": value, "value_s": value.to_string(), "duplicate": duplicate, "acked": acked.name() })
}

/// The result of an RPC.
pub(crate) fn called<T: Serialize>(result: &T) -> Reply {
    let data = Bytes::from(serde_json::to_vec(result).unwrap_or_default());
    Reply { rpc: Some(RpcResult { data }), ..Reply::default() }
}

/// Counters cannot be read.
pub(crate) fn unread(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::BadSession(_) => ErrorCode::BadRequest,
        ReadError::Unreachable(_) => ErrorCode::Storage,
    }
}

/// The greatest counters are not known now; the reply has no place to say why.
pub(crate) fn not_ranked(error: &TopError) -> ErrorCode {
    tracing::debug!(%error, "the greatest counters");
    ErrorCode::Storage
}

/// Presence cannot be read now; the reply has no place to say why.
pub(crate) fn not_known(error: &Unavailable) -> ErrorCode {
    tracing::debug!(%error, "presence");
    ErrorCode::Storage
}

/// An increment was not accepted.
pub(crate) fn refusal(error: &AddError) -> ErrorCode {
    match error {
        AddError::Overflow(_) => ErrorCode::CounterOverflow,
        AddError::TokenExpired { .. } => ErrorCode::Expired,
        AddError::TokenReused => ErrorCode::BadRequest,
        AddError::TokensFull => ErrorCode::TooManyRequests,
        AddError::KeysFull | AddError::VoteWornOut => ErrorCode::LimitExceeded,
        AddError::BadVote(_) | AddError::LongKey | AddError::BadTime { .. } => ErrorCode::BadRequest,
        AddError::Short(_) => ErrorCode::Insufficient,
        AddError::Storage(_) => ErrorCode::Storage,
    }
}
