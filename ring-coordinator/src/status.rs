//! Pure: how the ring is, out of what stands in etcd: for people, and for programs as JSON.

use crate::{
    document::{Document, NodeState, Phase},
    etcd::{Snapshot, record::Opinion},
    slot::{SLOTS, Slot},
    table::Table,
    wanted::{Answer, Outcome, Wanted, Wish},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// The ring.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The document's epoch; 0: there is none yet.
    pub epoch: u64,
    /// How far a change has come.
    pub phase: Phase,
    /// In ascending order, those that a change takes out included.
    pub nodes: Vec<NodeStatus>,
    /// In ascending order.
    pub gateways: Vec<GatewayStatus>,
    /// What is wanted and not yet done.
    pub wanted: Option<Wanted>,
    /// What became of what was wanted last.
    pub answer: Option<Answer>,
}

/// One Redis node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct NodeStatus {
    pub id: String,
    pub url: String,
    pub weight: u32,
    pub state: NodeState,
    pub incarnation: u64,
    /// Slots that are published to it.
    pub slots: u16,
    /// The same in percent.
    pub percent: f64,
    /// Slots by the layout that a change goes to, or comes from in the phase `switch`.
    pub slots_by_other_layout: Option<u16>,
    /// Slots that an operator has given to it by hand.
    pub pins: usize,
    /// Gateways that cannot use it.
    pub down_votes: Vec<DownVote>,
}

/// Why a gateway cannot use a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct DownVote {
    pub gateway: String,
    pub since_ms: u64,
    pub reason: String,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct GatewayStatus {
    pub name: String,
    pub address: String,
    pub version: String,
    /// The document that it goes by.
    pub epoch: u64,
    /// The highest epoch whose phase it has finished.
    pub acked: u64,
}

impl Status {
    /// Of a document alone.
    #[must_use]
    pub fn of_document(document: &Document) -> Status {
        let (owned, other) = (owned(&Table::new(&document.current, document.vnodes)), document.other());
        let owned_by_other = other.map(|layout| self::owned(&Table::new(layout, document.vnodes)));
        let status = |node: &crate::document::Node| {
            let slots = owned.get(&node.id).copied().unwrap_or(0);
            NodeStatus {
                id: node.id.clone(),
                url: node.url.clone(),
                weight: node.weight,
                state: node.state,
                incarnation: node.incarnation,
                slots,
                percent: f64::from(slots) * 100.0 / f64::from(SLOTS),
                slots_by_other_layout: owned_by_other.as_ref().map(|owned| owned.get(&node.id).copied().unwrap_or(0)),
                pins: document.current.pins.values().filter(|id| **id == node.id).count(),
                down_votes: Vec::new(),
            }
        };
        let mut nodes: Vec<NodeStatus> = document.nodes().map(status).collect();
        nodes.sort_by(|one, other| one.id.cmp(&other.id));
        Status { epoch: document.epoch, phase: document.phase, nodes, gateways: Vec::new(), wanted: None, answer: None }
    }

    /// Of all that stands in etcd.
    #[must_use]
    pub fn of_snapshot(snapshot: &Snapshot) -> Status {
        let document = snapshot.document.as_ref().map(|held| held.value.clone()).unwrap_or_default();
        let mut status = Status::of_document(&document);
        for ((node, gateway), held) in snapshot.votes.iter().filter(|(_, held)| held.value.vote == Opinion::Down) {
            let (since_ms, reason) = (held.value.since_ms, held.value.reason.clone());
            let vote = DownVote { gateway: gateway.clone(), since_ms, reason };
            status.nodes.iter_mut().filter(|status| status.id == *node).for_each(|status| status.down_votes.push(vote.clone()));
        }
        let gateways = snapshot.gateways.iter().map(|(name, held)| {
            let gateway = &held.value;
            let (address, version) = (gateway.address.clone(), gateway.version.clone());
            GatewayStatus { name: name.clone(), address, version, epoch: gateway.epoch, acked: gateway.acked }
        });
        status.gateways = gateways.collect();
        status.wanted = snapshot.wanted.as_ref().and_then(|held| serde_json::from_slice(&held.value).ok());
        status.answer = snapshot.wanted_result.as_ref().and_then(|held| serde_json::from_slice(&held.value).ok());
        status
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch == 0 {
            return writeln!(f, "there is no ring yet; `headcount ring add` or `headcount ring apply` makes one");
        }
        let meaning = match self.phase {
            Phase::Stable => "nothing changes",
            Phase::Prepare => "gateways begin to listen at the new owners too",
            Phase::Fence => "the old owners are told to refuse what comes late",
            Phase::Switch => "the new owners are in use, and take over what channels have kept",
        };
        let phase = word(&self.phase);
        writeln!(f, "epoch {}, {phase}: {meaning}\n", self.epoch)?;
        let width = self.nodes.iter().map(|node| node.id.len()).chain(self.gateways.iter().map(|gateway| gateway.name.len()));
        let width = width.max().unwrap_or(0).max(7);
        writeln!(f, "{:width$}  {:8} {:>6} {:>6} {:>7} {:>5}  url", "node", "state", "weight", "slots", "", "pins")?;
        for node in &self.nodes {
            let (state, share) = (word(&node.state), format!("{:.1} %", node.percent));
            write!(f, "{:width$}  {state:8} {:>6} {:>6} {share:>7} {:>5}  {}", node.id, node.weight, node.slots, node.pins, node.url)?;
            match (node.slots_by_other_layout, self.phase) {
                (Some(slots), Phase::Switch) => writeln!(f, "  (had {slots})")?,
                (Some(slots), _) => writeln!(f, "  (will have {slots})")?,
                (None, _) => writeln!(f)?,
            }
            for vote in &node.down_votes {
                writeln!(f, "{:width$}  down for {}: {}", "", vote.gateway, vote.reason)?;
            }
        }
        if !self.gateways.is_empty() {
            writeln!(f, "\n{:width$}  {:>8} {:>8}  address", "gateway", "epoch", "acked")?;
        }
        for GatewayStatus { name, address, epoch, acked, .. } in &self.gateways {
            let late = if *acked < self.epoch { "  (waited for)" } else { "" };
            writeln!(f, "{name:width$}  {epoch:>8} {acked:>8}  {address}{late}")?;
        }
        if let Some(Wanted { wish, by, .. }) = &self.wanted {
            let what = match wish {
                Wish::Become { epoch, .. } => format!("another layout than that of epoch {epoch}"),
                Wish::Abort => "the change under way to be dropped".to_owned(),
                Wish::Lose(nodes) => format!("{} to be taken for lost", nodes.join(", ")),
                Wish::Publish => "the newest known ring to be published again".to_owned(),
            };
            writeln!(f, "\n{by} wants {what}; the coordinator has not answered yet")?;
        }
        match &self.answer {
            Some(Answer { by, outcome: Outcome::Done, epoch, .. }) => writeln!(f, "\nwhat {by} wanted was done by epoch {epoch}"),
            Some(Answer { by, outcome: Outcome::Refused, reason, .. }) => writeln!(f, "\nwhat {by} wanted was refused: {reason}"),
            None => Ok(()),
        }
    }
}

/// How many slots each node owns.
fn owned(table: &Table) -> BTreeMap<String, u16> {
    let mut owned: BTreeMap<String, u16> = BTreeMap::new();
    for owner in Slot::all().filter_map(|slot| table.owner(slot)) {
        *owned.entry(owner.to_string()).or_default() += 1;
    }
    owned
}

/// As JSON spells it.
fn word(value: &impl Serialize) -> String {
    serde_json::json!(value).as_str().unwrap_or_default().to_owned()
}
