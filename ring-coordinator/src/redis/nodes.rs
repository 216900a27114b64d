//! I/O: the Redis nodes of the ring document, each with its connections.

use super::{
    Access, Hearing, Life, Link, NotSent, Opinion, Script,
    hearing::{HEARD_BYTES_MAX, HeardQueue},
    keeping::{Kept, Place},
    metrics::{Metrics, Role},
    opinion::Vote,
};
use crate::document::Document;
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use protocol::time::Clock;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// How often votes are looked at.
const LOOK: Duration = Duration::from_millis(100);

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
#[derive(Clone)]
pub struct Nodes(Arc<Inner>);

struct Inner {
    config: NodesConfig,
    metrics: Metrics,
    queue: Arc<HeardQueue>,
    nodes: RwLock<HashMap<String, Entry>>,
    opinions: watch::Sender<Arc<BTreeMap<String, Opinion>>>,
    /// Two of each node, and the one that looks at votes.
    tasks: Mutex<JoinSet<()>>,
}

struct Entry {
    kept: Arc<Kept>,
    /// Dropped, it lets go of the node.
    place: watch::Sender<Place>,
}

/// How it goes with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What answers on the command connection; `None` while there is none.
    pub life: Option<Life>,
    /// Whether the subscription connection stands.
    pub is_listening: bool,
    /// How long the last canary of this connection was under way, in milliseconds.
    pub canary_lag_ms: Option<u64>,
    /// When that was heard, in milliseconds of the clock that never goes back.
    pub canary_heard_ms: Option<u64>,
    /// It refuses what needs memory.
    pub is_out_of_memory: bool,
    /// Channels that are wanted and not listened for yet.
    pub pending: usize,
    /// The vote; `None` before there is reason for one.
    pub opinion: Option<Opinion>,
}

impl Nodes {
    /// Without nodes. Everything heard comes out of the [`Hearing`]; whoever needs commands only may drop it.
    pub fn new(config: NodesConfig, registry: &Registry) -> prometheus::Result<(Nodes, Hearing)> {
        let metrics = Metrics::register(registry)?;
        let (queue, hearing) = Hearing::new(HEARD_BYTES_MAX, metrics.queue_bytes.clone());
        let opinions = watch::Sender::new(Arc::default());
        let inner = Inner { config, metrics, queue, nodes: RwLock::default(), opinions, tasks: Mutex::default() };
        Ok((Nodes(Arc::new(inner)), hearing))
    }

    /// Connects to the nodes of the document, anew to those with another address or incarnation, and lets go of those that
    /// are gone. What is wanted at a node that stays remains wanted. Call it in a runtime; it does not wait.
    pub fn apply(&self, document: &Document) {
        let inner = &self.0;
        let (mut nodes, mut tasks) = (inner.nodes.write(), inner.tasks.lock());
        if tasks.is_empty() {
            tasks.spawn(Arc::clone(inner).look_at_votes());
        }
        while tasks.try_join_next().is_some() {}
        nodes.retain(|id, _| {
            let stays = document.nodes().any(|node| node.id == *id);
            if !stays {
                inner.metrics.forget(id);
            }
            stays
        });
        for node in document.nodes() {
            let place = Place { url: node.url.clone(), incarnation: node.incarnation };
            if let Some(entry) = nodes.get(&node.id) {
                entry.place.send_if_modified(|known| {
                    let is_changed = *known != place;
                    *known = place;
                    is_changed
                });
                continue;
            }
            let kept = Arc::new(Kept::new(&node.id, &inner.config, inner.metrics.of(&node.id), Arc::clone(&inner.queue)));
            let place = watch::Sender::new(place);
            for role in [Role::Commands, Role::Subscriptions] {
                tasks.spawn(Arc::clone(&kept).keep(role, place.subscribe()));
            }
            nodes.insert(node.id.clone(), Entry { kept, place });
        }
    }

    /// The connection for commands to a node. It is never waited for.
    pub fn link(&self, node: &str) -> Result<Link, NotSent> {
        self.0.nodes.read().get(node).map_or(Err(NotSent::NoSuchNode), |entry| entry.kept.link())
    }

    /// Listens for a channel at a node, until it is unwanted. Those that are hot come first after a reconnect, and now. One
    /// that is wanted already stays as it is, and is not confirmed again. Nothing happens for a node that the document does
    /// not name.
    pub fn wanted(&self, node: &str, channel: &Arc<str>, is_hot: bool) {
        if let Some(entry) = self.0.nodes.read().get(node) {
            entry.kept.subscriber.lock().want(channel, is_hot);
            entry.kept.wish.notify_one();
        }
    }

    /// Listens for it no more.
    pub fn unwanted(&self, node: &str, channel: &str) {
        if let Some(entry) = self.0.nodes.read().get(node) {
            entry.kept.subscriber.lock().unwant(channel);
            entry.kept.wish.notify_one();
        }
    }

    /// How it goes with a node; `None` for one that the document does not name.
    #[must_use]
    pub fn health(&self, node: &str) -> Option<Health> {
        let kept = Arc::clone(&self.0.nodes.read().get(node)?.kept);
        let (link, canary) = (kept.link().ok(), kept.canary());
        let (pending, opinion) = (kept.subscriber.lock().pending(), kept.judge.lock().opinion().cloned());
        Some(Health {
            life: link.as_ref().map(|link| link.life().clone()),
            is_listening: kept.is_listening(),
            canary_lag_ms: canary.map(|(_, lag_ms)| lag_ms),
            canary_heard_ms: canary.map(|(heard_ms, _)| heard_ms),
            is_out_of_memory: link.is_some_and(|link| link.is_out_of_memory()),
            pending,
            opinion,
        })
    }

    /// The votes, by node: told whenever one changes.
    #[must_use]
    pub fn opinions(&self) -> watch::Receiver<Arc<BTreeMap<String, Opinion>>> {
        self.0.opinions.subscribe()
    }

    /// Ends all connections.
    pub async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        self.0.nodes.write().clear();
        // The keepers end by themselves; the look at votes does not.
        while tasks.len() > 1 && tasks.join_next().await.is_some() {}
        tasks.shutdown().await;
        self.0.queue.close();
    }
}

impl Inner {
    async fn look_at_votes(self: Arc<Inner>) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (now, mut is_changed) = ((self.config.clock)(), false);
            let mut opinions = BTreeMap::new();
            for (id, entry) in self.nodes.read().iter() {
                let mut judge = entry.kept.judge.lock();
                is_changed |= judge.look(now.mono_ms, now.wall_ms);
                if let Some(opinion) = judge.opinion() {
                    entry.kept.metrics.up.set(i64::from(opinion.vote == Vote::Up));
                    opinions.insert(id.clone(), opinion.clone());
                }
            }
            if is_changed || opinions.len() != self.opinions.borrow().len() {
                self.opinions.send_replace(Arc::new(opinions));
            }
        }
    }
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.0.nodes.read().keys()).finish()
    }
}
