//! Pure: the local subscribers of one channel. A subscriber is held until its subscribe reply is out, so that no
//! publication overtakes the reply, and none is missed or doubled between history and the live stream.

use super::{
    batch::Batch,
    broadcast::{Broadcast, Kind, Wire},
    outbox::{Control, Item, Outbox},
    round::Round,
};
use protocol::{code::UnsubscribeCode, message::StreamPosition, name::Channel};
use std::{collections::HashMap, sync::Arc};

/// Names a connection inside this process.
pub type ConnectionId = u64;

/// Pushes held for one subscriber while its history is read; more fail the subscription, and the client tries again.
pub(super) const HELD_MAX: usize = 1024;

/// Free places that are left alone.
const SPARSE_MIN: usize = 64;

/// One channel's subscribers on this node. Each has a place, so that they can be gone through in steps.
#[derive(Default)]
pub struct Topic {
    places: HashMap<ConnectionId, usize>,
    subscribers: Vec<Option<Subscriber>>,
    free: Vec<usize>,
}

struct Subscriber {
    outbox: Arc<Outbox>,
    join_leave: bool,
    gate: Gate,
}

enum Gate {
    /// The reply is not out yet.
    Held(Vec<Arc<Broadcast>>),
    /// More came than may be held.
    Overflown,
    /// Pushes go straight to the outbox, except those up to this place: they are part of the reply, and come late.
    Open(Option<Box<StreamPosition>>),
    /// Told that it has lost something: nothing more before it subscribes again, or it could take its place for sure.
    Lost,
}

/// More pushes came during a subscribe than may be held; nothing was delivered, the client should try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {HELD_MAX} messages arrived while the subscription began")]
pub struct HoldOverflow;

impl Topic {
    /// Adds a subscriber behind a closed gate. One that is there begins anew.
    pub fn add(&mut self, connection: ConnectionId, outbox: Arc<Outbox>, join_leave: bool) {
        self.remove(connection);
        let subscriber = Some(Subscriber { outbox, join_leave, gate: Gate::Held(Vec::new()) });
        let place = self.free.pop().unwrap_or(self.subscribers.len());
        match self.subscribers.get_mut(place) {
            Some(free) => *free = subscriber,
            None => {
                // By a quarter: there are many topics, and most are small.
                if self.subscribers.len() == self.subscribers.capacity() {
                    self.subscribers.reserve_exact(self.subscribers.len() / 4 + 1);
                }
                self.subscribers.push(subscriber);
            }
        }
        self.places.insert(connection, place);
    }

    /// Opens a subscriber's gate: what was held and stands behind `after` follows. Nothing may await between the
    /// reply and this call.
    pub fn open(&mut self, connection: ConnectionId, after: StreamPosition) -> Result<(), HoldOverflow> {
        let Some(subscriber) = self.places.get(&connection).and_then(|place| self.subscribers[*place].as_mut()) else { return Ok(()) };
        match std::mem::replace(&mut subscriber.gate, Gate::Lost) {
            Gate::Held(held) => {
                for push in held.iter().filter(|held| !is_before(held, &after)) {
                    subscriber.outbox.broadcast(push);
                }
                subscriber.gate = Gate::Open((after.offset > 0).then(|| Box::new(after)));
                Ok(())
            }
            Gate::Overflown => Err(HoldOverflow),
            gate @ (Gate::Open(_) | Gate::Lost) => {
                subscriber.gate = gate;
                Ok(())
            }
        }
    }

    /// Tells every subscriber that publications were lost, and that the stream goes on at `position`. An EventSource stream
    /// goes on from there; the others start anew.
    pub fn lose(&mut self, channel: &Channel, position: &StreamPosition) {
        for subscriber in self.subscribers.iter_mut().flatten() {
            match subscriber.gate {
                Gate::Held(_) => subscriber.gate = Gate::Overflown,
                Gate::Open(_) if subscriber.outbox.wire() == Wire::Event => {
                    subscriber.outbox.push(Item::Broadcast(Broadcast::position(channel.clone(), position, true)));
                }
                Gate::Open(_) => {
                    subscriber.gate = Gate::Lost;
                    subscriber.outbox.control(Control::Unsubscribe(channel.clone(), UnsubscribeCode::InsufficientState));
                }
                Gate::Overflown | Gate::Lost => {}
            }
        }
    }

    /// Removes a subscriber; says whether it was there.
    pub fn remove(&mut self, connection: ConnectionId) -> bool {
        let Some(place) = self.places.remove(&connection) else { return false };
        self.subscribers[place] = None;
        self.free.push(place);
        true
    }

    /// Hands a batch to the subscribers from place `from` on, at most `most` places; returns where to go on. One who comes
    /// meanwhile has in its history what it is not handed.
    pub fn deliver(&mut self, batch: &Batch, from: usize, most: usize) -> Option<usize> {
        // In the midst of a batch somebody would get it twice, or not at all.
        if from == 0 && self.free.len() > self.places.len().max(SPARSE_MIN) {
            self.close_up();
        }
        let to = (from + most).min(self.subscribers.len());
        let mut round = Round::new(batch);
        for subscriber in self.subscribers.get_mut(from..to).unwrap_or_default().iter_mut().flatten() {
            subscriber.take(batch, &mut round);
        }
        round.finish();
        (to < self.subscribers.len()).then_some(to)
    }

    /// Gives everybody a place without gaps between them.
    fn close_up(&mut self) {
        let mut to = 0;
        let mut places: Vec<_> = self.places.iter_mut().collect();
        places.sort_unstable_by_key(|(_, place)| **place);
        for (_, place) in places {
            self.subscribers.swap(to, *place);
            *place = to;
            to += 1;
        }
        self.subscribers.truncate(to);
        self.subscribers.shrink_to_fit();
        self.free = Vec::new();
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody is subscribed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl Subscriber {
    fn take<'a>(&'a mut self, batch: &'a Batch, round: &mut Round<'a>) {
        if matches!(self.gate, Gate::Open(None)) && (self.join_leave || !batch.has_join_leave()) {
            return round.add(&self.outbox);
        }
        round.let_go();
        for push in batch.pushes() {
            if matches!(push.kind, Kind::Join | Kind::Leave) && !self.join_leave {
                continue;
            }
            match &mut self.gate {
                Gate::Open(Some(after)) if is_before(push, after) => {}
                Gate::Open(after) => {
                    // What comes later comes after this one: the place is of no more use, and a million of them take room.
                    after.take_if(|_| push.offset > 0);
                    self.outbox.broadcast(push);
                }
                Gate::Held(held) if held.len() < HELD_MAX => held.push(push.clone()),
                gate @ Gate::Held(_) => *gate = Gate::Overflown,
                Gate::Overflown | Gate::Lost => {}
            }
        }
    }
}

/// Whether a push is part of what a subscriber at `after` has. Pushes of another stream are not.
fn is_before(push: &Broadcast, after: &StreamPosition) -> bool {
    push.offset > 0 && push.offset <= after.offset && *push.epoch == *after.epoch
}
