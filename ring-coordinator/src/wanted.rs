//! Pure: how a change is asked for: the coordinator alone writes the document, so whoever wants another layout leaves this in
//! etcd at `/headcount/<region>/wanted`, created only while nobody else's stands there. The coordinator carries it out or
//! refuses it, deletes it in the same transaction in which it is done, and answers at `/headcount/<region>/wanted/result`.

use crate::document::Layout;
use serde::{Deserialize, Serialize};

/// A layout that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The layout; states `down` and incarnations in it say nothing, the coordinator sets them.
    pub layout: Layout,
    /// The epoch of the document that the wish was made from: if the document has gone on, it is refused, and whoever asks
    /// looks again.
    pub epoch: u64,
    /// Who asks: `USER@HOST` by default.
    pub by: String,
    /// When, in ms of Unix time: the answer repeats it.
    pub asked_ms: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// Of the [`Wanted`] that this answers.
    pub by: String,
    /// Of the [`Wanted`] that this answers, in ms of Unix time.
    pub asked_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused; empty if it was done.
    #[serde(default)]
    pub reason: String,
    /// The document's epoch when it ended.
    pub epoch: u64,
}

/// How a wish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The ring has the layout, and nothing changes any more.
    Done,
    /// The ring stays as it is.
    Refused,
}
