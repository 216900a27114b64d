//! Pure: how the ring is, out of what stands in etcd: for people, and for programs as JSON.

use crate::{
    document::{Document, NodeState, Phase},
    etcd::{Snapshot, record::Vote},
    slot::{SLOTS, Slot},
    view::View,
    wanted::{Answer, Outcome, Wanted, Wish},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, sync::Arc};

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
    /// Gateways that cannot use it, where votes are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
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
    /// Of a document alone. Takes the time of its tables.
    #[must_use]
    pub fn of_document(document: &Document) -> Status {
        Status::of_view(&View::new(document.clone()))
    }

    /// Of the ring as a gateway sees it.
    #[must_use]
    pub fn of_view(view: &View) -> Status {
        let document = &view.document;
        let owned = owned(|slot| view.owner(slot));
        let owned_by_other = document.other().map(|_| self::owned(|slot| view.other_owner(slot)));
        let status = |node: &crate::document::Node| {
            let slots = owned.get(node.id.as_str()).copied().unwrap_or(0);
            NodeStatus {
                id: node.id.clone(),
                url: node.url.clone(),
                weight: node.weight,
                state: node.state,
                incarnation: node.incarnation,
                slots,
                percent: f64::from(slots) * 100.0 / f64::from(SLOTS),
                slots_by_other_layout: owned_by_other.as_ref().map(|owned| owned.get(node.id.as_str()).copied().unwrap_or(0)),
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
        Status::of_document(&document).beside(snapshot)
    }

    /// With what stands in etcd beside the document: gateways, votes, what is wanted.
    #[must_use]
    pub fn beside(mut self, snapshot: &Snapshot) -> Status {
        for ((node, gateway), held) in snapshot.votes.iter().filter(|(_, held)| held.value.vote == Vote::Down) {
            let (since_ms, reason) = (held.value.since_ms, held.value.reason.clone());
            let vote = DownVote { gateway: gateway.clone(), since_ms, reason };
            self.nodes.iter_mut().filter(|status| status.id == *node).for_each(|status| status.down_votes.push(vote.clone()));
        }
        let gateways = snapshot.gateways.iter().map(|(name, held)| {
            let gateway = &held.value;
            let (address, version) = (gateway.address.clone(), gateway.version.clone());
            GatewayStatus { name: name.clone(), address, version, epoch: gateway.epoch, acked: gateway.acked }
        });
        self.gateways = gateways.collect();
        self.wanted = snapshot.wanted.as_ref().and_then(|held| serde_json::from_slice(&held.value).ok());
        self.answer = snapshot.wanted_result.as_ref().and_then(|held| serde_json::from_slice(&held.value).ok());
        self
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch == 0 {
            writeln!(f, "there is no ring yet: make one with `headcount ring add NAME redis://HOST:PORT`")?;
            return self.write_wishes(f);
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
        self.write_wishes(f)
    }
}

impl Status {
    fn write_wishes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Wanted { wish, by, instead_of, .. }) = &self.wanted {
            let what = match wish {
                Wish::Become { epoch, .. } => format!("another layout than that of epoch {epoch}"),
                Wish::Abort => "the change under way to be dropped".to_owned(),
                Wish::Lose(nodes) => format!("{} to be taken for lost", nodes.join(", ")),
                Wish::Publish => "the newest known ring to be published again".to_owned(),
            };
            let instead_of = instead_of.as_ref().map_or(String::new(), |asked| format!(", instead of what {} wanted", asked.by));
            writeln!(f, "\n{by} wants {what}{instead_of}; the coordinator has not answered yet")?;
        }
        match &self.answer {
            Some(Answer { by, outcome: Outcome::Done, epoch, .. }) => writeln!(f, "\nwhat {by} wanted was done by epoch {epoch}"),
            Some(Answer { by, outcome: Outcome::Refused, reason, .. }) => writeln!(f, "\nwhat {by} wanted was refused: {reason}"),
            None => Ok(()),
        }
    }
}

/// How many slots each node owns.
fn owned<'a>(owner: impl Fn(Slot) -> Option<&'a Arc<str>>) -> BTreeMap<&'a str, u16> {
    let mut owned: BTreeMap<&str, u16> = BTreeMap::new();
    for owner in Slot::all().filter_map(owner) {
        *owned.entry(owner).or_default() += 1;
    }
    owned
}

/// As JSON spells it.
fn word(value: &impl Serialize) -> String {
    serde_json::json!(value).as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        document::{Layout, Node},
        etcd::{Keys, snapshot::Entry},
    };

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

    #[test]
    fn a_change_under_way_shows_what_nodes_will_have_who_is_waited_for_and_who_is_not_well() {
        let document = Document {
            epoch: 7,
            phase: Phase::Prepare,
            current: layout(&["redis-a"]),
            next: Some(layout(&["redis-a", "redis-b"])),
            ..Document::default()
        };
        let entries = [
            ("ring", document.to_json()),
            ("gw/g1", r#"{"address":"h:1","version":"1","started_ms":1,"epoch":7,"acked":7}"#.to_owned()),
            ("gw/g2", r#"{"address":"h:2","version":"1","started_ms":1,"epoch":6,"acked":6}"#.to_owned()),
            ("votes/redis-b/g1", r#"{"vote":"down","since_ms":3,"reason":"silent"}"#.to_owned()),
            ("votes/redis-a/g1", r#"{"vote":"up","since_ms":3}"#.to_owned()),
            ("wanted", r#"{"wish":"abort","by":"ann@ops","asked_ms":9,"instead_of":{"by":"bob@ops","asked_ms":8}}"#.to_owned()),
        ];
        let entries = entries.into_iter().zip(1..).map(|((key, value), revision)| Entry {
            name: format!("/headcount/eu/{key}").into(),
            value: Some(value.into()),
            mod_revision: revision,
            create_revision: revision,
            lease: 0,
        });
        let (snapshot, omissions) = Snapshot::listed(&Keys::new("eu"), 1, 6, entries.collect());
        assert_eq!(omissions, []);
        let status = Status::of_snapshot(&snapshot);
        let slots: Vec<_> = status.nodes.iter().map(|node| (node.id.as_str(), node.slots, node.slots_by_other_layout)).collect();
        let [("redis-a", SLOTS, Some(a)), ("redis-b", 0, Some(b))] = slots[..] else { panic!("{slots:?}") };
        assert_eq!(a + b, SLOTS);
        let text = status.to_string();
        for line in [
            "epoch 7, prepare: gateways begin to listen at the new owners too".to_owned(),
            format!("redis-a  serving       1  16384 100.0 %     0  redis://redis-a:6379  (will have {a})"),
            "         down for g1: silent".to_owned(),
            "g1              7        7  h:1".to_owned(),
            "g2              6        6  h:2  (waited for)".to_owned(),
            "ann@ops wants the change under way to be dropped, instead of what bob@ops wanted; the coordinator has not answered yet"
                .to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("redis-a:6379  (will have 0)") && text.matches("down for").count() == 1, "{text}");
    }
}
