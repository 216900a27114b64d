//! I/O: what the callers, the log thread and the connections of peers share, and how they wait for each other.

use crate::{
    cell::OriginIndex,
    changes::Changes,
    engine::{EngineConfig, Op, PENDING_BYTES_MAX},
    group::Group,
    hot::Hot,
    interest::Interests,
    ledger::Ledger,
    links::{Links, Output},
    metrics::Metrics,
    outcomes::Outcomes,
    outputs::Outputs,
    ranking::Ranked,
    refusal::AddError,
    table::BATCH,
};
use parking_lot::{Condvar, Mutex};
use protocol::time::Now;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// Bytes at which a group that nobody waits for is written.
const UNWANTED_BYTES: usize = 1 << 20;
/// Groups that wait for a peer's disk; at the bound the oldest go, and who waits for them is told that they are on this disk.
const UNREPLICATED_MAX: usize = 1 << 16;

/// What the callers and the log thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) wake: Condvar,
    /// The pending group is over its bound.
    pub(crate) crowded: AtomicBool,
    pub(crate) durable: watch::Receiver<Durable>,
    /// The newest group that is on a peer's disk.
    pub(crate) replicated: watch::Sender<u64>,
    /// Where the orders to the peers' connections go.
    pub(crate) outputs: Outputs,
    pub(crate) metrics: Metrics,
    pub(crate) interests: Arc<Interests>,
    /// What changed of late, for the change feed. Whoever holds it takes no other lock.
    pub(crate) changes: Mutex<Changes>,
    /// The number of the next page of the change feed.
    pub(crate) change_pages: AtomicU64,
    /// What was added to most often of late; the innermost of the locks.
    pub(crate) hot: Mutex<Hot>,
    /// The greatest counters, while somebody asks for them. Whoever holds it takes no other lock.
    pub(crate) ranked: Mutex<Ranked>,
    pub(crate) config: EngineConfig,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    pub(crate) pending: Group,
    pub(crate) spare: Option<Group>,
    pub(crate) failed: Option<Arc<str>>,
    pub(crate) closing: Option<Closing>,
    /// The newest group that somebody waits for.
    pub(crate) wanted: u64,
    /// The conversation with the peers, if there are to be any.
    pub(crate) links: Option<Links>,
    /// Durable groups, each with where the own stream, and which, ended in it.
    pub(crate) unreplicated: VecDeque<(u64, OriginIndex, u64)>,
}

/// How the log thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// With what is pending on disk.
    Abandon,
    /// With a snapshot too.
    Snapshot,
}

/// How far the log is durable.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    pub(crate) group: u64,
    pub(crate) failed: Option<Arc<str>>,
}

impl State {
    /// The state of a log that goes on with `pending`.
    pub(crate) fn new(ledger: Ledger, pending: Group) -> State {
        let unreplicated = VecDeque::new();
        State { ledger, pending, spare: None, failed: None, closing: None, wanted: 0, links: None, unreplicated }
    }

    /// Whether the pending group should be written now.
    pub(crate) fn is_due(&self) -> bool {
        !self.pending.is_empty() && (self.wanted >= self.pending.number() || self.pending.byte_count() >= UNWANTED_BYTES)
    }
}

impl Shared {
    /// Lets the conversation with the peers go on: `step` may change the state and give orders, which are then carried out.
    pub(crate) fn converse(&self, step: impl FnOnce(&mut Links, &mut Ledger, &mut Group, Now, &mut Vec<Output>)) {
        let mut out = Vec::new();
        let mut state = self.state.lock();
        let State { ledger, pending, links: Some(links), failed: None, closing: None, .. } = &mut *state else { return };
        let was_empty = pending.is_empty();
        step(links, ledger, pending, (self.config.clock)(), &mut out);
        ledger.put_votes_away();
        self.tell_if_crowded(&state.pending);
        self.tell_replicated(&mut state);
        let news = (was_empty && !state.pending.is_empty()) || state.is_due();
        drop(state);
        if news {
            self.wake.notify_one();
        }
        self.outputs.carry_out(out);
    }

