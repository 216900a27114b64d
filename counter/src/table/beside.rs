//! Pure: the cells beside bounded and windowed counters, in the shard of their counter. One change raises several of them, so that
//! whoever copies one must copy all.

use super::{CellId, Table};
use crate::{
    cell::OriginIndex,
    origin::Weight,
    window::{BucketCell, CELLS_MAX},
};
use hashbrown::HashMap;

/// By the counter. About 8 bytes for each cell, and 150 for each counter.
#[derive(Debug, Default)]
pub(super) struct Beside(HashMap<CellId, Cells>);

#[derive(Debug, Default)]
struct Cells {
    all: Vec<CellId>,
    last: LastCells,
}

/// The cells that the last event has changed beside its counter: most are those that the next one changes.
pub(crate) type LastCells = [Option<KnownCell>; CELLS_MAX];

/// A cell of a bucket, where it is, and what its key weighs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownCell {
    pub(crate) cell: BucketCell,
    pub(crate) id: CellId,
    pub(crate) weight: Weight,
}

impl Beside {
    /// Takes out those of some counters.
    pub(super) fn lend(&mut self, is_lent: impl Fn(CellId) -> bool) -> Beside {
        Beside(self.0.extract_if(|counter, _| is_lent(*counter)).collect())
    }

    /// Takes over those of other counters.
    pub(super) fn adopt(&mut self, other: Beside) {
        self.0.extend(other.0);
    }
}

impl Table {
    /// The cells that stand beside a counter.
    #[must_use]
    pub fn beside(&self, counter: CellId) -> &[CellId] {
        self.beside.0.get(&counter).map_or(&[], |cells| &cells.all)
    }

    /// A cell beside a counter that was kept at this place. It stays where it is, so that is never wrong.
    #[inline]
    pub(crate) fn known_beside(&self, counter: CellId, place: usize, cell: BucketCell) -> Option<KnownCell> {
        self.beside.0.get(&counter)?.last[place].filter(|known| known.cell == cell)
    }

    /// Keeps where a cell is that stands beside a counter.
    pub(crate) fn keep_beside(&mut self, counter: CellId, place: usize, known: KnownCell) {
        self.beside.0.entry(counter).or_default().last[place] = Some(known);
    }

    /// Makes a cell beside a counter, which is made if it is not there; both.
    pub(super) fn insert_beside(&mut self, hash: u64, key: &str, counter: &[u8], origin: OriginIndex) -> (CellId, CellId) {
        let counter = self.ensure_counter(counter, origin);
        let id = self.insert_counter(hash, key.as_bytes(), origin);
        self.beside.0.entry(counter).or_default().all.push(id);
        (counter, id)
    }
}
