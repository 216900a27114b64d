//! Pure: the coordinator, which changes the ring. One per region leads, elected in etcd; the others watch as it does, so
//! that one of them can go on at once. All that a successor needs stands in the document, in the votes and on the nodes;
//! what is remembered here besides spares work, or makes it wait.
//!
//! Facts come in and orders go out by [`facts`]; the rules of a change are in [`phases`], those of losing a node in
//! [`votes`] and [`holddown`]; [`duties`] puts them together. [`driver`] is its edge.

mod desk;
pub mod driver;
mod duties;
mod errands;
pub mod facts;
pub mod holddown;
mod metrics;
mod papers;
pub mod phases;
pub mod timing;
pub mod votes;
mod wishes;

use crate::{
    document::{Document, Layout, Node, NodeState, Phase},
    view::View,
};
pub use desk::Desk;
pub use metrics::METRICS;

use facts::{Alarm, Input, Output, Refusal, Seen};
use holddown::HoldDown;
use protocol::time::Now;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use timing::Timing;
use votes::{Tally, Watch};

/// What one coordinator knows.
#[derive(Clone, Debug)]
pub struct Coordinator {
    timing: Timing,
    /// The document of the highest epoch that was ever seen here, and what follows from it, made when it is needed.
    newest: Option<Arc<Document>>,
    view: Option<View>,
    moves: Option<Arc<Moves>>,
    /// As etcd was last.
    seen: Seen,
    /// Since when etcd is seen without a gap.
    fresh_since: Option<u64>,
    leading_since: Option<u64>,
    round: Round,
    watches: BTreeMap<String, Watch>,
    /// Who listens at the nodes, as each told since there was a time that nobody watched.
    listening: BTreeMap<String, BTreeSet<String>>,
    hold_downs: BTreeMap<String, HoldDown>,
    /// The epoch of a document that was ordered written, and until when it may still appear. Nothing else is written so long.
    writing: Option<(u64, u64)>,
    wanted: Option<Wanted>,
    /// How many nodes were removed when; those of the last minute.
    removals: VecDeque<(u64, usize)>,
    alarms: BTreeSet<Alarm>,
    probed_at: Option<u64>,
    /// Nodes that the document has forgotten with the last change, and that hold keys.
    left_behind: Vec<Node>,
}

/// Slots by their owners before and after the change under way; those of lost owners are not among them.
type Moves = BTreeMap<(String, String), Vec<u16>>;

/// What has been done under one document.
#[derive(Clone, Debug, Default)]
struct Round {
    since: u64,
    fenced: BTreeSet<String>,
    swept: BTreeSet<(String, String)>,
    /// When which order about which nodes was given last.
    ordered: BTreeMap<(Order, String, String), u64>,
    all_acked_since: Option<u64>,
    /// Nodes that were told to delete what they do not own.
    cleaned: BTreeSet<String>,
    /// Gateways that have not acknowledged, each with the time since when that is waited for.
    late: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Fence,
    Sweep,
    Expel,
    Resign,
}

/// A change that somebody wants. At most one waits.
#[derive(Clone, Debug)]
struct Wanted {
    wanted: u64,
    layout: Layout,
    /// What it is a change of.
    of: Layout,
    since: u64,
    /// A document was written for it.
    begun: bool,
}

impl Coordinator {
    /// One that does not lead. `known` is the newest document from elsewhere, a disk or a Redis node: it tells an etcd that
    /// was restored.
    #[must_use]
    pub fn new(timing: Timing, known: Option<Document>) -> Coordinator {
        let ids = known.iter().flat_map(|document| document.nodes()).map(|node| node.id.clone());
        Coordinator {
            timing,
            watches: ids.map(|id| (id, Watch::default())).collect(),
            newest: known.map(Arc::new),
            view: None,
            moves: None,
            seen: Seen::default(),
            fresh_since: None,
            leading_since: None,
            round: Round::default(),
            listening: BTreeMap::new(),
            hold_downs: BTreeMap::new(),
            writing: None,
            wanted: None,
            removals: VecDeque::new(),
            alarms: BTreeSet::new(),
            probed_at: None,
            left_behind: Vec::new(),
        }
    }

