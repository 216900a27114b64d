//! Pure: what an operator asks of the ring: the layout that it becomes, or why not. Nothing is refused halfway.

use crate::{
    document::{Layout, Node, NodeState},
    validate::Flaw,
};
use std::collections::BTreeSet;

/// One wish. Those of a node name it by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Take in a new node.
    Add {
        /// Its name, for good.
        id: String,
        /// Where it is.
        url: String,
        /// Its share beside the other weights.
        weight: u32,
    },
    /// Take a node's slots away until it is undrained.
    Drain(String),
    /// Give a drained node slots again.
    Undrain(String),
    /// Give a node another share.
    Reweight(String, u32),
    /// Take a node out for good.
    Remove(String),
    /// Give a slot to a node, whatever the ring says.
    Pin(u16, String),
    /// Leave a slot to the ring again.
    Unpin(u16),
    /// Say that a node is elsewhere now; its slots stay its own.
    SetUrl(String, String),
    /// All of it at once: nodes that are not named are removed, pins that are not named are dropped.
    Whole(Layout),
}

/// Why a wish is not granted. The layout stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is so already.
    #[error("nothing to change: {0}")]
    Already(String),
    /// No node has this id.
    #[error("no node is called {0:?}; `headcount ring status` lists them")]
    Unknown(String),
    /// Another node has this id.
    #[error("a node is called {0:?} already; `headcount ring reweight` changes its weight, `headcount ring move` its address")]
    Exists(String),
    /// Nobody would own anything.
    #[error("no node would be left that takes slots; add one, or undrain one, first")]
    LastNode,
    /// Slots are pinned to a node that is to be removed.
    #[error("{} pinned to {id:?}; unpin {them} first, or pin {them} to another node", slots(.pins), them = if .pins.len() == 1 { "it" } else { "them" })]
    Pinned {
        /// The node.
        id: String,
        /// The slots, ascending.
        pins: Vec<u16>,
    },
    /// The node that a slot is to be pinned to takes no slots.
    #[error("{id:?} is {}", takes_none(.state))]
    TakesNone {
        /// The node.
        id: String,
        /// Why it takes none.
        state: NodeState,
    },
    /// The slot is not pinned.
    #[error("slot {0} is not pinned")]
    NotPinned(u16),
    /// It would not be a layout.
    #[error(transparent)]
    Flawed(#[from] Flaw),
}

impl Change {
    /// The layout after the change, its nodes in ascending order; `epoch` is that of the document which will show it first.
    pub fn apply(&self, layout: &Layout, vnodes: u32, epoch: u64) -> Result<Layout, Refusal> {
        let mut next = layout.clone();
        match self {
            Change::Add { id, .. } if layout.node(id).is_some() => return Err(Refusal::Exists(id.clone())),
            Change::Add { id, url, weight } => {
                let (id, url, weight) = (id.clone(), url.clone(), *weight);
                next.nodes.push(Node { id, url, weight, state: NodeState::Serving, incarnation: epoch });
            }
            Change::Drain(id) => node(&mut next, id)?.state = NodeState::Drained,
            Change::Undrain(id) => {
                let node = node(&mut next, id)?;
                if node.state == NodeState::Down {
                    return Err(Refusal::TakesNone { id: id.clone(), state: NodeState::Down });
                }
                node.state = NodeState::Serving;
            }
            Change::Reweight(id, weight) => node(&mut next, id)?.weight = *weight,
            Change::SetUrl(id, url) => node(&mut next, id)?.url.clone_from(url),
            Change::Remove(id) => {
                node(&mut next, id)?;
                let pins: Vec<u16> = layout.pins.iter().filter(|(_, pinned)| *pinned == id).map(|(slot, _)| *slot).collect();
                if !pins.is_empty() {
                    return Err(Refusal::Pinned { id: id.clone(), pins });
                }
                next.nodes.retain(|node| node.id != *id);
            }
            Change::Pin(slot, id) => {
                let state = node(&mut next, id)?.state;
                if state != NodeState::Serving {
                    return Err(Refusal::TakesNone { id: id.clone(), state });
                }
                next.pins.insert(*slot, id.clone());
            }
            Change::Unpin(slot) => {
                next.pins.remove(slot).ok_or(Refusal::NotPinned(*slot))?;
            }
            Change::Whole(wanted) => next = wanted.clone(),
        }
        settle(&mut next, layout, epoch);
        next.check(vnodes)?;
        if next.serving().next().is_none() {
            return Err(Refusal::LastNode);
        }
        if next == *layout {
            return Err(Refusal::Already(self.told()));
        }
        Ok(next)
    }

    /// What is so already, if the change changes nothing.
    fn told(&self) -> String {
        match self {
            Change::Add { id, .. } => format!("{id:?} is there"),
            Change::Drain(id) => format!("{id:?} is drained"),
            Change::Undrain(id) => format!("{id:?} takes slots"),
            Change::Reweight(id, weight) => format!("{id:?} has the weight {weight}"),
            Change::Remove(id) => format!("{id:?} is gone"),
            Change::Pin(slot, id) => format!("slot {slot} is pinned to {id:?}"),
            Change::Unpin(slot) => format!("slot {slot} is not pinned"),
            Change::SetUrl(id, url) => format!("{id:?} is at {url}"),
            Change::Whole(_) => "the ring has this layout".to_owned(),
        }
    }
}

/// What an operator has no say in: who is down stays down until it is well, unless it is to be drained; and who is taken in
/// has a new incarnation.
fn settle(next: &mut Layout, before: &Layout, epoch: u64) {
    next.nodes.sort_by(|one, other| one.id.cmp(&other.id));
    for node in &mut next.nodes {
        let old = before.node(&node.id);
        node.state = match (node.state, old.map(|old| old.state)) {
            (NodeState::Drained, _) => NodeState::Drained,
            (_, Some(NodeState::Down)) => NodeState::Down,
            _ => NodeState::Serving,
        };
        node.incarnation = match old {
            Some(old) if node.state != NodeState::Serving || old.state == NodeState::Serving => old.incarnation,
            _ => epoch,
        };
    }
}

fn node<'a>(layout: &'a mut Layout, id: &str) -> Result<&'a mut Node, Refusal> {
    layout.nodes.iter_mut().find(|node| node.id == id).ok_or_else(|| Refusal::Unknown(id.to_owned()))
}

/// `slot 5 is`, `slots 5, 6 are`; of many the first ten.
fn slots(pins: &[u16]) -> String {
    let pins: BTreeSet<u16> = pins.iter().copied().collect();
    let named: Vec<String> = pins.iter().take(10).map(ToString::to_string).collect();
    match (pins.len(), named.join(", ")) {
        (1, one) => format!("slot {one} is"),
        (2..=10, all) => format!("slots {all} are"),
        (count, some) => format!("slots {some} and {} more are", count - 10),
    }
}

fn takes_none(state: &NodeState) -> &'static str {
    match state {
        NodeState::Down => "down and takes no slots; it comes back by itself once it has been well for a while",
        NodeState::Drained | NodeState::Serving => "drained and takes no slots; `headcount ring undrain` gives it some again",
    }
}
