//! Pure: what an owner writes, on random schedules.

use super::schedule::{GRACE_MS, Step, World, member, rooms, steps};
use crate::member::Departure;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A change in every room: how an owner gets to know that a node has lost its data and lives on.
fn probe(world: &mut World, name: &str) {
    rooms().iter().for_each(|room| world.join(room, member(name, name, "")));
}

fn assert_all_is_stored(world: &mut World) {
    world.drain();
    let [stored, wanted] = world.rows();
    assert_eq!(stored, wanted);
    let id = world.owner.id().clone();
    for room in rooms() {
        let generation = world.cluster.generation(room.slot());
        assert_eq!(world.cluster.data(room.slot()).ready.get(&id), Some(&generation), "{room} is not ready");
        let node: usize = world.cluster.at(room.slot()).node.parse().unwrap();
        assert!(world.cluster.nodes[node].registered.contains(&(id.clone(), room.slot())), "{room} is not entered");
        assert!(world.owner.is_stored(room, world.owner.asked()));
    }
    let calls = world.calls;
    for _ in 0..3 {
        world.look();
        world.drain();
    }
    assert_eq!((world.calls, world.owner.unsaid()), (calls, 0), "calls for clients of whom nothing is new");
}

/// Its first drop left no row, for the member's other client was there.
#[test]
fn who_breaks_off_again_after_its_members_other_client_went_is_held() {
    for is_stored in [true, false] {
        let (mut world, room) = (World::new(), &rooms()[0]);
        ["a", "b"].iter().for_each(|client| world.join(room, member(client, "ann", "")));
        world.drain();
        world.leave(room, "a", Departure::Dropped);
        if is_stored {
            world.drain();
        } else {
            assert!(world.send().is_some());
        }
        world.leave(room, "b", Departure::Clean);
        world.join(room, member("a", "ann", ""));
        world.leave(room, "a", Departure::Dropped);
        world.drain();
        let [stored, wanted] = world.rows();
        assert_eq!((stored.len(), stored), (1, wanted));
    }
}

proptest! {
    #[test]
    fn whatever_fails_once_calls_succeed_the_nodes_have_the_owners_clients_and_nobody_is_seen_to_go_before(steps in steps()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.look();
        probe(&mut world, "probe");
        assert_all_is_stored(&mut world);
        world.wait(GRACE_MS);
        assert_all_is_stored(&mut world);
        prop_assert_eq!((world.owner.held(), world.owner.clients()), (0, world.rows()[1].len()));
    }

    #[test]
    fn where_nothing_fails_the_node_has_the_roster_of_one_process_after_every_step(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            if matches!(step, Step::Wipe(..) | Step::Fence(..) | Step::Unheard(_) | Step::Send | Step::Execute(_) | Step::Answer(_)) {
                continue;
            }
            world.step(step);
            world.look();
            world.drain();
            for room in rooms() {
                let page = world.rosters[room].page(None, 1_000).snapshot;
                let rows = world.cluster.data(room.slot()).rooms.get(room).cloned().unwrap_or_default();
                let mut entries = BTreeMap::new();
                for row in rows {
                    let entry = entries.entry(row.member.key()).or_insert((row.member.client.clone(), 0, Bytes::new()));
                    entry.1 += 1;
                    if entry.2.is_empty() {
                        entry.2 = row.member.about().status.clone();
                    }
                }
                let wanted = page.into_iter().map(|entry| (entry.key(), (entry.client().clone(), entry.num_clients(), entry.status().clone())));
                prop_assert_eq!(entries, wanted.collect::<BTreeMap<_, _>>());
            }
        }
    }
}
