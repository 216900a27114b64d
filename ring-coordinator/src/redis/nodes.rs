//! I/O: the Redis nodes of the ring document, each with its connections.

use super::{Access, Hearing, Life, Link, NotSent, Opinion, Script};
use crate::document::Document;
use prometheus::Registry;
use protocol::time::Clock;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// What the connections are made with.
#[derive(Clone, Debug)]
pub struct NodesConfig {
    /// The gateway's name, for `hc:canary:<gateway>` and `CLIENT LIST`.
    pub gateway: String,
    /// How one is let in.
    pub access: Access,
    /// Sent to each node when it is connected to, so that the first call of each is no exception.
    pub scripts: Vec<Script>,
    /// The time.
    pub clock: Clock,
    /// Chance, for jitter.
    pub random_u64: fn() -> u64,
}

/// All nodes of the document. Clones are the same.
#[derive(Clone, Debug)]
pub struct Nodes {}

/// How it goes with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What answers on the command connection; `None` while there is none.
    pub life: Option<Life>,
    /// Whether the subscription connection stands.
    pub is_listening: bool,
    /// How long the last canary was under way, in milliseconds.
    pub canary_lag_ms: Option<u64>,
    /// It refuses what needs memory.
    pub is_out_of_memory: bool,
    /// The vote; `None` before there is reason for one.
    pub opinion: Option<Opinion>,
}

impl Nodes {
    /// Without nodes. Everything heard comes out of the [`Hearing`].
    pub fn new(_config: NodesConfig, _registry: &Registry) -> prometheus::Result<(Nodes, Hearing)> {
        Ok((Nodes {}, Hearing {}))
    }

    /// Connects to the nodes of the document, anew to those with another address or incarnation, and lets go of those that
    /// are gone. What is wanted at a node that stays remains wanted. Call it in a runtime; it does not wait.
    pub fn apply(&self, _document: &Document) {}

    /// The connection for commands to a node. It is never waited for.
    pub fn link(&self, _node: &str) -> Result<Link, NotSent> {
        Err(NotSent::NoSuchNode)
    }

    /// Listens for a channel at a node, until it is unwanted. Those that are `hot` come first after a reconnect, and now.
    /// Nothing happens for a node that the document does not name.
    pub fn wanted(&self, _node: &str, _channel: &Arc<str>, _hot: bool) {}

    /// Listens for it no more.
    pub fn unwanted(&self, _node: &str, _channel: &str) {}

    /// How it goes with a node; `None` for one that the document does not name.
    #[must_use]
    pub fn health(&self, _node: &str) -> Option<Health> {
        None
    }

    /// The votes, by node: told whenever one changes.
    #[must_use]
    pub fn opinions(&self) -> watch::Receiver<Arc<BTreeMap<String, Opinion>>> {
        watch::channel(Arc::default()).1
    }

    /// Ends all connections.
    #[allow(clippy::unused_async)]
    pub async fn shutdown(&self) {}
}
