//! Pure: the ring as one gateway sees it: a document with its tables, made once and shared by all who look something up.

use crate::{
    document::{Document, NodeState, Phase},
    slot::Slot,
    table::Table,
};
use std::{collections::BTreeMap, sync::Arc};

/// A document and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The document.
    pub document: Document,
    current: Table,
    /// Of the layout that a change is to or from.
    other: Option<Table>,
    /// Nodes that the change under way has lost: there is nothing to listen for and nothing to fetch.
    lost: Vec<Arc<str>>,
}

impl View {
    /// The view of a document. Takes some milliseconds.
    #[must_use]
    pub fn new(document: Document) -> View {
        let current = Table::new(&document.current, document.vnodes);
        let other = document.other().map(|layout| Table::new(layout, document.vnodes));
        let is_switched = document.phase == Phase::Switch;
        let lost = document.current.nodes.iter().filter(|node| is_switched && node.state == NodeState::Down);
        let lost = lost.map(|node| node.id.as_str().into()).collect();
        View { document, current, other, lost }
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

    /// Where publications into the slot are listened for, besides the owner: where they went or will go. Not on a node that
    /// was lost.
    #[must_use]
    pub fn also(&self, slot: Slot) -> Option<&Arc<str>> {
        self.other_owner(slot).filter(|other| Some(*other) != self.owner(slot))
    }

    /// Where a slot has to be listened for before a gateway acknowledges the document: at its owner after the change, if the
    /// change moves it. Old owners, and slots that stay where they are, hold nobody up: their nodes may be dead. In the phase
    /// `switch`, besides, nothing must be under way that was published by an older document.
    #[must_use]
    pub fn due_at(&self, slot: Slot) -> Option<&Arc<str>> {
        let other = self.other.as_ref().and_then(|other| other.owner(slot)).filter(|other| Some(*other) != self.owner(slot));
        match self.document.phase {
            Phase::Prepare | Phase::Fence => other,
            Phase::Switch => self.owner(slot).filter(|_| other.is_some()),
            Phase::Stable => None,
        }
    }

    /// From where the owner has to take over what the slot's channels have kept.
    #[must_use]
    pub fn previous(&self, slot: Slot) -> Option<&Arc<str>> {
        if self.document.phase == Phase::Switch { self.also(slot) } else { None }
    }

    /// Whether a gateway has done its part of this phase: it hears every channel where [`View::awaited`] says, and in `switch`
    /// nothing of its own is under way by an older document than this. `oldest_under_way` is the least epoch by which
    /// something is.
    #[must_use]
    pub fn is_done(&self, hears_all_awaited: bool, oldest_under_way: Option<u64>) -> bool {
        let is_quiet = self.document.phase != Phase::Switch || oldest_under_way.is_none_or(|oldest| oldest >= self.epoch());
        hears_all_awaited && is_quiet
    }

    /// The slots that the change under way moves, each with its owner before (none if that was lost) and after it.
    pub fn moved(&self) -> impl Iterator<Item = (Slot, Option<&Arc<str>>, Option<&Arc<str>>)> {
        let is_switched = self.document.phase == Phase::Switch;
        Slot::all().filter_map(move |slot| {
            self.other.as_ref()?;
            let (one, other) = (self.owner(slot), self.other_owner(slot));
            let (from, to) = if is_switched { (other, one) } else { (one, other) };
            (from != to).then_some((slot, from, to))
        })
    }

    /// How many slots each node owns by the present layout.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<Arc<str>, usize> {
        let mut shares = BTreeMap::new();
        Slot::all().filter_map(|slot| self.owner(slot)).for_each(|owner| *shares.entry(Arc::clone(owner)).or_default() += 1);
        shares
    }

