//! Pure: why presence did not answer, or did not do what it was asked.

use crate::{contacts::ContactsError, page::BadCursor};
use std::sync::Arc;

/// The Redis node that would know does not answer, and nothing that is known here will do. Retry. The text says which node, and
/// why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("presence cannot be read now: {0}")]
pub struct Unavailable(pub Arc<str>);

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Retrying does not help.
    #[error(transparent)]
    BadCursor(#[from] BadCursor),
    /// Retry.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a list of contacts was not replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetContactsError {
    /// Nothing changed.
    #[error(transparent)]
    Refused(#[from] ContactsError),
    /// Some of it may have been replaced. Retry.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
