//! Pure: a region for the reapers' laws: gateways, an etcd with leases, and Redis nodes, all of which can fail. Where it is
//! a matter of order, things come in the worst one.

use super::{
    reaper::{Input, Output, Reaper},
    row::OwnerId,
};
use proptest::prelude::*;
use protocol::time::Now;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) const GATEWAYS: usize = 4;
const NODES: [&str; 2] = ["a", "b"];
pub(super) const STEP_MS: u64 = 200;
/// How long a lease lives, as it may be configured: as short as etcd lets it, and the default.
pub(super) const TTLS_MS: [u64; 2] = [2_000, 10_000];
/// In this part of its life it is renewed.
const RENEW_PERCENT: u64 = 30;
/// A mirror notices so late that etcd is not there.
const NOTICED_MS: u64 = 10_000;
/// Taking one owner's rows away takes so long.
pub(super) const REAP_MS: u64 = 600;
/// Who runs for so long again was heard by everybody who hears anything; …
const HEARD_MS: u64 = 1_000 + 3 * STEP_MS;
/// … if a node hangs, its word may be stuck there, until so long after nobody trusts that node any longer.
const STUCK_MS: u64 = 2_500;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Wait(u64),
    Crash(usize),
    /// As a new process; the clock may have gone back.
    Boot(usize, bool),
    Pause(usize),
    Resume(usize),
    /// From etcd only, or it is back there.
    Cut(usize, bool),
    Etcd(bool),
    Hang(usize, bool),
    /// The gateway's subscription to the node is gone, or back.
    Deafen(usize, usize, bool),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (gateway, node) = (0..GATEWAYS, 0..NODES.len());
    let step = prop_oneof![
        6 => (0..15_000_u64).prop_map(Step::Wait),
        2 => gateway.clone().prop_map(Step::Crash),
        2 => (gateway.clone(), any::<bool>()).prop_map(|(gateway, back)| Step::Boot(gateway, back)),
        2 => gateway.clone().prop_map(Step::Pause),
        2 => gateway.clone().prop_map(Step::Resume),
        2 => (gateway.clone(), any::<bool>()).prop_map(|(gateway, cut)| Step::Cut(gateway, cut)),
        2 => any::<bool>().prop_map(Step::Etcd),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, hangs)| Step::Hang(node, hangs)),
        1 => (gateway, node, any::<bool>()).prop_map(|(gateway, node, deaf)| Step::Deafen(gateway, node, deaf)),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Runs,
    Paused,
    Crashed,
}

pub(super) struct Gateway {
    name: Arc<str>,
    pub(super) state: State,
    pub(super) incarnation: u64,
    /// Since when it is in that state.
    pub(super) since_ms: u64,
    is_cut: bool,
    deaf: BTreeSet<usize>,
    reaper: Reaper,
    listens: BTreeSet<Arc<str>>,
    heard_at: BTreeSet<(Arc<str>, usize)>,
    view: BTreeMap<Arc<str>, u64>,
    contact_ms: Option<u64>,
    told_ms: Option<u64>,
    inbox: Vec<(Arc<str>, usize)>,
    reaping: BTreeMap<(usize, OwnerId), u64>,
    /// What it has called dead, and how often.
    pub(super) dead: BTreeMap<OwnerId, usize>,
}

impl Gateway {
    fn new(index: usize, incarnation: u64, ttl_ms: u64, now_ms: u64) -> Gateway {
        let name: Arc<str> = format!("g{index}").into();
        let (reaper, is_cut, contact_ms, told_ms, state) = (Reaper::new(name.clone(), ttl_ms), false, None, None, State::Runs);
        let (deaf, listens, heard_at) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (view, inbox, reaping, dead, since_ms) = (BTreeMap::new(), vec![], BTreeMap::new(), BTreeMap::new(), now_ms);
        #[rustfmt::skip]
        let gateway = Gateway { name, state, incarnation, since_ms, is_cut, deaf, reaper, listens, heard_at, view, contact_ms, told_ms, inbox, reaping, dead };
        gateway
    }

    pub(super) fn owner(&self) -> OwnerId {
        OwnerId { gateway: self.name.clone(), incarnation: self.incarnation }
    }
}

#[derive(Default)]
struct Node {
    hangs: bool,
    waiting: Vec<Arc<str>>,
    owners: BTreeSet<OwnerId>,
    fence: BTreeMap<Arc<str>, u64>,
}

pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) gateways: Vec<Gateway>,
    nodes: [Node; NODES.len()],
    ttl_ms: u64,
    etcd_runs: bool,
    /// By gateway: the incarnation, when the lease ends, and when it was renewed.
    leases: BTreeMap<Arc<str>, (u64, u64)>,
    /// Who was called dead or reaped and is alive.
    pub(super) wronged: Vec<(u64, Output)>,
}

impl World {
    /// It has run for so long that everybody judges.
    pub(super) fn new(ttl_ms: u64) -> World {
        let gateways = (0..GATEWAYS).map(|index| Gateway::new(index, 1_000, ttl_ms, 0)).collect();
        let nodes = Default::default();
        let mut world = World { now_ms: 1_000, gateways, nodes, ttl_ms, etcd_runs: true, leases: BTreeMap::new(), wronged: vec![] };
        world.wait(20_000);
        world
    }

