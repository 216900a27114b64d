//! Pure: what a follower makes of parts of a state. An origin that has absorbed another one, at some position of its stream,
//! has it in every slot that is at least as new as that, and only in those. So whoever gets some of these slots drops the
//! other one's slot of the same counters, and keeps what it holds of the rest: each counter stays right, whether or not the
//! last part ever comes. Once it has come, the other origin is absorbed here too, and this is forgotten.

use crate::{
    cell::{Cell, OriginIndex},
    record::Record,
    replica::Replica,
    table::CellId,
};

/// Slots of `by` that are as new as `seq` have `origin`'s in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inclusion {
    pub(crate) origin: OriginIndex,
    pub(crate) by: OriginIndex,
    pub(crate) seq: u64,
}

impl Inclusion {
    /// Its record.
    #[must_use]
    pub fn record(self) -> Record<'static> {
        let Inclusion { origin, by, seq } = self;
        Record::Included { origin, by, seq }
    }
}

impl Replica {
    /// Parts of a state are about to come that have another origin in them.
    pub(crate) fn include(&mut self, inclusion: Inclusion) {
        if self.origins[inclusion.origin].absorbed.is_none() && !self.inclusions.contains(&inclusion) {
            self.inclusions.push(inclusion);
            // What was copied from the table before does not know of it.
            self.absorptions += 1;
        }
    }

    /// What slots of `by` that are newer than `after` have in them, as far as it is known here.
    #[must_use]
    pub fn inclusions_of(&self, by: OriginIndex, after: u64) -> Vec<Inclusion> {
        let whole = self.absorbed_by(by, after).into_iter().filter_map(|record| match record {
            Record::Dropped { origin, by, seq, .. } => Some(Inclusion { origin, by, seq }),
            _ => None,
        });
        whole.chain(self.inclusions.iter().copied().filter(|inclusion| inclusion.by == by)).collect()
    }

    /// `by`'s slot of the counter is now as new as `seq`: what is in it is dropped.
    #[inline]
    pub(crate) fn drop_included(&mut self, id: CellId, by: OriginIndex, seq: u64) {
        for at in 0..self.inclusions.len() {
            let inclusion = self.inclusions[at];
            if inclusion.by == by && inclusion.seq <= seq {
                self.drop_slot(id, inclusion.origin);
            }
        }
    }

    /// Whether a slot that is here has `origin`'s of the same counter in it.
    #[inline]
    pub(crate) fn is_included(&self, id: CellId, origin: OriginIndex) -> bool {
        let mine = self.inclusions.iter().filter(|inclusion| inclusion.origin == origin);
        mine.into_iter().any(|inclusion| Cell::new(&self.table, id).slot(inclusion.by).seq >= inclusion.seq)
    }

    /// Whether some of an origin's slots may be part of another's.
    #[must_use]
    pub fn is_partly_included(&self, origin: OriginIndex) -> bool {
        self.inclusions.iter().any(|inclusion| inclusion.origin == origin)
    }

    /// Whether only some of an origin's slots may have another one in them. That one has to be absorbed first: which of its
    /// slots are missing shows in these.
    pub(crate) fn includes_some(&self, by: OriginIndex) -> bool {
        self.inclusions.iter().any(|inclusion| inclusion.by == by)
    }
}
