//! Pure: a gateway's own clients, room by room, and what is to be written of them. The gateway is the only writer of their
//! rows, and its memory is the truth of them: what is wanted of each row is kept until the node has confirmed it, and all of
//! it is written again wherever the slot lives next.
//!
//! | file | what |
//! |---|---|
//! | `client` | what is wanted of a row, what is known of it, the edges in between |
//! | `room` | a room's clients, and the queue of what is to be said |
//! | `slot`, `census` | the announcement to the slot's node, and the one call under way; how many clients are in the rooms |
//! | `standing` | whether all of it stands at a node |
//!
//! **Bound.** One entry for each client and room that it is in or in grace of, and one for each that has gone and of which
//! the node has not confirmed it. Of the latter there are no more than were written before the node fell silent, and 500
//! for each try since then; they go when it answers, and when the slot moves or the node begins another life.

mod census;
mod client;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod node;
mod room;
#[cfg(test)]
mod schedule;
mod slot;
mod standing;
#[cfg(test)]
mod tests;

use crate::{
    cluster::{Edge, OwnerId, RoomId},
    deadlines::Deadlines,
    member::{Departure, Member},
    roster::GRACES_PER_TICK_MAX,
};
use bytes::Bytes;
use client::{Client, Wish};
use protocol::time::Now;
use ring_coordinator::slot::Slot;
use slot::Rooms;
pub use standing::NotAnnounced;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use xxhash_rust::xxh3::xxh3_64;

/// Among so many incarnations one is chosen by a life that has to go beyond another one's; each is a millisecond ahead of the clock.
const LIVES_APART: u64 = 1_000;

/// Where a slot is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The node.
    pub node: Arc<str>,
    /// Its life, as scripts get it.
    pub life: Arc<str>,
}

/// One call to a slot's node. [`Owner::finished`] must be told of its outcome: until then the slot has no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of all the rooms in it.
    pub slot: Slot,
    /// Rising from call to call, over all slots and incarnations.
    pub number: u64,
    /// Under which name.
    pub owner: OwnerId,
    /// To which life of which node; to no other.
    pub at: At,
    /// Whether the owner is to be entered before it in the node's list of owners, and the slot in the owner's list. So it
    /// is until a call has been stored in this life of the node under this name.
    pub is_first: bool,
    /// The generation that has what was written so far, and into which this belongs: if the slot's is another one, nothing must
    /// happen but that it is answered (0: there is none). `None`: into any, also one that begins with it.
    pub generation: Option<u64>,
    /// What.
    pub what: What,
}

/// What a call says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Edges of one room, at most [`crate::cluster::CHANGE_EDGES_MAX`], to be applied in this order as one change.
    Write {
        /// Which.
        room: RoomId,
        /// In an order in which no member is absent in between.
        edges: Vec<Edge>,
    },
    /// All rows of the owner in the slot have been written: whom it had before and has not named is gone.
    Ready {
        /// To which generation they have been written, that of the call. `None` if there was nothing to write.
        generation: Option<u64>,
    },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done. The slot's generation.
    Stored(u64),
    /// Refused: the owner counts as dead. The least incarnation that may write.
    Fenced(u64),
    /// Not done, or not known: the caller's ring is too old, the connection is another one, nothing was heard in time.
    Retry,
}

/// The state machine.
#[derive(Debug)]
pub struct Owner {
    id: OwnerId,
    grace_ms: u64,
    slots: BTreeMap<Slot, Rooms>,
    graces: Deadlines<(RoomId, Arc<str>)>,
    clients: usize,
    /// Slots that may have something to say, each once, none with a call under way or waiting.
    due: VecDeque<Slot>,
    waits: Deadlines<Slot>,
    /// Wishes so far.
    asked: u64,
    /// Calls so far.
    calls: u64,
    /// Where the chance for waits comes from: gateways that wait for the same node do not come back together.
    chance: u64,
}

impl Owner {
    /// An owner without clients. `grace_ms` is how long a dropped client is held; 0 lets it leave at once.
    #[must_use]
    pub fn new(gateway: Arc<str>, incarnation: u64, grace_ms: u64) -> Owner {
        let chance = xxh3_64(gateway.as_bytes());
        let (slots, graces, due, waits) = (BTreeMap::new(), Deadlines::default(), VecDeque::new(), Deadlines::default());
        let id = OwnerId { gateway, incarnation };
        Owner { id, grace_ms, slots, graces, clients: 0, due, waits, asked: 0, calls: 0, chance }
    }

    /// Under which name rows are written. [`Owner::finished`] may change it; the gateway's record must then follow.
    #[must_use]
    pub fn id(&self) -> &OwnerId {
        &self.id
    }

    /// A client entered, came back within its grace, or is another now.
    pub fn join(&mut self, room: &RoomId, member: Member) {
        let is_same = |client: &Client| client.wish == Wish::Live && *client.member == member;
        if self.client(room, &member.client).is_some_and(is_same) {
            return;
        }
        self.end_held(room, &member);
        self.wish(room, Arc::new(member), Wish::Live);
    }