    /// Notes what has become of a connection, which it must know even while the log cannot be written and all else rests.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Links, Now)) {
        if let Some(links) = &mut self.state.lock().links {
            note(links, (self.config.clock)());
        }
    }

    /// A group is on disk.
    pub(crate) fn committed(&self, group: Group) {
        let mut out = Vec::new();
        let mut state = self.state.lock();
        let State { ledger, links, unreplicated, .. } = &mut *state;
        match links {
            Some(links) => {
                links.committed(&group, ledger, (self.config.clock)(), &mut out);
                if unreplicated.len() >= UNREPLICATED_MAX {
                    unreplicated.pop_front();
                }
                let own = group.cut.own;
                let seq = group.cut.cursors.iter().find(|(origin, _)| *origin == own).map_or(0, |(_, seq)| *seq);
                unreplicated.push_back((group.number(), own, seq));
            }
            None => ledger.replica.committed(&group.cut),
        }
        self.tell_replicated(&mut state);
        state.spare = Some(group);
        drop(state);
        self.outputs.carry_out(out);
    }

    /// Wakes who waits for groups that are on a peer's disk now.
    pub(crate) fn tell_replicated(&self, state: &mut State) {
        let Some(links) = &state.links else { return };
        let mut newest = None;
        while let Some((group, _, _)) = state.unreplicated.front().filter(|(_, own, seq)| links.replicated(*own) >= *seq) {
            newest = Some(*group);
            state.unreplicated.pop_front();
        }
        if let Some(newest) = newest {
            self.replicated.send_replace(newest);
        }
    }

    /// Callers and peers wait from [`PENDING_BYTES_MAX`] on.
    pub(crate) fn tell_if_crowded(&self, pending: &Group) {
        if pending.byte_count() >= PENDING_BYTES_MAX {
            self.crowded.store(true, Ordering::Relaxed);
        }
    }

    /// Makes changes in order and puts them into the pending group. Some counters at a time are looked up before they are changed.
    pub(crate) fn stage_all(&self, state: &mut State, ops: &[Op<'_>], out: &mut Outcomes) {
        let State { ledger, pending, failed, closing, .. } = state;
        let refusal = match (failed, closing) {
            (Some(reason), _) => Some(Arc::clone(reason)),
            (None, Some(_)) => Some("the node is shutting down".into()),
            (None, None) => None,
        };
        if let Some(reason) = refusal {
            ops.iter().for_each(|_| out.push(Err(AddError::Storage(Arc::clone(&reason)))));
            return;
        }
        let now = if ops.iter().any(Op::is_timed) { (self.config.clock)() } else { Now::default() };
        if let [op] = ops {
            // An unpipelined one does not pay for the tables of a batch.
            let at = ledger.replica.locate_for(op);
            out.push(ledger.change(at, op.change, op.token, now, pending));
        } else {
            for ops in ops.chunks(BATCH) {
                let located = ledger.replica.locate_all(ops);
                for (at, op) in located.into_iter().flatten().zip(ops) {
                    out.push(ledger.change(at, op.change, op.token, now, pending));
                }
            }
        }
        ledger.put_votes_away();
        self.tell_if_crowded(pending);
        // What changed nothing now, such as a retry, waits for all that it may have seen.
        out.group = pending.number() - u64::from(pending.is_empty());
    }

    /// Waits until `group` is on disk.
    pub(crate) async fn durable(&self, group: u64) -> Result<(), AddError> {
        let mut durable = self.durable.clone();
        let is_news = durable.borrow().group < group && {
            let mut state = self.state.lock();
            let is_news = state.wanted < group;
            state.wanted = state.wanted.max(group);
            is_news
        };
        if is_news {
            self.wake.notify_one();
        }
        let reached = durable.wait_for(|durable| durable.group >= group || durable.failed.is_some()).await;
        match reached.as_deref() {
            Ok(Durable { group: reached, .. }) if *reached >= group => Ok(()),
            Ok(Durable { failed: Some(reason), .. }) => Err(AddError::Storage(Arc::clone(reason))),
            _ => Err(AddError::Storage("the log has ended".into())),
        }
    }

    pub(crate) fn close(&self, closing: Closing) {
        self.state.lock().closing.get_or_insert(closing);
        self.wake.notify_one();
    }
}
