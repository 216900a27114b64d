//! Pure: how a gateway without counters of its own counts at the replicas of its region, exactly. Ops are gathered while
//! batches before them are under way, and go to one replica as the numbered batches of one producer: a lane. Each level of
//! acknowledgement has its own. When that replica does not answer, new ops go to another one through a new lane at once. What
//! became of the old lane's batches is then asked everywhere, until somebody knows: a batch is sent elsewhere only after a
//! replica has said that the origin it was for never will count it.

use crate::{
    engine::Ack,
    lane::{Lane, Waiting, settle},
    refusal::AddError,
};
use protocol::{
    peer::Message,
    producer::{Close, Fate, Op, Open, Opened, Produced},
    time::Now,
};
use std::collections::{BTreeMap, VecDeque};

pub use crate::lane::{Counted, LinkId, OpId, Settled};

/// How long a caller waits. Then it hears that it is unknown whether it was counted; what becomes of it is still asked.
pub const OP_DEADLINE_MS: u64 = 5_000;
/// Without any replica for so long, ops are refused at once.
pub const UNREACHABLE_MS: u64 = 2_000;
/// A lane that got no answer for so long is given up for another one. Longer than a replica waits for a peer's disk.
pub const STALL_MS: u64 = 3_000;
/// A replica that has refused a lane, or did not answer it, is not chosen for so long.
pub const UNFIT_MS: u64 = 1_000;
/// Bytes of ops that wait or are under way, their bookkeeping included; at the bound new ones are refused.
pub const UNRESOLVED_BYTES_MAX: usize = 32 << 20;
/// The levels of acknowledgement.
const LEVELS: usize = Ack::NAMES.len();
/// Lanes at the same time; at the bound no further one is opened until the batches of one are known.
pub const LANES_MAX: usize = 256;
/// A batch of which nobody knows anything for so long is given up: no replica knows its origin any more.
pub const RESOLVE_MS: u64 = 3_600_000;

/// A fact.
#[derive(Clone, Debug)]
pub enum Input {
    /// A replica is connected. New ops go to the one with the smallest rank, or stay where they go already.
    Up {
        /// The connection.
        link: LinkId,
        /// Its rank.
        rank: usize,
    },
    /// A connection is gone.
    Down(LinkId),
    /// A replica answers what it was asked, and wants nothing new.
    Leaving(LinkId),
    /// Somebody wants this counted.
    Op {
        /// Comes back in [`Output::Settled`].
        id: OpId,
        /// What.
        op: Op,
        /// How safe.
        ack: Ack,
    },
    /// A replica has said something.
    Received(LinkId, Message),
    /// Time has passed: some ten times a second.
    Tick,
}

/// An order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this.
    Send(LinkId, Message),
    /// Tell the caller.
    Settled(OpId, Settled),
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Batches that were sent again, to ask what became of them.
    pub resent: u64,
    /// Ops whose callers were told that it is unknown whether they count.
    pub unknown: u64,
    /// Lanes that were given up for another.
    pub failovers: u64,
}

/// All lanes of a gateway.
#[derive(Debug)]
pub struct Lanes {
    lanes: BTreeMap<u64, Lane>,
    /// The lanes that take new batches, one for each level: what waits for a peer's disk must not hold up what does not.
    current: [Option<u64>; LEVELS],
    /// The connected replicas with their rank, and until when they are not chosen.
    links: BTreeMap<LinkId, (usize, u64)>,
    preferred: Option<LinkId>,
    queues: [VecDeque<Waiting>; LEVELS],
    bytes: usize,
    random: u64,
    deadline_ms: u64,
    alone_since_ms: u64,
    /// See [`Totals`].
    pub totals: Totals,
}

