//! Pure: what is published, and why a bus says no.

use bytes::Bytes;
use protocol::{code::ErrorCode, message::ClientInfo};
use std::{collections::BTreeMap, sync::Arc};

/// What is published.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Post {
    /// The application's data.
    pub data: Bytes,
    /// Who published it, for clients' publications.
    pub info: Option<ClientInfo>,
    /// Short labels for subscribers.
    pub tags: BTreeMap<String, String>,
    /// Deliver without keeping.
    pub skip_history: bool,
    /// A retry with the same key within five minutes gets the first result and publishes nothing.
    pub idempotency_key: Option<String>,
}

/// Why the bus did not do what it was asked. Nothing was published or read, except where the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// No more channels with history fit; retry when others have expired.
    #[error("too many channels with history")]
    TooManyStreams,
    /// The publication is larger than what is carried between nodes; a smaller one passes.
    #[error("the publication is too large")]
    TooLarge,
    /// Too many publications wait for Redis; retry later.
    #[error("too many publications wait for Redis")]
    Full,
    /// The channel's Redis node did not answer in time, though it was asked again and again. Whether a publication was made
    /// is unknown; a retry with an idempotency key publishes it once.
    #[error("the channel's Redis node cannot be used for now: {0}")]
    Unavailable(Arc<str>),
}

impl From<BusError> for ErrorCode {
    fn from(error: BusError) -> ErrorCode {
        match error {
            BusError::TooManyStreams | BusError::TooLarge => ErrorCode::LimitExceeded,
            BusError::Full | BusError::Unavailable(_) => ErrorCode::Storage,
        }
    }
}
