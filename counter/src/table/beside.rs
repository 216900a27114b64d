//! Pure: the cells beside bounded and windowed counters, in the shard of their counter. One change raises several of them, so that
//! whoever copies one must copy all.

use super::{CellId, Table};
use crate::cell::OriginIndex;
use std::collections::HashMap;

/// By the counter. About 8 bytes for each cell.
#[derive(Debug, Default)]
pub(super) struct Beside(HashMap<CellId, Vec<CellId>>);

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
        self.beside.0.get(&counter).map_or(&[], Vec::as_slice)
    }

    /// Makes a cell beside a counter, which is made if it is not there; both.
    pub(super) fn insert_beside(&mut self, hash: u64, key: &str, counter: &[u8], origin: OriginIndex) -> (CellId, CellId) {
        let counter = self.ensure_counter(counter, origin);
        let id = self.insert_counter(hash, key.as_bytes(), origin);
        self.beside.0.entry(counter).or_default().push(id);
        (counter, id)
    }
}
