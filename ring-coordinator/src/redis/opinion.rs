//! Pure: what this gateway votes about a node.

use serde::{Deserialize, Serialize};

/// Whether a node serves, as one gateway sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// The value of `votes/<node>/<gateway>`: written when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opinion {
    /// The vote.
    pub vote: Vote,
    /// Since when, in milliseconds since 1970 by the gateway's clock; for people.
    pub since_ms: u64,
    /// Why; for people.
    pub reason: String,
}