    /// A client went. Nothing happens if it is not here or is held: its first departure decides.
    pub fn leave(&mut self, room: &RoomId, client: &str, departure: Departure, now: Now) {
        let live = self.client(room, client).filter(|client| client.wish == Wish::Live);
        let Some(member) = live.map(|client| client.member.clone()) else { return };
        let seen_ms = now.wall_ms;
        self.end_held(room, &member);
        if departure == Departure::Dropped && self.grace_ms > 0 {
            self.wish(room, member, Wish::Held { until_ms: now.mono_ms.saturating_add(self.grace_ms), seen_ms });
        } else {
            self.wish(room, member, Wish::Gone { seen_ms });
        }
    }

    /// A client's status is another now, empty for none; nothing happens if it is not here.
    pub fn set_status(&mut self, room: &RoomId, client: &str, status: Bytes) {
        let here = self.client(room, client).filter(|client| !matches!(client.wish, Wish::Gone { .. }));
        let Some((member, wish)) = here.map(|client| (client.member.clone(), client.wish)) else { return };
        if member.about().status != status {
            self.wish(room, Arc::new(member.with_status(status)), wish);
        }
    }

    /// Ends the graces that are over, at most [`GRACES_PER_TICK_MAX`]; returns when the next one is.
    pub fn tick(&mut self, now: Now) -> Option<u64> {
        for _ in 0..GRACES_PER_TICK_MAX {
            let Some((room, client)) = self.graces.pop_due(now.mono_ms) else { break };
            self.end_grace(&room, &client);
        }
        self.graces.next_ms()
    }

    /// The next call to make, one for each slot at a time; `None` if there is nothing to say, or not yet: see
    /// [`Owner::next_ms`]. `place_of` knows where slots are, `None` if no node can be called.
    pub fn next(&mut self, place_of: &dyn Fn(Slot) -> Option<At>, now: Now) -> Option<Call> {
        while let Some(slot) = self.waits.pop_due(now.mono_ms) {
            self.wake(slot);
        }
        while let Some(slot) = self.due.pop_front() {
            let Some(rooms) = self.slots.get_mut(&slot) else { continue };
            rooms.is_due = false;
            let Some(at) = place_of(slot) else {
                self.wait(slot, now);
                continue;
            };
            if let Some(call) = rooms.call(slot, at, &self.id, self.calls + 1, self.asked, now.mono_ms) {
                self.calls += 1;
                return Some(call);
            }
        }
        None
    }

    /// A call ended. Nothing happens if it is not the one under way in its slot.
    ///
    /// Whoever is fenced goes on under another name, and announces everything anew. So it takes over the rows of the old name,
    /// and takes away those of clients who have gone: for a node they must count as its own.
    pub fn finished(&mut self, slot: Slot, number: u64, outcome: Outcome, now: Now) {
        let stored = if let Outcome::Stored(generation) = outcome { Some(generation) } else { None };
        let Some(rooms) = self.slots.get_mut(&slot) else { return };
        if rooms.finish(number, stored).is_none() {
            return;
        }
        match outcome {
            Outcome::Stored(_) => {
                rooms.backoff.worked();
                self.look_at(slot);
            }
            Outcome::Retry => self.wait(slot, now),
            Outcome::Fenced(least) => {
                self.wait(slot, now);
                if least > self.id.incarnation {
                    self.rename(least, now);
                }
            }
        }
    }

    /// Another life of this gateway has written under `incarnation`, by a clock that was ahead: goes on under a higher one, and
    /// announces everything anew. Nothing happens if it does already.
    pub fn surpass(&mut self, incarnation: u64, now: Now) {
        if incarnation > self.id.incarnation {
            self.rename(incarnation.saturating_add(1), now);
        }
    }

    /// The ring changed, or a node's life, or a node can be called again: slots that have moved are announced anew, and none
    /// waits any longer.
    pub fn moved(&mut self) {
        while let Some(slot) = self.waits.pop_due(u64::MAX) {
            self.wake(slot);
        }
        self.look_at_all();
    }

    /// The node was heard of a generation of the slot in which it may not have our rows: they are announced anew. Nothing
    /// else would tell an owner without changes that the node has lost its data and lives on.
    pub fn doubt(&mut self, slot: Slot) {
        if let Some(rooms) = self.slots.get_mut(&slot) {
            rooms.is_doubted = true;
            self.look_at(slot);
        }
    }

