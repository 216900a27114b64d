//! Disks that are lost as soon as the others hold what they held, also while ended lives are being folded, under additions
//! whose tokens are tried at one node after the other. Nothing that was on two disks may be lost or counted twice.

use crate::{
    lives::{Lives, MEMBERS},
    node::Process,
    world::World,
};
use counter::{
    Token,
    ledger::Change,
    links::{Links, Output},
};
use std::collections::VecDeque;

const KEYS: usize = 4;
const LOSSES: usize = 30;
/// Of a thousand looks, at how many a disk may be lost, by seed: in a hurry, or with time to fold before.
const PACES: [u64; 4] = [300, 30, 8, 3];
/// More than a run has; how long the last lives take to be folded.
const LOOKS_MAX: usize = 60_000;
const CALM_LOOKS: usize = 2_000;

/// An addition of 1 that is tried until it is on two disks.
struct Addition {
    key: usize,
    token: Token,
    tries: u32,
    sent: Option<Sent>,
}

/// Where it was tried last: in which life of which node, in which of its groups, and where in its stream.
struct Sent {
    at: usize,
    own: u64,
    group: u64,
    seq: u64,
    is_duplicate: bool,
}

struct Hurry {
    lives: Lives,
    /// What is on its way; connections keep the order.
    said: VecDeque<(usize, Output)>,
    additions: Vec<Addition>,
    counted: [i64; KEYS],
}

impl Hurry {
    fn look(&mut self) {
        self.lives.now_ms += 10 + self.lives.chance.below(40);
        for at in 0..MEMBERS {
            let out = self.lives.look(at);
            self.said.extend(out.into_iter().map(|output| (at, output)));
        }
        let mut additions = std::mem::take(&mut self.additions);
        additions.retain_mut(|addition| !self.is_on_two_disks(addition));
        self.additions.extend(additions);
        for _ in 0..self.lives.chance.below(30) {
            self.sync();
            let Some((from, output)) = self.said.pop_front() else { break };
            self.carry_out(from, output);
        }
    }

    /// What waits gets onto some of the disks.
    fn sync(&mut self) {
        for at in 0..MEMBERS {
            if self.lives.chance.percent(50) {
                let (mut out, now_ms) = (Vec::new(), self.lives.now_ms);
                self.lives.nodes[at].begin_sync(now_ms);
                self.lives.nodes[at].end_sync(now_ms, |bytes| bytes, &mut out);
                self.said.extend(out.into_iter().map(|output| (at, output)));
            }
        }
    }

    fn carry_out(&mut self, from: usize, output: Output) {
        let lives = &mut self.lives;
        match output {
            Output::Close(link, _) => {
                let Some((one, other)) = lives.links.remove(&link) else { return };
                [one, other].into_iter().for_each(|end| lives.nodes[end].process.as_mut().unwrap().links.down(link));
                lives.connect(one, other);
            }
            Output::Send(link, message) => {
                let Some((one, other)) = lives.links.get(&link).copied() else { return };
                let (to, mut out) = (if one == from { other } else { one }, Vec::new());
                lives.nodes[from].process.as_mut().unwrap().links.drained(link, Links::weight(&message));
                lives.hear(to, link, message, &mut out);
                self.said.extend(out.into_iter().map(|output| (to, output)));
            }
        }
    }