    /// Takes a fact in, and orders what is to be done.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let now = now.mono_ms;
        match input {
            Input::Seen(seen) => self.see(seen, now, out),
            Input::Known(document) if document.epoch > self.epoch() => self.adopt(document, now, out),
            Input::Known(_) => {}
            Input::Stale => {
                self.fresh_since = None;
                self.begin_again(now);
            }
            Input::Elected => {
                self.leading_since = Some(now);
                self.begin_again(now);
            }
            Input::Deposed => {
                self.leading_since = None;
                self.writing = None;
                self.refuse_wanted(Refusal::NotLeading, out);
                self.raise(BTreeSet::new(), out);
            }
            Input::Probed { node, well, listening } => {
                if let Some(watch) = self.watches.get_mut(&node) {
                    watch.probed(well, now);
                    self.listening.extend(listening.map(|gateways| (node, gateways)));
                }
            }
            Input::Fenced { node, epoch } => {
                if self.newest.as_ref().and_then(|document| phases::fence_epoch(document)) == Some(epoch) {
                    self.round.fenced.insert(node);
                }
            }
            Input::Swept { from, to, epoch, whole } => {
                if self.epoch() == epoch && whole {
                    self.round.swept.insert((from, to));
                } else if self.epoch() == epoch {
                    self.round.ordered.insert((Order::Sweep, from, to), now);
                }
            }
            Input::NotWritten => {
                // etcd may have moved on and show it soon; asking again at once would only be refused again.
                let soon = now + self.timing.again_ms / 8;
                self.writing = self.writing.map(|(epoch, until)| (epoch, until.min(soon)));
            }
            Input::Wanted { wanted, base, layout } => self.want(wanted, base, layout, now, out),
            Input::Abort { wanted } => self.abort(wanted, now, out),
            Input::Remove { wanted, nodes } => self.force_out(wanted, &nodes, now, out),
            Input::Publish { wanted } => self.publish(wanted, now, out),
            Input::Timer => {}
        }
        if self.leading_since.is_some() {
            self.act(now, out);
            out.push(Output::WakeAt(now + self.timing.tick_ms));
        }
    }

    /// The newest document that is known.
    #[must_use]
    pub fn document(&self) -> Option<&Arc<Document>> {
        self.newest.as_ref()
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leading_since.is_some()
    }

    fn epoch(&self) -> u64 {
        self.newest.as_ref().map_or(0, |document| document.epoch)
    }

    fn revision(&self) -> i64 {
        self.seen.revision
    }

    /// Whatever is concluded from time passing begins anew: there was a time that nobody watched.
    fn begin_again(&mut self, now: u64) {
        self.round = Round { since: now, ..Round::default() };
        self.watches.values_mut().for_each(Watch::forget);
        self.listening.clear();
        self.probed_at = None;
        self.count(now);
    }

    /// Some node's copy of the ring was compared with etcd's, or none could be for long.
    fn has_compared(&self, now: u64) -> bool {
        self.is_settled(now) || self.watches.values().any(Watch::is_well)
    }

    /// What is missing from etcd is really missing.
    fn is_settled(&self, now: u64) -> bool {
        let ms = self.timing.lease_ttl_ms + self.timing.margin_ms;
        let is_long_ago = |since: Option<u64>| since.is_some_and(|since| now.saturating_sub(since) >= ms);
        is_long_ago(self.fresh_since) && is_long_ago(self.leading_since)
    }

    /// Whom a change of the ring could cost something is registered: so it is when absence counts, and sooner if the nodes
    /// name those who listen there. Who listens nowhere hears nothing that a change could make him miss.
    fn is_complete(&self, now: u64) -> bool {
        let has_told =
            |node: &Node| self.listening.contains_key(&node.id) || self.watches.get(&node.id).is_some_and(|watch| watch.fails_for(0, now));
        let have_told = || self.newest.iter().flat_map(|document| document.nodes()).all(has_told);
        let are_registered = || self.listening.values().flatten().all(|gateway| self.seen.gateways.contains_key(gateway));
        let is_known = || self.fresh_since.is_some() && !self.listening.is_empty() && have_told() && are_registered();
        self.is_settled(now) || is_known()
    }

    fn see(&mut self, seen: Seen, now: u64, out: &mut Vec<Output>) {
        self.fresh_since.get_or_insert(now);
        if let Some(document) = seen.document.as_ref().filter(|document| document.epoch > self.epoch()) {
            self.adopt(document.clone(), now, out);
        }
        self.seen = seen;
        self.count(now);
    }

    fn count(&mut self, now: u64) {
        for (id, watch) in &mut self.watches {
            watch.counted(Tally::of(self.seen.votes.get(id), &self.seen.gateways), now);
        }
    }

    fn adopt(&mut self, document: Arc<Document>, now: u64, out: &mut Vec<Output>) {
        if self.writing.is_some_and(|(epoch, _)| document.epoch >= epoch) {
            self.writing = None;
        }
        if let Some(before) = self.newest.take() {
            for node in &before.current.nodes {
                let after = document.current.node(&node.id).map(|after| after.state);
                let hold_down = self.hold_downs.entry(node.id.clone()).or_default();
                match (node.state, after) {
                    (NodeState::Serving, Some(NodeState::Down)) => hold_down.lost(&self.timing, now),
                    (NodeState::Down | NodeState::Drained, Some(NodeState::Serving)) => hold_down.taken_in(now),
                    (_, None) => drop(self.hold_downs.remove(&node.id)),
                    _ => {}
                }
            }
            let is_gone = |node: &&Node| document.nodes().all(|left| left.id != node.id);
            self.left_behind = before.nodes().filter(is_gone).cloned().collect();
        }
        // What has not begun is done where it has come about otherwise, as it does for who wants that a change is dropped.
        let has_come = |wanted: &Wanted| wanted.begun || phases::is_as_wanted(&document.current, &wanted.layout);
        let is_done = |wanted: &Wanted| document.phase == Phase::Stable && has_come(wanted);
        if let Some(wanted) = self.wanted.take_if(|wanted| is_done(wanted)) {
            let is_as_wanted = phases::is_as_wanted(&document.current, &wanted.layout);
            let dropped = || Refusal::Dropped("somebody else has changed the ring, or a new node was lost".to_owned());
            out.push(Output::Answer { wanted: wanted.wanted, result: is_as_wanted.then_some(document.epoch).ok_or_else(dropped) });
        }
        let wanted = self.wanted.iter().flat_map(|wanted| &wanted.layout.nodes);
        let known: BTreeSet<&str> = document.nodes().chain(wanted).map(|node| node.id.as_str()).collect();
        self.watches.retain(|id, _| known.contains(id.as_str()));
        self.listening.retain(|id, _| known.contains(id.as_str()));
        for node in document.nodes() {
            self.watches.entry(node.id.clone()).or_default();
        }
        (self.view, self.moves) = (None, None);
        self.round = Round { since: now, ..Round::default() };
        self.newest = Some(document);
    }

    fn write(&mut self, document: Document, now: u64, out: &mut Vec<Output>) {
        self.writing = Some((document.epoch, now + self.timing.again_ms));
        out.push(Output::Write { document, revision: self.revision() });
    }

    /// etcd does not hold what was seen before. The epoch counts, not the revision: a restored etcd has both lower, but a new
    /// cluster may have the revision higher.
    fn went_back(&self) -> Option<Alarm> {
        let seen = self.seen.document.as_ref();
        let Some(known) = &self.newest else { return (self.seen.revision > 0).then_some(Alarm::Unreadable) };
        // A gateway goes by what was written here before it has said so.
        let gone_by = self.seen.gateways.values().map(|gateway| gateway.epoch).max().unwrap_or_default();
        let is_behind = seen != Some(known) || gone_by > known.epoch;
        is_behind.then(|| Alarm::WentBack { seen: seen.map_or(0, |seen| seen.epoch), known: known.epoch.max(gone_by) })
    }
}