    pub(super) fn wait(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while self.now_ms < until_ms {
            self.now_ms += STEP_MS;
            if self.etcd_runs {
                self.leases.retain(|_, (_, until_ms)| *until_ms > self.now_ms);
            }
            for node in 0..NODES.len() {
                self.deliver(node);
            }
            for index in 0..GATEWAYS {
                if self.gateways[index].state == State::Runs {
                    self.run(index);
                }
            }
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        let now_ms = self.now_ms;
        let mut turn = |index: usize, from: State, to: State| {
            let gateway: &mut Gateway = &mut self.gateways[index];
            if gateway.state == from {
                (gateway.state, gateway.since_ms) = (to, now_ms);
            }
        };
        match step {
            Step::Wait(ms) => self.wait(ms),
            Step::Crash(index) => {
                turn(index, State::Paused, State::Crashed);
                turn(index, State::Runs, State::Crashed);
            }
            Step::Pause(index) => turn(index, State::Runs, State::Paused),
            Step::Resume(index) => turn(index, State::Paused, State::Runs),
            Step::Boot(index, back) => {
                if self.gateways[index].state == State::Crashed {
                    let incarnation = if back { self.gateways[index].incarnation - 1 } else { now_ms };
                    self.gateways[index] = Gateway::new(index, incarnation, self.ttl_ms, now_ms);
                }
            }
            Step::Cut(index, is_cut) => self.gateways[index].is_cut = is_cut,
            Step::Etcd(runs) => self.etcd_runs = runs,
            Step::Hang(node, hangs) => self.nodes[node].hangs = hangs,
            Step::Deafen(index, node, is_deaf) => {
                let deaf = &mut self.gateways[index].deaf;
                _ = if is_deaf { deaf.insert(node) } else { deaf.remove(&node) };
            }
        }
    }

    /// Whatever failed works again, but who has crashed does not come back.
    pub(super) fn heal(&mut self) {
        self.etcd_runs = true;
        self.nodes.iter_mut().for_each(|node| node.hangs = false);
        for index in 0..GATEWAYS {
            self.step(Step::Resume(index));
            self.gateways[index].is_cut = false;
            self.gateways[index].deaf.clear();
        }
    }

    /// What is registered at any node.
    pub(super) fn registered(&self) -> BTreeSet<OwnerId> {
        self.nodes.iter().flat_map(|node| node.owners.iter().cloned()).collect()
    }

    /// Those who run, as they write now.
    pub(super) fn living(&self) -> BTreeSet<OwnerId> {
        self.gateways.iter().filter(|gateway| gateway.state == State::Runs).map(Gateway::owner).collect()
    }

    /// The node's subscribers hear what was published; those who do not run find it when they do.
    fn deliver(&mut self, node: usize) {
        if self.nodes[node].hangs {
            return;
        }
        for canary in std::mem::take(&mut self.nodes[node].waiting) {
            for gateway in self.gateways.iter_mut().filter(|gateway| !gateway.deaf.contains(&node)) {
                if gateway.name == canary || gateway.heard_at.contains(&(canary.clone(), node)) {
                    gateway.inbox.push((canary.clone(), node));
                }
            }
        }
    }

    fn run(&mut self, index: usize) {
        self.tell(index, Input::Tick);
        self.renew(index);
        self.write(index);
        self.listen(index);
        // Its own first, and a look in between.
        let gateway = &mut self.gateways[index];
        let (own, others): (Vec<_>, Vec<_>) = std::mem::take(&mut gateway.inbox).into_iter().partition(|(name, _)| *name == gateway.name);
        for (gateway, node) in own {
            self.tell(index, Input::Canary { gateway, node: NODES[node].into() });
        }
        self.tell(index, Input::Tick);
        for (gateway, node) in others {
            self.tell(index, Input::Canary { gateway, node: NODES[node].into() });
        }
        self.tell_etcd(index);
        self.reap(index);
        self.tell(index, Input::Tick);
    }

    /// Each does its own things at other moments.
    fn is_time(&self, index: usize, every_ms: u64) -> bool {
        (self.now_ms + index as u64 * 400).is_multiple_of(every_ms)
    }

    fn renew(&mut self, index: usize) {
        let Gateway { name, incarnation, is_cut, .. } = &self.gateways[index];
        if !self.etcd_runs || *is_cut {
            return;
        }
        let until_ms = self.now_ms + self.ttl_ms;
        let fresh_ms = until_ms - self.ttl_ms * RENEW_PERCENT / 100;
        let is_held = self.leases.get(name).is_some_and(|(held, until_ms)| held == incarnation && *until_ms > fresh_ms);
        if !is_held && self.is_time(index, 600) {
            self.leases.insert(name.clone(), (*incarnation, until_ms));
        }
    }

    /// Announces itself where it is not, and its canary every second.
    fn write(&mut self, index: usize) {
        let is_canary = self.is_time(index, 1_000);
        let gateway = &mut self.gateways[index];
        for node in self.nodes.iter_mut().filter(|node| !node.hangs) {
            let fence = node.fence.get(&gateway.name).copied().unwrap_or(0);
            gateway.incarnation = gateway.incarnation.max(fence);
        }
        for node in &mut self.nodes {
            if !node.hangs {
                node.owners.insert(gateway.owner());
            }
            if is_canary {
                node.waiting.push(gateway.name.clone());
            }
        }
    }

    fn listen(&mut self, index: usize) {
        let (is_first, every_5_s) = (self.gateways[index].told_ms.is_none(), self.is_time(index, 5_000));
        if is_first {
            self.tell(index, Input::Nodes(NODES.iter().map(|node| (*node).into()).collect()));
        }
        for (number, node) in NODES.iter().enumerate() {
            let (gateway, hangs) = (&mut self.gateways[index], self.nodes[number].hangs);
            let is_deaf = gateway.deaf.contains(&number);
            let mut told = vec![];
            for name in &gateway.listens {
                let (place, gateway_name, node) = ((name.clone(), number), name.clone(), Arc::from(*node));
                if is_deaf && gateway.heard_at.remove(&place) {
                    told.push(Input::Deaf { gateway: gateway_name, node });
                } else if !is_deaf && !hangs && gateway.heard_at.insert(place) {
                    told.push(Input::Listening { gateway: gateway_name, node });
                }
            }
            if !hangs && (is_first || every_5_s) {
                told.push(Input::Owners { node: (*node).into(), owners: self.nodes[number].owners.clone() });
            }
            told.into_iter().for_each(|input| self.tell(index, input));
        }
    }

    fn tell_etcd(&mut self, index: usize) {
        let (now_ms, is_due) = (self.now_ms, self.is_time(index, 1_000));
        let gateway = &mut self.gateways[index];
        let before = gateway.contact_ms;
        let is_fresh = before.is_some_and(|contact_ms| now_ms <= contact_ms + NOTICED_MS);
        let mut is_new = false;
        if self.etcd_runs && !gateway.is_cut {
            let view = self.leases.iter().map(|(name, (incarnation, _))| (name.clone(), *incarnation)).collect();
            is_new = gateway.view != view || before.is_none();
            (gateway.view, gateway.contact_ms) = (view, Some(now_ms));
        }
        if is_new || is_due || gateway.told_ms.is_none_or(|told_ms| now_ms > told_ms + 1_000) {
            gateway.told_ms = Some(now_ms);
            let (gateways, is_fresh) = (gateway.view.clone(), is_fresh || gateway.contact_ms == Some(now_ms));
            self.tell(index, Input::Etcd { gateways, is_fresh });
        }
    }

    fn reap(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let is_done = |(node, _): &(usize, OwnerId), done_ms: &mut u64| *done_ms <= now_ms && !self.nodes[*node].hangs;
        let done: Vec<_> = self.gateways[index].reaping.extract_if(.., is_done).map(|(done, _)| done).collect();
        for (node, owner) in done {
            let fence = self.nodes[node].fence.entry(owner.gateway.clone()).or_default();
            *fence = (*fence).max(owner.incarnation + 1);
            self.nodes[node].owners.remove(&owner);
            self.tell(index, Input::Reaped { node: NODES[node].into(), owner });
        }
    }

    fn tell(&mut self, index: usize, input: Input) {
        let now = Now { mono_ms: self.now_ms, wall_ms: self.now_ms };
        let mut out = vec![];
        self.gateways[index].reaper.handle(input, now, &mut out);
        for output in out {
            if let Output::Dead(owner) | Output::Reap { owner, .. } = &output {
                let heard_ms = if self.nodes.iter().any(|node| node.hangs) { HEARD_MS + STUCK_MS } else { HEARD_MS };
                let is_alive = |gateway: &Gateway| {
                    gateway.owner() == *owner && gateway.state == State::Runs && gateway.since_ms + heard_ms <= self.now_ms
                };
                if self.gateways.iter().any(is_alive) {
                    self.wronged.push((self.now_ms, output.clone()));
                }
            }
            let gateway = &mut self.gateways[index];
            match output {
                Output::Listen(name) => assert!(gateway.listens.insert(name), "listened for twice"),
                Output::Unlisten(name) => {
                    assert!(gateway.listens.remove(&name), "not listened for");
                    gateway.heard_at.retain(|(heard, _)| *heard != name);
                }
                Output::Dead(owner) => *gateway.dead.entry(owner).or_default() += 1,
                Output::Alive(_) => {}
                Output::Enter(owner) => self.nodes.iter_mut().for_each(|node| _ = node.owners.insert(owner.clone())),
                Output::Reap { node, owner, .. } => {
                    let node = NODES.iter().position(|name| **name == *node).unwrap();
                    gateway.reaping.entry((node, owner)).or_insert(self.now_ms + REAP_MS);
                }
                Output::Surpass(incarnation) => {
                    if gateway.incarnation < incarnation {
                        gateway.incarnation = incarnation + 1;
                    }
                }
            }
        }
    }
}
