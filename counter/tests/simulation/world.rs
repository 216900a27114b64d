//! Nodes, the network between them, clients, and what goes wrong.

use crate::{
    chance::Chance,
    clients::Op,
    gateways::{Gateway, GatewayOp, Reply},
    mutant::Mutant,
    nemesis::Plan,
    node::{Disk, Node, Process},
    votes::Vote,
};
use counter::{
    blocks::{InMemory, Paging},
    links::Output,
};
use protocol::{name::CounterKey, peer::Message};
use std::collections::BTreeMap;

pub(crate) const TICK_MS: u64 = 100;
pub(crate) const FAULTS_END_MS: u64 = 20_000;
const END_MS: u64 = 75_000;

/// What is to happen.
#[derive(Clone)]
pub(crate) enum Event {
    Tick(usize),
    Synced(usize),
    Arrive { link: u64, to: usize, message: Message },
    Client(usize),
    Gateway(usize),
    AtNode { node: usize, life: u64, from: (usize, u64), message: Message },
    AtGateway { gateway: usize, link: u64, message: Message },
    Nemesis,
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) ops: Vec<Op>,
    pub(crate) plan: Plan,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) chance: Chance,
    pub(crate) events: BTreeMap<(u64, u64), Event>,
    pub(crate) number: u64,
    /// The two ends of each connection.
    pub(crate) links: BTreeMap<u64, (usize, usize)>,
    /// From whom to whom nothing gets through.
    pub(crate) cuts: Vec<(usize, usize)>,
    pub(crate) backups: Vec<Option<(Disk, u64)>>,
    pub(crate) trace: u64,
    /// How often each node has crashed.
    pub(crate) lives: Vec<u64>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) gateway_ops: Vec<GatewayOp>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) votes: Vec<Vote>,
    /// Disks that are gone, or as they were.
    pub(crate) disks_lost: usize,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> World {
        let mut chance = Chance::new(seed);
        let plan = Plan::new(&mut chance);
        let nodes: Vec<Node> = (0..plan.nodes).map(|at| Node::new(format!("n{at}"))).collect();
        let backups = vec![None; plan.nodes];
        let (events, links) = (BTreeMap::new(), BTreeMap::new());
        let (ops, cuts, lives) = (vec![], vec![], vec![0; plan.nodes]);
        let (gateways, gateway_ops, replies) = (vec![], vec![], vec![]);
        let mut world = World {
            now_ms: 0,
            nodes,
            ops,
            plan,
            mutant,
            chance,
            events,
            number: 0,
            links,
            cuts,
            backups,
            trace: 0,
            lives,
            gateways,
            gateway_ops,
            replies,
            votes: vec![],
            disks_lost: 0,
        };
        for at in 0..world.nodes.len() {
            if mutant == Some(Mutant::EpochSurvivesItsDisk) {
                world.nodes[at].fixed_epoch = Some(at as u64 + 1000);
            }
            world.start(at);
            world.after(at as u64 * 7, Event::Tick(at));
        }
        world.after(50, Event::Client(0));
        world.after(100, Event::Nemesis);
        for at in 0..world.plan.gateways {
            let gateway = world.new_gateway();
            world.gateways.push(gateway);
            world.after(60, Event::Gateway(at));
        }
        world
    }

    pub(crate) fn run(&mut self) {
        while let Some(((at_ms, _), event)) = self.events.pop_first() {
            self.now_ms = at_ms;
            if self.now_ms > END_MS {
                return;
            }
            match event {
                Event::Tick(node) => self.tick(node),
                Event::Synced(node) => self.synced(node),
                Event::Arrive { link, to, message } => self.arrive(link, to, message),
                Event::Client(number) => self.client(number),
                Event::Gateway(at) => self.gateway(at),
                Event::AtNode { node, life, from, message } => self.at_node(node, life, from, message),
                Event::AtGateway { gateway, link, message } => self.at_gateway(gateway, link, message),
                Event::Nemesis => self.nemesis(),
            }
            self.nodes.iter_mut().filter_map(|node| node.process.as_mut()).for_each(|process| process.ledger.put_votes_away());
        }
    }

    /// A number that is the same for the same run.
    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    pub(crate) fn key(at: usize) -> CounterKey {
        CounterKey::parse(&format!("k{at}")).unwrap()
    }

    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.number += 1;
        self.events.insert((self.now_ms + ms, self.number), event);
    }

    pub(crate) fn start(&mut self, at: usize) {
        let trusting = self.mutant == Some(Mutant::DiskIsTrusted) || self.mutant == Some(Mutant::EpochSurvivesItsDisk);
        let (seeds, now_ms) = (self.nodes.len() - 1, self.now_ms);
        self.nodes[at].start(seeds, trusting, now_ms, &mut self.chance);
        if self.plan.paged
            && let Some(process) = &mut self.nodes[at].process
        {
            process.ledger.page_votes(&Paging::new(Box::<InMemory>::default(), 0));
        }
    }

    pub(crate) fn crash(&mut self, at: usize) {
        self.nodes[at].crash(&mut self.chance);
        self.lives[at] += 1;
        self.forget_votes(at);
        let gone: Vec<u64> = self.links.iter().filter(|(_, ends)| ends.0 == at || ends.1 == at).map(|(link, _)| *link).collect();
        gone.into_iter().for_each(|link| self.close(link));
        for op in self.ops.iter_mut().filter(|op| !op.acked) {
            if op.sent.is_some_and(|sent| sent.node == at) {
                // Retried with its token, or never known.
                op.sent = None;
                op.unknown |= op.token.is_none();
                if op.token.is_some() {
                    op.unknown = true;
                }
            }
        }
    }

    fn tick(&mut self, at: usize) {
        self.after(TICK_MS, Event::Tick(at));
        self.dial(at);
        let mut out = Vec::new();
        let (random, now_ms) = (self.chance.number(), self.now_ms);
        let now = self.nodes[at].now(now_ms);
        if let Some(Process { ledger, links, pending, .. }) = &mut self.nodes[at].process {
            links.tick(ledger, pending, Some("address"), random, now, &mut out);
        }
        self.carry_out(at, out);
        self.sync(at);
        if self.chance.percent(1) {
            self.nodes[at].compact();
        }
        self.answer(at);
    }

    pub(crate) fn sync(&mut self, at: usize) {
        let done_ms = self.now_ms + self.chance.between(1, 40);
        let was_idle = self.nodes[at].process.as_ref().is_some_and(|process| process.syncing.is_none());
        self.nodes[at].begin_sync(done_ms);
        if was_idle && self.nodes[at].process.as_ref().is_some_and(|process| process.syncing.is_some()) {
            if self.mutant == Some(Mutant::NotYetDurableIsSent) {
                let (mut out, now_ms) = (Vec::new(), self.now_ms);
                let now = self.nodes[at].now(now_ms);
                if let Some(Process { ledger, links, syncing: Some((group, _)), .. }) = &mut self.nodes[at].process {
                    links.committed(group, ledger, now, &mut out);
                }
                self.carry_out(at, out);
            }
            self.after(done_ms - self.now_ms, Event::Synced(at));
        }
    }

    fn synced(&mut self, at: usize) {
        if self.nodes[at].process.as_ref().is_none_or(|process| process.syncing.as_ref().is_none_or(|(_, done_ms)| *done_ms != self.now_ms))
        {
            return;
        }
        let (mut out, now_ms, mutant) = (Vec::new(), self.now_ms, self.mutant);
        self.nodes[at].end_sync(now_ms, |bytes| mutant.map_or(bytes.clone(), |mutant| mutant.written(bytes)), &mut out);
        self.carry_out(at, out);
        self.answer(at);
        self.sync(at);
    }

    fn dial(&mut self, at: usize) {
        if self.nodes[at].process.is_none() || self.nodes[at].forgotten {
            return;
        }
        for to in 0..self.nodes.len() {
            let is_linked = self.links.values().any(|ends| *ends == (at, to) || *ends == (to, at));
            let is_open = !self.cuts.contains(&(at, to)) && !self.cuts.contains(&(to, at));
            if to == at || is_linked || !is_open || self.nodes[to].process.is_none() || self.nodes[to].forgotten {
                continue;
            }
            self.number += 1;
            let link = self.number;
            self.links.insert(link, (at, to));
            let members = [self.nodes[at].member(), self.nodes[to].member()];
            let seed = |of: usize, other: usize| Some(if other > of { other - 1 } else { other });
            for (end, other, member) in [(at, to, &members[1]), (to, at, &members[0])] {
                let now = self.nodes[end].now(self.now_ms);
                let seed = if self.mutant.is_some_and(Mutant::trusts) { None } else { seed(end, other) };
                self.nodes[end].process.as_mut().unwrap().links.up(link, member, seed, now);
            }
        }
    }

    fn close(&mut self, link: u64) {
        if let Some((one, other)) = self.links.remove(&link) {
            for end in [one, other] {
                if let Some(process) = &mut self.nodes[end].process {
                    process.links.down(link);
                }
            }
        }
    }

    fn carry_out(&mut self, at: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Close(link, _) => self.close(link),
                Output::Send(link, message) => {
                    let Some(&(one, other)) = self.links.get(&link) else { continue };
                    let to = if one == at { other } else { one };
                    let size = if let Message::Chunk(chunk) = &message { chunk.facts.len() } else { 0 };
                    if let Some(process) = &mut self.nodes[at].process {
                        process.links.drained(link, size);
                    }
                    let message = match self.mutant {
                        Some(mutant) => mutant.sent(message, self, to),
                        None => message,
                    };
                    let calm = self.now_ms > FAULTS_END_MS;
                    if self.cuts.contains(&(at, to)) || (!calm && self.chance.percent(self.plan.loss_percent)) {
                        continue;
                    }
                    let copies = if !calm && self.chance.percent(self.plan.double_percent) { 2 } else { 1 };
                    for _ in 0..copies {
                        let late = if !calm && self.chance.percent(self.plan.late_percent) { self.chance.below(3000) } else { 0 };
                        self.after(20 + late, Event::Arrive { link, to, message: message.clone() });
                    }
                }
            }
        }
    }

    fn arrive(&mut self, link: u64, to: usize, message: Message) {
        if !self.links.contains_key(&link) {
            return;
        }
        let (mut out, now_ms) = (Vec::new(), self.now_ms);
        let now = self.nodes[to].now(now_ms);
        if let Some(Process { ledger, links, pending, .. }) = &mut self.nodes[to].process {
            links.received(link, message, ledger, pending, now, &mut out);
        }
        self.trace = self.trace.wrapping_mul(31).wrapping_add(now_ms ^ link << 20 ^ (to as u64) << 40);
        self.carry_out(to, out);
        self.sync(to);
        self.answer(to);
    }
}
