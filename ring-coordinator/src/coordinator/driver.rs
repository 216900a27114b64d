//! I/O: the coordinator's edge: etcd and the Redis nodes on one side, the state machine on the other; one `select!`, one
//! `match`.

use super::{
    Coordinator,
    desk::{Asked, Asker, Desk, is_too_early, told},
    errands::{Back, Probed, errand, probe},
    facts::{Input, Output, Refusal, Seen},
    metrics::Metrics,
    papers::Pen,
    timing::Timing,
};
use crate::{
    document::{Document, Layout, Node},
    etcd::{Etcd, Leadership, Snapshot},
    redis::{Access, Life, Nodes, NodesConfig, handover_scripts},
    wanted::{Answer, Outcome, Wanted, Wish},
};
use bytes::Bytes;
use prometheus::Registry;
use protocol::time::Clock;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};

/// After it has resigned, a coordinator does not stand for election for so long: others have their chance.
const PAUSE: Duration = Duration::from_secs(10);
/// Those who do not lead look around so often.
const IDLE: Duration = Duration::from_millis(250);

/// What a coordinator is made with.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// Its name in the election.
    pub name: String,
    /// How it is let in at the Redis nodes.
    pub access: Access,
    /// How long it waits for what.
    pub timing: Timing,
    /// The newest document from elsewhere than etcd.
    pub known: Option<Document>,
    /// The time.
    pub clock: Clock,
    /// Chance, for jitter.
    pub random_u64: fn() -> u64,
}

/// A coordinator that was not started yet.
pub struct Driver {
    etcd: Etcd,
    config: DriverConfig,
    nodes: Nodes,
    metrics: Metrics,
    core: Coordinator,
    leadership: Option<Leadership>,
    /// Whether the state machine was told that etcd is seen.
    is_fresh: bool,
    /// Nodes that are connected to.
    places: Vec<Node>,
    copies: HashMap<String, (Life, u64)>,
    /// Probes, writes and copies; and errands, which end with the document that they are for.
    jobs: JoinSet<Back>,
    errands: JoinSet<Back>,
    step: (Option<Arc<Document>>, u64),
    /// Who waits for an answer.
    askers: BTreeMap<u64, Asker>,
    next_asker: u64,
    /// The wish in etcd that was told last, with its revision: a restored etcd may give the same one to another wish.
    told: Option<(i64, Bytes)>,
    asked: mpsc::Receiver<Asked>,
    resigns: bool,
    wake: Duration,
}

impl Driver {
    /// Registers the metrics.
    pub fn new(etcd: &Etcd, config: DriverConfig, registry: &Registry) -> prometheus::Result<(Driver, Desk)> {
        let (desk, asked) = Desk::new();
        let nodes = NodesConfig {
            gateway: format!("coordinator-{}", config.name),
            access: config.access.clone(),
            scripts: handover_scripts(),
            clock: config.clock,
            random_u64: config.random_u64,
        };
        // A gateway in the same process counts its own connections under these names.
        let (nodes, _) = Nodes::new(nodes, &Registry::new())?;
        let driver = Driver {
            etcd: etcd.clone(),
            nodes,
            metrics: Metrics::register(registry)?,
            core: Coordinator::new(config.timing, config.known.clone()),
            config,
            leadership: None,
            is_fresh: false,
            places: Vec::new(),
            copies: HashMap::new(),
            jobs: JoinSet::new(),
            errands: JoinSet::new(),
            step: (None, 0),
            askers: BTreeMap::new(),
            next_asker: 1,
            told: None,
            asked,
            resigns: false,
            wake: IDLE,
        };
        Ok((driver, desk))
    }

