//! I/O: one gateway as a member of the ring: it stands in etcd under its lease, goes by the newest ring that it learns of,
//! from etcd, a Redis node or its disk, tells how far it has come with a change and
//! under which incarnation it writes presence, and votes on the nodes. Nobody waits for
//! etcd here: what cannot be told now is told later.

pub mod agent;
mod metrics;
pub mod outlook;

pub use metrics::METRICS;

use crate::{
    disk::RingFile,
    document::Document,
    etcd::{Etcd, Key, record},
    redis::{self, Nodes, enter, leave_copy, read_copy},
    source::{self, Origin, Sources, Standing},
    view::View,
};
use agent::{Agent, Input, Output};
use futures_util::{StreamExt, stream::FuturesUnordered};
use metrics::Metrics;
use outlook::Outlook;
use prometheus::Registry;
use protocol::time::Clock;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

/// How often what has to do with time is looked at.
const TICK: Duration = Duration::from_millis(200);
/// A gateway that etcd has told nothing for so long asks the Redis nodes, too.
const ASK_NODES_MS: u64 = 3_000;
/// How often each node gets a copy of the ring, in case that it came back empty.
const COPY_PAUSE_MS: u64 = 30_000;
/// How often it enters its name at each node, in case that it came back empty.
const ENTER_PAUSE_MS: u64 = 1_000;
/// Copies that were read from nodes and wait to be looked at; at the bound the reader waits.
const COPIES_MAX: usize = 16;

/// Who the gateway is.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// Its name, unlike any other one's.
    pub gateway: String,
    /// Where its clients connect, `HOST:PORT`.
    pub address: String,
    /// Of the program.
    pub version: String,
    /// Without etcd, a copy of the ring will do.
    pub may_be_stale: bool,
    /// The time.
    pub clock: Clock,
}

/// How it stands with the ring here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Riding {
    /// The ring that is gone by.
    pub view: Option<Arc<View>>,
    /// The best place where a copy of it was seen.
    pub origin: Option<Origin>,
    /// How far it can be relied upon.
    pub standing: Standing,
    /// Whether this gateway stands in etcd.
    pub is_registered: bool,
    /// How often others may have gone on without this gateway: at one more, every channel is to be compared with its
    /// history.
    pub doubts: u64,
}

/// Where a newer ring was heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingNews {
    /// The node that knows of it.
    pub node: Arc<str>,
    /// Its epoch, or a lower one.
    pub epoch: u64,
}

/// What a gateway tells of its way with the ring.
pub struct Progress {
    /// The highest epoch whose phase is finished here.
    pub acked: watch::Receiver<u64>,
    /// The incarnation under which presence is written; 0 while none is.
    pub presence: watch::Receiver<u64>,
    /// Where a ring newer than all before was heard of.
    pub news: watch::Receiver<Option<RingNews>>,
    /// What its connections make of the nodes, by node.
    pub opinions: watch::Receiver<Arc<BTreeMap<String, redis::Opinion>>>,
}

/// A gateway as a member.
pub struct Member {
    config: MemberConfig,
    record: record::Gateway,
    etcd: Etcd,
    nodes: Nodes,
    file: Option<RingFile>,
    metrics: Metrics,
    sources: Sources,
    agent: Agent,
    voted: BTreeMap<String, redis::Vote>,
    riding: watch::Sender<Arc<Riding>>,
}

impl Member {
    /// Not a member before [`Member::run`]. `file`: where the last ring is kept. An error means that a metric's name is
    /// taken.
    pub fn new(config: MemberConfig, etcd: Etcd, nodes: Nodes, file: Option<RingFile>, registry: &Registry) -> prometheus::Result<Member> {
        let standing = Standing::None("nothing is known of the ring yet");
        let riding = Riding { view: None, origin: None, standing, is_registered: false, doubts: 0 };
        let now = (config.clock)();
        let (address, version) = (config.address.clone(), config.version.clone());
        Ok(Member {
            record: record::Gateway { address, version, started_ms: now.wall_ms, epoch: 0, acked: 0, presence: 0 },
            sources: Sources::new(config.may_be_stale, now.mono_ms),
            config,
            etcd,
            nodes,
            file,
            metrics: Metrics::register(registry)?,
            agent: Agent::default(),
            voted: BTreeMap::new(),
            riding: watch::Sender::new(Arc::new(riding)),
        })
    }

    /// How it stands with the ring, and each change of that.
    #[must_use]
    pub fn riding(&self) -> watch::Receiver<Arc<Riding>> {
        self.riding.subscribe()
    }

