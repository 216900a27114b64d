//! I/O: one gateway as a member of the ring: it stands in etcd under its lease, goes by the newest ring that it learns of,
//! from etcd, a Redis node or its disk, tells how far it has come with a change, and votes on the nodes. Nobody waits for
//! etcd here: what cannot be told now is told later.

mod metrics;
pub mod outlook;
pub mod register;

pub use metrics::METRICS;

use crate::{
    disk::RingFile,
    document::Document,
    etcd::{Etcd, Key},
    redis::{Nodes, leave_copy, read_copy},
    source::{Input, Origin, Output, Sources, Standing},
    view::View,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use metrics::Metrics;
use outlook::Outlook;
use prometheus::Registry;
use protocol::time::Clock;
use register::Register;
use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

/// How often what has to do with time is looked at.
const TICK: Duration = Duration::from_millis(500);
/// A gateway that etcd has told nothing for so long asks the Redis nodes, too.
const ASK_NODES_MS: u64 = 3_000;
/// How often each node gets a copy of the ring, in case that it came back empty.
const COPY_PAUSE_MS: u64 = 30_000;
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
    /// Where a ring newer than all before was heard of.
    pub news: watch::Receiver<Option<RingNews>>,
}

/// A gateway as a member.
pub struct Member {
    config: MemberConfig,
    etcd: Etcd,
    nodes: Nodes,
    file: RingFile,
    metrics: Metrics,
    riding: watch::Sender<Arc<Riding>>,
}

