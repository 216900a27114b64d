//! A region in virtual time: etcd, gateways, Redis nodes, and what goes wrong between them; the coordinators are the real ones.

use protocol::time::Now;
use ring_coordinator::{
    coordinator::{
        Coordinator,
        facts::{Alarm, Input, Output, Refusal, Seen},
        timing::Timing,
    },
    document::{Document, Layout, Node, NodeState},
    etcd::record::{Gateway, Opinion, Vote},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) const STEP_MS: u64 = 50;

/// What may go wrong, each with a chance in 1000.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Per write: it is lost, applied without an answer, or refused though applied.
    pub(crate) write: u64,
    /// Per order to a node: it is not carried out.
    pub(crate) order: u64,
    /// Per step: the leader dies.
    pub(crate) leader: u64,
    /// Per step: etcd is not seen for a while.
    pub(crate) gap: u64,
    /// Gateways learn and acknowledge up to so late.
    pub(crate) late_ms: u64,
}

#[derive(Default)]
pub(crate) struct SimGateway {
    pub(crate) hangs: bool,
    pub(crate) due: u64,
    /// When it comes back after it was expelled.
    pub(crate) back_at: u64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    pub(crate) document: Option<(Arc<Document>, i64)>,
    pub(crate) revision: i64,
    pub(crate) registered: BTreeMap<String, Gateway>,
    pub(crate) gateways: BTreeMap<String, SimGateway>,
    pub(crate) votes: BTreeMap<String, BTreeMap<String, Opinion>>,
    /// Nodes that are dead, since when; what is voted, so much later, and probed follows.
    pub(crate) dead: BTreeMap<String, u64>,
    pub(crate) noticed_ms: u64,
    /// Nodes that only the leader cannot reach.
    pub(crate) unreachable: BTreeSet<String>,
    /// Nodes do not tell who listens.
    pub(crate) is_mute: bool,
    /// `min_epoch` of each node, for all its slots that were ever fenced.
    pub(crate) fences: BTreeMap<String, BTreeMap<u16, u64>>,
    pub(crate) leader: Option<Coordinator>,
    pub(crate) elected_at: u64,
    pub(crate) stale_until: Option<u64>,
    pub(crate) answers: Vec<(u64, Result<u64, Refusal>)>,
    pub(crate) alarms: BTreeSet<Alarm>,
    pub(crate) expelled: Vec<String>,
    pub(crate) cleaned: Vec<(String, u64)>,
    pub(crate) sweeps: Vec<(String, String, u64)>,
    pub(crate) resigned: usize,
    pub(crate) history: Vec<Arc<Document>>,
    pub(crate) leaders: usize,
    /// What is ordered written gets lost, and is counted.
    pub(crate) swallows: Option<usize>,
    /// The leader dies when the document has this epoch.
    pub(crate) kill_at: Option<u64>,
    late: Vec<(u64, Output)>,
}

pub(crate) fn layout(nodes: &[(&str, NodeState)]) -> Layout {
    let node = |id: &str, state| Node { id: id.to_owned(), url: format!("redis://{id}:6379"), weight: 1, state, incarnation: 1 };
    Layout { nodes: nodes.iter().map(|(id, state)| node(id, *state)).collect(), ..Layout::default() }
}

pub(crate) fn serving(ids: &[&str]) -> Layout {
    layout(&ids.iter().map(|id| (*id, NodeState::Serving)).collect::<Vec<_>>())
}

impl World {
    pub(crate) fn new(seed: u64, nodes: &[&str], gateways: usize, faults: Faults) -> World {
        let document = Arc::new(Document { epoch: 1, vnodes: 4, current: serving(nodes), ..Document::default() });
        let names: Vec<String> = (1..=gateways).map(|number| format!("g{number}")).collect();
        let up = |_: &&str| Opinion { vote: Vote::Up, since_ms: 0, reason: String::new() };
        World {
            now: 1_000,
            seed,
            faults,
            document: Some((document.clone(), 1)),
            revision: 1,
            registered: names.iter().map(|name| (name.clone(), Gateway { epoch: 1, acked: 1, ..Gateway::default() })).collect(),
            gateways: names.iter().map(|name| (name.clone(), SimGateway::default())).collect(),
            votes: nodes.iter().map(|node| ((*node).to_owned(), names.iter().map(|name| (name.clone(), up(node))).collect())).collect(),
            dead: BTreeMap::new(),
            noticed_ms: 3_000,
            unreachable: BTreeSet::new(),
            is_mute: false,
            fences: BTreeMap::new(),
            leader: None,
            elected_at: 0,
            stale_until: None,
            answers: Vec::new(),
            alarms: BTreeSet::new(),
            expelled: Vec::new(),
            cleaned: Vec::new(),
            sweeps: Vec::new(),
            resigned: 0,
            history: vec![document],
            leaders: 0,
            swallows: None,
            kill_at: None,
            late: Vec::new(),
        }
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % below.max(1)
    }

