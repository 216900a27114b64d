//! Gateways that count through lanes, without tokens: what a gateway was told counts once, what it was not told of counts
//! once or never, and in the end everything is known.

use crate::{
    mutant::Mutant,
    node::Process,
    world::{Event, FAULTS_END_MS, World},
};
use counter::{
    Ack, AddError, batch,
    lanes::{Input, Lanes, LinkId, OP_DEADLINE_MS, OpId, Output},
};
use protocol::{
    name::CounterKey,
    peer::Message,
    producer::{Fate, Opened, Produced},
    time::Now,
};
use std::collections::BTreeMap;

const TICK_MS: u64 = 100;
/// As in `clients.rs`.
const REPLICATION_DEADLINE_MS: u64 = 2_000;
/// The counter that half of the ops are for; each of the others has its own.
const SHARED: &str = "p";

pub(crate) struct Gateway {
    pub(crate) lanes: Lanes,
    /// The node at the other end of each connection, and the life that it was in.
    links: BTreeMap<LinkId, (usize, u64)>,
}

/// What a gateway was told of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Counted,
    /// It never was sent.
    NotCounted,
    Unknown,
}

pub(crate) struct GatewayOp {
    key: CounterKey,
    pub(crate) told: Told,
    /// No disk had it any more when it had been told that it counts.
    void: bool,
}

/// What a node will say once it is safe.
pub(crate) struct Reply {
    node: usize,
    life: u64,
    to: (usize, LinkId),
    message: Message,
    group: u64,
    /// A peer must have this much of which stream, until when.
    peer: Option<(u16, u64, u64)>,
}

impl World {
    pub(crate) fn new_gateway(&mut self) -> Gateway {
        let now = Now { mono_ms: self.now_ms, wall_ms: 0 };
        // Patient callers see what becomes of batches whose origin had to be absorbed first.
        let deadline_ms = if self.chance.percent(50) { OP_DEADLINE_MS } else { 10 * OP_DEADLINE_MS };
        Gateway { lanes: Lanes::new(self.chance.number(), deadline_ms, now), links: BTreeMap::new() }
    }

    pub(crate) fn gateway(&mut self, at: usize) {
        self.after(TICK_MS, Event::Gateway(at));
        let nodes = self.nodes.len();
        for node in 0..nodes {
            let life = self.lives[node];
            let is_open = !self.is_cut(at, node) && self.nodes[node].process.is_some() && !self.nodes[node].forgotten;
            let link = self.gateways[at].links.iter().find(|(_, end)| **end == (node, life)).map(|(link, _)| *link);
            match link {
                // A connection that carries nothing is noticed sooner or later.
                Some(link) if !is_open && self.chance.percent(20) => self.hang_up(at, link),
                Some(link) if self.now_ms < FAULTS_END_MS && self.chance.percent(1) => self.hang_up(at, link),
                Some(link) if self.now_ms < FAULTS_END_MS && self.chance.percent(1) => self.tell_gateway(at, Input::Leaving(link)),
                None if is_open => {
                    self.number += 1;
                    let link = self.number;
                    self.gateways[at].links.insert(link, (node, life));
                    self.tell_gateway(at, Input::Up { link, rank: (node + at) % nodes });
                }
                _ => {}
            }
        }
        let gone: Vec<_> =
            self.gateways[at].links.iter().filter(|(_, (node, life))| self.lives[*node] != *life).map(|(link, _)| *link).collect();
        gone.into_iter().for_each(|link| self.hang_up(at, link));
        if self.now_ms < FAULTS_END_MS {
            for _ in 0..self.chance.below(4) {
                let number = self.gateway_ops.len();
                let name = if self.chance.percent(50) { SHARED.to_owned() } else { format!("o{number}") };
                let key = CounterKey::parse(&name).unwrap();
                let op = batch::op(&key, Some(1), None);
                let ack = [Ack::Memory, Ack::Fsync, Ack::Fsync, Ack::Replicated][self.chance.index(4)];
                // What is in memory only, a crash may lose; and then what comes after it must not count in its place.
                self.gateway_ops.push(GatewayOp { key, told: Told::Nothing, void: ack == Ack::Memory });
                self.tell_gateway(at, Input::Op { id: OpId { call: number as u64, index: 0 }, op, ack });
            }
        }
        self.tell_gateway(at, Input::Tick);
    }

