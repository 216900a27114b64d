//! Pure: the local subscribers of one channel. A subscriber is held until its subscribe reply is out, so that no
//! publication overtakes the reply, and none is missed or doubled between history and the live stream.

use super::{
    broadcast::{Broadcast, Kind},
    outbox::{Item, Outbox},
};
use std::{collections::HashMap, sync::Arc};

/// Names a connection inside this process.
pub type ConnectionId = u64;

/// Pushes held for one subscriber while its history is read; more fail the subscription, and the client tries again.
const HELD_MAX: usize = 1024;

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
    /// Pushes go straight to the outbox.
    Open,
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
    pub fn open(&mut self, connection: ConnectionId, after: u64) -> Result<(), HoldOverflow> {
        let Some(subscriber) = self.subscribers.get_mut(&connection) else { return Ok(()) };
        match std::mem::replace(&mut subscriber.gate, Gate::Open) {
            Gate::Open => Ok(()),
            Gate::Overflown => Err(HoldOverflow),
            Gate::Held(held) => {
                for broadcast in held.into_iter().filter(|held| held.offset == 0 || held.offset > after) {
                    subscriber.outbox.push(Item::Broadcast(broadcast));
                }
                Ok(())
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
                Gate::Open if broadcast.kind.keeps_latest() => subscriber.outbox.push_latest(broadcast),
                Gate::Open => subscriber.outbox.push(Item::Broadcast(broadcast.clone())),
                Gate::Held(held) if held.len() < HELD_MAX => held.push(broadcast.clone()),
                gate @ Gate::Held(_) => *gate = Gate::Overflown,
                Gate::Overflown => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::broadcast::Wire;
    use protocol::{message::Publication, name::Channel};

    fn publication(offset: u64) -> Arc<Broadcast> {
        let publication = Publication { offset, ..Publication::default() };
        Broadcast::publication(Channel::parse("a").unwrap(), "e".into(), publication)
    }

    fn offsets(outbox: &Outbox) -> Vec<u64> {
        let mut batch = Vec::new();
        outbox.take(&mut batch, usize::MAX);
        batch.iter().map(|item| if let Item::Broadcast(broadcast) = item { broadcast.offset } else { 0 }).collect()
    }

    #[test]
    fn nothing_is_delivered_before_the_reply_and_nothing_twice_or_never_after_it() {
        let (mut topic, outbox) = (Topic::default(), Arc::new(Outbox::new(Wire::Json, 10_000)));
        topic.add(1, outbox.clone(), false);
        for offset in 5..=8 {
            topic.deliver(&publication(offset));
        }
        assert!(offsets(&outbox).is_empty());
        assert_eq!(topic.open(1, 6), Ok(()));
        topic.deliver(&publication(9));
        assert_eq!(offsets(&outbox), [7, 8, 9]);
    }

    #[test]
    fn a_flood_during_subscribe_fails_it_instead_of_growing() {
        let (mut topic, outbox) = (Topic::default(), Arc::new(Outbox::new(Wire::Json, 10_000)));
        topic.add(1, outbox.clone(), false);
        for offset in 1..=HELD_MAX as u64 + 1 {
            topic.deliver(&publication(offset));
        }
        assert_eq!(topic.open(1, 0), Err(HoldOverflow));
        assert!(offsets(&outbox).is_empty());
    }

    #[test]
    fn join_and_leave_reach_those_who_asked() {
        let (mut topic, asked, not) =
            (Topic::default(), Arc::new(Outbox::new(Wire::Json, 10_000)), Arc::new(Outbox::new(Wire::Json, 10_000)));
        topic.add(1, asked.clone(), true);
        topic.add(2, not.clone(), false);
        topic.open(1, 0).unwrap();
        topic.open(2, 0).unwrap();
        topic.deliver(&Broadcast::join(Channel::parse("a").unwrap(), Default::default()));
        assert_eq!((offsets(&asked).len(), offsets(&not).len()), (1, 0));
    }
}
