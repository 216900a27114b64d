//! Pure: bounded counters in the table. That a counter is one stands with it, as an entry that is no origin's: as soon as there is a cell
//! beside it that speaks of rights. That entry also keeps what those cells come to for this replica until one of them changes; it is
//! neither written down nor sent.

use super::{CellId, SHARD_BITS, Table, VOTE_BIT, counter_hash};
use crate::{
    cell::{OriginIndex, Slot},
    cell_key, escrow,
    shard::BOUNDED,
    window,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

impl Table {
    /// Whether it is a counter: no vote, and nothing that stands beside a bounded one.
    #[must_use]
    pub fn is_counter(&self, id: CellId) -> bool {
        !id.is_vote() && cell_key::is_counter(self.key(id, &mut [0; 256]))
    }

    /// Whether there is a cell beside the counter that speaks of rights.
    #[must_use]
    pub fn is_bounded(&self, counter: CellId) -> bool {
        self.moved(counter).is_some()
    }

    /// What was last kept with [`Table::keep_moved`]; zeros if that holds no longer, and `None` if the counter is not bounded.
    pub(crate) fn moved(&self, counter: CellId) -> Option<Slot> {
        self.list(counter).find(|entry| entry.by == BOUNDED).map(|entry| entry.slot)
    }

    /// Keeps what this replica was given of a bounded counter, and has given away, with the circumstances under which that holds.
    pub(crate) fn keep_moved(&mut self, counter: CellId, moved: Slot) {
        self.put(counter, 0, BOUNDED, moved);
    }

    /// The hash of the key of a cell beside the counter with this hash.
    #[inline]
    pub(crate) fn hash_beside(&self, of_counter: u64, key: &str) -> u64 {
        beside_hash(self.seed, of_counter, key.as_bytes())
    }

    pub(super) fn insert_escrow(&mut self, hash: u64, key: &str, counter: &[u8], origin: OriginIndex) -> CellId {
        let (counter, id) = self.insert_beside(hash, key, counter, origin);
        self.keep_moved(counter, Slot::default());
        id
    }
}

/// The hash of a record's text in a shard of counters: what stands beside a counter is in the same shard.
pub(super) fn record_hash(seed: u64, text: &[u8]) -> u64 {
    match escrow::split(text).map(|found| found.counter).or_else(|| window::counter_of(text)) {
        None => counter_hash(seed, text),
        Some(counter) => beside_hash(seed, counter_hash(seed, counter), text),
    }
}

fn beside_hash(seed: u64, of_counter: u64, text: &[u8]) -> u64 {
    (xxh3_64_with_seed(text, seed) & !(SHARD_BITS | VOTE_BIT)) | (of_counter & SHARD_BITS)
}