impl Lanes {
    /// `random` is where the numbers of producers come from; no other gateway, and no other life of this one, has the same.
    /// `deadline_ms`: how long callers wait, as [`OP_DEADLINE_MS`].
    #[must_use]
    pub fn new(random: u64, deadline_ms: u64, now: Now) -> Lanes {
        let (lanes, links, queues) = (BTreeMap::new(), BTreeMap::new(), [const { VecDeque::new() }; LEVELS]);
        let alone_since_ms = now.mono_ms;
        Lanes {
            lanes,
            current: [None; LEVELS],
            links,
            preferred: None,
            queues,
            bytes: 0,
            random,
            deadline_ms,
            alone_since_ms,
            totals: Totals::default(),
        }
    }

    /// Takes in a fact.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Up { link, rank } => {
                self.links.insert(link, (rank, 0));
                self.choose(now);
            }
            Input::Down(link) => self.down(link, now, out),
            Input::Leaving(link) => self.give_up(link, now, out),
            Input::Op { id, op, ack } => self.queue_op(id, op, ack, now, out),
            Input::Received(link, Message::Opened(opened)) => self.opened(link, &opened, now, out),
            Input::Received(link, Message::Produced(produced)) => self.produced(link, &produced, out),
            Input::Received(..) => {}
            Input::Tick => {
                self.give_up_stalled(now, out);
                self.tell_late(now, out);
            }
        }
        self.ask(now, out);
        self.pump(now, out);
    }

    /// Where reads go, and new ops.
    #[must_use]
    pub fn preferred(&self) -> Option<LinkId> {
        self.preferred
    }

    /// The connected replicas.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied()
    }

    /// How many producers are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Whether nothing is left to be known.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty) && self.lanes.values().all(|lane| lane.batches.is_empty())
    }

    /// The epochs of origins that are still to tell what became of a batch.
    pub fn unresolved(&self) -> impl Iterator<Item = u64> {
        self.lanes.values().filter(|lane| !lane.batches.is_empty()).filter_map(|lane| lane.epoch)
    }

    /// The batches of which it is not known what became of them: producer and number of each.
    #[must_use]
    pub fn unresolved_batches(&self) -> Vec<(u64, u64)> {
        self.lanes.values().flat_map(|lane| lane.batches.keys().map(|number| (lane.producer, *number))).collect()
    }

    /// The gateway ends: closes what is settled.
    pub fn end(&mut self, out: &mut Vec<Output>) {
        self.current = [None; LEVELS];
        self.close_settled(out);
    }

    fn queue_op(&mut self, id: OpId, op: Op, ack: Ack, now: Now, out: &mut Vec<Output>) {
        let waiting = Waiting { id, op, ack, deadline_ms: now.mono_ms + self.deadline_ms, is_late: false };
        let refusal = if self.links.is_empty() && self.alone_since_ms + UNREACHABLE_MS <= now.mono_ms {
            "no counter node of this region can be reached; nothing was counted: retry, and see /readyz of this gateway"
        } else if self.bytes + waiting.weight() > UNRESOLVED_BYTES_MAX {
            "too much waits for the counter nodes of this region; nothing was counted: retry later"
        } else {
            self.bytes += waiting.weight();
            self.queues[ack as usize].push_back(waiting);
            return;
        };
        out.push(Output::Settled(id, Err(AddError::Storage(refusal.into()))));
    }

    /// Sends what waits, as far as the lanes take it.
    fn pump(&mut self, now: Now, out: &mut Vec<Output>) {
        let Lanes { lanes, current, queues, .. } = self;
        for (current, queue) in current.iter_mut().zip(queues).filter(|(_, queue)| !queue.is_empty()) {
            let Some(lane) = current.and_then(|current| lanes.get_mut(&current)) else {
                if let Some(link) = self.preferred.filter(|_| lanes.len() < LANES_MAX) {
                    self.random = next_random(self.random);
                    lanes.insert(self.random, Lane::new(self.random, link, now.mono_ms));
                    *current = Some(self.random);
                    out.push(Output::Send(link, Message::Open(Open { producer: self.random })));
                }
                continue;
            };
            while lane.has_room() {
                let Some(message) = lane.fill(queue, now.mono_ms) else { break };
                out.push(Output::Send(lane.link, message));
            }
        }
    }

    fn opened(&mut self, link: LinkId, opened: &Opened, now: Now, out: &mut Vec<Output>) {
        let Some(lane) = self.lanes.get_mut(&opened.producer).filter(|lane| lane.link == link && lane.epoch.is_none()) else { return };
        if opened.refusal.is_empty() {
            lane.epoch = Some(opened.epoch);
        } else {
            self.give_up(link, now, out);
        }
    }

    fn produced(&mut self, link: LinkId, produced: &Produced, out: &mut Vec<Output>) {
        let Some(lane) = self.lanes.get_mut(&produced.producer) else { return };
        lane.answered(link, produced.number);
        let Some(batch) = lane.batches.get(&produced.number) else { return };
        let (fate, settled) = (produced.fate(), settle(batch, produced));
        if !matches!(fate, Fate::Done | Fate::Repeated | Fate::Vague) {
            // Its replica does not write that origin any more, or has closed the producer.
            let producer = produced.producer;
            self.leave(|lane| lane.producer == producer);
        }
        if let Some(results) = settled {
            let ops = self.resolved(produced.producer, produced.number);
            if matches!(fate, Fate::Vague | Fate::Forgotten) {
                self.totals.unknown += ops.iter().filter(|waiting| !waiting.is_late).count() as u64;
            }
            let waiting = ops.into_iter().zip(results).filter(|(waiting, _)| !waiting.is_late);
            out.extend(waiting.map(|(waiting, result)| Output::Settled(waiting.id, result)));
        } else if fate == Fate::Never {
            // They are new ops now, ahead of those that came later.
            let ops = self.resolved(produced.producer, produced.number);
            for waiting in ops.into_iter().rev().filter(|waiting| !waiting.is_late) {
                self.bytes += waiting.weight();
                self.queues[waiting.ack as usize].push_front(waiting);
            }
        }
        self.close_settled(out);
    }

    /// It is known what became of a batch.
    fn resolved(&mut self, producer: u64, number: u64) -> Vec<Waiting> {
        let batch = self.lanes.get_mut(&producer).and_then(|lane| lane.batches.remove(&number));
        let ops = batch.map(|batch| batch.ops).unwrap_or_default();
        self.bytes -= ops.iter().map(Waiting::weight).sum::<usize>();
        ops
    }

    fn down(&mut self, link: LinkId, now: Now, out: &mut Vec<Output>) {
        self.links.remove(&link);
        self.lanes.values_mut().for_each(|lane| lane.down(link));
        if self.links.is_empty() {
            self.alone_since_ms = now.mono_ms;
        }
        self.give_up(link, now, out);
    }

    /// New ops no longer go to `link`, if they did.
    fn give_up(&mut self, link: LinkId, now: Now, out: &mut Vec<Output>) {
        if let Some((_, unfit_until_ms)) = self.links.get_mut(&link) {
            *unfit_until_ms = now.mono_ms + UNFIT_MS;
        }
        self.leave(|lane| lane.link == link);
        if self.preferred == Some(link) {
            self.preferred = None;
        }
        self.choose(now);
        self.close_settled(out);
    }

    /// These lanes take no new batches any more.
    fn leave(&mut self, is_left: impl Fn(&Lane) -> bool) {
        let Lanes { lanes, current, totals, .. } = self;
        let left = current.iter_mut().filter(|current| current.and_then(|current| lanes.get(&current)).is_some_and(&is_left));
        let count = left.map(|current| *current = None).count();
        totals.failovers += u64::from(count > 0);
    }

    fn choose(&mut self, now: Now) {
        if self.preferred.is_none() {
            let fit = self.links.iter().filter(|(_, (_, unfit_until_ms))| *unfit_until_ms <= now.mono_ms);
            self.preferred = fit.min_by_key(|(_, (rank, _))| *rank).map(|(link, _)| *link);
        }
    }

    fn give_up_stalled(&mut self, now: Now, out: &mut Vec<Output>) {
        let lanes = self.current.iter().flatten().filter_map(|current| self.lanes.get(current));
        let stalled = lanes.filter(|lane| lane.waits_since().is_some_and(|since_ms| since_ms + STALL_MS <= now.mono_ms));
        let stalled: Vec<LinkId> = stalled.map(|lane| lane.link).collect();
        stalled.into_iter().for_each(|link| self.give_up(link, now, out));
        self.choose(now);
    }

    /// Asks what became of the batches of lanes that take no new ones.
    fn ask(&mut self, now: Now, out: &mut Vec<Output>) {
        for lane in self.lanes.values_mut().filter(|lane| !self.current.contains(&Some(lane.producer))) {
            for link in self.links.keys() {
                let messages = lane.ask(*link, STALL_MS, now.mono_ms);
                self.totals.resent += messages.len() as u64;
                out.extend(messages.into_iter().map(|message| Output::Send(*link, message)));
            }
        }
    }

    /// Tells callers who have waited long enough.
    fn tell_late(&mut self, now: Now, out: &mut Vec<Output>) {
        let is_over = |deadline_ms: u64| deadline_ms <= now.mono_ms;
        for queue in self.queues.iter_mut().filter(|queue| queue.iter().any(|waiting| is_over(waiting.deadline_ms))) {
            let (over, waiting): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(queue).into_iter().partition(|waiting| is_over(waiting.deadline_ms));
            *queue = waiting;
            self.bytes -= over.iter().map(Waiting::weight).sum::<usize>();
            let why = "no counter node of this region took it in time; it was not counted: retry";
            out.extend(over.into_iter().map(|over| Output::Settled(over.id, Err(AddError::Storage(why.into())))));
        }
        let Lanes { lanes, totals, .. } = self;
        let batches = lanes.values_mut().flat_map(|lane| lane.batches.values_mut());
        for batch in batches.filter(|batch| is_over(batch.deadline_ms)) {
            batch.deadline_ms = u64::MAX;
            for waiting in batch.ops.iter_mut().filter(|waiting| !waiting.is_late) {
                if is_over(waiting.deadline_ms) {
                    waiting.is_late = true;
                    totals.unknown += 1;
                    let why = "the counter node has not answered in time; it is unknown whether it was counted: retry with the same token";
                    out.push(Output::Settled(waiting.id, Err(AddError::Storage(why.into()))));
                } else {
                    batch.deadline_ms = batch.deadline_ms.min(waiting.deadline_ms);
                }
            }
        }
        let given_up = |lane: &Lane| {
            let old = lane.batches.iter().filter(|(_, batch)| batch.sent_ms + RESOLVE_MS <= now.mono_ms);
            old.map(|(number, _)| (lane.producer, *number)).collect::<Vec<_>>()
        };
        let given_up: Vec<_> = self.lanes.values().flat_map(given_up).collect();
        given_up.into_iter().for_each(|(producer, number)| drop(self.resolved(producer, number)));
        self.close_settled(out);
    }

    /// Closes lanes that take no new batches and of whose batches all is known. A replica that does not hear of it closes
    /// the producer when it has been idle for long.
    fn close_settled(&mut self, out: &mut Vec<Output>) {
        let (current, links) = (self.current, &self.links);
        self.lanes.retain(|producer, lane| {
            let is_over = !current.contains(&Some(*producer)) && lane.batches.is_empty();
            if let Some(epoch) = lane.epoch.filter(|_| is_over) {
                let close = Close { producer: *producer, epoch };
                out.extend(links.keys().map(|link| Output::Send(*link, Message::Close(close.clone()))));
            }
            !is_over
        });
    }
}

/// SplitMix64 (Steele and others 2014).
fn next_random(random: u64) -> u64 {
    let mut z = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
