//! Pure: what the leader does, again and again: it looks at what it knows and orders what is due.

use super::{
    Coordinator, Moves, Order, Refusal,
    facts::{Alarm, Output},
    phases::{self, Progress},
};
use crate::{
    document::{Document, Layout, Node, NodeState, Phase, VNODES},
    slot::Slot,
    view::View,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is to be made of nodes that look down.
enum Verdict {
    Well,
    Wrong(Alarm),
    Remove(BTreeSet<String>),
}

impl Coordinator {
    pub(super) fn act(&mut self, now: u64, out: &mut Vec<Output>) {
        self.probe(now, out);
        let verdict = self.verdict(now);
        let alarms = match &verdict {
            Verdict::Wrong(alarm) => Some(alarm.clone()),
            _ => None,
        };
        let went_back = self.went_back().filter(|_| self.fresh_since.is_some());
        self.raise(went_back.into_iter().chain(alarms).collect(), out);
        if self.fresh_since.is_none() {
            return;
        }
        if self.went_back().is_some() {
            // Nobody waits for what is not done before a person has looked at it.
            if self.wanted.as_ref().is_some_and(|wanted| !wanted.begun) {
                self.refuse_wanted(Refusal::WentBack, out);
            }
            return;
        }
        if self.writing.is_some_and(|(_, until)| now < until) {
            return;
        }
        self.writing = None;
        let Some(document) = self.newest.clone() else { return self.found(now, out) };
        if let Verdict::Remove(lost) = verdict {
            self.remove(&document, &lost, now, out);
            return;
        }
        match document.phase {
            Phase::Stable => self.rest(&document, now, out),
            Phase::Prepare => self.prepare(&document, now, out),
            Phase::Fence | Phase::Switch => self.go_on(&document, now, out),
        }
    }

    fn probe(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.probed_at.is_some_and(|at| now < at + self.timing.probe_every_ms) {
            return;
        }
        self.probed_at = Some(now);
        let known: Vec<&Node> = self.newest.iter().flat_map(|document| document.nodes()).collect();
        let wanted = self.wanted.iter().flat_map(|wanted| wanted.layout.serving());
        let wanted = wanted.filter(|node| known.iter().all(|known| known.id != node.id));
        out.extend(known.iter().copied().chain(wanted).map(|node| Output::Probe { node: node.clone() }));
    }

    /// Nodes in a layout that look down, and how many are to be suspected at least.
    fn verdict(&self, now: u64) -> Verdict {
        let Some(document) = &self.newest else { return Verdict::Well };
        let serving: Vec<&str> = phases::ahead(document).serving().map(|node| node.id.as_str()).collect();
        let those = |is: &dyn Fn(&super::Watch) -> bool| -> BTreeSet<String> {
            serving.iter().filter(|id| self.watches.get(**id).is_some_and(is)).map(|&id| id.to_owned()).collect()
        };
        let suspicious = those(&|watch| watch.is_suspicious(&self.timing, now));
        let lost = those(&|watch| watch.looks_down(&self.timing, now));
        if suspicious.len() > may_be_down(serving.len()) {
            return Verdict::Wrong(Alarm::Frozen);
        }
        if lost.is_empty() {
            return Verdict::Well;
        }
        if lost.len() == serving.len() {
            return Verdict::Wrong(Alarm::LastNodes);
        }
        // What may be down at once may be removed in a minute, all in all: nodes that die together go together, and a
        // trouble that wanders takes not one node after the other.
        let recent = self.removals.iter().filter(|(at, _)| now.saturating_sub(*at) < self.timing.removal_every_ms);
        let recent: usize = recent.map(|(_, nodes)| nodes).sum();
        if recent + lost.len() > may_be_down(serving.len() + recent) {
            return Verdict::Wrong(Alarm::Throttled);
        }
        // Nodes that die together are not noticed together: the first one waits until it is known how many they are.
        let is_one_of_many = those(&|watch| watch.is_doubtful()).len() > may_be_down(serving.len());
        if self.is_settled(now) && !is_one_of_many { Verdict::Remove(lost) } else { Verdict::Well }
    }

    pub(super) fn raise(&mut self, alarms: BTreeSet<Alarm>, out: &mut Vec<Output>) {
        if alarms != self.alarms {
            self.alarms.clone_from(&alarms);
            out.push(Output::Alarms(alarms));
        }
    }

    fn remove(&mut self, document: &Document, lost: &BTreeSet<String>, now: u64, out: &mut Vec<Output>) {
        self.removals.retain(|(at, _)| now.saturating_sub(*at) < self.timing.removal_every_ms);
        self.removals.push_back((now, lost.len()));
        self.take_out(document, lost, now, out);
    }

    pub(super) fn take_out(&mut self, document: &Document, lost: &BTreeSet<String>, now: u64, out: &mut Vec<Output>) {
        if matches!(document.phase, Phase::Stable | Phase::Prepare) {
            let ids: Vec<&str> = lost.iter().map(String::as_str).collect();
            self.refuse_wanted(Refusal::Dropped(format!("node {} was lost", ids.join(", "))), out);
        }
        self.write(phases::remove(document, lost), now, out);
    }

    /// There is no ring yet: the first layout that is wanted becomes it.
    fn found(&mut self, now: u64, out: &mut Vec<Output>) {
        if let Some(layout) = self.due_layout(now, out) {
            self.begin(phases::first(layout, VNODES), now, out);
        }
    }

    fn rest(&mut self, document: &Document, now: u64, out: &mut Vec<Output>) {
        if self.wanted.is_some() {
            if self.has_compared(now)
                && let Some(layout) = self.due_layout(now, out)
            {
                self.begin(phases::begin(document, layout), now, out);
            }
            return;
        }
        if !self.is_settled(now) {
            return;
        }
        let mut layout = document.current.clone();
        let is_due = |node: &&mut Node| {
            let ms = self.hold_downs.get(&node.id).copied().unwrap_or_default().ms(&self.timing);
            node.state == NodeState::Down && self.watches.get(&node.id).is_some_and(|watch| watch.is_up_for(ms, now))
        };
        let due: Vec<&mut Node> = layout.nodes.iter_mut().filter(is_due).collect();
        if !due.is_empty() && !self.alarms.contains(&Alarm::Frozen) {
            due.into_iter().for_each(|node| node.state = NodeState::Serving);
            self.write(phases::begin(document, layout), now, out);
            return;
        }
        self.clean(document, out);
    }

    /// The layout that is wanted, once all its nodes answer.
    fn due_layout(&mut self, now: u64, out: &mut Vec<Output>) -> Option<Layout> {
        let wanted = self.wanted.as_ref()?;
        let empty = Layout::default();
        let current = self.newest.as_ref().map_or(&empty, |document| &document.current);
        if wanted.of != *current {
            let epoch = self.epoch();
            self.refuse_wanted(Refusal::Outdated { base: epoch.saturating_sub(1), epoch }, out);
            return None;
        }
        let serves = |id: &str| current.node(id).is_some_and(|node| node.state == NodeState::Serving);
        let is_well = |id: &str| self.watches.get(id).is_some_and(super::Watch::is_well);
        let silent = wanted.layout.serving().find(|node| !serves(&node.id) && !is_well(&node.id)).map(|node| node.id.clone());
        match silent {
            None => Some(wanted.layout.clone()),
            Some(node) if now.saturating_sub(wanted.since) >= self.timing.admit_ms => {
                self.refuse_wanted(Refusal::Unreachable(node), out);
                None
            }
            Some(_) => None,
        }
    }

    fn begin(&mut self, document: Document, now: u64, out: &mut Vec<Output>) {
        if let Some(wanted) = &mut self.wanted {
            wanted.begun = true;
        }
        self.write(document, now, out);
    }

    fn prepare(&mut self, document: &Document, now: u64, out: &mut Vec<Output>) {
        let joining = document.next.iter().flat_map(|next| next.serving());
        let mut joining = joining.filter(|node| document.current.node(&node.id).is_none_or(|node| node.state != NodeState::Serving));
        let fails = |node: &Node| self.watches.get(&node.id).is_some_and(|watch| watch.fails_for(self.timing.down_ms, now));
        if self.wanted.as_ref().is_some_and(|wanted| !wanted.begun) || joining.any(fails) {
            if let Some(document) = phases::abort(document) {
                self.write(document, now, out);
            }
            return;
        }
        self.go_on(document, now, out);
    }

    /// Orders what the phase needs, and the next phase when it is done.
    fn go_on(&mut self, document: &Document, now: u64, out: &mut Vec<Output>) {
        let moves = self.moves();
        let moves = &*moves;
        let losers: BTreeSet<String> = moves.keys().map(|(from, _)| from.clone()).collect();
        let lost: BTreeSet<String> = document.nodes().filter(|node| self.is_lost(node, now)).map(|node| node.id.clone()).collect();
        if document.phase != Phase::Fence {
            self.hurry(document.epoch, now, out);
        }
        if let Some(epoch) = phases::fence_epoch(document) {
            self.fence(document, epoch, moves, &lost, now, out);
        }
        let swept = document.phase != Phase::Switch || self.sweep(document, moves, &lost, now, out);
        let all_acked = self.seen.gateways.values().all(|gateway| gateway.acked >= document.epoch);
        self.round.all_acked_since = all_acked.then(|| self.round.all_acked_since.unwrap_or(now));
        let drained = self.round.all_acked_since.is_some_and(|since| now.saturating_sub(since) >= self.timing.drain_ms);
        let progress = Progress {
            gateways: &self.seen.gateways,
            losers: &losers,
            fenced: &self.round.fenced,
            lost: &lost,
            complete: self.is_complete(now),
            drained,
            swept,
        };
        if let Ok(document) = phases::next(document, &progress) {
            self.write(document, now, out);
        }
    }

    /// Expels gateways that do not do their part in time: they would hold everybody up.
    fn hurry(&mut self, epoch: u64, now: u64, out: &mut Vec<Output>) {
        let late = self.seen.gateways.iter().filter(|(_, gateway)| gateway.acked < epoch).map(|(name, _)| name);
        self.round.late = late.map(|name| (name.clone(), self.round.late.get(name).copied().unwrap_or(now))).collect();
        let is_over = |since: u64| now.saturating_sub(since) >= self.timing.ack_max_ms;
        let over: Vec<String> = self.round.late.iter().filter(|(_, since)| is_over(**since)).map(|(name, _)| name.clone()).collect();
        for gateway in over {
            if self.is_settled(now) && self.is_due(Order::Expel, &gateway, "", now) {
                out.push(Output::Expel { gateway });
            }
        }
    }

    fn fence(&mut self, document: &Document, epoch: u64, moves: &Moves, lost: &BTreeSet<String>, now: u64, out: &mut Vec<Output>) {
        let mut slots: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        for ((from, _), moved) in moves {
            slots.entry(from).or_default().extend(moved);
        }
        for (loser, mut slots) in slots {
            if self.round.fenced.contains(loser) || lost.contains(loser) {
                continue;
            }
            let is_odd = |watch: &super::Watch| watch.fails_for_me_alone(self.timing.fence_max_ms, now);
            if document.phase == Phase::Fence && self.watches.get(loser).is_some_and(is_odd) && self.is_due(Order::Resign, "", "", now) {
                out.push(Output::Resign);
            }
            if self.is_due(Order::Fence, loser, "", now)
                && let Some(node) = document.nodes().find(|node| node.id == loser)
            {
                slots.sort_unstable();
                out.push(Output::Fence { node: node.clone(), slots, epoch });
            }
        }
    }

    /// Orders the hand-over of what is fenced, so that it stands still. True once there is nothing more to hand over.
    fn sweep(&mut self, document: &Document, moves: &Moves, lost: &BTreeSet<String>, now: u64, out: &mut Vec<Output>) -> bool {
        if now.saturating_sub(self.round.since) >= self.timing.sweep_max_ms {
            return true;
        }
        let mut is_done = true;
        for ((from, to), slots) in moves {
            if self.round.swept.contains(&(from.clone(), to.clone())) || lost.contains(from) {
                continue;
            }
            is_done = false;
            let nodes = document.prev.as_ref().and_then(|prev| prev.node(from)).zip(document.current.node(to));
            if let Some((from_node, to_node)) = nodes
                && self.round.fenced.contains(from)
                && self.is_due(Order::Sweep, from, to, now)
            {
                // It takes as long as it takes, and is not ordered again before it is told how it ended.
                self.round.ordered.insert((Order::Sweep, from.clone(), to.clone()), u64::MAX);
                out.push(Output::Sweep { from: from_node.clone(), to: to_node.clone(), slots: slots.clone(), epoch: document.epoch });
            }
        }
        is_done
    }

    /// Once under each stable document, and by each new leader: keys that their node does not own are of no use.
    fn clean(&mut self, document: &Document, out: &mut Vec<Output>) {
        let nodes = document.current.nodes.iter().filter(|node| node.state != NodeState::Down).chain(&self.left_behind);
        let nodes: Vec<Node> = nodes.filter(|node| self.watches.get(&node.id).is_none_or(|watch| watch.is_well())).cloned().collect();
        for node in nodes {
            if self.round.cleaned.insert(node.id.clone()) {
                let view = self.view();
                let others = Slot::all().filter(|slot| view.owner(*slot).is_none_or(|owner| **owner != *node.id));
                let slots: Vec<u16> = others.map(Slot::number).collect();
                if !slots.is_empty() {
                    out.push(Output::Clean { node, slots, epoch: document.epoch });
                }
            }
        }
    }

    /// It is out of the ring, or will be. Nothing is concluded from many that look down at once.
    fn is_lost(&self, node: &Node, now: u64) -> bool {
        let looks_down = || self.watches.get(&node.id).is_some_and(|watch| watch.looks_down(&self.timing, now));
        node.state == NodeState::Down || (!self.alarms.contains(&Alarm::Frozen) && looks_down())
    }

    /// Whether an order is to be given (again); if so, it is noted as given.
    fn is_due(&mut self, order: Order, node: &str, other: &str, now: u64) -> bool {
        let key = (order, node.to_owned(), other.to_owned());
        let is_due = self.round.ordered.get(&key).is_none_or(|at| now.saturating_sub(*at) >= self.timing.again_ms);
        if is_due {
            self.round.ordered.insert(key, now);
        }
        is_due
    }

    fn moves(&mut self) -> Arc<Moves> {
        if let Some(moves) = &self.moves {
            return moves.clone();
        }
        let mut moves = Moves::new();
        for (slot, from, to) in self.view().moved() {
            if let (Some(from), Some(to)) = (from, to) {
                moves.entry((from.to_string(), to.to_string())).or_default().push(slot.number());
            }
        }
        self.moves.insert(Arc::new(moves)).clone()
    }

    fn view(&mut self) -> &View {
        let document = self.newest.clone().unwrap_or_default();
        self.view.get_or_insert_with(|| View::new(Document::clone(&document)))
    }
}

/// Of so many serving nodes, so many may look down before it is taken for a trouble of the network.
fn may_be_down(serving: usize) -> usize {
    (serving / 3).max(1)
}
