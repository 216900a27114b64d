//! Pure: the ring document: which Redis nodes there are, and how far a change of them has come. It is one JSON document, so
//! that everybody goes from one epoch to the next at once; it lies in etcd, on every Redis node and on every gateway's
//! disk, and of several copies the one with the highest epoch counts.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Points of a node of weight 1.
pub const VNODES: u32 = 512;
/// Nodes in one document: more than that, and a copy of it is no longer small.
pub const NODES_MAX: usize = 1000;
/// The greatest weight.
pub const WEIGHT_MAX: u32 = 16;
/// The greatest number of points of a node of weight 1.
pub const VNODES_MAX: u32 = 4096;
/// Pins in one layout: whoever wants more of them wants other weights.
pub const PINS_MAX: usize = 1024;

/// How slots are given to nodes; see [`crate::table`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Points and bounded load.
    #[default]
    #[serde(rename = "ring/v1")]
    RingV1,
}

/// How far a change has come. Each step has an epoch of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing changes.
    #[default]
    Stable,
    /// Gateways listen at the owners of `next` too, and publish at the present ones.
    Prepare,
    /// Everybody listens at both; the nodes that lose slots are told to refuse those who publish by this or an older
    /// epoch. There is no way back from here.
    Fence,
    /// `next` has become the present layout, the old one stands in `prev`: gateways publish at the new owners, listen at
    /// both, and fetch what a channel has kept from its old owner.
    Switch,
}

/// Whether a node takes slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It takes slots.
    #[default]
    Serving,
    /// An operator has taken its slots away; only an operator gives them back.
    Drained,
    /// It was lost, and comes back once it has been well for a while.
    Down,
}

impl NodeState {
    /// As people and metrics read it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            NodeState::Serving => "serving",
            NodeState::Drained => "drained",
            NodeState::Down => "down",
        }
    }
}

/// One Redis node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// A name that an operator gave it, for good. Slots follow the name, so that an address can change.
    pub id: String,
    /// `redis://HOST:PORT` or `rediss://HOST:PORT`, without credentials.
    pub url: String,
    /// Its share of the slots, beside the other weights: 1 to [`WEIGHT_MAX`].
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether it takes slots.
    #[serde(default)]
    pub state: NodeState,
    /// Greater each time that it is taken in, and never greater than the document's epoch: so a node that was removed and
    /// comes back under its old id has another one too. What it has kept from an earlier time does not count.
    #[serde(default)]
    pub incarnation: u64,
}

/// Who owns what, as far as the document says it; the rest follows by [`crate::table`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// In ascending order of their ids.
    pub nodes: Vec<Node>,
    /// Slots that an operator has given to a node by hand. A pin to a node that takes no slots counts for nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<u16, String>,
}

/// The ring, and a change under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Document {
    /// How slots are given to nodes.
    pub format: Format,
    /// Goes up by one with each change of the document.
    pub epoch: u64,
    /// How far a change has come.
    pub phase: Phase,
    /// Points of a node of weight 1. Another number moves nearly every slot.
    pub vnodes: u32,
    /// The layout by which gateways publish.
    #[serde(flatten)]
    pub current: Layout,
    /// What it will be; in the phases `prepare` and `fence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Layout>,
    /// What it was; in the phase `switch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev: Option<Layout>,
}

/// The document as it is read: with a flattened layout serde would let unknown keys pass, and find no number in a pin's key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: Format,
    epoch: u64,
    phase: Phase,
    #[serde(default = "vnodes")]
    vnodes: u32,
    nodes: Vec<Node>,
    #[serde(default)]
    pins: BTreeMap<u16, String>,
    #[serde(default)]
    next: Option<Layout>,
    #[serde(default)]
    prev: Option<Layout>,
}

impl From<Written> for Document {
    fn from(written: Written) -> Document {
        let Written { format, epoch, phase, vnodes, nodes, pins, next, prev } = written;
        Document { format, epoch, phase, vnodes, current: Layout { nodes, pins }, next, prev }
    }
}

/// No nodes, and nothing changes.
impl Default for Document {
    fn default() -> Document {
        let (format, phase) = (Format::RingV1, Phase::Stable);
        Document { format, epoch: 0, phase, vnodes: VNODES, current: Layout::default(), next: None, prev: None }
    }
}

impl Layout {
    /// The nodes that take slots.
    pub fn serving(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.state == NodeState::Serving)
    }

    /// The node of this id.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

impl Document {
    /// The layout that a change is to or from, if one is under way.
    #[must_use]
    pub fn other(&self) -> Option<&Layout> {
        self.next.as_ref().or(self.prev.as_ref())
    }

    /// Every node of the present layout and of the other one, once each; where both have it, as the one does in which it was
    /// taken in later: a node that comes back is connected to as what it will be, and stays so when it has become that.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let other = |id: &str| self.other().and_then(|other| other.node(id));
        let present = self.current.nodes.iter();
        let present = present.map(move |node| other(&node.id).filter(|other| other.incarnation > node.incarnation).unwrap_or(node));
        let others = self.other().into_iter().flat_map(|other| &other.nodes);
        present.chain(others.filter(|node| self.current.node(&node.id).is_none()))
    }
}

fn one() -> u32 {
    1
}

fn vnodes() -> u32 {
    VNODES
}
