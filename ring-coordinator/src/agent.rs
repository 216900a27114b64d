//! Pure: what one gateway does for the ring: which slots it listens for at which nodes, when it has done its part of a
//! change, and that it comes back as a new one when it was expelled.
//!
//! The key in etcd comes first, then the ring is read, then clients are served: so a change that does not know of this
//! gateway is one that this gateway knows of.

use crate::{document::Phase, slot::Slot, view::View};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A document, wherever it comes from: etcd, a Redis node or the disk. An older one than is known counts for nothing.
    View(Arc<View>),
    /// The key stands in etcd, and the ring was read after that; `None` if there is none.
    Registered(Option<Arc<View>>),
    /// The key is gone: the lease was lost, or the coordinator did not wait any longer.
    Unregistered,
    /// A first channel of the slot is listened for.
    Joined(Slot),
    /// The last one is not any more.
    Left(Slot),
    /// All channels of the slot that are listened for are, at this node.
    Confirmed(Slot, Arc<str>),
    /// They are not, for now: the connection broke, or a new channel of the slot waits for its confirmation.
    Unconfirmed(Slot, Arc<str>),
    /// A publication was handed to a connection by the document of this epoch, …
    Sent(u64),
    /// … and has an answer, or will never have one.
    Done(u64),
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Listen for the slot's channels at this node, and say [`Input::Confirmed`].
    Listen(Slot, Arc<str>),
    /// Listen there no longer.
    Unlisten(Slot, Arc<str>),
    /// Put these into the key: the document that is gone by, and the one of which everything is done.
    Tell {
        /// That it goes by.
        epoch: u64,
        /// Of which everything is done; 0 for a new gateway.
        acked: u64,
    },
    /// Others went on without this gateway, so subscribers may have missed something: compare each channel with its history,
    /// and register again.
    ComeBack,
}

/// One gateway's part.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    view: Option<Arc<View>>,
    /// Slots that the change under way moves.
    moved: BTreeSet<u16>,
    /// Slots that are listened for, with the nodes and whether they have confirmed.
    slots: BTreeMap<u16, BTreeMap<Arc<str>, bool>>,
    /// Publications without an answer, by the epoch that they went by.
    under_way: BTreeMap<u64, usize>,
    registered: bool,
    told: (u64, u64),
    acked: u64,
}

