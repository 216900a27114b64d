//! Pure: whether all that an owner has at a node is announced there.

use super::{At, Owner};
use ring_coordinator::slot::Slot;

/// Something is not announced where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not all rows are announced yet")]
pub struct NotAnnounced;

impl Owner {
    /// The slots at a node in which the owner has clients, or some whose end is not confirmed, each with the generation in which
    /// all of them are announced in this life of the node. `is_there` says which slots the node has.
    pub fn stands(&self, at: &At, is_there: impl Fn(Slot) -> bool) -> Result<Vec<(Slot, u64)>, NotAnnounced> {
        let there = self.slots.iter().filter(|(slot, rooms)| !rooms.is_empty() && is_there(**slot));
        let stands = there.map(|(slot, rooms)| {
            let generation = rooms.announced().filter(|_| rooms.is_announced_at(at, self.id.incarnation));
            generation.map(|generation| (*slot, generation)).ok_or(NotAnnounced)
        });
        stands.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{
            RoomId,
            owner::{Outcome, What, schedule::member},
        },
        member::Departure,
    };
    use protocol::time::Now;

    fn at(life: &str) -> At {
        At { node: "a".into(), life: life.into() }
    }

    /// Makes all calls that there are, and stores them in this generation.
    fn store(owner: &mut Owner, life: &str, generation: u64) {
        while let Some(call) = owner.next(&|_| Some(at(life)), Now::default()) {
            owner.finished(call.slot, call.number, Outcome::Stored(generation), Now::default());
        }
    }

    #[test]
    fn all_stands_when_it_was_announced_in_this_life_and_is_not_doubted() {
        let mut owner = Owner::new("g1".into(), 7, 0);
        let room = RoomId::users(3);
        let slot = room.slot();
        let stands = |owner: &Owner, life: &str| owner.stands(&at(life), |_| true);
        assert_eq!(stands(&owner, "1"), Ok(vec![]));
        owner.join(&room, member("c", "ann", ""));
        assert_eq!(stands(&owner, "1"), Err(NotAnnounced));
        assert_eq!(owner.stands(&at("1"), |other| other != slot), Ok(vec![]), "it is elsewhere");
        let call = owner.next(&|_| Some(at("1")), Now::default()).unwrap();
        assert!(matches!(call.what, What::Write { .. }));
        owner.finished(slot, call.number, Outcome::Stored(5), Now::default());
        assert_eq!(stands(&owner, "1"), Err(NotAnnounced), "it has not said that this was all");
        store(&mut owner, "1", 5);
        assert_eq!((stands(&owner, "1"), stands(&owner, "2")), (Ok(vec![(slot, 5)]), Err(NotAnnounced)));
        // Who comes now holds nobody up.
        owner.join(&room, member("d", "bob", ""));
        assert_eq!(stands(&owner, "1"), Ok(vec![(slot, 5)]));
        owner.doubt(slot);
        assert_eq!(stands(&owner, "1"), Err(NotAnnounced));
        store(&mut owner, "1", 6);
        assert_eq!(stands(&owner, "1"), Ok(vec![(slot, 6)]));
        owner.surpass(9, Now::default());
        assert_eq!(stands(&owner, "1"), Err(NotAnnounced));
        store(&mut owner, "1", 6);
        for client in ["c", "d"] {
            owner.leave(&room, client, Departure::Clean, Now::default());
        }
        store(&mut owner, "1", 6);
        assert_eq!(stands(&owner, "2"), Ok(vec![]), "nothing is left");
    }
}
