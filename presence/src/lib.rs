//! Pure: presence, who is in a channel and who is online.
//!
//! A [`Roster`] is one channel's members and what changed in them; [`Users`] is who is connected at all; both are
//! state machines. [`Embedded`] holds them for a node that runs without Redis.
//!
//! Two levels: **clients** are connections, **members** are users (a client without a user id is a member by itself).
//! Join and leave events, pages and diffs speak of members; counts are given of both.
//!
//! # How a reader follows a roster
//! It reads the pages, unites them, and applies every diff after the *first* page's version; applying one twice does no
//! harm. It then holds the roster of the last diff's version. A diff continues a replica if it has the replica's
//! generation and the next `seq`, or replaces it if its `seq` is 1; after any other it asks [`Embedded::since`] its
//! version, or reads the pages again.
//! A diff that is `counts_only` (big rooms, see [`Tiers`]) brings the count and nothing else: the replica keeps its old
//! version, and so notices the gap when names are told again.

#[cfg(test)]
mod bounds;
mod contacts;
mod deadlines;
mod diff;
mod embedded;
mod event;
mod journal;
#[cfg(test)]
mod laws;
mod member;
mod metrics;
mod page;
mod roster;
mod tier;
mod users;
mod version;
#[cfg(test)]
mod world;

pub use contacts::{CONTACT_OWNERS_MAX, CONTACT_PAIRS_MAX, ContactsError};
pub use deadlines::Deadlines;
pub use diff::{Diff, Since};
pub use embedded::{Embedded, TICK_PAUSE_MS_MAX, VACANT_PER_SHARD_MAX};
pub use event::{Event, Sink};
pub use journal::{RECENT_DIFFS_MAX, RECENT_ENTRIES_MAX, RECENT_MS};
pub use member::{Departure, Entry, Member, MemberKey, Stats};
pub use metrics::{METRICS, Metrics};
pub use page::{BadCursor, Page};
pub use roster::{GRACES_PER_TICK_MAX, Input, Output, Roster, Rules};
pub use tier::{BATCH_MS, COUNT_MS, Tiers};
pub use users::{Erased, LAST_SEEN_MAX, UserPresence, Users};
pub use version::{BadVersion, Stamp, Version};