    /// The owner by the layout that a change is to or from; none where that node was lost.
    pub(crate) fn other_owner(&self, slot: Slot) -> Option<&Arc<str>> {
        self.other.as_ref().and_then(|other| other.owner(slot)).filter(|other| !self.lost.contains(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Layout, Node};

    #[test]
    fn what_moves_is_awaited_at_its_new_owner_whatever_became_of_the_old_one() {
        let node = |id: &str, state| Node { id: id.to_owned(), url: String::new(), weight: 1, state, incarnation: 1 };
        let layout = |a, b| Layout { nodes: vec![node("a", a), node("b", b)], ..Layout::default() };
        let (both, one) = (layout(NodeState::Serving, NodeState::Serving), layout(NodeState::Down, NodeState::Serving));
        let document = Document { epoch: 2, vnodes: 16, ..Document::default() };
        let of = |phase, current: &Layout, next: Option<&Layout>, prev: Option<&Layout>| {
            let (next, prev) = (next.cloned(), prev.cloned());
            View::new(Document { phase, current: current.clone(), next, prev, ..document.clone() })
        };
        let stable = of(Phase::Stable, &both, None, None);
        assert!(Slot::all().all(|slot| stable.due_at(slot).is_none()));
        let lost = of(Phase::Switch, &one, None, Some(&both));
        let readmitted = of(Phase::Prepare, &one, Some(&both), None);
        for slot in Slot::all() {
            let was_of_a = stable.owner(slot).is_some_and(|owner| **owner == *"a");
            assert_eq!(lost.due_at(slot).map(|node| &**node), was_of_a.then_some("b"));
            assert_eq!(readmitted.due_at(slot).map(|node| &**node), was_of_a.then_some("a"));
        }
    }

    #[test]
    fn a_lost_node_is_neither_listened_to_nor_asked_for_what_it_had() {
        let node = |id: &str, state| Node { id: id.to_owned(), url: String::new(), weight: 1, state, incarnation: 1 };
        let layout = |a| Layout { nodes: vec![node("a", a), node("b", NodeState::Serving)], ..Layout::default() };
        let (current, prev) = (layout(NodeState::Down), layout(NodeState::Serving));
        let document =
            Document { epoch: 2, phase: Phase::Switch, vnodes: 16, current, next: None, prev: Some(prev), ..Document::default() };
        let view = View::new(document.clone());
        assert!(Slot::all().all(|slot| view.also(slot).is_none() && view.previous(slot).is_none()));
        let moved: Vec<_> = view.moved().collect();
        assert!(!moved.is_empty() && moved.iter().all(|(_, from, to)| from.is_none() && to.is_some_and(|to| **to == *"b")));

        let drained = View::new(Document { current: layout(NodeState::Drained), ..document });
        assert!(drained.moved().all(|(_, from, _)| from.is_some_and(|from| **from == *"a")));
        assert_eq!(drained.moved().count(), moved.len());
    }

    #[test]
    fn a_part_is_done_when_what_moves_is_heard_at_its_new_owner_and_nothing_old_is_under_way() {
        let node = |id: &str| Node { id: id.to_owned(), url: String::new(), weight: 1, state: NodeState::Serving, incarnation: 1 };
        let layout = |ids: &[&str]| Layout { nodes: ids.iter().map(|id| node(id)).collect(), ..Layout::default() };
        let (old, new) = (layout(&["a", "b"]), layout(&["a", "b", "c"]));
        let document = |epoch, phase| Document { epoch, phase, vnodes: 16, ..Document::default() };
        let prepare = View::new(Document { current: old.clone(), next: Some(new.clone()), ..document(2, Phase::Prepare) });
        let switch = View::new(Document { current: new.clone(), prev: Some(old), ..document(4, Phase::Switch) });
        let stable = View::new(Document { current: new, ..document(5, Phase::Stable) });
        for slot in Slot::all() {
            let moves = prepare.also(slot).is_some();
            assert_eq!(prepare.due_at(slot), prepare.also(slot));
            assert_eq!(switch.due_at(slot), switch.owner(slot).filter(|_| moves), "not where it was");
            assert_eq!(stable.due_at(slot), None);
        }
        assert!(Slot::all().any(|slot| switch.due_at(slot).is_some_and(|node| **node == *"c")));
        assert!(prepare.is_done(true, Some(1)) && !prepare.is_done(false, None));
        assert!(switch.is_done(true, Some(4)) && !switch.is_done(true, Some(3)) && !switch.is_done(false, None));
    }
}
