//! Pure: what a replica is told, and what it orders.

use crate::{
    cluster::{
        change::Change,
        row::{OwnerId, Row},
    },
    roster,
    version::Stamp,
};
use std::collections::BTreeSet;

/// A fact.
#[derive(Clone, Debug)]
pub enum Input {
    /// From here on no published change is missed. What was asked before is void, but is still to be answered.
    Listening,
    /// Changes may be missed from here on; what is known may be stale.
    Deaf,
    /// A change, published or brought by an own write. It may come twice, and before one that leads to it.
    Heard(Change),
    /// Answers [`Output::Read`]: all pages.
    Snapshot {
        /// The stamp of the first page.
        from: Stamp,
        /// That of the last one.
        to: Stamp,
        /// The rows, each as it was when its page was read.
        rows: Vec<Row>,
    },
    /// Answers [`Output::ReadLog`]: all changes after that stamp, in order.
    Log(Vec<Change>),
    /// Answers [`Output::ReadLog`]: the log does not reach back so far, or is of another generation.
    NoLog,
    /// Answers either: it was not possible. It is tried again later.
    NotRead {
        /// Spreads the tries.
        random: u64,
    },
    /// Answers [`Output::AskReady`], which need not be answered, and must not be after the next one was given.
    Ready {
        /// The slot's valid generation and the room's place in it (0 if it has not begun there), read together with the
        /// owners: a row that an owner wrote before it was ready is in a change up to here.
        stamp: Stamp,
        /// Owners who have written all their rows of the slot.
        owners: BTreeSet<OwnerId>,
    },
    /// An owner is dead for certain, and what is retained of it does not count, from the next answer who is ready on. Its
    /// rows of the room's generation are taken away by whoever reaps them.
    Dead(OwnerId),
    /// It is not: what is retained of it counts again.
    Alive(OwnerId),
    /// Time passed.
    Tick,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Read the room, page by page. Neither this nor the next is ordered again before it was answered, exactly once.
    Read,
    /// Read the room's log after this stamp.
    ReadLog(Stamp),
    /// Ask who is ready; at most once in [`super::ASK_READY_MS`].
    AskReady,
    /// What the roster tells.
    Told(roster::Output),
    /// What was told so far, and what is told from here on, may not be how the room is (`true`); or is again, with all that was
    /// told before this (`false`). By turns.
    Stale(bool),
}