    fn hang_up(&mut self, at: usize, link: LinkId) {
        self.gateways[at].links.remove(&link);
        let unresolved = self.gateways[at].lanes.unresolved_batches();
        self.tell_gateway(at, Input::Down(link));
        if self.mutant == Some(Mutant::UnresolvedIsSentElsewhere) {
            for (producer, number) in unresolved {
                let never = Produced { producer, number, fate: Fate::Never.into(), ..Produced::default() };
                self.tell_gateway(at, Input::Received(link, Message::Produced(never)));
            }
        }
    }

    fn tell_gateway(&mut self, at: usize, input: Input) {
        let now = Now { mono_ms: self.now_ms, wall_ms: 0 };
        let mut out = Vec::new();
        self.gateways[at].lanes.handle(input, now, &mut out);
        for output in out {
            match output {
                Output::Send(link, message) => {
                    let Some(&(node, life)) = self.gateways[at].links.get(&link) else { continue };
                    self.carry(at, node, &Event::AtNode { node, life, from: (at, link), message });
                }
                Output::Settled(id, result) => {
                    let op = &mut self.gateway_ops[usize::try_from(id.call).unwrap()];
                    assert_eq!(op.told, Told::Nothing, "told twice");
                    op.told = match result {
                        Ok(_) => Told::Counted,
                        Err(AddError::Storage(why)) if why.contains("unknown") || why.contains("no longer be known") => Told::Unknown,
                        Err(AddError::Storage(_)) => Told::NotCounted,
                        Err(other) => panic!("{other}"),
                    };
                }
            }
        }
    }

    fn carry(&mut self, gateway: usize, node: usize, event: &Event) {
        let calm = self.now_ms > FAULTS_END_MS;
        if self.is_cut(gateway, node) || (!calm && self.chance.percent(self.plan.loss_percent / 4)) {
            return;
        }
        let copies = if !calm && self.chance.percent(self.plan.double_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let late = if !calm && self.chance.percent(self.plan.late_percent / 4) { self.chance.below(3000) } else { 0 };
            self.after(10 + late, event.clone());
        }
    }

    /// A message has come to a node, even if the gateway has hung up since.
    pub(crate) fn at_node(&mut self, node: usize, life: u64, to: (usize, LinkId), message: Message) {
        let now = self.nodes[node].now(self.now_ms);
        let (now_ms, mutant) = (self.now_ms, self.mutant);
        if self.lives[node] != life {
            return;
        }
        let Some(Process { ledger, pending, .. }) = &mut self.nodes[node].process else { return };
        let (mut wants_peer, mut is_safe) = (false, false);
        let message = match message {
            Message::Open(open) => match ledger.open(open.producer, pending) {
                Ok(epoch) => Message::Opened(Opened { producer: open.producer, epoch, refusal: String::new() }),
                Err(refusal) => Message::Opened(Opened { producer: open.producer, epoch: 0, refusal: refusal.to_string() }),
            },
            Message::Produce(produce) => {
                let (mut produced, _) = batch::produce(ledger, &produce, now, pending).unwrap();
                wants_peer = produce.ack == Ack::Replicated as u32;
                is_safe = produce.ack == Ack::Memory as u32 && produced.fate() == Fate::Done;
                let is_known = ledger
                    .replica
                    .origins()
                    .find(produce.epoch)
                    .is_some_and(|origin| ledger.marks.get(origin, produce.producer).is_some() && origin != ledger.replica.own());
                if mutant == Some(Mutant::NeverIsSaidEarly) && produced.fate() == Fate::Unknown && is_known {
                    produced.fate = Fate::Never.into();
                }
                Message::Produced(produced)
            }
            Message::Close(close) => return ledger.close(close.producer, close.epoch, pending),
            other => panic!("{other:?}"),
        };
        let (own, seq) = (ledger.replica.own(), ledger.replica.own_seq());
        let group = if is_safe { 0 } else { pending.number() - u64::from(pending.is_empty()) };
        let peer = wants_peer.then_some((own, seq, now_ms + REPLICATION_DEADLINE_MS));
        self.replies.push(Reply { node, life, to, message, group, peer });
        self.sync(node);
        self.reply(node);
    }

