//! Pure: laws of telling: whatever fails, a node is marked only when all that is there is announced, and in the end all is settled.

use super::telling::{Held, Input, LEASE_MS, Mark, Marked, Output, Place, Question, Settled, Telling};
use proptest::prelude::*;
use protocol::time::Now;
use ring_coordinator::slot::Slot;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Gateways, of which each wants to tell; and slots of the node, more than are settled at once.
const GATEWAYS: usize = 3;
const SLOTS: u16 = 150;

fn name(gateway: usize) -> Arc<str> {
    format!("g{gateway}").into()
}

/// What the node keeps.
#[derive(Clone, Debug, Default)]
struct Data {
    lease: Option<(usize, u64)>,
    ask: Option<Question>,
    answers: BTreeMap<usize, Question>,
    mark: Mark,
    settled: BTreeSet<Slot>,
    /// Whose rows are announced and valid.
    announced: BTreeSet<usize>,
}

#[derive(Debug)]
struct World {
    now: Now,
    life: u64,
    ring: u64,
    data: Data,
    tellings: Vec<Telling>,
    /// The ring that each goes by; nothing of one that is dead.
    knows: Vec<Option<u64>>,
    /// Orders whose outcome nobody hears, in a hundred.
    loss: u64,
    random: u64,
}

impl World {
    fn new() -> World {
        let now = Now::default().plus_ms(1_000_000);
        let tellings = (0..GATEWAYS).map(|gateway| Telling::new(name(gateway))).collect();
        World { now, life: 1, ring: 1, data: Data::default(), tellings, knows: vec![Some(1); GATEWAYS], loss: 0, random: 1 }
    }

    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn life(&self) -> Arc<str> {
        self.life.to_string().into()
    }

    fn living(&self) -> impl Iterator<Item = usize> {
        (0..GATEWAYS).filter(|gateway| self.knows[*gateway].is_some())
    }

    fn tick(&mut self, gateway: usize) {
        let Some(ring) = self.knows[gateway] else { return };
        let slots: Arc<[Slot]> = Slot::all().take(SLOTS.into()).collect();
        // A gateway that knows the newest ring knows that slots are on their way until all know it.
        let is_still = ring < self.ring || self.living().all(|other| self.knows[other] == Some(ring));
        let place = Place { life: self.life(), ring, is_still, slots };
        let alive = (!self.chance().is_multiple_of(4)).then(|| self.living().map(name).collect());
        let random = self.chance();
        let mut inputs = VecDeque::from([Input::Place(Some(place)), Input::Alive(alive), Input::Tick(random)]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.tellings[gateway].handle(input, self.now, &mut out);
            for order in out {
                let (is_lost, is_unheard) = (self.chance() % 100 < self.loss, self.chance() % 100 < self.loss);
                if !is_lost {
                    let outcome = self.carry_out(gateway, order.clone());
                    if !is_unheard {
                        inputs.extend(outcome);
                        continue;
                    }
                }
                // A call to settle always ends, though nobody knows how.
                if let Output::Settle(slots) = order {
                    inputs.extend(slots.into_iter().map(|slot| Input::Settled(slot, Settled::Retry)));
                }
            }
        }
    }

    fn carry_out(&mut self, gateway: usize, order: Output) -> Vec<Input> {
        let (now_ms, life, ring) = (self.now.mono_ms, self.life(), self.knows[gateway].unwrap());
        let data = &mut self.data;
        data.lease.take_if(|(_, until_ms)| now_ms >= *until_ms);
        let holds = data.lease.is_some_and(|(holder, _)| holder == gateway);
        match order {
            Output::Hold if holds || data.lease.is_none() => {
                data.lease = Some((gateway, now_ms + LEASE_MS));
                vec![Input::Held(Held::Here(data.mark.clone()), now_ms)]
            }
            Output::Hold => vec![Input::Held(Held::ByAnother, now_ms)],
            Output::Ask(question) => {
                if holds {
                    (data.ask, data.answers) = (Some(question), BTreeMap::new());
                }
                vec![]
            }
            Output::Mark(question, gateways) => {
                let is_older = data.mark.life == question.life && data.mark.ring > question.ring;
                if !holds || data.ask.as_ref() != Some(&question) || question.life != life || is_older {
                    return vec![Input::Marked(Marked::Lost)];
                }
                let missing = gateways.iter().find(|of| !data.answers.keys().any(|answered| name(*answered) == **of));
                if let Some(missing) = missing {
                    return vec![Input::Marked(Marked::Waits(missing.clone()))];
                }
                let unannounced: Vec<usize> =
                    (0..GATEWAYS).filter(|of| self.knows[*of].is_some() && !data.announced.contains(of)).collect();
                // Unless slots have moved since: then this mark is of an older ring than they have.
                assert!(unannounced.is_empty() || question.ring < self.ring, "marked without {unannounced:?}");
                data.mark = Mark { life, ring: question.ring, is_passed: false };
                (data.ask, data.settled) = (None, BTreeSet::new());
                vec![Input::Marked(Marked::Yes)]
            }
            Output::Settle(slots) => {
                let is_marked = data.mark.life == life && data.mark.ring == ring;
                if is_marked {
                    data.settled.extend(&slots);
                }
                let outcome = if is_marked { Settled::Yes } else { Settled::Unmarked };
                slots.into_iter().map(|slot| Input::Settled(slot, outcome)).collect()
            }
            Output::Pass => {
                let is_marked = holds && data.mark.life == life && data.mark.ring == ring;
                if is_marked {
                    assert_eq!(data.settled.len(), usize::from(SLOTS), "passed over without looking");
                    data.mark.is_passed = true;
                }
                vec![Input::Passed(is_marked)]
            }
        }
    }

