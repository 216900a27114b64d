//! A thousand disks lost one after the other: entries stay as few as the members, and what is left of each dead life is small.

use crate::{
    chance::Chance,
    node::{Disk, Node, Process},
    world::World,
};
use counter::{
    Reading,
    group::Group,
    ledger::{Change, Changed, Ledger},
    links::{Links, Output},
    producer::OpenRefusal,
    record::Record,
    refusal::AddError,
    table::ORIGINS_MAX,
};
use protocol::{
    name::CounterKey,
    peer::{Have, Message, OriginName, Stream},
    time::Now,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const MEMBERS: usize = 3;
const LIVES: usize = 1_000;
/// Virtual time between two looks of the nodes; long, because a run has twelve thousand of them.
const STEP_MS: u64 = 1_000;
/// More than a life needs to be folded: until it is known that no member is new, and a few messages.
const STEPS_MAX: usize = 30;

/// Nodes that are all connected, and messages that take no time.
pub(crate) struct Lives {
    pub(crate) now_ms: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) chance: Chance,
    /// The two ends of each connection.
    pub(crate) links: BTreeMap<u64, (usize, usize)>,
    next_link: u64,
    counted: i64,
}

impl Lives {
    pub(crate) fn new(seed: u64) -> Lives {
        let nodes = (0..MEMBERS).map(|at| Node::new(format!("n{at}"))).collect();
        let mut lives = Lives { now_ms: 0, nodes, chance: Chance::new(seed), links: BTreeMap::new(), next_link: 0, counted: 0 };
        (0..MEMBERS).for_each(|at| lives.start(at));
        lives
    }

    pub(crate) fn start(&mut self, at: usize) {
        self.nodes[at].start(MEMBERS - 1, false, self.now_ms, &mut self.chance);
        for other in (0..MEMBERS).filter(|other| *other != at) {
            if self.nodes[other].process.is_some() {
                self.connect(at, other);
            }
        }
    }

    pub(crate) fn connect(&mut self, at: usize, other: usize) {
        self.next_link += 1;
        self.links.insert(self.next_link, (at, other));
        let members = [at, other].map(|end| self.nodes[end].member());
        for (end, member, seed) in [(at, &members[1], other - usize::from(other > at)), (other, &members[0], at - usize::from(at > other))]
        {
            let now = self.nodes[end].now(self.now_ms);
            self.nodes[end].process.as_mut().unwrap().links.up(self.next_link, member, Some(seed), now);
        }
    }

    pub(crate) fn lose_disk(&mut self, at: usize) {
        self.nodes[at].process = None;
        self.nodes[at].disk = Disk { next_group: 1, ..Disk::default() };
        let gone: Vec<u64> = self.links.iter().filter(|(_, ends)| ends.0 == at || ends.1 == at).map(|(link, _)| *link).collect();
        for link in gone {
            self.links.remove(&link);
            self.nodes.iter_mut().filter_map(|node| node.process.as_mut()).for_each(|process| process.links.down(link));
        }
    }

    /// Lets time pass for one node; returns what it says.
    pub(crate) fn look(&mut self, at: usize) -> Vec<Output> {
        let (random, now) = (self.chance.number(), self.nodes[at].now(self.now_ms));
        let mut out = Vec::new();
        let Process { ledger, links, pending, .. } = self.nodes[at].process.as_mut().unwrap();
        links.tick(ledger, pending, Some("address"), random, now, &mut out);
        out
    }

    pub(crate) fn hear(&mut self, at: usize, link: u64, message: Message, out: &mut Vec<Output>) {
        let now = self.nodes[at].now(self.now_ms);
        let Process { ledger, links, pending, .. } = self.nodes[at].process.as_mut().unwrap();
        links.received(link, message, ledger, pending, now, out);
    }

    /// Makes durable what waits, and carries what is said to whom it is for, until nobody says anything any more.
    fn step(&mut self) {
        self.now_ms += STEP_MS;
        let mut said: Vec<(usize, Output)> = Vec::new();
        for at in 0..MEMBERS {
            let out = self.look(at);
            said.extend(out.into_iter().map(|output| (at, output)));
        }
        loop {
            for at in 0..MEMBERS {
                let mut out = Vec::new();
                self.nodes[at].begin_sync(self.now_ms);
                self.nodes[at].end_sync(self.now_ms, |bytes| bytes, &mut out);
                said.extend(out.into_iter().map(|output| (at, output)));
            }
            if said.is_empty() {
                return;
            }
            for (from, output) in std::mem::take(&mut said) {
                let Output::Send(link, message) = output else { panic!("{output:?}") };
                let Some((one, other)) = self.links.get(&link).copied() else { continue };
                let to = if one == from { other } else { one };
                let size = Links::weight(&message);
                self.nodes[from].process.as_mut().unwrap().links.drained(link, size);
                let mut out = Vec::new();
                self.hear(to, link, message, &mut out);
                said.extend(out.into_iter().map(|output| (to, output)));
            }
        }
    }

