//! Pure: one node, and the gateway that tells services of its changes: when all that happens there is logged for them.
//!
//! Of a slot the node keeps what services were told last; scripts log what differs from it. In a generation that is not
//! *told*, as after a loss or in a slot that has just come, nothing is logged: rows are announced anew one by one, and
//! whoever is not there yet is not gone. When all are there the difference is logged once, and from then on everything is.
//!
//! 1. The teller, who holds the lease, writes a question with a number, the ring and the node's life.
//! 2. A gateway that goes by this ring reads the question, and only then asks the node of each slot in which it has clients
//!    whether its rows stand in the valid generation. If so it answers. Every gateway that may be alive must.
//! 3. The node is marked for this life and ring, if question and answers are there: had it lost its data since, they would
//!    be gone, and those who answer for an older life or ring are not counted. Not while slots are on their way: then what
//!    was told of them comes after the mark.
//! 4. Every slot of the node is settled: compared, and told from then on.
//!
//! **Between the mark and the settling no edge is missed and none told twice.** What services were told (*T*) changes only in
//! steps that log, and those log only what changes it: so of a channel the log alternates, whoever compares how often. A
//! generation that was valid before the mark stays untold until it is settled, which finds the sum of what happened. One that
//! begins after it is told from its first row on: there was none at the mark, so nobody who has answered had rows in the slot,
//! and nobody is missing in it; what T has of former times the settling takes away. To end a valid generation takes another
//! life, which is not marked; a loss of data, which loses the mark; or a fence by a later ring, and generations that begin by
//! a later ring than the mark's are untold. A slot that moves away is refused by its fence, and takes T and its log along.
//!
//! Gateways without a record of which the nodes have lost all rows are known to those only that have seen them before; a
//! teller that began later does not wait for them. They hear of no ring either, and are taken for dead by all others.

use protocol::time::Now;
use ring_coordinator::slot::Slot;
use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    str::FromStr,
    sync::Arc,
};

/// How long the lease of the one who tells holds.
pub const LEASE_MS: u64 = 15_000;
/// It is renewed so often; and so often those who do not have it try to.
pub const RENEW_MS: u64 = 5_000;
/// Slots that are settled at once; a node serves others in between.
pub const SETTLE_AT_ONCE: usize = 100;
/// Differences that one call logs; with more the slot is called again.
pub const SETTLE_DIFFERENCES_MAX: usize = 1_000;

/// What gateways are asked: whether all their rows are announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Unlike any other one's.
    pub number: u64,
    /// By this ring.
    pub ring: u64,
    /// In this life of the node.
    pub life: Arc<str>,
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:x} {} {}", self.number, self.ring, self.life)
    }
}

/// A text that asks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no question about a node's rows")]
pub struct BadQuestion;

impl FromStr for Question {
    type Err = BadQuestion;

    fn from_str(text: &str) -> Result<Question, BadQuestion> {
        let mut words = text.split(' ');
        let (Some(number), Some(ring), Some(life), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(BadQuestion);
        };
        let (number, ring) = (u64::from_str_radix(number, 16).map_err(|_| BadQuestion)?, ring.parse().map_err(|_| BadQuestion)?);
        Ok(Question { number, ring, life: life.into() })
    }
}

/// The node as this gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which life answers.
    pub life: Arc<str>,
    /// The ring that this gateway goes by.
    pub ring: u64,
    /// No slot of that ring is on its way, whoever's.
    pub is_still: bool,
    /// Those that the node owns.
    pub slots: Arc<[Slot]>,
}

/// The mark as the node keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Empty if there is none.
    pub life: Arc<str>,
    /// The ring.
    pub ring: u64,
    /// All slots were settled since.
    pub is_passed: bool,
}

/// What came of a try to hold the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// This gateway has it; and the mark.
    Here(Mark),
    /// Another one has it.
    ByAnother,
}

/// What came of a try to mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// Marked.
    Yes,
    /// This gateway, and perhaps others, have not answered yet.
    Waits(Arc<str>),
    /// The question is not there any more, or the lease.
    Lost,
}

/// How the settling of a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All is compared.
    Yes,
    /// There is more.
    More,
    /// It was not done, or nobody knows: try again.
    Retry,
    /// The mark is gone, or the ring is too old.
    Unmarked,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The node; `None` if it cannot be called. Told before each tick.
    Place(Option<Place>),
    /// The gateways that may be alive, this one aside; `None` while nobody can know. Told before each tick.
    Alive(Option<BTreeSet<Arc<str>>>),
    /// Of [`Output::Hold`], with the time of the order. An error is not told.
    Held(Held, u64),
    /// Of [`Output::Mark`]. An error is not told.
    Marked(Marked),
    /// Of [`Output::Settle`], slot by slot.
    Settled(Slot, Settled),
    /// Of [`Output::Pass`]: whether the mark was still there. An error is not told.
    Passed(bool),
    /// Time has passed: every second, with a number by chance.
    Tick(u64),
}

/// An order. Those of one tick are carried out one after the other, before the next tick is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Take or keep the lease.
    Hold,
    /// Ask all gateways.
    Ask(Question),
    /// Mark the node, if all these have answered it.
    Mark(Question, BTreeSet<Arc<str>>),
    /// Settle these slots by this ring in this life, at once.
    Settle(Vec<Slot>),
    /// All are settled: let the node keep that.
    Pass,
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    /// Nothing is under way.
    Idle,
    /// All gateways were asked.
    Asked(Question),
    /// The node is marked; these slots are not settled yet, those are being.
    Passing(VecDeque<Slot>, BTreeSet<Slot>),
}

