//! Pure: an owner's rooms in one slot: whether the slot's node has been told of them, and the one call to it.

use super::{
    At, Call, What,
    client::Wish,
    room::{Room, Sent},
};
use crate::{
    cluster::{OwnerId, RoomId},
    member::Member,
};
use ring_coordinator::{backoff::Backoff, slot::Slot};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// One slot.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    pub(super) rooms: BTreeMap<RoomId, Room>,
    /// Rooms with something to be said, each once; some may have nothing any more.
    turns: VecDeque<RoomId>,
    announced: Option<Announced>,
    under_way: Option<UnderWay>,
    /// Whether anything was ever written; until then nobody waits to hear that all of it has been written again.
    was_written: bool,
    pub(super) backoff: Backoff,
    pub(super) is_waiting: bool,
    /// See [`super::Owner::doubt`]; what is under way ends first, as it may be about the old data or the new.
    pub(super) is_doubted: bool,
    /// Whether it stands in the owner's list of slots to be looked at.
    pub(super) is_due: bool,
}

/// To which life of which node the rows are told, and how far.
#[derive(Debug)]
struct Announced {
    at: At,
    incarnation: u64,
    /// Of the first answer; rows are there that belong to it.
    generation: Option<u64>,
    /// Wishes up to this number are part of the announcement. Later ones do not hold it up, else a busy slot would never
    /// be ready.
    asked: u64,
    is_registered: bool,
    is_ready: bool,
}

#[derive(Debug)]
struct UnderWay {
    number: u64,
    /// Nothing if it only says that the owner is ready.
    sent: Option<(RoomId, Sent)>,
}

impl Rooms {
    /// Whether there is nobody in any room, and nobody whose end is not confirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    pub(super) fn room(&self, room: &RoomId) -> Option<&Room> {
        self.rooms.get(room)
    }

    /// See [`Room::wish`].
    pub(super) fn wish(&mut self, id: &RoomId, member: Arc<Member>, wish: Wish, asked: u64) -> Option<Wish> {
        let room = self.rooms.entry(id.clone()).or_insert_with(|| Room::new(id.to_channel().is_none()));
        let was_quiet = room.unsaid() == 0;
        let before = room.wish(member, wish, asked);
        if was_quiet && room.unsaid() > 0 && !self.turns.contains(id) {
            self.turns.push_back(id.clone());
        }
        if room.is_empty() {
            self.rooms.remove(id);
        }
        before
    }

    /// Whether the owner's list at this node is known to have the slot, under this incarnation.
    pub(super) fn is_entered(&self, node: &str, incarnation: u64) -> bool {
        let is_there =
            |announced: &Announced| announced.is_registered && announced.incarnation == incarnation && *announced.at.node == *node;
        self.announced.as_ref().is_some_and(is_there)
    }

    /// Members of whom something is to be said, room by room.
    pub(super) fn unsaid(&self) -> usize {
        self.turns.iter().filter_map(|room| self.rooms.get(room)).map(Room::unsaid).sum()
    }

    /// Whether nothing is left to be announced under this incarnation.
    pub(super) fn is_announced(&self, incarnation: u64) -> bool {
        let is_ready = |announced: &Announced| announced.is_ready && announced.incarnation == incarnation;
        !self.was_written || (!self.is_doubted && self.announced.as_ref().is_some_and(is_ready))
    }

    /// Whether all is announced there.
    pub(super) fn is_announced_at(&self, at: &At, incarnation: u64) -> bool {
        self.is_announced(incarnation) && self.announced.as_ref().is_some_and(|announced| announced.at == *at)
    }

    /// The generation in which all is announced.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced.as_ref().filter(|announced| announced.is_ready).and_then(|announced| announced.generation)
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The next call, if there is something to say; none must be under way.
    pub(super) fn call(&mut self, slot: Slot, at: At, owner: &OwnerId, number: u64, asked: u64, now_ms: u64) -> Option<Call> {
        let is_here = self.announced.as_ref().is_some_and(|announced| announced.at == at);
        let is_named = self.announced.as_ref().is_some_and(|announced| announced.incarnation == owner.incarnation);
        if !is_here || !is_named || self.is_doubted {
            self.announce(at.clone(), owner.incarnation, asked, !is_here);
        }
        let (what, sent) = self.what(now_ms)?;
        let is_first = self.announced.as_ref().is_none_or(|announced| !announced.is_registered);
        let generation = self.announced.as_ref().and_then(|announced| announced.generation);
        self.under_way = Some(UnderWay { number, sent });
        Some(Call { slot, number, owner: owner.clone(), at, is_first, generation, what })
    }

    /// Takes the call off; nothing if it is not the one under way. If it is `stored`, in this generation, what it said is
    /// known from now on.
    pub(super) fn finish(&mut self, number: u64, stored: Option<u64>) -> Option<()> {
        let UnderWay { sent, .. } = self.under_way.take_if(|call| call.number == number)?;
        let Some(announced) = &mut self.announced else { return Some(()) };
        // The node may have lost the list of owners, and the answer that would have told so.
        announced.is_registered = false;
        let Some(generation) = stored else { return Some(()) };
        if *announced.generation.get_or_insert(generation) != generation {
            // It has other data than it was told before.
            self.is_doubted = true;
            return Some(());
        }
        announced.is_registered = true;
        match sent {
            None => announced.is_ready = true,
            Some((id, sent)) => {
                let Some(room) = self.rooms.get_mut(&id) else { return Some(()) };
                room.stored(sent);
                if room.is_empty() {
                    self.rooms.remove(&id);
                }
            }
        }
        Some(())
    }

    fn announce(&mut self, at: At, incarnation: u64, asked: u64, is_elsewhere: bool) {
        self.announced = Some(Announced { at, incarnation, generation: None, asked, is_registered: false, is_ready: false });
        self.is_doubted = false;
        self.rooms.values_mut().for_each(|room| room.lose(is_elsewhere));
        self.rooms.retain(|_, room| !room.is_empty());
        self.turns = self.rooms.iter().filter(|(_, room)| room.unsaid() > 0).map(|(id, _)| id.clone()).collect();
    }

    /// Rooms take turns, whether or not they are stored: one of which the node refuses a row holds up no other.
    fn what(&mut self, now_ms: u64) -> Option<(What, Option<(RoomId, Sent)>)> {
        let announced = self.announced.as_ref()?;
        let is_old = |room: &RoomId| self.rooms.get(room).and_then(Room::oldest).is_some_and(|oldest| oldest <= announced.asked);
        if self.was_written && !announced.is_ready && !self.turns.iter().any(is_old) {
            return Some((What::Ready { generation: announced.generation }, None));
        }
        loop {
            let id = self.turns.pop_front()?;
            let Some(room) = self.rooms.get_mut(&id).filter(|room| room.unsaid() > 0) else { continue };
            let (edges, sent) = room.draft(now_ms);
            self.turns.push_back(id.clone());
            self.was_written = true;
            return Some((What::Write { room: id.clone(), edges }, Some((id, sent))));
        }
    }
}