impl Member {
    /// Not a member before [`Member::run`]. An error means that a metric's name is taken.
    pub fn new(config: MemberConfig, etcd: Etcd, nodes: Nodes, file: RingFile, registry: &Registry) -> prometheus::Result<Member> {
        let standing = Standing::None("nothing is known of the ring yet");
        let riding = Riding { view: None, origin: None, standing, is_registered: false, doubts: 0 };
        Ok(Member { config, etcd, nodes, file, metrics: Metrics::register(registry)?, riding: watch::Sender::new(Arc::new(riding)) })
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
    pub async fn run(self, mut progress: Progress, shutdown: impl Future<Output = ()>) {
        let mut sources = Sources::new(self.config.may_be_stale, self.mono_ms());
        let mut register = Register::new(&self.config, (self.config.clock)().wall_ms);
        let (mut snapshots, mut tenure, mut opinions) = (self.etcd.mirror().changes(), self.etcd.lease().tenure(), self.nodes.opinions());
        let (copies, mut copied) = mpsc::channel(COPIES_MAX);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut asked_ms, mut voted) = (0, BTreeSet::new());

        match self.file.load() {
            Ok(Some(document)) => self.learn(&mut sources, Input::Seen(Origin::Disk, Arc::new(document))),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the last ring is not on this disk"),
        }
        tokio::pin!(shutdown);
        let (mut left, mut left_ms) = (0, 0);
        loop {
            self.say(&mut register, *progress.acked.borrow());
            self.tell(&sources, &register);
            tokio::select! {
                () = &mut shutdown => return,
                _ = snapshots.changed() => self.read_etcd(&mut sources),
                _ = progress.acked.changed() => {}
                _ = progress.news.changed() => {
                    let news = progress.news.borrow_and_update().clone();
                    news.iter().for_each(|news| self.read_copy_of(&news.node, &copies));
                }
                _ = tenure.changed() => {}
                _ = opinions.changed() => {
                    let votes = opinions.borrow_and_update().clone();
                    for (node, opinion) in votes.iter() {
                        let key = Key::Vote { node: node.clone(), gateway: self.config.gateway.clone() };
                        _ = self.etcd.lease().set(key, opinion).inspect_err(|error| tracing::error!(%error, "a vote is not cast"));
                    }
                    let gone: Vec<String> = voted.iter().filter(|node| !votes.contains_key(*node)).cloned().collect();
                    for node in gone {
                        self.etcd.lease().remove(&Key::Vote { node: node.clone(), gateway: self.config.gateway.clone() });
                    }
                    voted = votes.keys().cloned().collect();
                }
                Some(document) = copied.recv() => self.learn(&mut sources, Input::Seen(Origin::Redis, Arc::new(document))),
                _ = ticks.tick() => self.read_etcd(&mut sources),
            }
            let known = tenure.borrow_and_update().clone();
            if register.hold(&known, self.etcd.mirror().freshness().fresh_ms, self.mono_ms()) {
                // Others may have gone on; what etcd has now is looked at before anything is acknowledged.
                self.riding.send_modify(|riding| Arc::make_mut(riding).doubts += 1);
            }
            let now_ms = self.mono_ms();
            let heard_of = progress.news.borrow().as_ref().map_or(0, |news| news.epoch);
            let is_behind = sources.ring().is_none_or(|(ring, _)| ring.epoch < heard_of);
            if (is_behind || sources.age_ms(now_ms) > ASK_NODES_MS) && asked_ms + ASK_NODES_MS <= now_ms {
                asked_ms = now_ms;
                self.ask_nodes(&copies);
            }
            if let Some((ring, _)) = sources.ring()
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

    /// Takes in what etcd has, and that time has passed.
    fn read_etcd(&self, sources: &mut Sources) {
        let snapshot = self.etcd.mirror().snapshot();
        match self.etcd.mirror().freshness().fresh_ms {
            Some(fresh_ms) if snapshot.is_known() => {
                let document = snapshot.document.as_ref().map(|held| Arc::new(held.value.clone()));
                self.learn(sources, Input::Etcd { document, fresh_ms });
            }
            _ => self.learn(sources, Input::Tick),
        }
    }

    fn learn(&self, sources: &mut Sources, input: Input) {
        let mut out = Vec::new();
        sources.handle(input, self.mono_ms(), &mut out);
        for output in out {
            match output {
                Output::Apply(document) => {
                    tracing::info!(epoch = document.epoch, phase = ?document.phase, "the ring");
                    let view = Arc::new(View::new((*document).clone()));
                    self.riding.send_modify(|riding| Arc::make_mut(riding).view = Some(view));
                }
                Output::Save(document) => {
                    let file = self.file.clone();
                    tokio::task::spawn_blocking(move || {
                        _ = file.save(&document).inspect_err(|error| tracing::warn!(%error, "the ring is not saved on this disk"));
                    });
                }
                Output::Alarm(alarm) => tracing::error!(%alarm, "the ring is disputed"),
            }
        }
    }

    /// Tells etcd, if that has changed.
    fn say(&self, register: &mut Register, acked: u64) {
        let epoch = self.riding.borrow().view.as_ref().map_or(0, |view| view.epoch());
        if let Some(gateway) = register.say(epoch, acked) {
            let key = Key::Gateway(self.config.gateway.clone());
            _ = self.etcd.lease().set(key, &gateway).inspect_err(|error| tracing::error!(%error, "this gateway is not registered"));
        }
    }

    /// Tells readers here, if that has changed.
    fn tell(&self, sources: &Sources, register: &Register) {
        let (origin, standing) = (sources.ring().map(|(_, origin)| origin), sources.standing(self.mono_ms()));
        self.riding.send_if_modified(|riding| {
            let told = Riding { origin, standing: standing.clone(), is_registered: register.is_registered(), ..(**riding).clone() };
            let is_new = **riding != told;
            if is_new {
                *riding = Arc::new(told);
            }
            is_new
        });
        self.metrics.show(&self.riding.borrow(), sources.age_ms(self.mono_ms()));
    }

    /// Reads the copies at all nodes that are connected, in the background.
    fn ask_nodes(&self, copies: &mpsc::Sender<Document>) {
        let Some(view) = self.riding.borrow().view.clone() else { return };
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
            leaving
                .for_each(|left| async move { drop(left.inspect_err(|error| tracing::debug!(%error, "no copy of the ring was left"))) })
                .await;
        });
    }
}
