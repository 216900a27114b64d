//! Pure: what an owner has to say of one of its clients in one room.

use crate::member::Member;
use std::sync::Arc;

/// One edge. To say it again does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The client is there, like this.
    Put(Arc<Member>),
    /// Its connection broke: if it is its member's only client, it is held until it is said to be gone or another one of
    /// the member comes; otherwise it is gone. If the others turn out to be those of a dead gateway, the member is not gone
    /// before its grace is over.
    Drop {
        /// Which.
        client: Arc<str>,
        /// How much of its grace is left, in milliseconds.
        grace_ms: u64,
    },
    /// It is gone.
    Gone {
        /// Which.
        client: Arc<str>,
        /// When its connection ended, in milliseconds since 1970, for the user's last-seen time; where none is kept, `None`.
        seen_ms: Option<u64>,
    },
}
