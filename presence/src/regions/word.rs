//! Pure: what is heard of a region's roster, what it is asked, and what is said of how well it is known.

use crate::{
    member::{Entry, MemberKey},
    version::Stamp,
};
use protocol::time::Now;
use serde::Serialize;

/// What is heard of one region's roster of one room, over the link to the region or from the own store.
#[derive(Clone, Debug)]
pub enum Word {
    /// The link is there, from now on.
    Up,
    /// The link is lost, or silent.
    Down {
        /// When it was heard last.
        heard: Now,
    },
    /// One of the pages that answer a question, or that stand for changes too many for a delta.
    Page(RosterPage),
    /// A change, as an answer or live.
    Delta(Delta),
    /// The question with this number is not answered.
    Refused {
        /// Its number.
        follow: u64,
    },
    /// The roster may not be how the room is, in its own region; or is again.
    Stale {
        /// The question after whose answer it is said.
        follow: u64,
        /// Which of the two.
        is_stale: bool,
    },
}

/// A page of a roster. Pages may be read while the roster changes, and then differ in their stamps; the deltas from the first one's
/// on have to come then, too, in between or afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterPage {
    /// The question that it answers.
    pub follow: u64,
    /// Its number among the pages, from 0 on. 0 begins anew.
    pub index: u32,
    /// Of what version it is.
    pub stamp: Stamp,
    /// The members in it.
    pub entries: Vec<Entry>,
    /// No page comes after it.
    pub is_last: bool,
}

/// What changed between two stamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The question that it answers, or comes after the answer of.
    pub follow: u64,
    /// What it continues; 0:0 if there was nothing.
    pub from: Stamp,
    /// What it leads to.
    pub to: Stamp,
    /// Who is here, anew or as another one, and who is not any more (`None`).
    pub changes: Vec<(MemberKey, Option<Entry>)>,
    /// Members after it.
    pub users: usize,
    /// Their clients.
    pub clients: usize,
    /// Names are not told, the room is too big. Whatever it continues, the last one that comes is what is known.
    pub counts_only: bool,
}

/// How well one region is known: `{"as_of_ms","stale","gone"}`, and `"counts_only": true` if it is too big for its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AsOf {
    /// What happened there before this moment is known, in milliseconds since 1970; `null` if nothing ever was. As sure as the link is
    /// that it would be lost otherwise.
    pub as_of_ms: Option<u64>,
    /// Who is told to be there may have left, and others may have come: the link has been silent, or the region says so itself.
    #[serde(rename = "stale")]
    pub is_stale: bool,
    /// Nobody of the region is in the roster, because nothing is known of it: not yet, or not any more.
    #[serde(rename = "gone")]
    pub is_gone: bool,
    /// It is in the counts, but not in the pages.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub counts_only: bool,
}

/// A question for a region: its roster, from `since` on if that is given, and whatever changes from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its number.
    pub follow: u64,
    /// What is known.
    pub since: Option<Stamp>,
}
