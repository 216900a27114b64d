//! Pure: a roster on its way here, page by page, and what changed meanwhile.

use super::word::{Delta, RosterPage};
use crate::{
    member::{Entry, MemberKey},
    version::Stamp,
};
use std::collections::BTreeMap;

/// Holds at most so many members and changes as its caller says; with more it gives up the names, and counts.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// When to ask again.
    pub(super) until_ms: u64,
    next_index: u32,
    is_complete: bool,
    /// What the entries are of.
    at: Stamp,
    /// The stamp of the last page: before that the entries are no roster that ever was.
    last: Stamp,
    entries: BTreeMap<MemberKey, Entry>,
    /// In the order in which they came.
    deltas: Vec<Delta>,
    /// Whom they name.
    changes: usize,
    is_too_big: bool,
    /// Members and clients on the pages.
    paged: (usize, usize),
    /// The same as the last change had it.
    told: Option<(usize, usize)>,
}

/// What has come of it.
pub(super) enum Loaded {
    /// A roster, and what is to be taken in after it.
    Roster(BTreeMap<MemberKey, Entry>, Stamp, Vec<Delta>),
    /// Too many names.
    Counts(usize, usize),
}

impl Loading {
    pub(super) fn new(until_ms: u64) -> Loading {
        Loading { until_ms, ..Loading::default() }
    }

    /// Whether a page has come.
    pub(super) fn has_begun(&self) -> bool {
        self.next_index > 0
    }

    /// The deltas so far.
    pub(super) fn into_deltas(self) -> Vec<Delta> {
        self.deltas
    }

    /// Takes in the next page; `false` if one before it is missing.
    pub(super) fn take(&mut self, page: RosterPage, names_max: usize) -> bool {
        if page.index == 0 {
            let deltas = std::mem::take(&mut self.deltas);
            let Loading { until_ms, changes, told, .. } = *self;
            *self = Loading { until_ms, deltas, changes, told, at: page.stamp, ..Loading::default() };
        } else if page.index < self.next_index {
            return true;
        }
        if page.index != self.next_index {
            return false;
        }
        self.next_index += 1;
        (self.is_complete, self.last) = (page.is_last, page.stamp);
        self.paged.0 += page.entries.len();
        self.paged.1 += page.entries.iter().map(|entry| entry.num_clients() as usize).sum::<usize>();
        self.entries.extend(page.entries.into_iter().map(|entry| (entry.key(), entry)));
        self.bound(names_max);
        true
    }

    /// Keeps a change for later.
    pub(super) fn keep(&mut self, delta: Delta, names_max: usize) {
        self.told = Some((delta.users, delta.clients));
        self.changes += delta.changes.len();
        self.deltas.push(delta);
        self.bound(names_max);
    }

    /// What has come, if that is all. Changes that do not follow yet are waited for.
    pub(super) fn finish(&mut self) -> Option<Loaded> {
        if !self.is_complete {
            return None;
        }
        if self.is_too_big {
            let (users, clients) = self.told.unwrap_or(self.paged);
            return Some(Loaded::Counts(users, clients));
        }
        let mut later = Vec::new();
        for delta in std::mem::take(&mut self.deltas) {
            if delta.from == self.at && !self.last.is_covered_by(self.at) {
                self.at = delta.to;
                for (key, entry) in delta.changes {
                    match entry {
                        Some(entry) => drop(self.entries.insert(key, entry)),
                        None => drop(self.entries.remove(&key)),
                    }
                }
            } else if !delta.to.is_covered_by(self.at) {
                later.push(delta);
            }
        }
        self.deltas = later;
        let is_whole = self.last.is_covered_by(self.at);
        is_whole.then(|| Loaded::Roster(std::mem::take(&mut self.entries), self.at, std::mem::take(&mut self.deltas)))
    }

    fn bound(&mut self, names_max: usize) {
        // Each delta counts as one more, so that many that name nobody are bounded, too.
        self.is_too_big |= self.entries.len() + self.changes + self.deltas.len() > names_max;
        if self.is_too_big {
            (self.entries, self.deltas, self.changes) = (BTreeMap::new(), Vec::new(), 0);
        }
    }
}