    fn add(&mut self) {
        let (key, number, now_ms) = (self.lives.chance.index(KEYS), self.lives.chance.number(), self.lives.now_ms);
        let tail = [&[0, 0][..], &number.to_be_bytes()].concat();
        let uuid = uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + now_ms, tail.as_slice().try_into().unwrap()).into_uuid();
        self.additions.push(Addition { key, token: Token::parse(&uuid.to_string()).unwrap(), tries: 0, sent: None });
        self.counted[key] += 1;
    }

    /// Whether a node has said so to a try after the first, which asks for its own disk alone; if not, it may be tried again.
    fn is_on_two_disks(&mut self, addition: &mut Addition) -> bool {
        if let Some(Sent { at, own, group, seq, is_duplicate }) = addition.sent {
            let Process { ledger, links, durable, .. } = self.lives.nodes[at].process.as_ref().unwrap();
            let origins = ledger.replica.origins();
            let life = origins.find(own).filter(|life| origins[*life].own);
            if let Some(life) = life.filter(|_| group <= *durable) {
                let uses = ledger.tokens.uses_of(addition.token.number());
                let mut uses = uses.iter().filter(|used| used.taken_back.is_none());
                let is_there = !is_duplicate || uses.any(|used| links.is_on_two_disks(ledger, used.origin, used.seq));
                if addition.tries > 1 && links.replicated(life) >= seq && is_there {
                    return true;
                }
            }
            // Nobody is there to answer, or it is enough for a first try, or it takes too long.
            if life.is_none() || addition.tries == 1 || self.lives.chance.percent(1) {
                addition.sent = None;
            }
        }
        if addition.sent.is_none() && self.lives.chance.percent(50) {
            let (at, key) = (self.lives.chance.index(MEMBERS), World::key(addition.key));
            let now = self.lives.nodes[at].now(self.lives.now_ms);
            let Process { ledger, pending, .. } = self.lives.nodes[at].process.as_mut().unwrap();
            let located = ledger.replica.locate(key.by_ref());
            let is_duplicate = ledger.change(located, Change::Add(1), Some(addition.token), now, pending).unwrap().duplicate;
            let group = pending.number() - u64::from(pending.is_empty());
            let (own, seq) = (ledger.replica.origins()[ledger.replica.own()].id.epoch, ledger.replica.own_seq());
            addition.sent = Some(Sent { at, own, group, seq, is_duplicate });
            addition.tries += 1;
        }
        false
    }

    /// Whether the disks of the others hold whatever this one has shown.
    fn is_held_elsewhere(&self, at: usize) -> bool {
        let session = self.lives.nodes[at].process.as_ref().unwrap().ledger.replica.session();
        let mut others = (0..MEMBERS).filter(|other| *other != at);
        others.all(|other| self.lives.nodes[other].durable().replica.covers(&session).unwrap())
    }
}

fn run(seed: u64) -> Result<(), String> {
    let (additions, said) = (Vec::new(), VecDeque::new());
    let mut hurry = Hurry { lives: Lives::new(seed), said, additions, counted: [0; KEYS] };
    let pace = PACES[usize::try_from(seed).unwrap() % PACES.len()];
    let (mut losses, mut looks) = (0, 0);
    while losses < LOSSES {
        looks += 1;
        if looks > LOOKS_MAX {
            return Err(format!("nobody holds what n{} has", losses % MEMBERS));
        }
        hurry.look();
        if hurry.lives.chance.percent(40) && looks < 10_000 {
            hurry.add();
        }
        let at = losses % MEMBERS;
        if hurry.lives.chance.below(1000) < pace && hurry.is_held_elsewhere(at) {
            hurry.lives.lose_disk(at);
            hurry.lives.start(at);
            losses += 1;
        }
    }
    (0..CALM_LOOKS).for_each(|_| hurry.look());
    if !hurry.additions.is_empty() {
        return Err(format!("{} additions never got onto two disks", hurry.additions.len()));
    }
    for (at, node) in hurry.lives.nodes.iter().enumerate() {
        let ledger = &node.process.as_ref().unwrap().ledger;
        let values: Vec<i64> = (0..KEYS).map(|key| ledger.value(World::key(key).by_ref()).unwrap()).collect();
        if values != hurry.counted {
            return Err(format!("n{at} reads {values:?}, not {:?}", hurry.counted));
        }
    }
    Ok(())
}

#[test]
fn what_was_on_two_disks_is_counted_once_however_fast_they_are_lost() {
    // Without the range of positions in `Origins::is_said_by` seeds 3 and 23 fail.
    let seeds = if cfg!(debug_assertions) { vec![3] } else { (0..30).collect() };
    let faults: Vec<_> = seeds.into_iter().filter_map(|seed| run(seed).err().map(|fault| format!("seed {seed}: {fault}"))).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
