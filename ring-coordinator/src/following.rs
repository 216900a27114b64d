//! I/O: a gateway follows the ring: it learns of it from etcd, or from a copy where etcd is not to be had, has its place in
//! etcd, and tells there how far its bus is with a change and what it thinks of the nodes.

use crate::{
    agent::{Agent, Input, Output},
    disk::RingFile,
    document::Document,
    etcd::{
        Etcd, Key,
        record::{Gateway, Opinion, Vote},
    },
    redis,
    source::{self, Origin, Sources, Standing},
    view::View,
};
use parking_lot::Mutex;
use protocol::time::Clock;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::sleep,
};

/// How often it is looked whether etcd is late, the lease is over or the key gone.
const TICK: Duration = Duration::from_millis(100);
/// Copies that wait to be looked at. Beyond that one is dropped: it is told of again when it matters.
const COPIES_MAX: usize = 8;

/// What connections make of nodes, by node.
pub type Opinions = BTreeMap<String, redis::Opinion>;

/// Who follows.
#[derive(Clone, Debug)]
pub struct FollowerConfig {
    /// The gateway's name, its own in the region.
    pub name: String,
    /// What etcd tells of it; epochs are filled in.
    pub record: Gateway,
    /// Where the last ring is kept, if anywhere.
    pub file: Option<RingFile>,
    /// Without etcd, a copy will do.
    pub may_be_stale: bool,
    /// The time.
    pub clock: Clock,
}

/// What is known of the ring. Clones are the same.
#[derive(Clone)]
pub struct Follower(Arc<Inner>);

struct Inner {
    etcd: Etcd,
    config: FollowerConfig,
    sources: Mutex<Sources>,
    view: watch::Sender<Option<Arc<View>>>,
    checks: watch::Sender<u64>,
    copies: mpsc::Sender<Document>,
    waiting: Mutex<Option<mpsc::Receiver<Document>>>,
}

impl Follower {
    /// One that knows nothing before [`Follower::run`].
    #[must_use]
    pub fn new(etcd: &Etcd, config: FollowerConfig) -> Follower {
        let (copies, waiting) = mpsc::channel(COPIES_MAX);
        let sources = Mutex::new(Sources::new(config.may_be_stale, (config.clock)().mono_ms));
        let waiting = Mutex::new(Some(waiting));
        let (view, checks) = (watch::Sender::default(), watch::Sender::default());
        Follower(Arc::new(Inner { etcd: etcd.clone(), config, sources, view, checks, copies, waiting }))
    }

    /// The ring to go by, and each newer one.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Option<Arc<View>>> {
        self.0.view.subscribe()
    }

    /// Grows whenever others may have gone on without this gateway: then each channel is to be compared with its history.
    #[must_use]
    pub fn checks(&self) -> watch::Receiver<u64> {
        self.0.checks.subscribe()
    }

    /// How far the ring can be relied upon.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.sources.lock().standing((self.0.config.clock)().mono_ms)
    }

    /// A copy was found on a Redis node.
    pub fn found(&self, copy: Document) {
        if self.0.copies.try_send(copy).is_err() {
            tracing::debug!("ring: a copy is not looked at, too many wait");
        }
    }

    /// Follows for ever. `finished` is the highest epoch of which the bus has done its part, `opinions` what its connections
    /// make of the nodes.
    pub async fn run(self, mut finished: watch::Receiver<u64>, mut opinions: watch::Receiver<Arc<Opinions>>) {
        let Some(mut copies) = self.0.waiting.lock().take() else { return };
        let mut following = Following { inner: Arc::clone(&self.0), agent: Agent::default(), voted: BTreeMap::new() };
        following.read_disk().await;
        let mut changes = self.0.etcd.mirror().changes();
        let mut tenure = self.0.etcd.lease().tenure();
        following.note(Input::Finished(*finished.borrow_and_update()));
        following.vote(&opinions.borrow_and_update().clone());
        loop {
            tokio::select! {
                Ok(()) = changes.changed() => {}
                Ok(()) = tenure.changed() => {}
                Ok(()) = finished.changed() => {
                    let epoch = *finished.borrow_and_update();
                    following.note(Input::Finished(epoch));
                }
                Ok(()) = opinions.changed() => {
                    let opinions = opinions.borrow_and_update().clone();
                    following.vote(&opinions);
                }
                Some(copy) = copies.recv() => following.learn(source::Input::Seen(Origin::Redis, Arc::new(copy))).await,
                () = sleep(TICK) => {}
            }
            _ = (changes.borrow_and_update(), tenure.borrow_and_update());
            following.look().await;
        }
    }
}

/// One run.
struct Following {
    inner: Arc<Inner>,
    agent: Agent,
    /// What stands in etcd of this gateway's votes.
    voted: BTreeMap<String, redis::Vote>,
}

