//! Pure: how many of an owner's clients are in its rooms, those in grace included, and those whose end is not confirmed.

use super::{Owner, room::Room};
use crate::cluster::RoomId;
use ring_coordinator::slot::Slot;

impl Owner {
    /// The channels of a slot, each with its clients.
    pub fn rooms(&self, slot: Slot) -> impl Iterator<Item = (&RoomId, usize)> {
        let rooms = self.slots.get(&slot).into_iter().flat_map(|rooms| &rooms.rooms);
        rooms.filter(|(id, _)| id.partition().is_none()).map(|(id, room)| (id, room.count()))
    }

    /// The clients of one room.
    #[must_use]
    pub fn clients_in(&self, room: &RoomId) -> usize {
        self.slots.get(&room.slot()).and_then(|rooms| rooms.room(room)).map_or(0, Room::count)
    }
}
