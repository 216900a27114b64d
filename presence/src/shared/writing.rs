//! I/O: what this gateway's own clients do goes to the nodes, in batches: one call per slot at a time, and what comes
//! meanwhile goes with the next one.

use super::{Shared, leaves::Leaves};
use crate::{
    cluster::{
        OwnerId, RoomId,
        owner::{At, Call, NotAnnounced, Outcome, Owner, What},
    },
    deadlines::earliest,
    redis::{self, Place, Turn, WriteError},
};
use parking_lot::Mutex;
use prometheus::IntGauge;
use protocol::time::Now;
use ring_coordinator::{slot::Slot, view::View};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Calls under way at once; more would only wait in the nodes' queues.
const CALLS_MAX: usize = 256;
/// How often it is looked whether nodes have other lives or slots other nodes.
const LOOK_MS: u64 = 100;
/// Between two slots that are looked at. Losses of whole nodes are found out sooner; this is for what else may be lost.
const AUDIT_PAUSE: Duration = Duration::from_millis(500);
/// Those who wait for something to be written are in so many groups, by its slot. Thousands may wait, and whenever something is written
/// all of a group look whether it was theirs.
const WAITING_GROUPS: usize = 256;
/// How long somebody waits until what was written can be read by everybody.
const SETTLE: Duration = Duration::from_secs(1);

/// What is to be written.
pub(super) struct Writing {
    pub(super) owner: Mutex<Owner>,
    /// There is something to write.
    work: Notify,
    /// Something was written, in one of the slots of a group.
    stored: Box<[Notify]>,
    incarnation: watch::Sender<u64>,
    /// Locked after the owner.
    leaves: Mutex<Leaves>,
    /// What answered at each node when that was looked at last.
    lives: Mutex<Lives>,
}

type Lives = Arc<HashMap<Arc<str>, Arc<str>>>;

impl Writing {
    pub(super) fn new(owner: Owner) -> Writing {
        let incarnation = watch::Sender::new(owner.id().incarnation);
        let (work, leaves, lives) = (Notify::new(), Mutex::default(), Mutex::default());
        let stored = (0..WAITING_GROUPS).map(|_| Notify::new()).collect();
        Writing { owner: Mutex::new(owner), work, stored, incarnation, leaves, lives }
    }

    pub(super) fn incarnation(&self) -> watch::Receiver<u64> {
        self.incarnation.subscribe()
    }

    /// Slots may have moved, or nodes begun another life.
    pub(super) fn moved(&self) {
        self.change(Owner::moved);
    }

    /// The own name, and see [`Owner::entered`].
    pub(super) fn entered(&self, node: &str) -> (OwnerId, Vec<Slot>) {
        let owner = self.owner.lock();
        (owner.id().clone(), owner.entered(node).collect())
    }

    /// The own name, and see [`Owner::stands`].
    pub(super) fn stands(&self, at: &At, is_there: impl Fn(Slot) -> bool) -> (OwnerId, Result<Vec<(Slot, u64)>, NotAnnounced>) {
        let owner = self.owner.lock();
        (owner.id().clone(), owner.stands(at, is_there))
    }

    /// See [`Owner::doubt`].
    pub(super) fn doubt(&self, slots: &[Slot]) {
        self.change(|owner| slots.iter().for_each(|slot| owner.doubt(*slot)));
    }

    /// A client was told gone here; see [`Leaves`]. Nothing happens if it is not connected, and in the room.
    pub(super) fn told_gone(&self, room: &RoomId, client: &str, now: Now) {
        let mut owner = self.owner.lock();
        if owner.is_live(room, client) && self.leaves.lock().tell(room.slot(), now.mono_ms) {
            tracing::warn!(%room, client, "presence: one who is here was told gone; the node is asked whether this gateway counts as dead");
            owner.doubt(room.slot());
            self.work.notify_one();
        }
    }

    /// See [`Owner::surpass`].
    pub(super) fn surpass(&self, incarnation: u64, now: Now) {
        self.change(|owner| owner.surpass(incarnation, now));
    }

    /// Those who judge who is dead hear of another incarnation when all its rows stand: until then the rows of the one before it
    /// are this gateway's, too. Returns how many leaves that were told here are false, as shows then.
    fn tell_incarnation(&self, now: Now) -> u64 {
        let owner = self.owner.lock();
        if !owner.is_announced() {
            return 0;
        }
        let incarnation = owner.id().incarnation;
        let is_renamed = self.incarnation.send_if_modified(|known| std::mem::replace(known, incarnation) != incarnation);
        self.leaves.lock().judge(is_renamed, now.mono_ms)
    }

    /// A node was heard of a generation of the slot: if the rows are announced in another one they are announced anew.
    pub(super) fn heard_of(&self, slot: Slot, generation: u64) -> bool {
        let mut owner = self.owner.lock();
        let is_other = owner.announced(slot).is_some_and(|announced| announced != generation);
        if is_other {
            owner.doubt(slot);
            self.work.notify_one();
        }
        is_other
    }

