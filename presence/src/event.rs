//! Pure: what the store says when something changed.

use crate::{diff::Diff, member::Member};
use protocol::name::Channel;
use std::sync::Arc;

/// Receives the events, each while what it is about is locked, so that their order is the order of the changes. It
/// must be quick and must not call back into the store.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// One change, as it is to be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member's first client entered the channel; told at once in rooms of any size.
    Joined {
        /// Where.
        channel: Channel,
        /// That client.
        member: Arc<Member>,
    },
    /// A member's last client left the channel, or did not come back in time; told at once in rooms of any size.
    Left {
        /// Where.
        channel: Channel,
        /// That client.
        member: Arc<Member>,
    },
    /// The next diff of the channel's roster.
    Changed {
        /// Where.
        channel: Channel,
        /// What.
        diff: Arc<Diff>,
    },
    /// The channel's roster, as it was told so far and is told from here on, may not be how the channel is; or is again, with
    /// all that was told before this. By turns, and only of rosters that other gateways write, too.
    Stale {
        /// Where.
        channel: Channel,
        /// Which of the two.
        is_stale: bool,
    },
    /// A user's first connection.
    Online {
        /// Who; never empty.
        user: Arc<str>,
        /// Whose contact the user is.
        watchers: Vec<Arc<str>>,
    },
    /// A user's last connection ended, and the grace is over.
    Offline {
        /// Who; never empty.
        user: Arc<str>,
        /// When the connection ended, in milliseconds since 1970.
        last_seen_ms: u64,
        /// Whose contact the user is.
        watchers: Vec<Arc<str>>,
    },
    /// A list of contacts was replaced; in its place among the events above, so it supersedes those before it.
    Contacts {
        /// Whose.
        owner: Arc<str>,
        /// The new contacts that are online.
        online: Vec<Arc<str>>,
    },
}
