//! Pure: what holds of a channel that two gateways follow in another region, whatever becomes of their links and of the streams.

use super::follows::{Follows, Input, Order, Word};
use crate::bus::{
    import::Imported,
    stream::{Retention, Stream},
};
use proptest::prelude::*;
use protocol::{
    message::{Publication, StreamPosition},
    name::Channel,
};
use std::collections::{BTreeSet, VecDeque};

const CARRIERS: usize = 2;
const HERE: Retention = Retention { size: 8, ttl_ms: 1_000 };
const THERE: Retention = Retention { size: 5, ttl_ms: 1_000 };
const ALL: usize = 1_000;

#[derive(Clone, Debug)]
enum Step {
    PublishThere,
    PublishHere,
    /// The carrier's oldest message gets to the region, or one of the region's to it.
    Ask(usize),
    Tell(usize),
    Cut(usize),
    Heal(usize),
    Want(usize),
    Leave(usize),
    /// The stream there, or here, begins anew.
    LoseThere,
    LoseHere,
    /// A client that was away comes back.
    Recover,
}

/// A gateway here, and its connection.
struct Carrier {
    follows: Follows,
    is_up: bool,
    /// Questions and what was known then; `None` is the word that no more is wanted.
    asked: VecDeque<Option<(u64, Option<StreamPosition>)>>,
    told: VecDeque<Input>,
    /// The question and the last offset that the region has told, while it tells.
    last: Option<(u64, u64)>,
    /// How far it has seen the region's stream come in, for as long as it follows.
    seen: Option<StreamPosition>,
}

struct World {
    there: Stream,
    here: Stream,
    lives: u32,
    number: u64,
    carriers: Vec<Carrier>,
    /// Where the client is, the last publication of the region that it has since it last began anew, and the last of all.
    place: StreamPosition,
    last: Option<u64>,
    highest: u64,
    /// What was taken in of the region, as long as somebody who follows it knows how far that is.
    taken: BTreeSet<u64>,
}

fn channel() -> Channel {
    Channel::parse("a").unwrap()
}

fn told(follow: u64, word: Word) -> Input {
    Input::Told { channel: channel(), follow, word }
}

fn numbered(number: u64) -> Publication {
    Publication { data: number.to_string().into(), ..Publication::default() }
}

fn number(publication: &Publication) -> u64 {
    std::str::from_utf8(&publication.data).unwrap().parse().unwrap()
}

impl World {
    fn new() -> World {
        let carrier = |_| Carrier {
            follows: Follows::new("eu".into()),
            is_up: false,
            asked: VecDeque::new(),
            told: VecDeque::new(),
            last: None,
            seen: None,
        };
        let here = Stream::new("h0".into(), 0);
        World {
            there: Stream::new("t0".into(), 0),
            place: here.position(),
            here,
            lives: 0,
            number: 0,
            carriers: (0..CARRIERS).map(carrier).collect(),
            last: None,
            highest: 0,
            taken: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::PublishThere => self.publish_there(),
            Step::PublishHere => _ = self.here.append(numbered(0), HERE, 0),
            Step::Ask(carrier) => self.ask(carrier),
            Step::Tell(carrier) => {
                if let Some(input) = self.carriers[carrier].told.pop_front() {
                    self.feed(carrier, input);
                }
            }
            Step::Cut(carrier) => {
                if std::mem::take(&mut self.carriers[carrier].is_up) {
                    self.carriers[carrier].asked.clear();
                    self.carriers[carrier].told.clear();
                    self.carriers[carrier].last = None;
                    self.feed(carrier, Input::Down);
                }
            }
            Step::Heal(carrier) => {
                if !std::mem::replace(&mut self.carriers[carrier].is_up, true) {
                    self.feed(carrier, Input::Up);
                }
            }
            Step::Want(carrier) => self.feed(carrier, Input::Want(channel())),
            Step::Leave(carrier) => {
                self.carriers[carrier].seen = None;
                self.feed(carrier, Input::Leave(channel()));
            }
            Step::LoseThere => {
                self.lives += 1;
                self.there = Stream::new(format!("t{}", self.lives).into(), 0);
                for carrier in &mut self.carriers {
                    if let Some((follow, _)) = carrier.last.take() {
                        carrier.told.push_back(told(follow, Word::Ended { again: true }));
                    }
                }
            }
            Step::LoseHere => {
                self.lives += 1;
                // Unless one is behind by a whole stream there, for then nobody can say which of the two is over.
                let known = self.here.known("eu").cloned();
                let seen = || self.carriers.iter().filter_map(|carrier| carrier.seen.as_ref());
                let is_of_one = seen().all(|seen| known.as_ref().is_some_and(|known| known.epoch == seen.epoch));
                if !is_of_one || seen().all(|seen| Some(seen) != known.as_ref()) {
                    self.taken.clear();
                }
                self.here = Stream::new(format!("h{}", self.lives).into(), 0);
                (0..CARRIERS).for_each(|carrier| self.feed(carrier, Input::Lost(channel())));
            }
            Step::Recover => self.recover(),
        }
    }

    fn publish_there(&mut self) {
        self.number += 1;
        let publication = self.there.append(numbered(self.number), THERE, 0);
        for carrier in &mut self.carriers {
            if let Some((follow, last)) = &mut carrier.last {
                let after = std::mem::replace(last, publication.offset);
                carrier.told.push_back(told(*follow, Word::Next { after, publication: publication.clone() }));
            }
        }
    }

