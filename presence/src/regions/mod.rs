//! Pure: the rosters of several regions as one.
//!
//! Each region writes its own roster of a room, and no other does. A gateway follows those of other regions over links, by version,
//! and its own region's as it is told. A [`Union`] is what it makes of them: one member for each user or anonymous client,
//! wherever the devices are. What is here orders and merges; a driver owns the links and the store.
//!
//! # What a driver does
//! It makes a union for a room that somebody here wants and other regions share, and says [`Word::Up`] of its own region, and
//! of each one to which it has a link. It answers each [`Output::Ask`]: for another region by a question over the link, for its
//! own by the pages of its store, as [`Word::Page`]. Every diff that the own store tells goes in as [`Input::Told`], within the
//! store's own telling, so that none is passed by a page. What comes out as [`Output::Changed`] is told to readers in place of it.
//!
//! # How a reader follows it
//! As any roster (see the crate's first page), with three things more. An entry names the `regions` of its member. A
//! region that nothing was heard of for long goes in one diff, `region_gone`, which names only those who are elsewhere,
//! too. And where one region's part is too big for its names, diffs are `counts_only` and pages leave its members out, but for
//! the own region's, whose pages are in its store ([`Union::page_beside`]).

#[cfg(test)]
mod following_tests;
#[cfg(test)]
mod laws;
mod loading;
mod names;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod reader;
mod remote;
#[cfg(test)]
mod schedule;
#[cfg(test)]
mod tests;
mod union;
mod wire;
mod word;
#[cfg(test)]
mod world;

pub use remote::{ANSWER_MS, REFUSED_MS};
pub use union::{Input, Output, Union, UnionStats};
pub use wire::{heard, page_message, said};
pub use word::{AsOf, Ask, Delta, RosterPage, Word};

use crate::{
    member::MemberKey,
    page::{BadCursor, parse_cursor},
    tier::Tiers,
};
use std::sync::Arc;

/// How long a link is silent before its region's members may be others than are told.
pub const REGION_STALE_MS: u64 = 30_000;
/// How long before they are told to be gone.
pub const REGION_GONE_MS: u64 = 300_000;
/// Members of one region who are held here, with their changes that are not told yet: twice the biggest room whose names are told.
/// With more, the region is only counted.
pub const REGION_NAMES_MAX: usize = 10_000;
/// Regions of one deployment, so that a version's text stays within its bound. A driver refuses to start with more.
pub const REGIONS_MAX: usize = 32;

/// The member that a page's cursor continues after.
pub fn key_after(cursor: &str) -> Result<MemberKey, BadCursor> {
    parse_cursor(cursor)
}

/// What all unions of a gateway go by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The own region.
    pub own: Arc<str>,
    /// How changes are told by size.
    pub tiers: Tiers,
    /// See [`REGION_STALE_MS`].
    pub stale_ms: u64,
    /// See [`REGION_GONE_MS`].
    pub gone_ms: u64,
    /// See [`REGION_NAMES_MAX`].
    pub names_max: usize,
}

impl Rules {
    /// The rules of a gateway of region `own`.
    #[must_use]
    pub fn new(own: Arc<str>) -> Rules {
        let tiers = Tiers::default();
        Rules { own, tiers, stale_ms: REGION_STALE_MS, gone_ms: REGION_GONE_MS, names_max: REGION_NAMES_MAX }
    }
}