impl Following {
    async fn read_disk(&mut self) {
        let Some(file) = self.inner.config.file.clone() else { return };
        match spawn_blocking(move || file.load()).await {
            Ok(Ok(Some(document))) => self.learn(source::Input::Seen(Origin::Disk, Arc::new(document))).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::error!(%error, "ring: the copy on the disk is not used"),
            Err(error) => tracing::error!(%error, "ring: the copy on the disk was not read"),
        }
    }

    /// Looks at etcd: the ring first, then the key. A snapshot with the key in it has every ring that stood there before.
    async fn look(&mut self) {
        let mirror = self.inner.etcd.mirror();
        let (snapshot, freshness) = (mirror.snapshot(), mirror.freshness());
        let tenure = self.inner.etcd.lease().tenure().borrow().clone();
        match freshness.fresh_ms.filter(|_| snapshot.is_known()) {
            Some(fresh_ms) => {
                let document = snapshot.document.as_ref().map(|held| &held.value);
                // What cannot be read is not the same as nothing, but no ring either.
                let known = self.agent.view().map(|view| &view.document);
                let document = document.map(|document| match self.agent.view() {
                    Some(view) if known == Some(document) => Arc::new(view.document.clone()),
                    _ => Arc::new(document.clone()),
                });
                self.learn(source::Input::Etcd { document, fresh_ms }).await;
            }
            None => self.learn(source::Input::Tick).await,
        }
        let key = Key::Gateway(self.inner.config.name.clone());
        let stands = snapshot.gateways.get(&self.inner.config.name).is_some_and(|held| held.lease == tenure.lease);
        let is_gone = tenure.lease == 0 || tenure.expelled.contains(&key);
        if is_gone {
            self.note(Input::Unregistered);
        } else if stands {
            self.note(Input::Registered);
        }
    }

    async fn learn(&mut self, input: source::Input) {
        let (now, mut out) = ((self.inner.config.clock)(), Vec::new());
        self.inner.sources.lock().handle(input, now.mono_ms, &mut out);
        for order in out {
            match order {
                source::Output::Apply(document) => {
                    // It takes milliseconds, and publications must not wait for it.
                    let made = spawn_blocking(move || View::new(Document::clone(&document))).await;
                    match made {
                        Ok(view) => self.note(Input::View(Arc::new(view))),
                        Err(error) => tracing::error!(%error, "ring: its tables were not made"),
                    }
                }
                source::Output::Save(document) => self.save(document).await,
                source::Output::Alarm(alarm) => tracing::error!(%alarm, "ring: somebody has to look at this"),
            }
        }
    }

    async fn save(&self, document: Arc<Document>) {
        let Some(file) = self.inner.config.file.clone() else { return };
        match spawn_blocking(move || file.save(&document)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "ring: no copy was written to the disk; a start without etcd would miss it"),
            Err(error) => tracing::error!(%error, "ring: no copy was written to the disk"),
        }
    }

    /// Writes opinions that have changed, and takes those back that are about nodes which are gone.
    fn vote(&mut self, opinions: &Opinions) {
        let lease = self.inner.etcd.lease();
        let key = |node: &str| Key::Vote { node: node.to_owned(), gateway: self.inner.config.name.clone() };
        for (node, opinion) in opinions.iter().filter(|(node, opinion)| self.voted.get(*node) != Some(&opinion.vote)) {
            tracing::info!(node, vote = ?opinion.vote, reason = opinion.reason, "ring: this gateway has changed its opinion of a node");
            let vote = match opinion.vote {
                redis::Vote::Up => Opinion::Up,
                redis::Vote::Down => Opinion::Down,
            };
            let record = Vote { vote, since_ms: opinion.since_ms, reason: opinion.reason.clone() };
            if let Err(error) = lease.set(key(node), &record) {
                tracing::error!(%error, node, "ring: a vote does not stand in etcd");
            }
        }
        self.voted.keys().filter(|node| !opinions.contains_key(*node)).for_each(|node| lease.remove(&key(node)));
        self.voted = opinions.iter().map(|(node, opinion)| (node.clone(), opinion.vote)).collect();
    }

    fn note(&mut self, input: Input) {
        let mut out = Vec::new();
        self.agent.handle(input, &mut out);
        for order in out {
            match order {
                Output::Apply(view) => {
                    tracing::info!(epoch = view.epoch(), phase = ?view.document.phase, "ring: a newer one is gone by");
                    self.inner.view.send_replace(Some(view));
                }
                Output::Tell { epoch, acked } => {
                    let record = Gateway { epoch, acked, ..self.inner.config.record.clone() };
                    if let Err(error) = self.inner.etcd.lease().set(Key::Gateway(self.inner.config.name.clone()), &record) {
                        tracing::error!(%error, "ring: etcd is not told of this gateway");
                    }
                }
                Output::Check => {
                    tracing::warn!("ring: this gateway was taken for gone; every channel is compared with its history");
                    self.inner.checks.send_modify(|checks| *checks += 1);
                }
            }
        }
    }
}
