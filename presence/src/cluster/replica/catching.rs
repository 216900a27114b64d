//! Pure: a snapshot whose pages were read while the room changed.

use crate::{
    cluster::{
        change::{Change, RowChange},
        row::Row,
    },
    version::Stamp,
};
use std::{collections::HashMap, sync::Arc};

/// It is a room as it was only with all changes from its first page to its last one. Before that a member whose clients
/// changed in between might be missing in it.
#[derive(Debug)]
pub(super) struct Catching {
    pub(super) rows: HashMap<Arc<str>, Row>,
    /// How far changes have been taken in.
    pub(super) stamp: Stamp,
    to_seq: u64,
}

impl Catching {
    /// Pages read from `from` to `to`; `None` if the room began anew in between.
    pub(super) fn new(from: Stamp, to: Stamp, rows: Vec<Row>) -> Option<Catching> {
        let rows = rows.into_iter().map(|row| (row.member.client.clone(), row)).collect();
        (from.generation == to.generation && from.seq <= to.seq).then_some(Catching { rows, stamp: from, to_seq: to.seq })
    }

    /// Takes in the next change.
    pub(super) fn apply(&mut self, change: Change) {
        for change in change.rows {
            match change {
                RowChange::Put(row) => drop(self.rows.insert(row.member.client.clone(), row)),
                RowChange::Gone(client) => drop(self.rows.remove(&client)),
            }
        }
        self.stamp = change.stamp;
    }

    /// Whether it is the room as it was at its stamp.
    pub(super) fn is_whole(&self) -> bool {
        self.stamp.seq >= self.to_seq
    }
}
