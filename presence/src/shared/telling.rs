//! I/O: the nodes of which this gateway tells services, and its answers to those who do of others.

use super::{Shared, hooks::Hooks, untold::Untold};
use crate::{
    cluster::{
        owner::At,
        telling::{Input, Output, Place, Question, Settled, Telling},
    },
    redis::{self, HOOK_CHANGES, WriteError},
};
use futures_util::future::join_all;
use parking_lot::Mutex;
use ring_coordinator::{
    redis::{CallError, Link},
    slot::Slot,
    view::View,
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

/// How often it is looked what is to be done at each node.
const TICK: Duration = Duration::from_secs(1);
/// Between two slots, or as many as are settled at once: others are let in.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two looks at all slots of a node: what is new is heard at once, if it is heard.
const LOOK_MS: u64 = 10_000;

/// What this gateway has for telling services.
#[derive(Default)]
pub(super) struct Services {
    /// Whether it does at all.
    pub(super) are_told: bool,
    /// Gateways that may be alive, as the reaper knows them; `None` while nobody can know.
    pub(super) living: Mutex<Option<BTreeSet<Arc<str>>>>,
    pub(super) hooks: Hooks,
    pub(super) untold: Untold,
}

impl Services {
    pub(super) fn new(are_told: bool) -> Services {
        Services { are_told, ..Services::default() }
    }
}

impl Shared {
    /// Tells services of nodes for ever, if this gateway does that at all.
    pub(super) async fn tell_services(self: &Arc<Shared>) {
        if !self.services.are_told {
            return std::future::pending().await;
        }
        let (mut tellers, mut told) = (JoinSet::new(), BTreeSet::new());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    for node in self.nodes_of_ring() {
                        if told.insert(node.clone()) {
                            tellers.spawn(self.clone().tell_of_node(node));
                        }
                    }
                    self.services.hooks.show(&self.metrics, self.now().mono_ms);
                }
                Some(Ok(node)) = tellers.join_next() => { told.remove(&node); }
            }
        }
    }

    /// Tells of one node, until the ring does not have it any more.
    async fn tell_of_node(self: Arc<Shared>, node: Arc<str>) -> Arc<str> {
        let mut telling = Telling::new(self.gateway.clone());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut slots, mut looked) = ((0, Arc::default()), (0, 0));
        loop {
            ticks.tick().await;
            let Some(view) = self.view.load_full().filter(|view| view.document.current.serving().any(|of| *of.id == *node)) else {
                self.services.hooks.tells(&node, None, true);
                self.nodes.unwanted(&node, HOOK_CHANGES);
                return node;
            };
            if slots.0 != view.epoch() {
                slots = (view.epoch(), Slot::all().filter(|slot| view.owner(*slot) == Some(&node)).collect());
            }
            let was_settled = telling.is_settled();
            self.step(&node, &mut telling, &view, &slots.1).await;
            if telling.is_settled() && !was_settled {
                tracing::info!(%node, "presence: services are told of all that happens at this node");
            }
            let now_ms = self.now().mono_ms;
            let until_ms = telling.lease_ms().filter(|until_ms| now_ms < *until_ms);
            self.services.hooks.tells(&node, until_ms, telling.is_settled());
            if until_ms.is_none() {
                self.nodes.unwanted(&node, HOOK_CHANGES);
                continue;
            }
            self.nodes.wanted(&node, &HOOK_CHANGES.into(), true);
            if looked.0 != view.epoch() || now_ms >= looked.1 || self.services.hooks.is_look_due(&node) {
                looked = (view.epoch(), now_ms + LOOK_MS);
                self.look_what_is_pending(&node, &slots.1).await;
            }
        }
    }

    /// One tick of the state machine, with all that follows from it.
    async fn step(&self, node: &Arc<str>, telling: &mut Telling, view: &Arc<View>, slots: &Arc<[Slot]>) {
        let link = self.nodes.link(node).ok();
        let place = link.as_ref().map(|link| {
            let is_still = Slot::all().all(|slot| view.previous(slot).is_none());
            Place { life: link.life().as_str().into(), ring: view.epoch(), is_still, slots: slots.clone() }
        });
        let alive = self.services.living.lock().clone();
        let mut inputs = VecDeque::from([Input::Place(place), Input::Alive(alive), Input::Tick((self.random_u64)())]);
        while let Some(input) = inputs.pop_front() {
            let (now, mut out) = (self.now(), Vec::new());
            telling.handle(input, now, &mut out);
            for order in out {
                // Without a connection there is no place, and no order.
                let Some(link) = &link else { break };
                match self.carry_out_telling(node, link, view.epoch(), order).await {
                    Ok(found) => inputs.extend(found),
                    Err(error) => tracing::debug!(%node, %error, "presence: services are not told of this node yet"),
                }
            }
        }
        if let Some(gateway) = telling.waits_for() {
            tracing::debug!(%node, %gateway, "presence: waits until this gateway has announced its clients");
        }
    }

    async fn carry_out_telling(&self, node: &str, link: &Link, ring: u64, order: Output) -> Result<Vec<Input>, WriteError> {
        let me = &self.gateway;
        Ok(match order {
            Output::Hold => {
                let asked_ms = self.now().mono_ms;
                vec![Input::Held(redis::hold(link, me).await?, asked_ms)]
            }
            Output::Ask(question) => redis::question(link, me, &question).await.map(|()| vec![])?,
            Output::Mark(question, gateways) => {
                let gateways: Vec<&str> = gateways.iter().map(AsRef::as_ref).collect();
                vec![Input::Marked(redis::mark(link, me, &question, &gateways).await?)]
            }
            Output::Settle(slots) => {
                sleep(PAUSE).await;
                let settled = join_all(slots.iter().map(|slot| redis::settle(link, *slot, ring))).await;
                let outcomes = settled.iter().map(|settled| outcome(node, settled));
                slots.iter().zip(outcomes).map(|(slot, outcome)| Input::Settled(*slot, outcome)).collect()
            }
            Output::Pass => vec![Input::Passed(redis::passed(link, me, ring).await?)],
        })
    }

    /// What is there is handed out next.
    async fn look_what_is_pending(&self, node: &Arc<str>, slots: &[Slot]) {
        let Ok(link) = self.nodes.link(node) else { return };
        match redis::pending(&link, slots).await {
            Ok(pending) => self.services.hooks.found(node, &pending, self.now().mono_ms),
            Err(error) => tracing::debug!(%node, %error, "presence: not known what services are to be told"),
        }
    }

    /// What whoever tells services of a node asks. To be read before anything that goes into the answer.
    pub(super) async fn question_at(&self, link: &Link) -> Option<Question> {
        redis::question_asked(link).await.ok().flatten()
    }

    /// Answers it, if all rows of this gateway stand at the node; if not they are written anew, and the next look answers.
    pub(super) async fn answer_at(&self, node: &Arc<str>, link: &Link, question: &Question) {
        let at = At { node: node.clone(), life: link.life().as_str().into() };
        // By another ring slots would be elsewhere.
        let Some(view) = self.view.load_full().filter(|view| view.epoch() == question.ring && question.life == at.life) else { return };
        let (owner, stands) = self.writing.stands(&at, |slot| view.owner(slot) == Some(node));
        let Ok(slots) = stands else { return };
        match redis::strays(link, question.ring, &owner, &slots).await {
            Ok(strays) if strays.is_empty() => _ = redis::answer(link, &self.gateway, question).await,
            Ok(strays) => {
                self.metrics.mismatches.inc();
                tracing::warn!(%node, slots = strays.len(), "presence: rows of this gateway do not stand at the node; they are written anew");
                self.writing.doubt(&strays);
            }
            Err(error) => tracing::debug!(%node, %error, "presence: not known whether all rows stand"),
        }
    }
}

fn outcome(node: &str, settled: &Result<bool, WriteError>) -> Settled {
    match settled {
        Ok(false) => Settled::Yes,
        Ok(true) => Settled::More,
        Err(WriteError::Stale(_)) => Settled::Unmarked,
        Err(WriteError::Call(CallError::Refused { code, .. })) if code == "UNMARKED" => Settled::Unmarked,
        Err(error) => {
            tracing::debug!(node, %error, "presence: what services were told is not compared yet");
            Settled::Retry
        }
    }
}
