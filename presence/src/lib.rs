//! Pure: presence, who is in a channel and who is online.
//!
//! A [`Roster`] is one channel's members and what changed in them; [`Users`] is who is connected at all; both are
//! state machines. [`Embedded`] holds them for a node that runs without Redis, [`Shared`] for gateways of a cluster: [`cluster`] has
//! its state machines and words, [`redis`] what is said to the nodes. [`Presence`] is either, as a gateway uses it. [`regions`]
//! makes one roster of those of several regions.
//!
//! Two levels: **clients** are connections, **members** are users (a client without a user id is a member by itself).
//! Join and leave events, pages and diffs speak of members; counts are given of both.
//!
//! # How a reader follows a roster
//! It reads the pages and unites them. Of the diffs that it is sent it leaves out those at the beginning that lead up to
//! the *first* page's version; from the next one on it applies every diff, in the order in which they come. Applying one
//! twice does no harm. It then holds the roster of the last diff's version. If it may have missed a diff it asks for what
//! was told since its version ([`Roster::since`]), or reads the pages again.
//!
//! A `seq` never goes back within a generation. In one process it is dense: a diff that is not the next one of the
//! reader's generation shows that one is missing. In a cluster it is not: one diff may bring many changes of the room, and
//! its version is the last one's. There the generation may change at any diff, which continues what the reader has all
//! the same. Versions of two gateways name the same roster if they are the same.
//!
//! A diff that is `counts_only` (big rooms, see [`Tiers`]) brings the count and nothing else. The reader keeps its old
//! version, and before it applies a diff with names again it asks for what was told since.
//!
//! Gateways of a cluster may be cut off from what the room is. Who asks is told whether the answer is sure ([`Read`]), and who
//! follows is told after a while that the roster may be old, and when it is not any more ([`Event::Stale`]). What is told
//! meanwhile, and afterwards, is applied as ever.

#[cfg(test)]
mod bounds;
mod census;
mod clients;
pub mod cluster;
mod contacts;
mod deadlines;
mod diff;
mod embedded;
mod event;
mod failure;
#[doc(hidden)]
pub mod fuzzing;
mod hook;
#[cfg(test)]
mod hook_laws;
mod hook_log;
mod hook_queue;
mod journal;
mod largest;
#[cfg(test)]
mod laws;
mod member;
mod metrics;
mod page;
mod people;
mod present;
mod read;
pub mod redis;
pub mod regions;
mod roster;
pub mod shared;
#[cfg(test)]
mod statuses;
mod store;
mod tier;
mod told;
mod users;
mod version;
#[cfg(test)]
mod world;

pub use contacts::{CONTACT_OWNERS_MAX, CONTACT_PAIRS_MAX, ContactsError};
pub use deadlines::Deadlines;
pub use diff::{Diff, Since};
pub use embedded::{Embedded, TICK_PAUSE_MS_MAX, VACANT_PER_SHARD_MAX};
pub use event::{Event, Sink};
pub use failure::{PageError, SetContactsError, Unavailable};
pub use hook::{Hook, HookBatch, HookKind};
pub use hook_log::{HOOKS_MAX, HOOKS_PER_BATCH_MAX};
pub use journal::{RECENT_DIFFS_MAX, RECENT_ENTRIES_MAX, RECENT_MS};
pub use largest::{LARGEST_MAX, LargeRoom, Largest, Size};
pub use member::{About, Departure, Entry, Member, MemberKey, Stats};
pub use metrics::{METRICS, Metrics};
pub use page::{BadCursor, Page};
pub use read::Read;
pub use redis::scripts;
pub use roster::{Fact, GRACES_PER_TICK_MAX, Input, Output, Roster, Rules};
pub use shared::{IsWanted, Shared, SharedConfig};
pub use store::Presence;
pub use tier::{BATCH_MS, COUNT_MS, Tiers};
pub use users::{Erased, LAST_SEEN_MAX, UserPresence, Users};
pub use version::{BadVersion, Stamp, Version};