    fn add(&mut self, at: usize) {
        let key = World::key(0);
        let Process { ledger, pending, .. } = self.nodes[at].process.as_mut().unwrap();
        ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(1), None, Now::default(), pending).unwrap();
        self.counted += 1;
    }

    fn ledgers(&self) -> impl Iterator<Item = &Ledger> {
        self.nodes.iter().map(|node| &node.process.as_ref().unwrap().ledger)
    }

    /// Whether everybody reads all that was counted.
    fn is_equal(&self) -> bool {
        self.ledgers().all(|ledger| ledger.value(World::key(0).by_ref()) == Ok(self.counted))
    }

    /// Whether nothing is left of ended lives, either.
    fn is_folded(&self) -> bool {
        let counting = |ledger: &Ledger| ledger.replica.origins().iter().filter(|(_, origin)| origin.absorbed.is_none()).count();
        self.is_equal() && self.ledgers().all(|ledger| counting(ledger) == MEMBERS)
    }
}

#[test]
fn a_thousand_lost_disks_leave_as_many_entries_as_members_and_a_few_bytes_each() {
    let mut lives = Lives::new(1);
    let (mut most_entries, mut most_steps) = (0, 0);
    for life in 0..LIVES {
        for _ in 0..2 {
            (0..MEMBERS).for_each(|at| lives.add(at));
            lives.step();
        }
        // Until all of it is everywhere.
        while !lives.is_equal() {
            lives.step();
        }
        lives.lose_disk(life % MEMBERS);
        lives.start(life % MEMBERS);
        // Before it knows anything of what it has lost.
        (0..MEMBERS).for_each(|at| lives.add(at));
        let mut steps = 0;
        while !lives.is_folded() {
            lives.step();
            steps += 1;
            assert!(steps < STEPS_MAX, "life {life} is not folded");
            for ledger in lives.ledgers() {
                most_entries = most_entries.max(ledger.replica.entries_of(World::key(0).by_ref()).len());
            }
        }
        most_steps = most_steps.max(steps);
        lives.nodes.iter_mut().for_each(Node::compact);
    }
    // Of the member that has lost its disk, the life that ended is there until it is folded.
    assert!(most_entries <= MEMBERS + 1, "a counter had {most_entries} entries");
    let mut bytes = Vec::new();
    let replica = &lives.nodes[0].process.as_ref().unwrap().ledger.replica;
    let (origins, name) = (replica.origins(), CounterKey::parse("k0").unwrap());
    replica.copy_origins(&mut bytes);
    let dead = origins.count() - MEMBERS;
    assert_eq!(origins.count(), LIVES + MEMBERS, "each life is known for ever, so that it never counts again");
    println!(
        "{LIVES} lives: at most {most_entries} entries, {most_steps} s to fold; a snapshot has {} bytes for each dead life, memory {} and \
         its names; {name} reads {:?}",
        bytes.len() / dead,
        size_of::<counter::origin::Origin>(),
        replica.value(name.by_ref())
    );
    assert!(bytes.len() / dead < 100, "{} bytes for each dead life", bytes.len() / dead);
    assert!(Record::decode_all(&bytes).all(|record| record.is_ok()));
}

#[test]
fn where_no_other_life_can_be_known_it_is_said_and_nothing_is_counted_in_vain() {
    let (mut ledger, mut group) = (Ledger::new(1), Group::new(1, 1));
    assert!(ledger.replica.count_as("n0", "n0", u64::MAX, &mut group));
    for index in 1..ORIGINS_MAX {
        ledger.apply(&Record::Origin { index, own: false, epoch: index.into(), region: "n1", node: "n1" }).unwrap();
    }
    let key = World::key(0);
    let add = |ledger: &mut Ledger, group: &mut Group| {
        ledger.change(ledger.replica.locate(key.by_ref()), Change::Add(1), None, Now::default(), group)
    };
    assert_eq!(add(&mut ledger, &mut group), Ok(Changed { value: 1, duplicate: false }), "the present life goes on");

    // It starts again, and a peer offers the stream of one more life, which it cannot follow.
    let (mut links, mut out) = (Links::start(&mut ledger, 1, Now::default()), Vec::new());
    let bytes = group.records().len();
    assert!(matches!(add(&mut ledger, &mut group), Err(AddError::Storage(why)) if why.contains("65,532")), "in doubt of its present life");
    assert_eq!(ledger.open(1, &mut group), Err(OpenRefusal::Lives), "nor may a gateway count here");
    assert_eq!((group.records().len(), ledger.value(key.by_ref())), (bytes, Ok(1)), "nothing changed");
    let stranger = OriginName { region: "n2".to_owned(), node: "n2".to_owned(), epoch: u64::from(ORIGINS_MAX) };
    let streams = vec![Stream { origin: Some(stranger), seq: 1, ..Stream::default() }];
    links.up(1, "n2/n2", Some(0), Now::default());
    links.received(1, Message::Have(Have { streams, absorbed: vec![] }), &mut ledger, &mut group, Now::default(), &mut out);
    assert_eq!(links.troubles.strangers, 1);
    let mut reading = Reading { value: 1, as_of: BTreeMap::new(), lag_ms: 0, complete: true, silent: BTreeSet::new() };
    links.say_how_current(&ledger, Now::default(), &mut reading);
    assert!(!reading.complete, "what the stranger has counted is not in it");
    links.up(2, "n1/n1", None, Now::default());
    links.received(2, Message::Have(Have::default()), &mut ledger, &mut group, Now::default(), &mut out);
    assert!(!ledger.replica.is_provisional(), "no peer knows no more of this node than the disk does");
    assert_eq!(add(&mut ledger, &mut group), Ok(Changed { value: 2, duplicate: false }));
}