impl Stage {
    /// A pass over all slots.
    fn of(place: &Place) -> Stage {
        Stage::Passing(place.slots.iter().copied().collect(), BTreeSet::new())
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Telling {
    me: Arc<str>,
    place: Option<Place>,
    alive: Option<BTreeSet<Arc<str>>>,
    /// Until when the lease holds, and when to try next.
    lease_ms: Option<u64>,
    hold_ms: u64,
    mark: Mark,
    stage: Stage,
    waits_for: Option<Arc<str>>,
}

impl Telling {
    /// Of this gateway, about one node.
    #[must_use]
    pub fn new(me: Arc<str>) -> Telling {
        let (place, alive, lease_ms, mark) = (None, None, None, Mark::default());
        Telling { me, place, alive, lease_ms, hold_ms: 0, mark, stage: Stage::Idle, waits_for: None }
    }

    /// Until when this gateway, and no other, tells services of the node.
    #[must_use]
    pub fn lease_ms(&self) -> Option<u64> {
        self.lease_ms
    }

    /// Whether all that happens at the node is logged, as far as is known.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_marked() && self.mark.is_passed
    }

    /// Whose answer is missing.
    #[must_use]
    pub fn waits_for(&self) -> Option<&Arc<str>> {
        self.waits_for.as_ref()
    }

    /// Takes in one fact and appends what follows from it.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Place(place) => self.placed(place),
            Input::Alive(alive) => self.alive = alive,
            Input::Held(Held::Here(mark), asked_ms) => (self.lease_ms, self.mark) = (Some(asked_ms + LEASE_MS), mark),
            Input::Held(Held::ByAnother, _) => self.begin_anew(true),
            Input::Marked(Marked::Yes) => self.marked(out),
            Input::Marked(Marked::Waits(gateway)) => self.waits_for = Some(gateway),
            Input::Marked(Marked::Lost) => self.begin_anew(false),
            Input::Settled(slot, settled) => self.settled(slot, settled, out),
            Input::Passed(true) => self.mark.is_passed = true,
            Input::Passed(false) => self.begin_anew(false),
            Input::Tick(random) => self.tick(random, now, out),
        }
    }

    fn placed(&mut self, place: Option<Place>) {
        let about = |place: &Option<Place>| place.as_ref().map(|place| (place.life.clone(), place.ring));
        let (before, after) = (about(&self.place), about(&place));
        if before != after {
            // A lease of another life may not be there.
            let is_other = before.map(|(life, _)| life) != after.map(|(life, _)| life);
            self.begin_anew(is_other);
        }
        self.place = place;
    }

    /// Whatever was under way does not count. What the node keeps is asked for soon.
    fn begin_anew(&mut self, is_lease_lost: bool) {
        (self.stage, self.waits_for, self.mark) = (Stage::Idle, None, Mark::default());
        if is_lease_lost {
            self.lease_ms = None;
        } else {
            self.hold_ms = 0;
        }
    }

    fn is_marked(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.life == self.mark.life && place.ring == self.mark.ring)
    }

    fn marked(&mut self, out: &mut Vec<Output>) {
        if let (Stage::Asked(Question { ring, life, .. }), Some(place)) = (&self.stage, &self.place) {
            self.mark = Mark { life: life.clone(), ring: *ring, is_passed: false };
            self.stage = Stage::of(place);
            self.waits_for = None;
            self.go_on(out);
        }
    }

    fn settled(&mut self, slot: Slot, settled: Settled, out: &mut Vec<Output>) {
        let Stage::Passing(rest, under_way) = &mut self.stage else { return };
        if !under_way.remove(&slot) {
            return;
        }
        match settled {
            Settled::Yes => {}
            Settled::More => rest.push_front(slot),
            Settled::Retry => rest.push_back(slot),
            Settled::Unmarked => return self.begin_anew(false),
        }
        // What failed waits for the next tick.
        if under_way.is_empty() && settled != Settled::Retry {
            self.go_on(out);
        }
    }

    fn go_on(&mut self, out: &mut Vec<Output>) {
        let Stage::Passing(rest, under_way) = &mut self.stage else { return };
        if !under_way.is_empty() {
            return;
        }
        let slots: Vec<Slot> = rest.drain(..rest.len().min(SETTLE_AT_ONCE)).collect();
        if slots.is_empty() {
            out.push(Output::Pass);
        } else {
            under_way.extend(&slots);
            out.push(Output::Settle(slots));
        }
    }

    fn tick(&mut self, random: u64, now: Now, out: &mut Vec<Output>) {
        if self.place.is_some() && now.mono_ms >= self.hold_ms {
            self.hold_ms = now.mono_ms + RENEW_MS;
            out.push(Output::Hold);
        }
        if self.lease_ms.is_some_and(|until_ms| now.mono_ms >= until_ms) {
            self.begin_anew(true);
        }
        let (Some(place), Some(_)) = (&self.place, self.lease_ms) else { return };
        if self.is_marked() {
            match &self.stage {
                _ if self.mark.is_passed => self.stage = Stage::Idle,
                Stage::Passing(..) => self.go_on(out),
                // Somebody else has marked it and not come to the end.
                Stage::Idle | Stage::Asked(_) => {
                    self.stage = Stage::of(place);
                    self.go_on(out);
                }
            }
            return;
        }
        if !place.is_still {
            self.stage = Stage::Idle;
            return;
        }
        // Who is there has to be known when they are counted; asked they are at once.
        match (&self.stage, &self.alive) {
            (Stage::Asked(question), Some(alive)) => {
                let gateways = alive.iter().chain([&self.me]).cloned().collect();
                out.push(Output::Mark(question.clone(), gateways));
            }
            (Stage::Asked(_), None) => {}
            _ => {
                let question = Question { number: random, ring: place.ring, life: place.life.clone() };
                out.push(Output::Ask(question.clone()));
                self.stage = Stage::Asked(question);
            }
        }
    }
}
