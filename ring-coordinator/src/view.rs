//! Pure: the ring as one gateway sees it: a document with its tables, made once and shared by all who look something up.

use crate::{
    document::{Document, Phase},
    slot::Slot,
    table::Table,
};
use std::sync::Arc;

/// A document and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The document.
    pub document: Document,
    current: Table,
    /// Of the layout that a change is to or from.
    other: Option<Table>,
}

impl View {
    /// The view of a document. Takes some milliseconds.
    #[must_use]
    pub fn new(document: Document) -> View {
        let current = Table::new(&document.current, document.vnodes);
        let other = document.other().map(|layout| Table::new(layout, document.vnodes));
        View { document, current, other }
    }

    /// The document's epoch, which goes with everything that is published by it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.document.epoch
    }

    /// Where publications into the slot go, and where its history is read.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<&Arc<str>> {
        self.current.owner(slot)
    }

    /// Where publications into the slot are listened for, besides the owner: where they went or will go.
    #[must_use]
    pub fn also(&self, slot: Slot) -> Option<&Arc<str>> {
        self.other.as_ref().and_then(|other| other.owner(slot)).filter(|other| Some(*other) != self.owner(slot))
    }

    /// From where the owner has to take over what the slot's channels have kept.
    #[must_use]
    pub fn previous(&self, slot: Slot) -> Option<&Arc<str>> {
        if self.document.phase == Phase::Switch { self.also(slot) } else { None }
    }

    /// The slots that the change under way moves, each with its owner before and after it.
    pub fn moved(&self) -> impl Iterator<Item = (Slot, Option<&Arc<str>>, Option<&Arc<str>>)> {
        let is_switched = self.document.phase == Phase::Switch;
        Slot::all().filter_map(move |slot| {
            let (one, other) = (self.owner(slot), self.other.as_ref()?.owner(slot));
            let (from, to) = if is_switched { (other, one) } else { (one, other) };
            (from != to).then_some((slot, from, to))
        })
    }
}