    /// When [`Owner::next`] has something to try again.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        self.waits.next_ms()
    }

    /// Whether the client is in the room, and not in grace.
    #[must_use]
    pub fn is_live(&self, room: &RoomId, client: &str) -> bool {
        self.client(room, client).is_some_and(|client| client.wish == Wish::Live)
    }

    /// How much has been asked so far, for [`Owner::is_stored`].
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Whether all that was asked for the room up to `asked` is stored, or was taken back.
    #[must_use]
    pub fn is_stored(&self, room: &RoomId, asked: u64) -> bool {
        let room = self.slots.get(&room.slot()).and_then(|rooms| rooms.room(room));
        room.and_then(room::Room::oldest).is_none_or(|oldest| oldest > asked)
    }

    /// Whether all slots are announced under the present name, where they were when that was looked at last. Before that the rows
    /// of an earlier name are those that others know.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.slots.values().all(|rooms| rooms.is_announced(self.id.incarnation))
    }

    /// In which generation the owner's rows of a slot are announced; `None` if they are not, or there are none.
    #[must_use]
    pub fn announced(&self, slot: Slot) -> Option<u64> {
        self.slots.get(&slot).and_then(Rooms::announced)
    }

    /// Clients in rooms, those in grace included.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// Clients in grace.
    #[must_use]
    pub fn held(&self) -> usize {
        self.graces.len()
    }

    /// Members of whom something is to be said, room by room.
    #[must_use]
    pub fn unsaid(&self) -> usize {
        self.slots.values().map(Rooms::unsaid).sum()
    }

    /// The slots that are entered in the owner's list at this node, by its answer: if the list has them no more the node has
    /// lost its data.
    pub fn entered<'a>(&'a self, node: &'a str) -> impl Iterator<Item = Slot> + 'a {
        self.slots.iter().filter(|(_, rooms)| rooms.is_entered(node, self.id.incarnation)).map(|(slot, _)| *slot)
    }

    /// The slots in which the owner has or had clients.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.keys().copied()
    }

    fn client(&self, room: &RoomId, client: &str) -> Option<&Client> {
        self.slots.get(&room.slot())?.room(room)?.client(client)
    }

    /// Another client of the member came or went here: the one in grace is not waited for any longer, as in a roster.
    fn end_held(&mut self, room: &RoomId, member: &Member) {
        let held = self.slots.get(&room.slot()).and_then(|rooms| rooms.room(room)).and_then(|room| room.held(&member.key()));
        if let Some(held) = held.map(|held| held.member.client.clone()).filter(|held| *held != member.client) {
            self.end_grace(room, &held);
        }
    }

    fn end_grace(&mut self, room: &RoomId, client: &str) {
        let Some(client) = self.client(room, client) else { return };
        if let Wish::Held { seen_ms, .. } = client.wish {
            self.wish(room, client.member.clone(), Wish::Gone { seen_ms });
        }
    }

    fn wish(&mut self, room: &RoomId, member: Arc<Member>, wish: Wish) {
        let (slot, client) = (room.slot(), member.client.clone());
        self.asked += 1;
        let before = self.slots.entry(slot).or_default().wish(room, member, wish, self.asked);
        let is_here = |wish: &Wish| !matches!(wish, Wish::Gone { .. });
        self.clients = self.clients + usize::from(is_here(&wish)) - usize::from(before.as_ref().is_some_and(is_here));
        if let Some(Wish::Held { until_ms, .. }) = before {
            self.graces.cancel(until_ms, &(room.clone(), client.clone()));
        }
        if let Wish::Held { until_ms, .. } = wish {
            self.graces.set(until_ms, (room.clone(), client));
        }
        self.look_at(slot);
    }

    /// Goes on under a name of at least this incarnation, which is higher than before. Where the clock is behind, an earlier life
    /// that was behind, too, must not have chosen the same name: its rows would count as this one's for ever. So it depends on the time.
    fn rename(&mut self, least: u64, now: Now) {
        let apart = xxh3_64(&now.wall_ms.to_le_bytes()) % LIVES_APART;
        self.id.incarnation = now.wall_ms.max(least.saturating_add(apart));
        self.look_at_all();
    }

    fn look_at(&mut self, slot: Slot) {
        let Some(rooms) = self.slots.get_mut(&slot) else { return };
        if !rooms.is_due && !rooms.is_waiting && !rooms.is_under_way() {
            rooms.is_due = true;
            self.due.push_back(slot);
        }
    }

    fn look_at_all(&mut self) {
        let slots: Vec<Slot> = self.slots().collect();
        slots.into_iter().for_each(|slot| self.look_at(slot));
    }

    fn wait(&mut self, slot: Slot, now: Now) {
        let Some(rooms) = self.slots.get_mut(&slot) else { return };
        self.chance = xxh3_64(&self.chance.to_le_bytes());
        rooms.is_waiting = true;
        self.waits.set(now.mono_ms.saturating_add(rooms.backoff.after_failure_ms(self.chance)), slot);
    }

    fn wake(&mut self, slot: Slot) {
        if let Some(rooms) = self.slots.get_mut(&slot) {
            rooms.is_waiting = false;
        }
        self.look_at(slot);
    }
}