    /// Says what is safe by now.
    pub(crate) fn reply(&mut self, at: usize) {
        let Some(process) = &self.nodes[at].process else { return };
        let (now_ms, life, mutant) = (self.now_ms, self.lives[at], self.mutant);
        let is_safe = |reply: &Reply| {
            let is_durable = reply.group <= process.durable || mutant == Some(Mutant::AckBeforeSync);
            let has_peer = reply.peer.is_none_or(|(own, seq, until_ms)| process.links.replicated(own) >= seq || until_ms < now_ms);
            is_durable && has_peer
        };
        let mut safe = Vec::new();
        let mut waiting = Vec::new();
        for reply in std::mem::take(&mut self.replies) {
            match reply.node == at {
                true if reply.life != life => {}
                true if is_safe(&reply) => safe.push(reply),
                _ => waiting.push(reply),
            }
        }
        self.replies = waiting;
        for Reply { to: (gateway, link), message, .. } in safe {
            self.carry(gateway, at, &Event::AtGateway { gateway, link, message });
        }
    }

    pub(crate) fn at_gateway(&mut self, gateway: usize, link: LinkId, message: Message) {
        // What a node said before it crashed may be lost with its disk by now.
        if self.gateways[gateway].links.get(&link).is_some_and(|(node, life)| self.lives[*node] == *life) {
            self.tell_gateway(gateway, Input::Received(link, message));
        }
    }

    /// As for clients: what was told to count, and no disk has any more, may be lost.
    pub(crate) fn void_gateway_ops(&mut self, disks: &[counter::ledger::Ledger]) {
        for op in self.gateway_ops.iter_mut().filter(|op| op.told == Told::Counted) {
            // Of the shared counter it cannot be told whose increments are gone.
            op.void |= op.key.as_str() == SHARED || disks.iter().all(|disk| disk.nearest(op.key.by_ref()) == 0);
        }
    }

    /// What is wrong with what the gateways were told, as a node reads it.
    pub(crate) fn wrongly_told(&self, process: &Process) -> Result<(), String> {
        let (mut least, mut most) = (0, 0);
        for op in &self.gateway_ops {
            let (low, high) = match op.told {
                Told::Counted if op.void => (0, 1),
                Told::Counted => (1, 1),
                Told::NotCounted => (0, 0),
                Told::Unknown => (0, 1),
                Told::Nothing => return Err(format!("{} was told nothing", op.key)),
            };
            if op.key.as_str() == SHARED {
                (least, most) = (least + low, most + high);
                continue;
            }
            let value = process.ledger.nearest(op.key.by_ref());
            if !(low..=high).contains(&value) {
                return Err(format!("{} is {value} and was told {:?}", op.key, op.told));
            }
        }
        let value = process.ledger.nearest(CounterKey::parse(SHARED).unwrap().by_ref());
        if !(least..=most).contains(&value) {
            return Err(format!("{SHARED} is {value}, not in {least}..={most}"));
        }
        for gateway in &self.gateways {
            for epoch in gateway.lanes.unresolved() {
                // An origin that was lost before anybody had heard of it will tell nobody.
                if process.ledger.replica.origins().find(epoch).is_some() {
                    return Err(format!("a batch for {epoch:x} is unresolved"));
                }
            }
        }
        Ok(())
    }

    fn is_cut(&self, gateway: usize, node: usize) -> bool {
        let gateway = self.nodes.len() + gateway;
        self.cuts.contains(&(gateway, node)) || self.cuts.contains(&(node, gateway))
    }
}
