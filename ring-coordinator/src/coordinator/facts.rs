//! Pure: what the coordinator is told and what it orders: the words between it and its edge.

use crate::{
    change,
    document::{Document, Layout, Node},
    etcd::record::{Gateway, Opinion},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// All of the region's part of etcd as it was at one revision. It must be a consistent cut: whoever sees an
/// acknowledgement also sees each gateway that registered before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The ring, if there is one that can be read.
    pub document: Option<Arc<Document>>,
    /// The revision at which its key was written last; 0 if there is none.
    pub revision: i64,
    /// The registered gateways by their names.
    pub gateways: BTreeMap<String, Gateway>,
    /// Votes by node, then by gateway.
    pub votes: BTreeMap<String, BTreeMap<String, Opinion>>,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// etcd has changed, or was read again.
    Seen(Seen),
    /// A Redis node has a copy of a document that is newer than the one in etcd, though every document is written there first.
    Known(Arc<Document>),
    /// The stream of changes has broken; the next [`Input::Seen`] ends the gap.
    Stale,
    /// This coordinator leads now.
    Elected,
    /// It does not lead any more.
    Deposed,
    /// [`Output::Probe`] came back.
    Probed {
        /// The node's id.
        node: String,
        /// It answered, and takes writes.
        well: bool,
        /// The gateways that listen there. `None`: it was not asked, or did not answer.
        listening: Option<BTreeSet<String>>,
    },
    /// The node refuses all who publish into the slots that it loses by an epoch below this one.
    Fenced {
        /// The node's id.
        node: String,
        /// Of [`Output::Fence`].
        epoch: u64,
    },
    /// [`Output::Sweep`] has ended.
    Swept {
        /// The old owner.
        from: String,
        /// The new one.
        to: String,
        /// Of [`Output::Sweep`].
        epoch: u64,
        /// Nothing is left at the old owner that the new one does not have.
        whole: bool,
    },
    /// [`Output::Write`] was refused, or nobody knows: the document is whatever etcd shows next.
    NotWritten,
    /// Somebody wants the ring to look so. It may be told again, and to a successor: what is done already is not done twice.
    Wanted {
        /// Which [`Output::Answer`] is meant for him.
        wanted: u64,
        /// The document that he went by.
        base: u64,
        /// What he wants; incarnations and who is down say nothing.
        layout: Layout,
    },
    /// Somebody wants the change under way dropped.
    Abort {
        /// Which [`Output::Answer`] is meant for him.
        wanted: u64,
    },
    /// Somebody knows that these nodes are lost, and does not want to wait for votes.
    Remove {
        /// Which [`Output::Answer`] is meant for him.
        wanted: u64,
        /// Their ids.
        nodes: BTreeSet<String>,
    },
    /// Somebody has seen that etcd lost documents, and wants the newest known one published again.
    Publish {
        /// Which [`Output::Answer`] is meant for him.
        wanted: u64,
    },
    /// The time of [`Output::WakeAt`] has come.
    Timer,
}

/// An order. Those about nodes are given again until their fact comes back, and do no harm when carried out twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write the document if etcd still has the one of this revision (0: none), and this coordinator still leads.
    Write {
        /// The document.
        document: Document,
        /// The revision it is to replace.
        revision: i64,
    },
    /// Set `min_epoch` of the slots to at least `epoch`.
    Fence {
        /// A node that loses slots.
        node: Node,
        /// Those.
        slots: Vec<u16>,
        /// The least epoch that may still publish there.
        epoch: u64,
    },
    /// Hand over all that channels of these slots have kept; where the new owner has something already, that stays.
    Sweep {
        /// The old owner.
        from: Node,
        /// The new one.
        to: Node,
        /// The slots.
        slots: Vec<u16>,
        /// Of the document.
        epoch: u64,
    },
    /// Delete, paced, all keys of the slots, but not those that hold fences.
    Clean {
        /// A node that does not own them.
        node: Node,
        /// The slots.
        slots: Vec<u16>,
        /// Of the document; the order is void once there is a newer one.
        epoch: u64,
    },
    /// Delete the gateway's key: it must come back as a new one.
    Expel {
        /// Its name.
        gateway: String,
    },
    /// Ask the node whether it is well.
    Probe {
        /// The node.
        node: Node,
    },
    /// Let somebody else lead: this coordinator cannot do what is due, and others may.
    Resign,
    /// The answer to who wanted something.
    Answer {
        /// He.
        wanted: u64,
        /// The epoch with which it was done, or why the ring is not as wanted.
        result: Result<u64, Refusal>,
    },
    /// What is wrong has changed: this is wrong now.
    Alarms(BTreeSet<Alarm>),
    /// Come back at this time of the monotonic clock, if nothing happens before.
    WakeAt(u64),
}

/// Why the ring was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This coordinator does not lead, or has just begun to.
    #[error("this coordinator does not lead yet; ask the one that does, or again in some seconds")]
    NotLeading,
    /// A change is under way, or another one waits.
    #[error("a change of the ring is under way; wait until it is done, or abort it, then ask again")]
    Busy,
    /// The document is another one by now.
    #[error("the ring was at epoch {base} when this was planned and is at {epoch} now; plan again")]
    Outdated {
        /// What the plan went by.
        base: u64,
        /// What there is.
        epoch: u64,
    },
    /// A node that is to take slots cannot be reached.
    #[error("node {0} does not answer the coordinator, or takes no writes; nothing was changed")]
    Unreachable(String),
    /// Not a layout that the ring can go over to.
    #[error(transparent)]
    Layout(#[from] change::Refusal),
    /// These nodes cannot be taken out.
    #[error("{0}")]
    NotThose(String),
    /// There is no change, or it has gone too far.
    #[error("no change is under way that could still be dropped")]
    NothingToAbort,
    /// Something came between before the change had gone far.
    #[error("{0}, so the change was dropped; ask again")]
    Dropped(String),
    /// Nothing was lost.
    #[error("etcd has the newest known document already; nothing was changed")]
    NothingToPublish,
    /// A gateway goes by a newer document than any that is known here: an older one is not to replace it.
    #[error(
        "a gateway goes by the ring of epoch {epoch}, which no Redis node that can be reached has; let a node that has it on its disk be the \
         coordinator, then publish"
    )]
    NoCopy {
        /// Of that document.
        epoch: u64,
    },
    /// See [`Alarm::WentBack`].
    #[error("etcd holds an older ring than is known here; look at it, then publish the newest one again")]
    WentBack,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// etcd holds an older document than is known here or to a gateway (or another of the same epoch, or none): it was
    /// restored. Nothing is changed until somebody publishes the newest one.
    WentBack {
        /// What etcd has.
        seen: u64,
        /// What is known.
        known: u64,
    },
    /// The document in etcd cannot be read, and no other is known. Nothing is written over it.
    Unreadable,
    /// So many nodes look down that it is more likely the network; none is removed.
    Frozen,
    /// The nodes that look down are the last that serve.
    LastNodes,
    /// A node looks down, and as many as may be were removed in the last minute.
    Throttled,
}

impl Alarm {
    /// Every label of its metric.
    pub const REASONS: [&str; 5] = ["went_back", "unreadable", "frozen", "last_nodes", "throttled"];

    /// The label of its metric.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        let [went_back, unreadable, frozen, last_nodes, throttled] = Alarm::REASONS;
        match self {
            Alarm::WentBack { .. } => went_back,
            Alarm::Unreadable => unreadable,
            Alarm::Frozen => frozen,
            Alarm::LastNodes => last_nodes,
            Alarm::Throttled => throttled,
        }
    }
}
