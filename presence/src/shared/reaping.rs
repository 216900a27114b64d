//! I/O: rows of gateways that are dead: who is, the reaper decides by etcd and by canaries; their rows are taken away in pieces.

use super::Shared;
use crate::{
    cluster::{
        OwnerId,
        reaper::{Input, Output, Reaper},
    },
    redis::{self, Place},
};
use parking_lot::Mutex;
use ring_coordinator::{
    redis::{Link, canary_channel},
    slot::Slot,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// How often the reaper looks.
const TICK: Duration = Duration::from_millis(200);
/// Ticks between two looks at who has written to the nodes.
const TICKS_PER_LOOK: u32 = 25;
/// What was heard and is not looked at yet; a canary more is heard a second later.
const HEARD_MAX: usize = 4096;

/// Between two calls of one reaping passes less than that, or this process did not run, and the verdict is old.
const STALL_MS: u64 = 3_000;

/// How old an own canary may be to count as heard now: one comes every second.
const OWN_CANARY_MS: u64 = 1_500;

/// What came of a job.
#[derive(Default)]
struct Done {
    /// Which reaping is over, well or not.
    reaping: Option<(Arc<str>, OwnerId)>,
    input: Option<Input>,
}

/// Canaries of other gateways that are listened for.
pub(super) struct Canaries {
    /// Gateways by the names of their canaries' channels.
    listened: Mutex<BTreeMap<Arc<str>, Arc<str>>>,
    heard: mpsc::Sender<Input>,
    waiting: Mutex<Option<mpsc::Receiver<Input>>>,
}

impl Default for Canaries {
    fn default() -> Canaries {
        let (heard, waiting) = mpsc::channel(HEARD_MAX);
        Canaries { listened: Mutex::default(), heard, waiting: Mutex::new(Some(waiting)) }
    }
}

impl Canaries {
    fn gateway(&self, channel: &str) -> Option<Arc<str>> {
        self.listened.lock().get(channel).cloned()
    }

    fn tell(&self, input: Input) {
        // A lost canary is followed by the next one; a lost confirmation makes silence count later.
        _ = self.heard.try_send(input);
    }
}

impl Shared {
    pub(super) fn hear_canary(&self, node: &Arc<str>, channel: &str) -> bool {
        let Some(gateway) = self.canaries.gateway(channel) else { return false };
        self.canaries.tell(Input::Canary { gateway, node: node.clone() });
        true
    }

    pub(super) fn confirm_canary(&self, node: &Arc<str>, channel: &str) -> bool {
        let Some(gateway) = self.canaries.gateway(channel) else { return false };
        self.canaries.tell(Input::Listening { gateway, node: node.clone() });
        true
    }

    pub(super) fn deafen_canaries(&self, node: &Arc<str>) {
        let gateways: Vec<Arc<str>> = self.canaries.listened.lock().values().cloned().collect();
        gateways.into_iter().for_each(|gateway| self.canaries.tell(Input::Deaf { gateway, node: node.clone() }));
    }

    /// Reaps for ever.
    pub(super) async fn reap(self: &Arc<Shared>) {
        let Some(mut heard) = self.canaries.waiting.lock().take() else { return std::future::pending().await };
        let mut reaper = Reaper::new(self.gateway.clone(), self.lease_ttl_ms);
        let mut jobs: JoinSet<Done> = JoinSet::new();
        let mut under_way: BTreeSet<(Arc<str>, OwnerId)> = BTreeSet::new();
        let mut snapshots = self.mirror.changes();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tick, mut steady_since_ms, mut nodes) = (0, None, BTreeSet::new());
        loop {
            let mut inputs = tokio::select! {
                Some(input) = heard.recv() => vec![input],
                Ok(()) = snapshots.changed() => vec![],
                Some(Ok(done)) = jobs.join_next() => {
                    done.reaping.iter().for_each(|reaping| _ = under_way.remove(reaping));
                    done.input.into_iter().collect()
                }
                _ = ticks.tick() => {
                    tick = (tick + 1) % TICKS_PER_LOOK;
                    if tick == 1 {
                        self.nodes_of_ring().into_iter().for_each(|node| _ = jobs.spawn(self.clone().look_for_owners(node)));
                    }
                    let retained = if tick == 1 { Some(Input::Retained(self.retained_owners())) } else { None };
                    retained.into_iter().chain([Input::Tick]).collect()
                }
            };
            inputs.splice(0..0, self.own_canaries());
            inputs.insert(0, self.by_etcd(&mut steady_since_ms));
            let serving: BTreeSet<Arc<str>> = self.nodes_of_ring().into_iter().collect();
            if nodes != serving {
                nodes.clone_from(&serving);
                // Who has written to the new ones is looked at soon.
                tick = 0;
            }
            inputs.insert(0, Input::Nodes(serving));
            let (now, mut out) = (self.now(), Vec::new());
            inputs.into_iter().for_each(|input| reaper.handle(input, now, &mut out));
            self.metrics.owners_ignored.inc_by(reaper.ignored() - self.metrics.owners_ignored.get());
            if self.services.are_told {
                *self.services.living.lock() = reaper.may_live(now);
            }
            for output in out {
                match output {
                    Output::Listen(gateway) => self.listen_for(&gateway),
                    Output::Unlisten(gateway) => self.listen_no_more(&gateway),
                    Output::Dead(owner) => self.tell_of_owner(&owner, true),
                    Output::Alive(owner) => self.tell_of_owner(&owner, false),
                    Output::Enter(owner) => {
                        for link in self.nodes_of_ring().iter().filter_map(|node| self.nodes.link(node).ok()) {
                            let owner = owner.clone();
                            jobs.spawn(async move {
                                let entered = redis::enter_owner(&link, &owner).await;
                                _ = entered.inspect_err(|error| tracing::debug!(%owner, %error, "presence: not entered yet"));
                                Done::default()
                            });
                        }
                    }
                    Output::Surpass(least) => self.writing.surpass(least, now),
                    Output::Reap { node, owner, seen_ms } => {
                        if under_way.insert((node.clone(), owner.clone())) {
                            jobs.spawn(self.clone().reap_owner(node, owner, seen_ms));
                        }
                    }
                }
            }
        }
    }

    /// This gateway's own canary, where it was heard a moment ago.
    fn own_canaries(&self) -> Vec<Input> {
        let now_ms = self.now().mono_ms;
        let is_new =
            |node: &Arc<str>| self.nodes.health(node)?.canary_heard_ms.filter(|heard_ms| now_ms.saturating_sub(*heard_ms) <= OWN_CANARY_MS);
        let nodes = self.nodes_of_ring().into_iter().filter(|node| is_new(node).is_some());
        nodes.map(|node| Input::Canary { gateway: self.gateway.clone(), node }).collect()
    }

    /// What etcd says of the gateways; not fresh, too, if it was not in between.
    fn by_etcd(&self, steady_since_ms: &mut Option<u64>) -> Input {
        let (snapshot, freshness) = (self.mirror.snapshot(), self.mirror.freshness());
        let was_steady = std::mem::replace(steady_since_ms, freshness.steady_since_ms) == freshness.steady_since_ms;
        let gateways = snapshot.gateways.iter().map(|(name, held)| (name.as_str().into(), held.value.presence)).collect();
        Input::Etcd { gateways, is_fresh: was_steady && snapshot.is_known() && freshness.steady_since_ms.is_some() }
    }

    pub(super) fn nodes_of_ring(&self) -> Vec<Arc<str>> {
        let view = self.view.load();
        view.iter().flat_map(|view| view.document.current.serving()).map(|node| node.id.as_str().into()).collect()
    }

    fn listen_for(&self, gateway: &Arc<str>) {
        let channel: Arc<str> = canary_channel(gateway).into();
        self.canaries.listened.lock().insert(channel.clone(), gateway.clone());
        self.nodes_of_ring().iter().for_each(|node| self.nodes.wanted(node, &channel, true));
    }

    /// Nodes may have come: canaries are listened for there, too.
    pub(super) fn listen_at_all_nodes(&self) {
        let channels: Vec<Arc<str>> = self.canaries.listened.lock().keys().cloned().collect();
        for node in self.nodes_of_ring() {
            channels.iter().for_each(|channel| self.nodes.wanted(&node, channel, true));
        }
    }

    fn listen_no_more(&self, gateway: &Arc<str>) {
        let channel: Arc<str> = canary_channel(gateway).into();
        self.canaries.listened.lock().remove(&channel);
        self.nodes_of_ring().iter().for_each(|node| self.nodes.unwanted(node, &channel));
    }

    async fn look_for_owners(self: Arc<Shared>, node: Arc<str>) -> Done {
        let Ok(link) = self.nodes.link(&node) else { return Done::default() };
        let question = self.question_at(&link).await;
        self.look_for_losses(&node, &link).await;
        if let Some(question) = question {
            self.answer_at(&node, &link, &question).await;
        }
        self.look_for_untold(&node, &link).await;
        let owners = redis::owners(&link).await.ok();
        let input = owners.map(|owners| Input::Owners { node, owners: owners.into_iter().collect() });
        Done { reaping: None, input }
    }

    /// A node that lives on and has lost its data, or an owner's, tells nobody. One whose clients stand still would not find out.
    async fn look_for_losses(&self, node: &str, link: &Link) {
        let (own, mut slots) = self.writing.entered(node);
        if slots.is_empty() {
            return;
        }
        let Ok(there) = redis::owned_slots(link, &own).await else { return };
        let there: BTreeSet<Slot> = there.into_iter().collect();
        slots.retain(|slot| !there.contains(slot));
        if !slots.is_empty() {
            self.metrics.mismatches.inc();
            tracing::warn!(node, slots = slots.len(), "presence: the node has lost what it had of this gateway; that is written anew");
            self.writing.doubt(&slots);
        }
    }

    /// Takes all rows of a dead owner away from a node.
    async fn reap_owner(self: Arc<Shared>, node: Arc<str>, owner: OwnerId, seen_ms: u64) -> Done {
        let began_ms = self.now().mono_ms;
        let reaping = Some((node.clone(), owner.clone()));
        let input = match self.take_away(&node, &owner, seen_ms).await {
            Ok(rows) => {
                self.metrics.reaped.inc_by(rows as u64);
                self.metrics.reap_seconds.observe((self.now().mono_ms - began_ms) as f64 / 1000.0);
                tracing::warn!(%node, %owner, rows, "presence: a gateway is dead; its clients are taken off the rosters");
                Some(Input::Reaped { node, owner })
            }
            Err(error) => {
                tracing::warn!(%node, %owner, %error, "presence: a dead gateway's clients are not all taken off yet");
                None
            }
        };
        Done { reaping, input }
    }

    pub(super) async fn take_away(self: &Arc<Shared>, node: &Arc<str>, owner: &OwnerId, seen_ms: u64) -> Result<usize, String> {
        let link = self.nodes.link(node).map_err(|error| error.to_string())?;
        let (mut count, mut kept) = (0, 0);
        let mut last_ms = self.now().mono_ms;
        let slots = redis::owned_slots(&link, owner).await.map_err(|error| error.to_string())?;
        for slot in slots.iter().copied() {
            let Some(view) = self.view.load_full() else { break };
            // What the node has of a slot that it has lost is wiped by the same calls; by an older ring than its own they are refused.
            let ring_epoch = view.epoch();
            self.go_on(&mut last_ms)?;
            redis::retire(&link, slot, ring_epoch, owner).await.map_err(|error| error.to_string())?;
            for room in redis::owned_rooms(&link, slot, owner).await.map_err(|error| error.to_string())? {
                loop {
                    self.go_on(&mut last_ms)?;
                    let place = Place { link: &link, room: &room, ring_epoch };
                    let reaped = redis::reap(place, owner, seen_ms).await.map_err(|error| error.to_string())?;
                    count += reaped.rows;
                    kept += if reaped.more { 0 } else { reaped.kept };
                    if let Some(change) = reaped.change {
                        self.brought(&room, change);
                    }
                    if !reaped.more {
                        break;
                    }
                    // Others are let in between.
                    tokio::task::yield_now().await;
                }
            }
        }
        if kept > 0 {
            return Err(format!("{kept} users have just broken off elsewhere, too, and may come back: they stay for their grace"));
        }
        redis::forget_owner(&link, owner, &slots).await.map_err(|error| error.to_string())?;
        Ok(count)
    }

    /// An error if this gateway stood still since the last call of a reaping.
    fn go_on(&self, last_ms: &mut u64) -> Result<(), String> {
        let now_ms = self.now().mono_ms;
        let was_ms = std::mem::replace(last_ms, now_ms);
        if now_ms > was_ms + STALL_MS { Err("this gateway stood still, and who was dead may be back".to_owned()) } else { Ok(()) }
    }
}