    pub(crate) fn chance(&mut self, of_1000: u64) -> bool {
        self.random(1000) < of_1000
    }

    pub(crate) fn ring(&self) -> &Document {
        &self.document.as_ref().expect("a ring").0
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.document.as_ref().map_or(0, |(document, _)| document.epoch)
    }

    pub(crate) fn states(&self) -> String {
        let state = |node: &Node| match node.state {
            NodeState::Serving => node.id.clone(),
            NodeState::Drained => format!("({})", node.id),
            NodeState::Down => format!("-{}", node.id),
        };
        self.ring().current.nodes.iter().map(state).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until the condition holds; false if it does not within the time.
    pub(crate) fn run_until(&mut self, ms: u64, mut is_so: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + ms;
        while self.now < end && !is_so(self) {
            self.step();
        }
        is_so(self)
    }

    pub(crate) fn tell(&mut self, input: Input) {
        let now = Now { mono_ms: self.now, wall_ms: 0 };
        let Some(leader) = &mut self.leader else { return };
        let mut out = Vec::new();
        leader.handle(input, now, &mut out);
        for order in out {
            self.carry_out(order);
        }
    }

    pub(crate) fn kill_leader(&mut self) {
        self.leader = None;
        self.elected_at = self.now + 5_000;
    }

    /// Orders a change that goes by the present document.
    pub(crate) fn want(&mut self, wanted: u64, layout: Layout) {
        let base = self.epoch();
        self.tell(Input::Wanted { wanted, base, layout });
    }

    fn step(&mut self) {
        self.now += STEP_MS;
        if self.leader.is_none() && self.now >= self.elected_at {
            self.leader = Some(Coordinator::new(Timing::default(), None));
            self.stale_until = None;
            self.leaders += 1;
            self.tell(Input::Elected);
            self.show();
        }
        if self.leader.is_some() && self.chance(self.faults.leader) {
            self.kill_leader();
        }
        if self.stale_until.is_none() && self.chance(self.faults.gap) {
            self.tell(Input::Stale);
            self.stale_until = Some(self.now + self.seed % 8_000);
        }
        self.vote();
        self.move_gateways();
        let due: Vec<Output> = self.late.iter().filter(|(at, _)| *at <= self.now).map(|(_, order)| order.clone()).collect();
        self.late.retain(|(at, _)| *at > self.now);
        for order in due {
            self.apply(order);
        }
        if self.stale_until.is_some_and(|until| self.now >= until) {
            self.stale_until = None;
            self.show();
        }
        self.tell(Input::Timer);
    }

    /// Shows etcd as it is to the leader.
    pub(crate) fn show(&mut self) {
        if self.stale_until.is_none() {
            let seen = self.seen();
            self.tell(Input::Seen(seen));
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        let (document, revision) = self.document.clone().map_or((None, 0), |(document, revision)| (Some(document), revision));
        Seen { document, revision, gateways: self.registered.clone(), votes: self.votes.clone() }
    }

    /// Gateways notice a dead node some time later, and one that is back at once.
    fn vote(&mut self) {
        let mut changed = false;
        for (node, votes) in &mut self.votes {
            let vote = match self.dead.get(node) {
                Some(since) if self.now >= since + self.noticed_ms => Vote::Down,
                Some(_) => continue,
                None => Vote::Up,
            };
            for name in self.gateways.keys() {
                let before = votes.insert(name.clone(), Opinion { vote, since_ms: 0, reason: String::new() });
                changed |= before.is_none_or(|before| before.vote != vote);
            }
        }
        if changed {
            self.show();
        }
    }

    fn move_gateways(&mut self) {
        let (now, epoch, late) = (self.now, self.epoch(), self.faults.late_ms);
        let mut changed = false;
        let names: Vec<String> = self.gateways.keys().cloned().collect();
        for name in names {
            let delay = 1 + self.random(late);
            let gateway = self.gateways.get_mut(&name).expect("a gateway");
            let Some(registered) = self.registered.get_mut(&name) else {
                if !gateway.hangs && now >= gateway.back_at {
                    self.registered.insert(name, Gateway { epoch, acked: epoch, ..Gateway::default() });
                    changed = true;
                }
                continue;
            };
            if gateway.hangs {
                continue;
            }
            if registered.acked < epoch && gateway.due == 0 {
                gateway.due = now + delay;
            } else if registered.acked < epoch && now >= gateway.due {
                (registered.epoch, registered.acked, gateway.due) = (epoch, epoch, 0);
                changed = true;
            }
        }
        if changed {
            self.show();
        }
    }

    fn is_reached(&self, node: &Node) -> bool {
        !self.dead.contains_key(&node.id) && !self.unreachable.contains(&node.id)
    }

    fn carry_out(&mut self, order: Output) {
        match order {
            Output::Write { .. } if self.swallows.is_some() => self.swallows = self.swallows.map(|writes| writes + 1),
            Output::Write { .. } if self.chance(self.faults.write) => match self.random(4) {
                0 => self.tell(Input::NotWritten),
                1 => {}
                2 => self.late.push((self.now + self.seed % 6_000, order)),
                _ => {
                    self.apply(order);
                    self.tell(Input::NotWritten);
                }
            },
            Output::Fence { .. } | Output::Sweep { .. } if self.chance(self.faults.order) => {
                if let Output::Sweep { from, to, epoch, .. } = order {
                    self.tell(Input::Swept { from: from.id, to: to.id, epoch, whole: false });
                }
            }
            Output::Probe { node } => {
                let well = self.is_reached(&node);
                let listening = (well && !self.is_mute).then(|| self.gateways.keys().cloned().collect());
                self.tell(Input::Probed { node: node.id, well, listening });
            }
            order => self.apply(order),
        }
    }

    fn apply(&mut self, order: Output) {
        match order {
            Output::Write { document, revision } => {
                let stands = self.document.as_ref().map_or(0, |(_, revision)| *revision);
                if stands == revision {
                    self.check_step(&document);
                    self.revision += 1;
                    let document = Arc::new(document);
                    self.history.push(document.clone());
                    self.document = Some((document, self.revision));
                    if self.kill_at == Some(self.epoch()) {
                        self.kill_leader();
                    }
                    self.show();
                } else {
                    self.tell(Input::NotWritten);
                }
            }
            Output::Fence { node, slots, epoch } => {
                if self.is_reached(&node) {
                    let fences = self.fences.entry(node.id.clone()).or_default();
                    for slot in slots {
                        let fence = fences.entry(slot).or_default();
                        *fence = epoch.max(*fence);
                    }
                    self.tell(Input::Fenced { node: node.id, epoch });
                }
            }
            Output::Sweep { from, to, epoch, .. } => {
                self.sweeps.push((from.id.clone(), to.id.clone(), epoch));
                let whole = !self.dead.contains_key(&from.id) && !self.dead.contains_key(&to.id);
                self.tell(Input::Swept { from: from.id, to: to.id, epoch, whole });
            }
            Output::Clean { node, epoch, .. } => self.cleaned.push((node.id, epoch)),
            Output::Expel { gateway } => {
                self.registered.remove(&gateway);
                self.gateways.entry(gateway.clone()).and_modify(|gateway| gateway.back_at = self.now + 500);
                self.expelled.push(gateway);
                self.show();
            }
            Output::Resign => {
                self.resigned += 1;
                self.kill_leader();
            }
            Output::Answer { wanted, result } => self.answers.push((wanted, result)),
            Output::Alarms(alarms) => self.alarms = alarms,
            Output::Probe { .. } | Output::WakeAt(_) => {}
        }
    }
}
