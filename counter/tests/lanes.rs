//! The lanes of a gateway, step by step: what is sent where, and what callers hear.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use counter::{
    Ack, AddError, batch,
    lanes::{Input, Lanes, OP_DEADLINE_MS, OpId, Output, RESOLVE_MS, STALL_MS, UNFIT_MS, UNREACHABLE_MS, UNRESOLVED_BYTES_MAX},
};
use proptest::prelude::*;
use protocol::{
    name::CounterKey,
    peer::Message,
    producer::{Close, Fate, OpFate, OpResult, Opened, Produce, Produced},
    time::Now,
};
use std::collections::{BTreeMap, BTreeSet};

/// A gateway with a clock that a test moves.
struct Gateway {
    lanes: Lanes,
    now_ms: u64,
    ops: u64,
    /// What was sent since the last look.
    sent: Vec<(u64, Message)>,
    /// What callers heard: 1 counted, 0 not counted, and -1 unknown.
    told: BTreeMap<u64, i64>,
}

impl Gateway {
    fn new() -> Gateway {
        let lanes = Lanes::new(1, OP_DEADLINE_MS, Now { mono_ms: 0, wall_ms: 0 });
        Gateway { lanes, now_ms: 0, ops: 0, sent: vec![], told: BTreeMap::new() }
    }

    /// With two replicas, of which the first is preferred, and an open lane with `ops` ops.
    fn counting(ops: usize) -> (Gateway, Vec<Produce>) {
        let mut gateway = Gateway::new();
        gateway.handle(Input::Up { link: 1, rank: 1 });
        gateway.handle(Input::Up { link: 2, rank: 2 });
        (0..ops).for_each(|_| gateway.add(Ack::Fsync));
        gateway.open(1, 71);
        let batches = gateway.batches(1);
        (gateway, batches)
    }

    fn handle(&mut self, input: Input) {
        let mut out = Vec::new();
        self.lanes.handle(input, Now { mono_ms: self.now_ms, wall_ms: 0 }, &mut out);
        for output in out {
            match output {
                Output::Send(link, message) => self.sent.push((link, message)),
                Output::Settled(id, result) => {
                    let told = match result {
                        Ok(_) => 1,
                        Err(AddError::Storage(why)) if why.contains("unknown") || why.contains("no longer be known") => -1,
                        Err(AddError::Storage(_) | AddError::Overflow(_)) => 0,
                        Err(other) => panic!("{other}"),
                    };
                    assert_eq!(self.told.insert(id.call, told), None, "told twice");
                }
            }
        }
    }

    fn add(&mut self, ack: Ack) {
        let op = batch::op(&CounterKey::parse(&format!("k{}", self.ops)).unwrap(), Some(1), None);
        self.handle(Input::Op { id: OpId { call: self.ops, index: 0 }, op, ack });
        self.ops += 1;
    }

    fn after(&mut self, ms: u64) {
        self.now_ms += ms;
        self.handle(Input::Tick);
    }

    /// Answers the one question for a producer, which must have been put to `link`.
    fn open(&mut self, link: u64, epoch: u64) -> u64 {
        let opens: Vec<_> = self.take(|message| matches!(message, Message::Open(_)));
        let [(to, Message::Open(open))] = &opens[..] else { panic!("{opens:?}") };
        assert_eq!(*to, link);
        self.handle(Input::Received(link, Message::Opened(Opened { producer: open.producer, epoch, refusal: String::new() })));
        open.producer
    }

