//! Clients that want each increment counted once, and what they may take for granted.

use crate::{
    mutant::Mutant,
    node::{Node, Process},
    stock::STOCK,
    windows::{self, VIEWS},
    world::{Event, FAULTS_END_MS, World},
};
use counter::{
    Token,
    ledger::{Change, Ledger},
    refusal::AddError,
    tokens::Used,
};
use std::collections::BTreeSet;

/// How long a client waits for a peer's disk before it is content with the node's own.
const REPLICATION_DEADLINE_MS: u64 = 2_000;

/// Where an increment was sent last.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) node: usize,
    /// The group that it is in there, and its place in which stream.
    pub(crate) group: u64,
    pub(crate) seq: u64,
    pub(crate) own: u16,
    pub(crate) since_ms: u64,
}

/// An increment that a client wants counted once.
pub(crate) struct Op {
    pub(crate) key: usize,
    pub(crate) by: i64,
    pub(crate) token: Option<Token>,
    pub(crate) minted_ms: u64,
    /// When it happened, in seconds since 1970.
    pub(crate) at_s: u64,
    pub(crate) sent: Option<Sent>,
    pub(crate) wants_peer: bool,
    pub(crate) acked: bool,
    /// Where it was counted: the epoch, and the position in that stream.
    pub(crate) uses: Vec<(u64, u64)>,
    /// It may or may not have been counted.
    pub(crate) unknown: bool,
}

impl World {
    /// What counter `key` may read: the increments that must count, and those that may.
    pub(crate) fn expected(&self, key: usize) -> (i64, i64, i64) {
        self.expected_of(|op| op.key == key, |op| op.by)
    }

    /// The same of some increments, of each so much.
    pub(crate) fn expected_of(&self, is_one: impl Fn(&Op) -> bool, amount: impl Fn(&Op) -> i64) -> (i64, i64, i64) {
        let (mut sure, mut low, mut high) = (0, 0, 0);
        for op in self.ops.iter().filter(|op| is_one(op)) {
            match (op.acked && !op.unknown, op.unknown || op.sent.is_some()) {
                (true, _) => sure += amount(op),
                (false, true) if amount(op) > 0 => high += amount(op),
                (false, true) => low += amount(op),
                _ => {}
            }
        }
        (sure, sure + low, sure + high)
    }

    /// A disk is gone, or as it was: what no disk has any more may be lost.
    pub(crate) fn void(&mut self) {
        self.disks_lost += 1;
        let disks: Vec<Ledger> = self.nodes.iter().map(Node::durable).collect();
        self.void_gateway_ops(&disks);
        self.void_votes(&disks);
        // What any disk knows as taken back will count nowhere, sooner or later.
        let mut taken_back = BTreeSet::new();
        for disk in &disks {
            for token in self.ops.iter().filter_map(|op| op.token) {
                let uses = disk.tokens.uses_of(token.number()).into_iter().filter(|used| used.taken_back.is_some());
                taken_back.extend(uses.map(|used| (token.number(), disk.replica.origins()[used.origin].id.epoch)));
            }
        }
        let has = |disk: &Ledger, op: &Op| {
            let origins = disk.replica.origins();
            let is_there = |index: u16, seq: u64| origins[index].absorbed.map_or(origins[index].seq, |(_, _, upto)| upto) >= seq;
            match op.token {
                Some(token) => {
                    let counts = |used: &Used| {
                        !taken_back.contains(&(token.number(), origins[used.origin].id.epoch)) && is_there(used.origin, used.seq)
                    };
                    disk.tokens.uses_of(token.number()).iter().any(counts)
                }
                None => op.uses.iter().any(|(epoch, seq)| origins.find(*epoch).is_some_and(|index| is_there(index, *seq))),
            }
        };
        for op in self.ops.iter_mut().filter(|op| !op.uses.is_empty()) {
            op.unknown |= !disks.iter().any(|disk| has(disk, op));
        }
    }

    /// Acknowledges what is as safe as its client wants.
    pub(crate) fn answer(&mut self, at: usize) {
        self.reply(at);
        self.answer_votes(at);
        let Some(process) = &self.nodes[at].process else { return };
        let now_ms = self.now_ms;
        for op in self.ops.iter_mut().filter(|op| !op.acked) {
            let Some(Sent { node, group, seq, own, since_ms }) = op.sent.filter(|sent| sent.node == at) else { continue };
            let is_durable = group <= process.durable || self.mutant == Some(Mutant::AckBeforeSync);
            let is_safe = !op.wants_peer || process.links.replicated(own) >= seq || since_ms + REPLICATION_DEADLINE_MS < now_ms;
            if node == at && is_durable && is_safe {
                op.acked = true;
                op.unknown = false;
            }
        }
    }