    /// Stands for election and does a leader's work until `shutdown` completes; then resigns. If this is dropped instead,
    /// the next one leads when the lease has run out.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            self.resigns = false;
            let election = self.etcd.election(&self.config.name);
            let (resign, resigned) = oneshot::channel::<()>();
            let mut leadership = election.leadership();
            let standing = election.run(async { drop(resigned.await) });
            tokio::pin!(standing);
            let is_over = tokio::select! {
                () = &mut standing => false,
                () = self.lead(&mut leadership) => false,
                () = &mut shutdown => true,
            };
            drop(resign);
            standing.await;
            self.elected(None);
            if is_over {
                return;
            }
            tracing::warn!("coordinator: resigned; another one may lead");
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = &mut shutdown => return,
            }
        }
    }

    /// Until it resigns.
    async fn lead(&mut self, leadership: &mut tokio::sync::watch::Receiver<Option<Leadership>>) {
        let mut changes = self.etcd.mirror().changes();
        self.see(&changes.borrow_and_update().clone());
        while !self.resigns {
            tokio::select! {
                Ok(()) = leadership.changed() => {
                    let now = leadership.borrow_and_update().clone();
                    self.elected(now);
                }
                Ok(()) = changes.changed() => {
                    let snapshot = changes.borrow_and_update().clone();
                    self.see(&snapshot);
                }
                Some(Ok(back)) = self.jobs.join_next() => self.back(back),
                Some(Ok(back)) = self.errands.join_next() => self.back(back),
                Some((wish, asker)) = self.asked.recv() => self.asked(wish, asker),
                () = sleep(self.wake) => self.look(),
            }
        }
    }

    fn elected(&mut self, leadership: Option<Leadership>) {
        if leadership.is_some() == self.leadership.is_some() && leadership == self.leadership {
            return;
        }
        let leads = leadership.is_some();
        self.errands.abort_all();
        self.metrics.is_leader.set(i64::from(leads));
        if self.leadership.take().is_some() {
            self.tell(Input::Deposed);
        }
        self.leadership = leadership;
        (self.told, self.wake) = (None, IDLE);
        if leads {
            self.metrics.leader_changes.inc();
            self.tell(Input::Elected);
            let snapshot = self.etcd.mirror().snapshot();
            self.see(&snapshot);
        } else {
            self.askers.clear();
        }
    }

    /// What is in etcd, if it can be relied upon.
    fn see(&mut self, snapshot: &Snapshot) {
        if !self.look_for_gaps() || !snapshot.is_known() {
            return;
        }
        let mut votes: BTreeMap<String, BTreeMap<String, _>> = BTreeMap::new();
        for ((node, gateway), vote) in &snapshot.votes {
            votes.entry(node.clone()).or_default().insert(gateway.clone(), vote.value.clone());
        }
        let seen = Seen {
            document: snapshot.document.as_ref().map(|held| Arc::new(held.value.clone())),
            revision: snapshot.ring_revision,
            gateways: snapshot.gateways.iter().map(|(name, held)| (name.clone(), held.value.clone())).collect(),
            votes,
        };
        self.tell(Input::Seen(seen));
        self.tell_wanted(snapshot);
    }

    /// Tells of a gap when it begins; false while there is one.
    fn look_for_gaps(&mut self) -> bool {
        let is_fresh = self.etcd.mirror().freshness().steady_since_ms.is_some();
        if self.is_fresh && !is_fresh {
            self.tell(Input::Stale);
        }
        self.is_fresh = is_fresh;
        is_fresh
    }

    fn look(&mut self) {
        let was_fresh = self.is_fresh;
        if self.look_for_gaps() && !was_fresh {
            let snapshot = self.etcd.mirror().snapshot();
            self.see(&snapshot);
        }
        self.tell(Input::Timer);
    }

    fn tell_wanted(&mut self, snapshot: &Snapshot) {
        let Some(held) = snapshot.wanted.as_ref().filter(|_| self.leadership.is_some()) else { return };
        let wish = Some((held.mod_revision, held.value.clone()));
        if std::mem::replace(&mut self.told, wish.clone()) == wish {
            return;
        }
        let id = self.next_asker();
        // What stood there before was taken back, or has its answer.
        self.askers.retain(|_, asker| matches!(asker, Asker::Desk(_)));
        match serde_json::from_slice::<Wanted>(&held.value) {
            Ok(wanted) => {
                tracing::info!(by = wanted.by, wish = ?wanted.wish, "coordinator: something is wanted");
                self.askers.insert(id, Asker::Etcd(held.mod_revision, wanted.clone()));
                self.tell(told(wanted.wish, id));
            }
            Err(error) => {
                let wanted = Wanted { wish: Wish::Abort, by: String::new(), asked_ms: 0, instead_of: None };
                self.write_answer(held.mod_revision, &wanted, Outcome::Refused, format!("it cannot be read: {error}"));
            }
        }
    }

    fn next_asker(&mut self) -> u64 {
        self.next_asker += 1;
        self.next_asker
    }

    fn asked(&mut self, wish: Wish, asker: oneshot::Sender<Result<u64, Refusal>>) {
        let wanted = self.next_asker();
        self.askers.insert(wanted, Asker::Desk(asker));
        self.tell(told(wish, wanted));
    }

    fn back(&mut self, back: Back) {
        match back {
            Back::Fact(fact) => self.tell(fact),
            Back::Swept(fact, swept) => {
                for (result, count) in
                    [("copied", swept.copied), ("already", swept.already), ("too_large", swept.too_large), ("failed", swept.failed)]
                {
                    self.metrics.swept.with_label_values(&[result]).inc_by(count.try_into().unwrap_or_default());
                }
                self.tell(fact);
            }
            Back::Probed(Probed { node, well, listening, copied, newer }) => {
                if let Some(newer) = newer {
                    self.tell(Input::Known(newer));
                }
                if let Some(copied) = copied {
                    self.copies.insert(node.clone(), copied);
                }
                self.tell(Input::Probed { node, well, listening });
            }
            Back::Written(result) => {
                self.metrics.writes.with_label_values(&[result]).inc();
                if result != "ok" {
                    self.tell(Input::NotWritten);
                }
            }
            Back::Unanswered => self.told = None,
            Back::Nothing => {}
        }
    }

    fn tell(&mut self, input: Input) {
        let (now, mut out) = ((self.config.clock)(), Vec::new());
        self.core.handle(input, now, &mut out);
        self.note_step(now.mono_ms);
        self.connect(&out);
        for order in out {
            self.carry_out(order, now.mono_ms);
        }
    }

    /// Another document: what was done for the one before is void.
    fn note_step(&mut self, now: u64) {
        let document = self.core.document().cloned();
        if document.as_ref().map(|document| document.epoch) == self.step.0.as_ref().map(|document| document.epoch) {
            return;
        }
        self.errands.abort_all();
        if let (Some(before), Some(after), true) = (&self.step.0, &document, self.core.leads()) {
            tracing::info!(epoch = after.epoch, phase = ?after.phase, "coordinator: the ring has changed");
            self.metrics.count_step(before, after, now.saturating_sub(self.step.1));
        }
        if let (Some(document), true) = (&document, self.core.leads()) {
            self.metrics.know(document);
        }
        self.step = (document, now);
        // The copies are newer at once, not with the next probe.
        if let Some(document) = self.step.0.clone().filter(|_| self.core.leads()) {
            document.nodes().for_each(|node| self.probe(&node.id));
        }
    }

    /// Connects to all nodes of the document, and to those that are probed because somebody wants them in.
    fn connect(&mut self, out: &[Output]) {
        let mut places: Vec<Node> = self.step.0.iter().flat_map(|document| document.nodes().cloned()).collect();
        let probed: Vec<&Node> =
            out.iter().filter_map(|order| if let Output::Probe { node } = order { Some(node) } else { None }).collect();
        // Between probes those that are not in the document stay.
        let others = if probed.is_empty() { self.places.iter().collect() } else { probed };
        for node in others {
            if places.iter().all(|known| known.id != node.id) {
                places.push(node.clone());
            }
        }
        if places != self.places && self.core.leads() {
            self.nodes.apply(&Document { current: Layout { nodes: places.clone(), ..Layout::default() }, ..Document::default() });
            self.places = places;
        }
    }

    fn carry_out(&mut self, order: Output, now: u64) {
        match order {
            Output::WakeAt(at) => self.wake = Duration::from_millis(at.saturating_sub(now)),
            Output::Alarms(alarms) => {
                tracing::warn!(?alarms, "coordinator: alarms");
                self.metrics.show_alarms(&alarms);
            }
            Output::Resign => self.resigns = true,
            Output::Answer { wanted, result } => self.answer(wanted, result),
            Output::Probe { node } => self.probe(&node.id),
            Output::Write { document, revision } => match self.pen() {
                Some(pen) => _ = self.jobs.spawn(pen.write(document, revision)),
                None => self.back(Back::Written("refused")),
            },
            Output::Expel { gateway } => {
                self.metrics.expelled.inc();
                if let Some(pen) = self.pen() {
                    self.jobs.spawn(pen.expel(gateway));
                }
            }
            order => {
                if let Some(errand) = errand(&self.nodes, order) {
                    self.errands.spawn(errand);
                }
            }
        }
    }

    fn probe(&mut self, node: &str) {
        let (document, copied) = (self.step.0.clone(), self.copies.get(node).cloned());
        self.jobs.spawn(probe(self.nodes.clone(), self.etcd.store(), node.to_owned(), document, copied));
    }

    fn answer(&mut self, wanted: u64, result: Result<u64, Refusal>) {
        match self.askers.remove(&wanted) {
            Some(Asker::Desk(asker)) => _ = asker.send(result),
            Some(Asker::Etcd(_, wanted)) if is_too_early(&wanted.wish, &result) => self.told = None,
            Some(Asker::Etcd(asked, wanted)) => {
                let (outcome, reason) = result.map_or_else(|why| (Outcome::Refused, why.to_string()), |_| (Outcome::Done, String::new()));
                self.write_answer(asked, &wanted, outcome, reason);
            }
            None => {}
        }
    }

    fn write_answer(&mut self, asked: i64, wanted: &Wanted, outcome: Outcome, reason: String) {
        let epoch = self.step.0.as_ref().map_or(0, |document| document.epoch);
        let Wanted { by, asked_ms, instead_of, .. } = wanted.clone();
        let answer = Answer { by, asked_ms, outcome, reason, epoch, instead_of };
        if let Some(pen) = self.pen() {
            self.jobs.spawn(pen.answer(asked, answer));
        }
    }

    fn pen(&self) -> Option<Pen> {
        self.leadership.clone().map(|leadership| Pen { store: self.etcd.store(), leadership })
    }
}