    /// The next of the slots that are announced, after `slot`.
    pub(super) fn slot_after(&self, slot: Option<Slot>) -> Option<Slot> {
        let owner = self.owner.lock();
        let next = owner.slots().find(|next| slot.is_none_or(|slot| *next > slot));
        next.or_else(|| owner.slots().next())
    }

    /// Whether nobody is here or in grace.
    pub(super) fn is_idle(&self) -> bool {
        self.owner.lock().clients() == 0
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Owner)) {
        change(&mut self.owner.lock());
        self.work.notify_one();
    }

    /// Returns when all that was said of the room here is written, or after [`SETTLE`].
    pub(super) async fn settled(&self, room: &RoomId) {
        let asked = self.owner.lock().asked();
        let settled = async {
            loop {
                let stored = self.stored_in(room.slot()).notified();
                tokio::pin!(stored);
                // From here on nothing that is written is missed.
                stored.as_mut().enable();
                if self.owner.lock().is_stored(room, asked) {
                    return;
                }
                stored.await;
            }
        };
        _ = timeout(SETTLE, settled).await;
    }

    fn stored_in(&self, slot: Slot) -> &Notify {
        &self.stored[usize::from(slot.number()) % WAITING_GROUPS]
    }
}

impl Shared {
    /// Writes for ever.
    pub(super) async fn write(self: Arc<Shared>) {
        let mut calls = JoinSet::new();
        loop {
            let now = self.now();
            let mut wake_ms = self.writing.owner.lock().tick(now);
            let lives = self.look_at_lives();
            let place_of = |slot| {
                let view = self.view.load();
                let node = view.as_ref()?.owner(slot)?;
                Some(At { node: node.clone(), life: lives.get(node)?.clone() })
            };
            while calls.len() < CALLS_MAX {
                let Some(call) = self.writing.owner.lock().next(&place_of, now) else { break };
                calls.spawn(self.clone().carry_out(call));
            }
            wake_ms = earliest(wake_ms, self.writing.owner.lock().next_ms());
            let pause_ms = wake_ms.map_or(LOOK_MS, |at_ms| at_ms.saturating_sub(now.mono_ms).clamp(1, LOOK_MS));
            tokio::select! {
                () = self.writing.work.notified() => {}
                Some(_) = calls.join_next() => {}
                () = sleep(Duration::from_millis(pause_ms)) => {}
            }
        }
    }

    /// Asks of one slot after the other whether this gateway's rows still stand there, for ever: a node that has lost its data and
    /// lives on tells nobody, and an owner without changes hears nothing, also not that it was taken for dead and its rows were
    /// taken away. So much it costs, however many clients there are.
    pub(super) async fn audit(self: Arc<Shared>) {
        let mut slot = None;
        loop {
            sleep(AUDIT_PAUSE).await;
            self.audit_room().await;
            slot = self.writing.slot_after(slot);
            let Some((slot, Ok((_, link, ring_epoch)))) = slot.map(|slot| (slot, self.link(slot))) else { continue };
            let owner = self.writing.owner.lock().id().clone();
            if let Ok(generation) = redis::ready_generation(&link, slot, ring_epoch, &owner).await
                && self.writing.heard_of(slot, generation)
            {
                self.metrics.mismatches.inc();
                tracing::warn!(slot = slot.number(), "presence: a Redis node has lost rows of this gateway; they are written anew");
            }
        }
    }

    /// What answers at each node that is connected.
    fn look_at_lives(&self) -> Lives {
        let view = self.view.load();
        let nodes = view.iter().flat_map(|view| view.document.nodes());
        let lives = nodes.filter_map(|node| Some((node.id.as_str().into(), self.nodes.link(&node.id).ok()?.life().as_str().into())));
        let lives: Lives = Arc::new(lives.collect());
        let is_new = std::mem::replace(&mut *self.writing.lives.lock(), lives.clone()) != lives;
        if is_new {
            self.writing.owner.lock().moved();
        }
        lives
    }