    /// The batches that were sent to `link`.
    fn batches(&mut self, link: u64) -> Vec<Produce> {
        let taken = self.take(|message| matches!(message, Message::Produce(_)));
        let (mine, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(|(to, _)| *to == link);
        self.sent.extend(others);
        mine.into_iter().map(|(_, message)| if let Message::Produce(produce) = message { produce } else { unreachable!() }).collect()
    }

    fn closes(&mut self) -> Vec<(u64, Close)> {
        let taken = self.take(|message| matches!(message, Message::Close(_)));
        taken.into_iter().map(|(to, message)| (to, if let Message::Close(close) = message { close } else { unreachable!() })).collect()
    }

    fn take(&mut self, wanted: impl Fn(&Message) -> bool) -> Vec<(u64, Message)> {
        let (taken, left) = std::mem::take(&mut self.sent).into_iter().partition(|(_, message)| wanted(message));
        self.sent = left;
        taken
    }

    fn answer(&mut self, link: u64, batch: &Produce, fate: Fate) {
        let results = match fate {
            Fate::Done | Fate::Repeated => batch.ops.iter().map(|_| OpResult { value: 1, fate: OpFate::Counted.into(), here: 0 }).collect(),
            _ => vec![],
        };
        let (producer, number) = (batch.producer, batch.number);
        let produced = Produced { producer, number, fate: fate.into(), results, acked: 1, ..Produced::default() };
        self.handle(Input::Received(link, Message::Produced(produced)));
    }
}

fn sizes(batches: &[Produce]) -> Vec<(u64, usize)> {
    batches.iter().map(|batch| (batch.number, batch.ops.len())).collect()
}

#[test]
fn ops_are_gathered_while_batches_are_under_way_and_each_level_has_its_lane() {
    let (mut gateway, first) = Gateway::counting(3);
    assert_eq!(sizes(&first), [(0, 3)], "what waited for the producer");
    (0..6).for_each(|_| gateway.add(Ack::Fsync));
    let more = gateway.batches(1);
    assert_eq!(sizes(&more), [(1, 1), (2, 1), (3, 1)], "as many as the window takes");
    gateway.answer(1, &more[1], Fate::Done);
    assert_eq!(gateway.batches(1), [], "the oldest of the window is still under way");
    gateway.answer(1, &first[0], Fate::Done);
    assert_eq!(sizes(&gateway.batches(1)), [(4, 3)]);
    gateway.answer(1, &more[0], Fate::Done);
    for ack in [Ack::Memory, Ack::Replicated] {
        gateway.add(ack);
        gateway.open(1, 71);
        let levels: Vec<_> = gateway.batches(1).iter().map(|batch| (batch.number, batch.ops.len(), batch.ack)).collect();
        assert_eq!(levels, [(0, 1, ack as u32)]);
    }
    assert_eq!(gateway.told.into_iter().collect::<Vec<_>>(), [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]);
}

#[test]
fn when_a_replica_is_gone_new_ops_go_elsewhere_at_once_and_old_ones_only_after_a_never() {
    let (mut gateway, old) = Gateway::counting(2);
    gateway.handle(Input::Down(1));
    gateway.add(Ack::Fsync);
    gateway.open(2, 72);
    let sent = gateway.batches(2);
    assert_eq!(sent[0], old[0], "asked what became of it, in the same words");
    assert_eq!((sent[1].number, sent[1].ops.len()), (0, 1), "and only the new op is counted through the new lane");
    gateway.answer(2, &old[0], Fate::Unknown);
    assert!(gateway.told.is_empty());
    gateway.answer(2, &old[0], Fate::Never);
    let again = gateway.batches(2);
    assert_eq!((again.len(), again[0].producer, &again[0].ops), (1, sent[1].producer, &old[0].ops), "as new ops of the new lane");
    let closed: BTreeSet<u64> = gateway.closes().into_iter().map(|(_, close)| close.producer).collect();
    assert_eq!(closed, [old[0].producer].into(), "all of it is known");
    gateway.answer(2, &old[0], Fate::Repeated);
    assert!(gateway.told.is_empty(), "a late answer to a question that is closed");
    gateway.answer(2, &again[0], Fate::Done);
    gateway.answer(2, &sent[1], Fate::Done);
    assert_eq!(gateway.told.into_values().collect::<Vec<_>>(), [1, 1, 1]);
    assert!(gateway.lanes.is_settled());
}

#[test]
fn a_replica_that_is_back_is_asked_in_order_and_others_again_and_again() {
    let (mut gateway, mut old) = Gateway::counting(1);
    gateway.add(Ack::Fsync);
    old.extend(gateway.batches(1));
    gateway.handle(Input::Down(1));
    assert_eq!(gateway.batches(2), old);
    gateway.after(1000);
    assert_eq!(gateway.batches(2), [], "it has not answered yet");
    old.iter().for_each(|batch| gateway.answer(2, batch, Fate::Unknown));
    assert_eq!(gateway.batches(2), old, "long enough after the first time");
    gateway.handle(Input::Up { link: 3, rank: 1 });
    assert_eq!(gateway.batches(3), old);
    old.iter().for_each(|batch| gateway.answer(3, batch, Fate::Repeated));
    assert_eq!(gateway.told.into_values().collect::<Vec<_>>(), [1, 1]);
    assert_eq!(gateway.lanes.totals.resent, 6);
}

#[test]
fn callers_hear_in_time_what_is_known_and_the_batch_is_resolved_all_the_same() {
    let (mut gateway, old) = Gateway::counting(1);
    gateway.handle(Input::Down(1));
    gateway.handle(Input::Down(2));
    gateway.add(Ack::Fsync);
    gateway.after(OP_DEADLINE_MS - 1);
    assert!(gateway.told.is_empty());
    gateway.after(1);
    assert_eq!(gateway.told.iter().map(|(op, told)| (*op, *told)).collect::<Vec<_>>(), [(0, -1), (1, 0)]);
    assert_eq!(gateway.lanes.totals.unknown, 1);
    gateway.add(Ack::Fsync);
    assert_eq!(gateway.told[&2], 0, "refused at once: nobody has been there for {UNREACHABLE_MS} ms");
    gateway.handle(Input::Up { link: 3, rank: 1 });
    assert_eq!(gateway.batches(3), old);
    gateway.answer(3, &old[0], Fate::Never);
    assert_eq!(gateway.batches(3), [], "nobody waits for it any more");
    assert!(gateway.lanes.is_settled());
}

#[test]
fn a_batch_of_which_nobody_can_know_any_more_is_given_up() {
    for fate in [Fate::Forgotten, Fate::Vague] {
        let (mut gateway, old) = Gateway::counting(1);
        gateway.answer(1, &old[0], fate);
        assert_eq!((gateway.told[&0], gateway.lanes.totals.unknown), (-1, 1));
    }
    let (mut gateway, _) = Gateway::counting(1);
    gateway.handle(Input::Down(1));
    gateway.after(RESOLVE_MS);
    assert!(gateway.lanes.is_settled());
}

#[test]
fn a_replica_that_stalls_or_refuses_is_left_for_another_one() {
    let (mut gateway, old) = Gateway::counting(1);
    gateway.after(STALL_MS);
    gateway.add(Ack::Fsync);
    let refused = gateway.take(|message| matches!(message, Message::Open(_)));
    let [(2, Message::Open(open))] = &refused[..] else { panic!("{refused:?}") };
    let opened = Opened { producer: open.producer, epoch: 0, refusal: "full".to_owned() };
    gateway.handle(Input::Received(2, Message::Opened(opened)));
    assert_eq!(gateway.take(|message| matches!(message, Message::Open(_))), [], "both had their chance");
    gateway.after(UNFIT_MS);
    gateway.open(1, 73);
    assert_eq!(gateway.batches(1).last().unwrap().ops.len(), 1);
    gateway.answer(1, &old[0], Fate::Done);
    assert_eq!(gateway.told[&0], 1);
}

#[test]
fn a_replica_that_leaves_answers_what_it_has_and_gets_nothing_new() {
    let (mut gateway, old) = Gateway::counting(1);
    gateway.handle(Input::Leaving(1));
    gateway.add(Ack::Fsync);
    gateway.open(2, 75);
    assert_eq!(gateway.batches(2).len(), 2, "the old batch is asked for, the new one counted");
    gateway.answer(1, &old[0], Fate::Done);
    assert_eq!(gateway.told, [(0, 1)].into());
}

#[test]
fn a_node_that_writes_another_origin_by_now_gets_a_new_lane() {
    let (mut gateway, old) = Gateway::counting(1);
    gateway.answer(1, &old[0], Fate::Unknown);
    gateway.add(Ack::Fsync);
    gateway.open(1, 74);
    let sent = gateway.batches(1);
    assert_eq!((sent[0].epoch, sent[1].epoch), (71, 74), "the old one is asked for, the new one counts");
}

#[test]
fn what_waits_is_bounded() {
    let mut gateway = Gateway::new();
    gateway.handle(Input::Up { link: 1, rank: 1 });
    let long = CounterKey::parse(&"k".repeat(255)).unwrap();
    while gateway.told.is_empty() {
        let op = batch::op(&long, Some(1), None);
        gateway.handle(Input::Op { id: OpId { call: gateway.ops, index: 0 }, op, ack: Ack::Fsync });
        gateway.ops += 1;
        assert!(gateway.ops * 255 <= UNRESOLVED_BYTES_MAX as u64);
    }
    assert_eq!(gateway.told.into_values().collect::<Vec<_>>(), [0]);
}

proptest! {
    /// Against two replicas that know nothing of each other and answer, or not, as chance has it: no op is under way in two
    /// batches at the same time, and none is told twice.
    #[test]
    fn an_op_is_in_one_batch_at_a_time(steps in proptest::collection::vec((0..7_u8, 1..3_u64, 0..6_i32), 1..200)) {
        let mut gateway = Gateway::new();
        // Of each batch that was ever sent: its ops, until it is known that it never will be done.
        let mut open = BTreeMap::<(u64, u64), BTreeSet<String>>::new();
        let mut sent: Vec<(u64, Produce)> = vec![];
        for (step, link, fate) in steps {
            match step {
                0 => gateway.handle(Input::Up { link, rank: usize::try_from(link).unwrap() }),
                1 => gateway.handle(Input::Down(link)),
                2 | 3 => gateway.add(Ack::Fsync),
                4 => gateway.after(700),
                _ => if let Some((link, batch)) = sent.pop() {
                    let fate = Fate::try_from(fate).unwrap();
                    if fate == Fate::Never {
                        open.remove(&(batch.producer, batch.number));
                    }
                    gateway.answer(link, &batch, fate);
                }
            }
            for (link, message) in std::mem::take(&mut gateway.sent) {
                match message {
                    Message::Open(asked) => {
                        let opened = Opened { producer: asked.producer, epoch: link, refusal: String::new() };
                        gateway.handle(Input::Received(link, Message::Opened(opened)));
                    }
                    Message::Produce(batch) => {
                        let ops: BTreeSet<String> = batch.ops.iter().map(|op| op.key.clone()).collect();
                        open.insert((batch.producer, batch.number), ops);
                        sent.push((link, batch));
                    }
                    _ => {}
                }
            }
            let all: Vec<_> = open.values().flatten().collect();
            prop_assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len());
        }
    }
}