    /// As the region answers.
    fn ask(&mut self, carrier: usize) {
        let Some(asked) = self.carriers[carrier].asked.pop_front() else { return };
        let carrier = &mut self.carriers[carrier];
        let Some((follow, since)) = asked else {
            carrier.last = None;
            return;
        };
        let from = since.as_ref().filter(|since| since.epoch == self.there.position().epoch).map_or(0, |since| since.offset);
        let own = self.there.own(from, ALL, 0);
        let follows = since.as_ref().is_none_or(|since| own.follows(since));
        carrier.told.push_back(told(follow, Word::From { place: own.place(), follows }));
        carrier.last = Some((follow, own.last.offset));
        for (after, publication) in own.publications {
            carrier.told.push_back(told(follow, Word::Next { after, publication }));
        }
        carrier.told.push_back(told(follow, Word::Current));
    }

    fn feed(&mut self, carrier: usize, input: Input) {
        let mut orders = Vec::new();
        self.carriers[carrier].follows.handle(input, &mut orders);
        for order in orders {
            match order {
                Order::Read(channel) => {
                    let known = self.here.known("eu").cloned();
                    if known.is_some() {
                        self.carriers[carrier].seen.clone_from(&known);
                    }
                    self.feed(carrier, Input::Known(channel, known));
                }
                Order::Ask(_, follow, since) => self.carriers[carrier].asked.push_back(Some((follow, since))),
                Order::Unask(_) => self.carriers[carrier].asked.push_back(None),
                Order::Import(channel, import) => {
                    let at = import.at.clone();
                    let (imported, publication) = self.here.import(import, HERE, 0);
                    if let Some(publication) = publication {
                        let number = number(&publication);
                        assert!(self.taken.insert(number), "{number} comes again");
                    }
                    if imported == Imported::Behind {
                        self.feed(carrier, Input::Behind(channel));
                    } else {
                        let seen = &mut self.carriers[carrier].seen;
                        if seen.as_ref().is_none_or(|seen| seen.epoch != at.epoch || seen.offset < at.offset) {
                            *seen = Some(at.clone());
                        }
                        self.feed(carrier, Input::Imported(channel, at));
                    }
                }
                Order::Ready(_) | Order::Deliver(..) => {}
            }
        }
    }

    /// Whoever is told that nothing was missed has every publication of the region, and nobody has one twice.
    fn recover(&mut self) {
        let recovery = self.here.recover(&self.place, ALL, 0);
        if !recovery.recovered {
            self.last = None;
        }
        for publication in recovery.publications.iter().filter(|publication| publication.region == "eu") {
            let number = number(publication);
            assert!(self.last.is_none_or(|last| number == last + 1), "{number} after {:?}", self.last);
            assert!(number > self.highest, "{number} after {}", self.highest);
            (self.last, self.highest) = (Some(number), number);
        }
        self.place = recovery.top;
    }

    fn settle(&mut self) {
        (0..CARRIERS).for_each(|carrier| {
            self.step(&Step::Heal(carrier));
            self.step(&Step::Want(carrier));
        });
        while let Some(carrier) = (0..CARRIERS).find(|at| !self.carriers[*at].asked.is_empty() || !self.carriers[*at].told.is_empty()) {
            self.step(&Step::Ask(carrier));
            self.step(&Step::Tell(carrier));
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let carrier = 0..CARRIERS;
    prop_oneof![
        6 => Just(Step::PublishThere),
        2 => Just(Step::PublishHere),
        6 => carrier.clone().prop_map(Step::Ask),
        10 => carrier.clone().prop_map(Step::Tell),
        2 => carrier.clone().prop_map(Step::Cut),
        4 => carrier.clone().prop_map(Step::Heal),
        4 => carrier.clone().prop_map(Step::Want),
        1 => carrier.prop_map(Step::Leave),
        1 => Just(Step::LoseThere),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn what_a_recovered_client_has_of_another_region_is_complete_and_single(
        steps in proptest::collection::vec(prop_oneof![10 => step(), 1 => Just(Step::Recover)], 1..120)
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.settle();
        world.step(&Step::Recover);
        world.publish_there();
        world.settle();
        world.step(&Step::Recover);
        prop_assert_eq!(world.highest, world.number, "what is published while all is well arrives");
        prop_assert_eq!(world.here.known("eu"), Some(&world.there.position()));
    }

    #[test]
    fn who_was_here_when_the_region_was_silent_misses_nothing_of_it_without_a_word(
        before in 0..8, steps in proptest::collection::vec(step(), 1..120)
    ) {
        let mut world = World::new();
        (0..before).for_each(|_| world.publish_there());
        world.settle();
        world.step(&Step::Recover);
        world.last = Some(world.number);
        steps.iter().for_each(|step| world.step(step));
        world.settle();
        world.step(&Step::Recover);
    }

    #[test]
    fn a_stream_here_that_begins_anew_goes_on_with_the_region_where_it_was(
        steps in proptest::collection::vec(prop_oneof![20 => step(), 2 => Just(Step::LoseHere)], 1..120)
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.settle();
        world.publish_there();
        world.settle();
        prop_assert_eq!(world.here.known("eu"), Some(&world.there.position()));
    }
}