    /// What the metrics show of this gateway's clients.
    pub(super) fn show(&self) {
        self.judge_leaves();
        let (rows, held, unsaid) = {
            let owner = self.writing.owner.lock();
            (owner.clients(), owner.held(), owner.unsaid())
        };
        let set = |gauge: &IntGauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.metrics.rows, rows);
        set(&self.metrics.unsaid, unsaid);
        set(&self.metrics.grace_pending, held);
    }

    async fn carry_out(self: Arc<Shared>, call: Call) {
        let outcome = self.try_call(&call).await;
        let now: Now = self.now();
        self.writing.owner.lock().finished(call.slot, call.number, outcome, now);
        self.writing.stored_in(call.slot).notify_waiters();
        if !self.writing.leaves.lock().is_empty() {
            self.judge_leaves();
        }
    }

    fn judge_leaves(&self) {
        let false_leaves = self.writing.tell_incarnation(self.now());
        if false_leaves > 0 {
            self.metrics.false_leaves.inc_by(false_leaves);
            tracing::error!(false_leaves, "presence: who was told gone is here, and this gateway was never taken for dead");
        }
    }

    async fn try_call(self: &Arc<Shared>, call: &Call) -> Outcome {
        let Call { slot, number, owner, at, is_first, generation, what } = call;
        let slot = *slot;
        let ring_epoch = self.view.load().as_ref().and_then(|view| epoch_at(view, slot, &at.node));
        let (Ok(link), Some(ring_epoch)) = (self.nodes.link(&at.node), ring_epoch) else { return Outcome::Retry };
        if *link.life().as_str() != *at.life {
            return Outcome::Retry;
        }
        if *is_first && redis::register(&link, owner, slot).await.is_err() {
            return Outcome::Retry;
        }
        let written = match what {
            What::Write { room, edges } => {
                let turn = Turn { number: *number, generation: *generation };
                match redis::write(Place { link: &link, room, ring_epoch }, owner, turn, edges).await {
                    Ok(stored) => {
                        if let Some(change) = stored.change {
                            self.brought(room, change);
                        }
                        Ok(stored.stamp.generation)
                    }
                    Err(error) => Err(error),
                }
            }
            What::Ready { generation } => redis::ready(&link, slot, ring_epoch, owner, *generation).await,
        };
        match written {
            Ok(generation) => Outcome::Stored(generation),
            Err(WriteError::Fenced(least)) => {
                self.metrics.fenced.inc();
                tracing::warn!(%owner, least, "presence: this gateway was taken for dead; it writes all its clients anew");
                Outcome::Fenced(least)
            }
            Err(error) => {
                tracing::debug!(node = %at.node, %error, "presence: not written yet");
                Outcome::Retry
            }
        }
    }
}

/// The epoch of the ring, if by it the slot is at the node: by a later ring's epoch the fence would let a call through at a node that
/// has lost the slot, and what it writes would be found when the slot comes back.
fn epoch_at(view: &View, slot: Slot, node: &Arc<str>) -> Option<u64> {
    (view.owner(slot) == Some(node)).then(|| view.epoch())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{About, Member};
    use ring_coordinator::document::{Document, Layout, Node};

    const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_000 };

    fn view(epoch: u64, nodes: &[&str]) -> View {
        let node =
            |id: &&str| Node { id: (*id).to_owned(), url: format!("redis://{id}"), weight: 1, state: Default::default(), incarnation: 1 };
        let current = Layout { nodes: nodes.iter().map(node).collect(), ..Layout::default() };
        View::new(Document { epoch, current, ..Document::default() })
    }

    #[test]
    fn a_call_goes_to_where_the_slot_was_by_the_epoch_of_a_ring_that_has_it_there_or_not_at_all() {
        let (before, after) = (view(1, &["a"]), view(2, &["a", "b"]));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let moved = (0..).map(|number| Slot::new(number).unwrap()).find(|slot| after.owner(*slot) == Some(&b)).unwrap();
        assert_eq!((epoch_at(&before, moved, &a), epoch_at(&after, moved, &a), epoch_at(&after, moved, &b)), (Some(1), None, Some(2)));
    }

    #[test]
    fn another_incarnation_is_told_when_all_slots_are_announced_under_it_and_no_sooner() {
        let mut owner = Owner::new("g".into(), 17, 0);
        for room in ["chat:a", "chat:b"] {
            let member = Member::new("c".into(), "u".into(), About::default());
            owner.join(&RoomId::parse(room).unwrap(), member);
        }
        let writing = Writing::new(owner);
        let told = writing.incarnation();
        let place_of = |_| Some(At { node: "a".into(), life: "1".into() });
        let next = || writing.owner.lock().next(&place_of, NOW.plus_ms(60_000));
        let end = |call: Call, outcome| writing.owner.lock().finished(call.slot, call.number, outcome, NOW);
        while let Some(call) = next() {
            end(call, Outcome::Stored(1));
        }
        writing.change(|owner| owner.surpass(17, NOW));
        assert_eq!((writing.tell_incarnation(NOW), *told.borrow()), (0, 17));
        writing.change(|owner| owner.surpass(18, NOW));
        let mut calls = 0;
        while let Some(call) = next() {
            assert_eq!((writing.tell_incarnation(NOW), *told.borrow()), (0, 17), "after {calls} calls");
            end(call, Outcome::Stored(1));
            calls += 1;
        }
        writing.tell_incarnation(NOW);
        assert_eq!((calls, *told.borrow()), (4, 1_000), "two slots, of each the rows and that they are all");
    }
}