impl Agent {
    /// Takes a fact in.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::View(view) => self.go_by(view, out),
            Input::Registered(view) => {
                self.registered = true;
                (self.acked, self.told) = (0, (0, 0));
                if let Some(view) = view {
                    self.go_by(view, out);
                }
            }
            Input::Unregistered => {
                if std::mem::take(&mut self.registered) {
                    out.push(Output::ComeBack);
                }
            }
            Input::Joined(slot) => {
                self.slots.entry(slot.number()).or_default();
                self.listen(slot, out);
            }
            Input::Left(slot) => {
                let nodes = self.slots.remove(&slot.number()).unwrap_or_default();
                out.extend(nodes.into_keys().map(|node| Output::Unlisten(slot, node)));
            }
            Input::Confirmed(slot, node) => self.note(slot, &node, true),
            Input::Unconfirmed(slot, node) => self.note(slot, &node, false),
            Input::Sent(epoch) => *self.under_way.entry(epoch).or_default() += 1,
            Input::Done(epoch) => {
                if let Some(count) = self.under_way.get_mut(&epoch) {
                    *count = count.saturating_sub(1);
                }
                self.under_way.retain(|_, count| *count > 0);
            }
        }
        self.tell(out);
    }

    /// The ring as it is gone by.
    #[must_use]
    pub fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// Whether the gateway stands in etcd and had the ring after that; before that, it may be overlooked.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Whether everything that the document asks for is done: in `prepare` and `fence` all that moves is listened for at the
    /// new owners, in `switch` too, and nothing is under way by an older document. What happens to slots that do not move,
    /// or at old owners, holds nobody up: those may be dead.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let Some(view) = &self.view else { return false };
        let is_confirmed = |slot: u16, nodes: &BTreeMap<Arc<str>, bool>| {
            let Some(slot) = Slot::new(slot) else { return true };
            let is_prepared = matches!(view.document.phase, Phase::Prepare | Phase::Fence);
            let wanted = if is_prepared { view.also(slot) } else { view.owner(slot) };
            wanted.is_none_or(|node| nodes.get(node).copied().unwrap_or(false))
        };
        let mut moving = self.slots.iter().filter(|(slot, _)| self.moved.contains(slot));
        let is_quiet = view.document.phase != Phase::Switch || self.under_way.range(..view.epoch()).next().is_none();
        is_quiet && moving.all(|(slot, nodes)| is_confirmed(*slot, nodes))
    }

    fn go_by(&mut self, view: Arc<View>, out: &mut Vec<Output>) {
        if self.view.as_ref().is_some_and(|known| known.epoch() >= view.epoch()) {
            return;
        }
        self.moved = view.moved().map(|(slot, ..)| slot.number()).collect();
        self.view = Some(view);
        let slots: Vec<Slot> = self.slots.keys().filter_map(|slot| Slot::new(*slot)).collect();
        slots.into_iter().for_each(|slot| self.listen(slot, out));
    }

    /// Listens where the slot's publications go, went or will go, and nowhere else.
    fn listen(&mut self, slot: Slot, out: &mut Vec<Output>) {
        let (Some(view), Some(nodes)) = (&self.view, self.slots.get_mut(&slot.number())) else { return };
        let wanted: Vec<&Arc<str>> = view.owner(slot).into_iter().chain(view.also(slot)).collect();
        for node in &wanted {
            if !nodes.contains_key(*node) {
                nodes.insert(Arc::clone(node), false);
                out.push(Output::Listen(slot, Arc::clone(node)));
            }
        }
        nodes.retain(|node, _| {
            let stays = wanted.contains(&node);
            if !stays {
                out.push(Output::Unlisten(slot, node.clone()));
            }
            stays
        });
    }

    fn note(&mut self, slot: Slot, node: &Arc<str>, confirmed: bool) {
        if let Some(found) = self.slots.get_mut(&slot.number()).and_then(|nodes| nodes.get_mut(node)) {
            *found = confirmed;
        }
    }

    fn tell(&mut self, out: &mut Vec<Output>) {
        let Some(epoch) = self.view.as_ref().map(|view| view.epoch()) else { return };
        if !self.registered {
            return;
        }
        if self.acked < epoch && self.is_done() {
            self.acked = epoch;
        }
        if self.told != (epoch, self.acked) {
            self.told = (epoch, self.acked);
            out.push(Output::Tell { epoch, acked: self.acked });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Layout, Node, NodeState};

    fn layout(ids: &[&str]) -> Layout {
        let node = |id: &&str| Node {
            id: (*id).to_owned(),
            url: format!("redis://{id}:6379"),
            weight: 1,
            state: NodeState::Serving,
            incarnation: 1,
        };
        Layout { nodes: ids.iter().map(node).collect(), ..Layout::default() }
    }

    /// The ring in which `a` and `b` have been joined by `c`, so far.
    fn view(phase: Phase, epoch: u64) -> Arc<View> {
        let (old, new) = (layout(&["a", "b"]), layout(&["a", "b", "c"]));
        let document = Document { epoch, phase, vnodes: 16, ..Document::default() };
        Arc::new(View::new(match phase {
            Phase::Prepare | Phase::Fence => Document { current: old, next: Some(new), ..document },
            Phase::Switch => Document { current: new, prev: Some(old), ..document },
            Phase::Stable if epoch > 1 => Document { current: new, ..document },
            Phase::Stable => Document { current: old, ..document },
        }))
    }

    fn node(id: &str) -> Arc<str> {
        id.into()
    }

    /// A registered agent that listens for a slot which moves from `a` to `c` and one that stays at `b`.
    fn agent() -> (Agent, Slot, Slot) {
        let prepare = view(Phase::Prepare, 2);
        let owned = |slot: &Slot, id: &str| prepare.owner(*slot).is_some_and(|owner| **owner == *id);
        let moving = Slot::all().find(|slot| owned(slot, "a") && prepare.also(*slot).is_some_and(|also| **also == *"c")).unwrap();
        let staying = Slot::all().find(|slot| owned(slot, "b") && prepare.also(*slot).is_none()).unwrap();
        let mut agent = Agent::default();
        let out = told(&mut agent, [Input::Registered(Some(view(Phase::Stable, 1))), Input::Joined(moving), Input::Joined(staying)]);
        assert_eq!(out, [Output::Tell { epoch: 1, acked: 1 }, Output::Listen(moving, node("a")), Output::Listen(staying, node("b"))]);
        (agent, moving, staying)
    }

    fn told(agent: &mut Agent, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut out = Vec::new();
        inputs.into_iter().for_each(|input| agent.handle(input, &mut out));
        out
    }

    #[test]
    fn a_change_is_followed_and_each_phase_acknowledged_when_its_part_is_done() {
        let (mut agent, moving, staying) = agent();
        let out = told(&mut agent, [Input::View(view(Phase::Prepare, 2))]);
        assert_eq!(out, [Output::Listen(moving, node("c")), Output::Tell { epoch: 2, acked: 1 }]);
        let out = told(&mut agent, [Input::Confirmed(moving, node("a")), Input::Confirmed(staying, node("b"))]);
        assert_eq!(out, [], "it is the new owner that counts");
        assert_eq!(told(&mut agent, [Input::Confirmed(moving, node("c"))]), [Output::Tell { epoch: 2, acked: 2 }]);
        assert_eq!(told(&mut agent, [Input::View(view(Phase::Fence, 3))]), [Output::Tell { epoch: 3, acked: 3 }]);

        let out = told(&mut agent, [Input::Sent(3), Input::Sent(3), Input::View(view(Phase::Switch, 4)), Input::Sent(4)]);
        assert_eq!(out, [Output::Tell { epoch: 4, acked: 3 }], "publications to old owners may be under way");
        assert_eq!(told(&mut agent, [Input::Done(3)]), []);
        assert_eq!(told(&mut agent, [Input::Done(3)]), [Output::Tell { epoch: 4, acked: 4 }]);

        let out = told(&mut agent, [Input::View(view(Phase::Stable, 5))]);
        assert_eq!(out, [Output::Unlisten(moving, node("a")), Output::Tell { epoch: 5, acked: 5 }]);
    }

    #[test]
    fn dead_nodes_hold_nobody_up_unless_slots_move_to_them() {
        let (mut agent, moving, staying) = agent();
        told(&mut agent, [Input::View(view(Phase::Switch, 4)), Input::Unconfirmed(staying, node("b"))]);
        assert!(!agent.is_done());
        assert!(told(&mut agent, [Input::Confirmed(moving, node("c"))]).contains(&Output::Tell { epoch: 4, acked: 4 }));
        told(&mut agent, [Input::Unconfirmed(moving, node("c"))]);
        assert!(!agent.is_done());
    }

    #[test]
    fn a_slot_that_is_joined_during_a_change_is_listened_for_at_both_nodes() {
        let (mut agent, moving, _) = agent();
        told(&mut agent, [Input::Left(moving), Input::View(view(Phase::Prepare, 2))]);
        let out = told(&mut agent, [Input::Joined(moving)]);
        assert_eq!(out, [Output::Listen(moving, node("a")), Output::Listen(moving, node("c"))]);
        assert!(!agent.is_done());
        let out = told(&mut agent, [Input::Left(moving)]);
        assert_eq!(out, [Output::Unlisten(moving, node("a")), Output::Unlisten(moving, node("c"))]);
        assert!(agent.is_done());
    }

    #[test]
    fn an_older_document_counts_for_nothing() {
        let (mut agent, ..) = agent();
        told(&mut agent, [Input::View(view(Phase::Stable, 5))]);
        assert_eq!(told(&mut agent, [Input::View(view(Phase::Switch, 4))]), []);
        assert_eq!(agent.view().map(|view| view.epoch()), Some(5));
    }

    #[test]
    fn who_was_expelled_comes_back_and_has_acknowledged_nothing() {
        let (mut agent, moving, _) = agent();
        told(&mut agent, [Input::View(view(Phase::Prepare, 2))]);
        assert_eq!(told(&mut agent, [Input::Unregistered, Input::Unregistered]), [Output::ComeBack]);
        assert_eq!(told(&mut agent, [Input::Confirmed(moving, node("c"))]), [], "nobody is told before it is registered");
        let out = told(&mut agent, [Input::Unconfirmed(moving, node("c")), Input::Registered(Some(view(Phase::Fence, 3)))]);
        assert_eq!(out, [Output::Tell { epoch: 3, acked: 0 }]);
    }
}
