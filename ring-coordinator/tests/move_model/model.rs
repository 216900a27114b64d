//! One channel that moves from node `a` to node `b` by the real rules, with gateways that learn late and a leader that
//! dies. Time is not in it: whatever may happen next, may happen.

use crate::gateway::{SimGateway, places};
use ring_coordinator::{
    coordinator::phases::{self, Progress},
    document::{Document, Layout, Node, NodeState, Phase},
    etcd::record::Gateway,
};
use stateright::{Model, Property};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// None: the rules as they are.
    None,
    /// `prepare` ends though gateways do not listen at the new owner.
    NoAcksToPrepare,
    /// The old owner is never told to refuse anybody.
    NeverFenced,
    /// It is told, but after others were told to publish at the new one.
    SwitchBeforeFence,
    /// The change ends while publications are under way from the old owner.
    NoDrain,
    /// The change ends before the history was handed over.
    NoSweep,
    /// Gateways that do not answer are waited for no longer, but not expelled.
    NotExpelled,
    /// Gateways hand on what they hear as it comes, from both nodes.
    NotMerged,
}

/// The numbers that bound the model.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) mutant: Mutant,
    /// Publications that each gateway makes; how many gateways there are.
    pub(crate) messages: Vec<u8>,
    /// How often the leader may die.
    pub(crate) crashes: u8,
    /// The last gateway may hang: it learns nothing more, and what it has sent may arrive ever so late.
    pub(crate) hang: bool,
    /// The change may be dropped.
    pub(crate) abort: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    document: Arc<Document>,
    begun: bool,
    gateways: Vec<SimGateway>,
    /// `a` and `b`.
    nodes: [SimNode; 2],
    /// What the present leader knows.
    leader: Leader,
    crashes: u8,
    /// Messages in the order in which nodes took them.
    accepted: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Leader {
    fenced: bool,
    swept: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct SimNode {
    min_epoch: u64,
    stream: Option<Stream>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stream {
    epoch: u8,
    log: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Begin,
    Abort,
    Step,
    Fence,
    Sweep,
    Crash,
    Expel(usize),
    Hang(usize),
    Learn(usize),
    Listen(usize, usize),
    Acknowledge(usize),
    Publish(usize),
    Arrive(usize),
    Deliver(usize, usize),
}

fn layout(a: NodeState, b: NodeState) -> Layout {
    let node = |id: &str, state| Node { id: id.to_owned(), url: format!("redis://{id}:1"), weight: 1, state, incarnation: 1 };
    Layout { nodes: vec![node("a", a), node("b", b)], ..Layout::default() }
}

fn before() -> Document {
    Document { epoch: 1, vnodes: 1, current: layout(NodeState::Serving, NodeState::Drained), ..Document::default() }
}

impl State {
    fn registered(&self, mutant: Mutant) -> BTreeMap<String, Gateway> {
        let counts = |gateway: &SimGateway| match (mutant, self.document.phase) {
            (Mutant::NoAcksToPrepare, Phase::Prepare) => false,
            (Mutant::NotExpelled, _) => gateway.registered && !gateway.hangs,
            _ => gateway.registered,
        };
        let gateways = self.gateways.iter().enumerate().filter(|(_, gateway)| counts(gateway));
        gateways.map(|(index, gateway)| (index.to_string(), Gateway { acked: gateway.acked, ..Gateway::default() })).collect()
    }

    fn following(&self, mutant: Mutant) -> Option<Document> {
        let is_moving = self.document.phase != Phase::Stable;
        let losers: BTreeSet<String> = is_moving.then(|| "a".to_owned()).into_iter().collect();
        let says_fenced = match mutant {
            Mutant::SwitchBeforeFence => self.leader.fenced || self.document.phase == Phase::Fence,
            _ => self.leader.fenced,
        };
        let progress = Progress {
            gateways: &self.registered(mutant),
            losers: &losers,
            fenced: if says_fenced { &losers } else { &BTreeSet::new() },
            lost: &BTreeSet::new(),
            complete: true,
            drained: mutant == Mutant::NoDrain || self.gateways.iter().all(|gateway| gateway.hangs || gateway.wires[0].is_empty()),
            swept: mutant == Mutant::NoSweep || self.leader.swept,
        };
        phases::next(&self.document, &progress).ok()
    }

    fn write(&mut self, document: Document) {
        self.document = Arc::new(document);
        self.leader = Leader::default();
    }

    /// What the publish script does.
    fn arrive(&mut self, index: usize) -> Option<()> {
        let (message, node, document) = self.gateways[index].sent.take()?;
        if document.epoch < self.nodes[node].min_epoch {
            self.gateways[index].refused = Some((message, document.epoch));
            return Some(());
        }
        if self.nodes[node].stream.is_none() {
            let fetched = places(&document).previous.and_then(|from| self.nodes[from].stream.clone());
            self.nodes[node].stream = Some(fetched.unwrap_or(Stream { epoch: 2, log: Vec::new() }));
        }
        let stream = self.nodes[node].stream.as_mut()?;
        stream.log.push(message);
        let heard = (stream.epoch, stream.log.len() as u64, message);
        self.accepted.push(message);
        for gateway in self.gateways.iter_mut().filter(|gateway| gateway.listens[node]) {
            gateway.wires[node].push_back(heard);
        }
        Some(())
    }

    fn is_quiet(&self) -> bool {
        let is_quiet = |gateway: &SimGateway| {
            gateway.hangs || (gateway.view == self.document && gateway.wires.iter().all(VecDeque::is_empty) && gateway.sent.is_none())
        };
        self.begun && self.document.phase == Phase::Stable && self.gateways.iter().all(is_quiet)
    }
}

impl Model for Move {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let document = Arc::new(before());
        let gateway = |messages: &u8| SimGateway {
            view: document.clone(),
            acked: 1,
            registered: true,
            hangs: false,
            to_publish: *messages,
            sent: None,
            refused: None,
            listens: [true, false],
            wires: Default::default(),
            place: (1, 0),
            held: BTreeSet::new(),
            delivered: Vec::new(),
            told_of_loss: false,
        };
        let a = SimNode { min_epoch: 0, stream: Some(Stream { epoch: 1, log: Vec::new() }) };
        vec![State {
            gateways: self.messages.iter().map(gateway).collect(),
            document,
            begun: false,
            nodes: [a, SimNode::default()],
            leader: Leader::default(),
            crashes: self.crashes,
            accepted: Vec::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Begin, Action::Step, Action::Fence, Action::Sweep, Action::Crash]);
        if self.abort {
            actions.push(Action::Abort);
        }
        let last = state.gateways.len() - 1;
        if self.hang {
            actions.extend([Action::Hang(last), Action::Expel(last)]);
        }
        for index in 0..=last {
            actions.extend([Action::Learn(index), Action::Listen(index, 1), Action::Acknowledge(index)]);
            actions.extend([Action::Publish(index), Action::Arrive(index), Action::Deliver(index, 0), Action::Deliver(index, 1)]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin if !state.begun => {
                state.begun = true;
                state.write(phases::begin(&last.document, layout(NodeState::Drained, NodeState::Serving)));
            }
            Action::Abort => state.write(phases::abort(&last.document)?),
            Action::Step => state.write(last.following(self.mutant)?),
            Action::Fence if !state.leader.fenced => {
                if self.mutant == Mutant::SwitchBeforeFence && state.document.phase == Phase::Fence {
                    return None;
                }
                let (epoch, least) = (phases::fence_epoch(&last.document)?, &mut state.nodes[0].min_epoch);
                if self.mutant != Mutant::NeverFenced {
                    *least = epoch.max(*least);
                }
                state.leader.fenced = true;
            }
            Action::Sweep if state.document.phase == Phase::Switch && state.leader.fenced && !state.leader.swept => {
                state.leader.swept = true;
                if state.nodes[1].stream.is_none() {
                    state.nodes[1].stream = state.nodes[0].stream.clone();
                }
            }
            Action::Crash if state.crashes > 0 && state.begun && state.leader != Leader::default() => {
                state.crashes -= 1;
                state.leader = Leader::default();
            }
            Action::Hang(index) if !state.gateways[index].hangs => state.gateways[index].hangs = true,
            Action::Expel(index) => {
                let gateway = &mut state.gateways[index];
                let late = gateway.hangs && gateway.registered && gateway.acked < state.document.epoch;
                if !late || self.mutant == Mutant::NotExpelled {
                    return None;
                }
                gateway.registered = false;
            }
            Action::Learn(index) if !state.gateways[index].hangs && state.gateways[index].view.epoch < state.document.epoch => {
                state.gateways[index].learn(&last.document);
            }
            Action::Listen(index, node) => {
                let gateway = &mut state.gateways[index];
                if gateway.hangs || gateway.listens[node] || !gateway.wants(node) {
                    return None;
                }
                gateway.listens[node] = true;
            }
            Action::Acknowledge(index) => {
                let gateway = &mut state.gateways[index];
                if gateway.hangs || gateway.acked >= gateway.view.epoch || !gateway.is_done() {
                    return None;
                }
                gateway.acked = gateway.view.epoch;
            }
            Action::Publish(index) => {
                let gateway = &mut state.gateways[index];
                if gateway.sent.is_some() {
                    return None;
                }
                let message = match gateway.refused {
                    Some((_, by)) if by == gateway.view.epoch => return None,
                    Some((message, _)) => message,
                    None if gateway.to_publish == 0 => return None,
                    None => {
                        gateway.to_publish -= 1;
                        u8::try_from(index).ok()? * 10 + gateway.to_publish
                    }
                };
                gateway.refused = None;
                gateway.sent = Some((message, places(&gateway.view).owner, gateway.view.clone()));
            }
            Action::Arrive(index) => state.arrive(index)?,
            Action::Deliver(index, node) if !state.gateways[index].hangs => {
                let heard = state.gateways[index].wires[node].pop_front()?;
                state.gateways[index].hear(heard, self.mutant);
            }
            _ => return None,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Move>> {
        vec![
            Property::always("nothing is delivered twice or out of order", |_: &Move, state: &State| {
                let at = |message: &u8| state.accepted.iter().position(|accepted| accepted == message);
                let in_order = |gateway: &SimGateway| gateway.delivered.windows(2).all(|two| at(&two[0]) < at(&two[1]));
                state.gateways.iter().all(in_order)
            }),
            Property::always("what was accepted is delivered to all who stayed", |model: &Move, state: &State| {
                let has_all = |gateway: &SimGateway| gateway.delivered == state.accepted;
                let stayed = |gateway: &&SimGateway| gateway.stayed() && !gateway.hangs;
                // A gateway that hangs and still counts gets its own as soon as it goes on.
                let hung = |gateway: &SimGateway| {
                    let mut later = gateway.clone();
                    for node in 0..2 {
                        while let Some(heard) = later.wires[node].pop_front() {
                            later.hear(heard, model.mutant);
                        }
                    }
                    later.delivered == state.accepted
                };
                !state.is_quiet()
                    || (state.gateways.iter().filter(stayed).all(has_all)
                        && state.gateways.iter().filter(|gateway| gateway.stayed() && gateway.hangs).all(hung))
            }),
            Property::always("the stream goes on under its epoch", |_: &Move, state: &State| {
                state.nodes.iter().flat_map(|node| &node.stream).all(|stream| stream.epoch == 1)
                    && state.gateways.iter().all(|gateway| !gateway.told_of_loss)
            }),
            Property::eventually("the change comes to its end", |_: &Move, state: &State| state.is_quiet()),
            Property::sometimes("somebody is refused and publishes at the new owner", |_: &Move, state: &State| {
                state.is_quiet() && state.nodes[0].min_epoch > 0 && state.accepted.len() > 1
            }),
        ]
    }
}