    /// Where the ring can be looked at from, as this gateway sees it.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        Outlook {
            gateway: self.config.gateway.clone(),
            riding: self.riding(),
            nodes: self.nodes.clone(),
            mirror: self.etcd.mirror().clone(),
            clock: self.config.clock,
        }
    }

    /// Is a member until `shutdown`.
    pub async fn run(mut self, mut progress: Progress, shutdown: impl Future<Output = ()>) {
        let (mut snapshots, mut tenure) = (self.etcd.mirror().changes(), self.etcd.lease().tenure());
        let (copies, mut copied) = mpsc::channel(COPIES_MAX);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut asked_ms, mut entered_ms, mut left, mut left_ms) = (0, 0, 0, 0);
        self.read_disk().await;
        self.note(Input::Finished(*progress.acked.borrow_and_update()));
        self.note(Input::Presence(*progress.presence.borrow_and_update()));
        self.vote(&progress.opinions.borrow_and_update().clone());
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                Ok(()) = snapshots.changed() => {}
                Ok(()) = tenure.changed() => {}
                Ok(()) = progress.acked.changed() => {
                    let acked = *progress.acked.borrow_and_update();
                    self.note(Input::Finished(acked));
                }
                Ok(()) = progress.presence.changed() => {
                    let presence = *progress.presence.borrow_and_update();
                    self.note(Input::Presence(presence));
                }
                Ok(()) = progress.news.changed() => {
                    let news = progress.news.borrow_and_update().clone();
                    news.iter().for_each(|news| self.read_copy_of(&news.node, &copies));
                }
                Ok(()) = progress.opinions.changed() => {
                    let opinions = progress.opinions.borrow_and_update().clone();
                    self.vote(&opinions);
                }
                Some(document) = copied.recv() => self.learn(source::Input::Seen(Origin::Redis, Arc::new(document))).await,
                _ = ticks.tick() => {}
            }
            _ = (snapshots.borrow_and_update(), tenure.borrow_and_update());
            self.look().await;
            self.tell();
            let now_ms = self.mono_ms();
            let heard_of = progress.news.borrow().as_ref().map_or(0, |news| news.epoch);
            let is_behind = self.sources.ring().is_none_or(|(ring, _)| ring.epoch < heard_of);
            if (is_behind || self.sources.age_ms(now_ms) > ASK_NODES_MS) && asked_ms + ASK_NODES_MS <= now_ms {
                asked_ms = now_ms;
                self.ask_nodes(&copies);
            }
            if entered_ms + ENTER_PAUSE_MS <= now_ms {
                entered_ms = now_ms;
                self.enter();
            }
            if let Some((ring, _)) = self.sources.ring()
                && (left < ring.epoch || left_ms + COPY_PAUSE_MS <= now_ms)
            {
                (left, left_ms) = (ring.epoch, now_ms);
                self.leave_copies(Arc::clone(ring));
            }
        }
    }

    fn mono_ms(&self) -> u64 {
        (self.config.clock)().mono_ms
    }

    async fn read_disk(&mut self) {
        let Some(file) = self.file.clone() else { return };
        match spawn_blocking(move || file.load()).await {
            Ok(Ok(Some(document))) => self.learn(source::Input::Seen(Origin::Disk, Arc::new(document))).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::error!(%error, "ring: the copy on the disk is not used"),
            Err(error) => tracing::error!(%error, "ring: the copy on the disk was not read"),
        }
    }

    /// Looks at etcd: the ring first, then the key. A snapshot with the key in it has every ring that stood there before.
    async fn look(&mut self) {
        let mirror = self.etcd.mirror();
        let (snapshot, freshness) = (mirror.snapshot(), mirror.freshness());
        let tenure = self.etcd.lease().tenure().borrow().clone();
        match freshness.fresh_ms.filter(|_| snapshot.is_known()) {
            Some(fresh_ms) => {
                let known = self.agent.view().map(|view| &view.document);
                let document = snapshot.document.as_ref().map(|held| &held.value);
                // Most often it is the one that is known.
                let document = document.map(|document| match self.sources.ring() {
                    Some((ring, _)) if known == Some(document) => Arc::clone(ring),
                    _ => Arc::new(document.clone()),
                });
                self.learn(source::Input::Etcd { document, fresh_ms }).await;
            }
            None => self.learn(source::Input::Tick).await,
        }
        let key = Key::Gateway(self.config.gateway.clone());
        let stands = snapshot.gateways.get(&self.config.gateway).is_some_and(|held| held.lease == tenure.lease);
        if tenure.lease == 0 || tenure.expelled.contains(&key) {
            self.note(Input::Unregistered);
        } else if stands {
            self.note(Input::Registered);
        }
    }

    async fn learn(&mut self, input: source::Input) {
        let mut out = Vec::new();
        self.sources.handle(input, self.mono_ms(), &mut out);
        for output in out {
            match output {
                // It takes milliseconds, and publications must not wait for it.
                source::Output::Apply(document) => match spawn_blocking(move || View::new((*document).clone())).await {
                    Ok(view) => self.note(Input::View(Arc::new(view))),
                    Err(error) => tracing::error!(%error, "ring: its tables were not made"),
                },
                source::Output::Save(document) => self.save(document),
                source::Output::Alarm(alarm) => tracing::error!(%alarm, "ring: somebody has to look at this"),
            }
        }
    }

    /// In the background.
    fn save(&self, document: Arc<Document>) {
        let Some(file) = self.file.clone() else { return };
        spawn_blocking(move || {
            let saved = file.save(&document);
            _ = saved
                .inspect_err(|error| tracing::error!(%error, "ring: no copy was written to the disk; a start without etcd would miss it"));
        });
    }

    fn note(&mut self, input: Input) {
        let mut out = Vec::new();
        self.agent.handle(input, &mut out);
        for output in out {
            match output {
                Output::Apply(view) => {
                    tracing::info!(epoch = view.epoch(), phase = ?view.document.phase, "ring: a newer one is gone by");
                    self.riding.send_modify(|riding| Arc::make_mut(riding).view = Some(view));
                }
                Output::Tell { epoch, acked, presence } => {
                    let record = record::Gateway { epoch, acked, presence, ..self.record.clone() };
                    let told = self.etcd.lease().set(Key::Gateway(self.config.gateway.clone()), &record);
                    _ = told.inspect_err(|error| tracing::error!(%error, "ring: etcd is not told of this gateway"));
                }
                Output::Check => {
                    tracing::warn!("ring: this gateway was taken for gone; every channel is compared with its history");
                    self.riding.send_modify(|riding| Arc::make_mut(riding).doubts += 1);
                }
            }
        }
    }

    /// Writes opinions that have changed, and takes those back that are about nodes which are gone.
    fn vote(&mut self, opinions: &BTreeMap<String, redis::Opinion>) {
        let lease = self.etcd.lease();
        let key = |node: &str| Key::Vote { node: node.to_owned(), gateway: self.config.gateway.clone() };
        for (node, opinion) in opinions.iter().filter(|(node, opinion)| self.voted.get(*node) != Some(&opinion.vote)) {
            tracing::info!(node, vote = ?opinion.vote, reason = opinion.reason, "ring: this gateway has changed its opinion of a node");
            _ = lease.set(key(node), opinion).inspect_err(|error| tracing::error!(%error, node, "ring: a vote does not stand in etcd"));
        }
        self.voted.keys().filter(|node| !opinions.contains_key(*node)).for_each(|node| lease.remove(&key(node)));
        self.voted = opinions.iter().map(|(node, opinion)| (node.clone(), opinion.vote)).collect();
    }

    /// Tells readers here, if that has changed.
    fn tell(&self) {
        let (origin, standing) = (self.sources.ring().map(|(_, origin)| origin), self.sources.standing(self.mono_ms()));
        self.riding.send_if_modified(|riding| {
            let told = Riding { origin, standing: standing.clone(), is_registered: self.agent.is_registered(), ..(**riding).clone() };
            let is_new = **riding != told;
            if is_new {
                *riding = Arc::new(told);
            }
            is_new
        });
        self.metrics.show(&self.riding.borrow(), self.sources.age_ms(self.mono_ms()));
    }

    /// A change of the ring waits for those who listen at its nodes, also while etcd does not know of them.
    fn enter(&self) {
        let links = self.agent.view().into_iter().flat_map(|view| view.document.nodes().filter_map(|node| self.nodes.link(&node.id).ok()));
        links.for_each(|link| enter(&link, &self.config.gateway));
    }

    /// Reads the copies at all nodes that are connected, in the background.
    fn ask_nodes(&self, copies: &mpsc::Sender<Document>) {
        let Some(view) = self.agent.view() else { return };
        view.document.nodes().for_each(|node| self.read_copy_of(&node.id, copies));
    }

    /// Reads the copy at a node, if it is connected, in the background.
    fn read_copy_of(&self, node: &str, copies: &mpsc::Sender<Document>) {
        let (Ok(link), copies) = (self.nodes.link(node), copies.clone()) else { return };
        tokio::spawn(async move {
            if let Ok(Some(document)) = read_copy(&link).await {
                _ = copies.send(document).await;
            }
        });
    }

    /// Leaves copies at all nodes that are connected, in the background.
    fn leave_copies(&self, ring: Arc<Document>) {
        let links: Vec<_> = ring.nodes().filter_map(|node| self.nodes.link(&node.id).ok()).collect();
        tokio::spawn(async move {
            let leaving: FuturesUnordered<_> = links.iter().map(|link| leave_copy(link, &ring)).collect();
            let tell = |error: &redis::CallError| tracing::debug!(%error, "no copy of the ring was left");
            leaving.for_each(|left| async move { drop(left.inspect_err(tell)) }).await;
        });
    }
}