    pub(crate) fn client(&mut self, number: usize) {
        let is_over = self.now_ms > FAULTS_END_MS + 15_000;
        if self.now_ms < FAULTS_END_MS {
            let wait_ms = self.chance.between(20, 200);
            self.after(wait_ms, Event::Client(number + 1));
            let by = i64::try_from(self.chance.below(9)).unwrap() - 2;
            let counted = (self.chance.index(3), if by == 0 { 5 } else { by });
            let (key, by) = self.order().or_else(|| self.view()).unwrap_or(counted);
            let at_s = self.happened_s();
            let token = self.chance.percent(60).then(|| {
                let ms = 1_700_000_000_000 + self.now_ms;
                let tail = [&[0, 0][..], &(number as u64).to_be_bytes()].concat();
                Token::parse(&uuid::Builder::from_unix_timestamp_millis(ms, tail.as_slice().try_into().unwrap()).into_uuid().to_string())
                    .unwrap()
            });
            let wants_peer = self.chance.percent(40);
            self.ops.push(Op {
                key,
                by,
                token,
                minted_ms: self.now_ms,
                at_s,
                sent: None,
                wants_peer,
                acked: false,
                uses: vec![],
                unknown: false,
            });
            let last = self.ops.len() - 1;
            self.send(last);
            self.vote();
            if self.plan.resets && self.chance.percent(10) {
                let at = self.chance.index(self.nodes.len());
                if let Some(Process { ledger, pending, .. }) = &mut self.nodes[at].process {
                    let key = World::key(3);
                    let located = ledger.replica.locate(key.by_ref());
                    _ = ledger.change(located, Change::Reset, None, protocol::time::Now::default(), pending);
                    let located = ledger.replica.locate(key.by_ref());
                    _ = ledger.change(located, Change::Add(3), None, protocol::time::Now::default(), pending);
                }
            }
        } else if !is_over {
            self.after(100, Event::Client(number));
        }
        // A client that hears nothing tries its token elsewhere, often while the first node is still at it.
        for at in 0..self.ops.len() {
            let op = &self.ops[at];
            let is_lost = op.sent.is_none_or(|sent| sent.since_ms + 1_500 < self.now_ms);
            if op.token.is_some() && !op.acked && is_lost && self.chance.percent(30) && op.minted_ms + 500_000 > self.now_ms {
                self.send(at);
            }
        }
    }

    pub(crate) fn send(&mut self, number: usize) {
        let at = self.chance.index(self.nodes.len());
        let now_ms = self.now_ms;
        let now = self.nodes[at].now(now_ms);
        if self.nodes[at].forgotten {
            return;
        }
        let Some(process) = &mut self.nodes[at].process else { return };
        let op = &mut self.ops[number];
        if op.sent.is_some() {
            op.unknown = true;
        }
        let key = World::key(op.key);
        let located = process.ledger.replica.locate(key.by_ref());
        let is_bounded = op.key == STOCK && self.mutant != Some(Mutant::RightsAreNotAsked);
        let change = match op.key {
            VIEWS => Change::AddWindowed(op.by, windows::event(op.at_s)),
            _ if is_bounded => Change::AddBounded(op.by),
            _ => Change::Add(op.by),
        };
        match process.ledger.change(located, change, op.token, now, &mut process.pending) {
            Ok(changed) => {
                let replica = &process.ledger.replica;
                if !changed.duplicate {
                    op.uses.push((replica.origins()[replica.own()].id.epoch, replica.own_seq()));
                }
                let group = process.pending.number() - u64::from(process.pending.is_empty());
                let (seq, own) = (process.ledger.replica.own_seq(), process.ledger.replica.own());
                op.sent = Some(Sent { node: at, group, seq, own, since_ms: now_ms });
            }
            Err(AddError::TokenExpired { .. }) => {}
            // Its wish for more may be on its way to the disk.
            Err(AddError::Short(_)) if is_bounded => {}
            Err(other) => panic!("{other}"),
        }
        self.answer(at);
        self.sync(at);
    }
}
