//! Pure: counters and votes are looked up before they are changed, those of a batch together.

use crate::{
    engine::Op,
    ledger::Change,
    replica::Replica,
    table::{BATCH, CellId},
};
use protocol::name::NameRef;

/// A counter that was looked up, or one of its votes: its hash, and where it is, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    /// The counter's key.
    pub key: NameRef<'a>,
    pub(crate) hash: u64,
    pub(crate) id: Option<CellId>,
    /// Of a vote: where its counter is, if there is one.
    pub(crate) of: Option<CellId>,
}

impl Replica {
    /// Looks a key up.
    #[must_use]
    pub fn locate<'a>(&self, key: NameRef<'a>) -> Located<'a> {
        let hash = self.table.hash(key.as_str());
        Located { key, hash, id: self.table.find(hash, key.as_str()), of: None }
    }

    /// See [`crate::table::Table::prepare`].
    pub fn prepare<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let mut hashes = [0; BATCH];
        let count = hashes.iter_mut().zip(keys).map(|(hash, key)| *hash = self.table.hash(key)).count();
        self.table.prepare(&hashes[..count]);
    }

    /// Looks up to [`BATCH`] counters and votes up at once.
    pub fn locate_all<'a>(&self, ops: &[Op<'a>]) -> [Option<Located<'a>>; BATCH] {
        let mut hashes = [0; BATCH];
        hashes.iter_mut().zip(ops).for_each(|(hash, op)| *hash = self.hash_for(op));
        self.table.prepare(&hashes[..ops.len().min(BATCH)]);
        let (mut located, mut last) = ([None; BATCH], None);
        for ((located, op), hash) in located.iter_mut().zip(ops).zip(hashes) {
            last = Some(self.located(op, hash, last));
            *located = last;
        }
        located
    }

    /// Looks up what `op` changes: a counter, or one of its votes.
    #[must_use]
    pub fn locate_for<'a>(&self, op: &Op<'a>) -> Located<'a> {
        self.located(op, self.hash_for(op), None)
    }

    fn hash_for(&self, Op { key, change, .. }: &Op<'_>) -> u64 {
        match change {
            Change::Vote { user, .. } => self.table.hash_vote(key.as_str(), user),
            _ => self.table.hash(key.as_str()),
        }
    }

    /// `last` is the one before it: votes that come together are often for one counter.
    fn located<'a>(&self, Op { key, change, .. }: &Op<'a>, hash: u64, last: Option<Located<'a>>) -> Located<'a> {
        let Change::Vote { user, .. } = change else {
            return Located { key: *key, hash, id: self.table.find(hash, key.as_str()), of: None };
        };
        let same = last.filter(|last| last.key == *key).and_then(|last| last.of);
        let of = same.or_else(|| self.locate(*key).id);
        Located { key: *key, hash, id: of.and_then(|counter| self.table.find_vote(hash, counter, user)), of }
    }

    pub(crate) fn cell_id(&self, at: Located<'_>) -> Option<CellId> {
        at.id.or_else(|| self.table.find(at.hash, at.key.as_str()))
    }

    pub(crate) fn ensure_cell(&mut self, at: Located<'_>) -> CellId {
        self.cell_id(at).unwrap_or_else(|| self.table.insert(at.hash, at.key.as_str(), self.own))
    }
}