    /// As a gateway's look at the node: first the question, then its rows.
    fn answer(&mut self, gateway: usize) {
        let Some(question) = self.data.ask.clone() else { return };
        if self.knows[gateway] == Some(question.ring) && question.life == self.life() && self.data.announced.contains(&gateway) {
            self.data.answers.insert(gateway, question);
        }
    }

    fn announce(&mut self, gateway: usize) {
        if self.knows[gateway] == Some(self.ring) {
            self.data.announced.insert(gateway);
        }
    }

    fn happen(&mut self, what: u8, gateway: usize) {
        match what {
            0..40 => self.tick(gateway),
            40..60 => self.answer(gateway),
            60..75 => self.announce(gateway),
            75..80 => self.data = Data::default(),
            80..84 => {
                // Another process, with the data; no generation of it is valid.
                self.life += 1;
                self.data.announced.clear();
            }
            84..88 => {
                self.ring += 1;
                self.data.announced.clear();
            }
            88..94 => self.knows[gateway] = Some(self.ring),
            94..96 => {
                self.knows[gateway] = None;
                self.data.announced.remove(&gateway);
            }
            _ => self.tellings[gateway] = Telling::new(name(gateway)),
        }
        self.now = self.now.plus_ms(if what.is_multiple_of(7) { 4_000 } else { 200 });
    }
}

#[test]
fn a_question_reads_back_and_nothing_else_is_one() {
    let question = Question { number: 0xfe, ring: 12, life: "abc.3".into() };
    assert_eq!(question.to_string(), "fe 12 abc.3");
    assert_eq!("fe 12 abc.3".parse(), Ok(question));
    for bad in ["", "fe 12", "fe x abc.3", "fe 12 abc.3 4", "g 12 abc"] {
        assert!(bad.parse::<Question>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_node_is_settled_when_all_have_answered_and_again_after_each_change() {
    let mut world = World::new();
    let seconds = |world: &mut World, count: u64| {
        for _ in 0..count {
            world.now = world.now.plus_ms(1_000);
            (0..GATEWAYS).for_each(|gateway| world.tick(gateway));
        }
    };
    seconds(&mut world, 20);
    assert!(world.data.mark == Mark::default() && world.data.ask.is_some(), "nobody has answered");
    for gateway in 0..GATEWAYS {
        world.announce(gateway);
        world.answer(gateway);
    }
    seconds(&mut world, 20);
    assert!(world.data.mark.is_passed && world.tellings[0].is_settled());
    assert_eq!(world.tellings.iter().filter(|telling| telling.lease_ms().is_some()).count(), 1);
    // Data that was lost is noticed when the lease is renewed.
    world.data = Data::default();
    seconds(&mut world, 20);
    assert!(!world.tellings.iter().any(Telling::is_settled) && world.data.ask.is_some());
}

proptest! {
    #[test]
    fn it_is_marked_only_when_all_is_announced_and_in_the_end_all_is_settled(
        events in prop::collection::vec((0u8..100, 0..GATEWAYS), 0..300),
        loss in 0u64..30,
        seed in any::<u64>(),
    ) {
        let mut world = World::new();
        (world.loss, world.random) = (loss, seed);
        for (what, gateway) in events {
            world.happen(what, gateway);
        }
        world.loss = 0;
        world.knows = vec![Some(world.ring); GATEWAYS];
        for _ in 0..60 {
            for gateway in 0..GATEWAYS {
                world.announce(gateway);
                world.answer(gateway);
                world.tick(gateway);
            }
            world.now = world.now.plus_ms(1_000);
        }
        let mark = &world.data.mark;
        prop_assert!(mark.is_passed && mark.life == world.life() && mark.ring == world.ring, "{:?}", world.data);
        prop_assert_eq!(world.tellings.iter().filter(|telling| telling.is_settled() && telling.lease_ms().is_some()).count(), 1);
    }
}
