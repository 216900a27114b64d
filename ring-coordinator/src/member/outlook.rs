//! I/O: the ring as this gateway sees it: what etcd tells of it, and what the gateway itself knows of its way with it.

use super::Riding;
use crate::{
    document::Document,
    etcd::Mirror,
    redis::{Nodes, Opinion},
    source::{Origin, Standing},
    status::Status,
};
use protocol::time::Clock;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::watch;

/// Where one can look from at any time. Clones are the same.
#[derive(Clone)]
pub struct Outlook {
    pub(super) gateway: String,
    pub(super) riding: watch::Receiver<Arc<Riding>>,
    pub(super) nodes: Nodes,
    pub(super) mirror: Mirror,
    pub(super) clock: Clock,
}

/// What is seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sight {
    /// The ring that this gateway goes by, and beside it what etcd told last of gateways, votes and wishes.
    #[serde(flatten)]
    pub status: Status,
    /// What this gateway knows itself; `None`: it is alone, without a ring.
    pub here: Option<Here>,
}

/// What a gateway knows itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Here {
    /// Its name.
    pub gateway: String,
    /// The best place where a copy of its ring was seen: `etcd`, `redis` or `disk`.
    pub source: Option<&'static str>,
    /// How far its ring can be relied upon: `none`, `fresh`, `stale` or `disputed`.
    pub standing: &'static str,
    /// Why there is no ring, or what is disputed.
    pub trouble: Option<String>,
    /// Milliseconds since all was known that etcd has; `None`: it has not answered yet.
    pub etcd_age_ms: Option<u64>,
    /// Whether it stands in etcd, so that changes of the ring wait for it.
    pub registered: bool,
    /// In ascending order of their ids.
    pub nodes: Vec<NodeHere>,
}

/// How it goes with a node from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeHere {
    /// Its id.
    pub id: String,
    /// Whether the connection for commands stands.
    pub connected: bool,
    /// Whether the connection for subscriptions stands.
    pub listening: bool,
    /// How long the last canary of that connection was under way, in milliseconds.
    pub canary_lag_ms: Option<u64>,
    /// It refuses what needs memory.
    pub out_of_memory: bool,
    /// Channels that are wanted and not listened for yet.
    pub pending: usize,
    /// What this gateway votes, and why; `None` before there is reason for a vote.
    pub opinion: Option<Opinion>,
}

impl Sight {
    /// Of a gateway that is alone.
    #[must_use]
    pub fn alone() -> Sight {
        Sight { status: Status::of_document(&Document::default()), here: None }
    }
}

impl Outlook {
    /// What is seen now; takes the time of two counts over all slots, waits for nothing.
    #[must_use]
    pub fn look(&self) -> Sight {
        let riding = self.riding.borrow().clone();
        let (snapshot, age_ms) = (self.mirror.snapshot(), self.mirror.age_ms((self.clock)().mono_ms));
        let status = match &riding.view {
            Some(view) => Status::of_view(view),
            None => Status::of_document(&Document::default()),
        };
        let status = status.beside(&snapshot);
        let node = |node: &crate::status::NodeStatus| {
            let health = self.nodes.health(&node.id)?;
            Some(NodeHere {
                id: node.id.clone(),
                connected: health.life.is_some(),
                listening: health.is_listening,
                canary_lag_ms: health.canary_lag_ms,
                out_of_memory: health.is_out_of_memory,
                pending: health.pending,
                opinion: health.opinion,
            })
        };
        let (standing, trouble) = match &riding.standing {
            Standing::None(why) => ("none", Some((*why).to_owned())),
            Standing::Fresh => ("fresh", None),
            Standing::Stale(_) => ("stale", None),
            Standing::Disputed(alarm) => ("disputed", Some(alarm.to_string())),
        };
        let here = Here {
            gateway: self.gateway.clone(),
            source: riding.origin.map(Origin::label),
            standing,
            trouble,
            etcd_age_ms: age_ms,
            registered: riding.is_registered,
            nodes: status.nodes.iter().filter_map(node).collect(),
        };
        Sight { status, here: Some(here) }
    }
}
