//! Pure: changes that have to wait: for one before them, or for the end of a read.

use crate::cluster::change::Change;
use std::collections::BTreeMap;

/// Rows in changes held back by one room. Beyond it what is held is dropped, and is read from the log or with the room.
pub const HELD_ROWS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Held {
    /// Of the room's generation, by seq.
    later: BTreeMap<u64, Change>,
    /// Of any, in the order in which they were heard during a read.
    heard: Vec<Change>,
    rows: usize,
}

impl Held {
    /// Holds `change` until the one before it is there; `false` if that is too much: nothing is held any more.
    pub(super) fn hold(&mut self, change: Change) -> bool {
        self.rows += weight(&change);
        if let Some(twice) = self.later.insert(change.stamp.seq, change) {
            self.rows -= weight(&twice);
        }
        self.fits()
    }

    /// Holds `change` until the read is over. If that is too much, all before it are dropped: it shows that they are missing.
    pub(super) fn hear(&mut self, change: Change) {
        self.rows += weight(&change);
        self.fits();
        self.rows = self.rows.max(weight(&change));
        self.heard.push(change);
    }

    /// Takes out the change `seq`.
    pub(super) fn take(&mut self, seq: u64) -> Option<Change> {
        let change = self.later.remove(&seq)?;
        self.rows -= weight(&change);
        Some(change)
    }

    /// Forgets what leads up to `seq`.
    pub(super) fn forget_to(&mut self, seq: u64) {
        while self.later.first_key_value().is_some_and(|(first, _)| *first <= seq) {
            let Some((_, change)) = self.later.pop_first() else { return };
            self.rows -= weight(&change);
        }
    }

    /// Takes out what was heard during the read.
    pub(super) fn take_heard(&mut self) -> Vec<Change> {
        let heard = std::mem::take(&mut self.heard);
        self.rows -= heard.iter().map(weight).sum::<usize>();
        heard
    }

    /// Whether a change waits for one before it.
    pub(super) fn has_gap(&self) -> bool {
        !self.later.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Held::default();
    }

    fn fits(&mut self) -> bool {
        let fits = self.rows <= HELD_ROWS_MAX;
        if !fits {
            self.clear();
        }
        fits
    }
}

fn weight(change: &Change) -> usize {
    change.rows.len().max(1)
}
