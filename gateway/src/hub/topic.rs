//! Pure: the local subscribers of one channel. A subscriber is held until its subscribe reply is out, so that no
//! publication overtakes the reply, and none is missed or doubled between history and the live stream.

use super::{
    broadcast::{Broadcast, Kind, Wire},
    outbox::{Control, Item, Outbox},
};
use protocol::{code::UnsubscribeCode, message::StreamPosition, name::Channel};
use std::{collections::HashMap, sync::Arc};

/// Names a connection inside this process.
pub type ConnectionId = u64;

/// Pushes held for one subscriber while its history is read; more fail the subscription, and the client tries again.
pub(super) const HELD_MAX: usize = 1024;

/// One channel's subscribers on this node.
#[derive(Default)]
pub struct Topic {
    subscribers: HashMap<ConnectionId, Subscriber>,
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
    Open(StreamPosition),
    /// Told that it has lost something: nothing more before it subscribes again, or it could take its place for sure.
    Lost,
}

/// More pushes came during a subscribe than may be held; nothing was delivered, the client should try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {HELD_MAX} messages arrived while the subscription began")]
pub struct HoldOverflow;

impl Topic {
    /// Adds a subscriber behind a closed gate.
    pub fn add(&mut self, connection: ConnectionId, outbox: Arc<Outbox>, join_leave: bool) {
        self.subscribers.insert(connection, Subscriber { outbox, join_leave, gate: Gate::Held(Vec::new()) });
    }

    /// Opens a subscriber's gate: what was held and stands behind `after` follows. Nothing may await between the
    /// reply and this call.
    pub fn open(&mut self, connection: ConnectionId, after: StreamPosition) -> Result<(), HoldOverflow> {
        let Some(subscriber) = self.subscribers.get_mut(&connection) else { return Ok(()) };
        match std::mem::replace(&mut subscriber.gate, Gate::Lost) {
            Gate::Held(held) => {
                for broadcast in held.into_iter().filter(|held| !is_before(held, &after)) {
                    match broadcast.kind {
                        Kind::Counter => subscriber.outbox.push_latest(&broadcast),
                        _ => subscriber.outbox.push(Item::Broadcast(broadcast)),
                    }
                }
                subscriber.gate = Gate::Open(after);
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
        for subscriber in self.subscribers.values_mut() {
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
        self.subscribers.remove(&connection).is_some()
    }

    /// Hands a push to every subscriber that wants it.
    pub fn deliver(&mut self, broadcast: &Arc<Broadcast>) {
        for subscriber in self.subscribers.values_mut() {
            if matches!(broadcast.kind, Kind::Join | Kind::Leave) && !subscriber.join_leave {
                continue;
            }
            match &mut subscriber.gate {
                Gate::Open(after) if is_before(broadcast, after) => {}
                Gate::Open(after) => {
                    // What comes later comes after this one: the place is of no more use, and a million of them take room.
                    if broadcast.offset > 0 && after.offset > 0 {
                        *after = StreamPosition::default();
                    }
                    if broadcast.kind.keeps_latest() {
                        subscriber.outbox.push_latest(broadcast);
                    } else {
                        subscriber.outbox.push(Item::Broadcast(broadcast.clone()));
                    }
                }
                Gate::Held(held) if held.len() < HELD_MAX => held.push(broadcast.clone()),
                gate @ Gate::Held(_) => *gate = Gate::Overflown,
                Gate::Overflown | Gate::Lost => {}
            }
        }
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// Whether nobody is subscribed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }
}

/// Whether a push is part of what a subscriber at `after` has. Pushes of another stream are not.
fn is_before(broadcast: &Broadcast, after: &StreamPosition) -> bool {
    broadcast.offset > 0 && broadcast.offset <= after.offset && *broadcast.epoch == *after.epoch
}
