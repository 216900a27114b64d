//! Pure: the laws of what services are told, on random schedules.

use crate::{
    world::{Step, World, member, steps, world},
    *,
};
use futures_util::FutureExt;
use proptest::prelude::*;
use protocol::name::Channel;
use std::ops::RangeInclusive;

/// Rooms of these users pass through all tiers.
const SMALL: Tiers = Tiers { at_once_max: 1, batched_max: 3 };

/// Something that happened, and when.
type Edge = (HookKind, String, RangeInclusive<u64>);

/// Takes a batch, if there is one, and gives it back.
fn take(world: &World, is_told: bool) -> Vec<Hook> {
    let queue = world.store.hooks().unwrap();
    let Some(batch) = queue.next().now_or_never() else { return Vec::new() };
    queue.done(&batch, is_told);
    if is_told { batch.hooks } else { Vec::new() }
}

/// What happened in this step, by the oracle: of the channel, and of users.
fn step(world: &mut World, step: Step, rooms: &mut Vec<Edge>, users: &mut Vec<Edge>) {
    let (was_occupied, edges, since_ms) = (world.count().users > 0, world.edges.len(), world.now.wall_ms);
    world.step(step);
    let time = since_ms..=world.now.wall_ms;
    let is_occupied = world.count().users > 0;
    if is_occupied != was_occupied {
        let kind = if is_occupied { HookKind::Occupied } else { HookKind::Vacated };
        rooms.push((kind, "room".to_owned(), time.clone()));
    }
    for (key, began) in &world.edges[edges..] {
        if let MemberKey::User(user) = key {
            let kind = if *began { HookKind::Online } else { HookKind::Offline };
            users.push((kind, user.to_string(), time.clone()));
        }
    }
}

proptest! {
    #[test]
    fn services_are_told_each_edge_of_a_channel_and_of_users_once_in_order_with_rising_stamps(
        steps in steps(4),
        fates in prop::collection::vec(prop::option::of(any::<bool>()), 80),
    ) {
        let mut world = world(SMALL);
        let (mut rooms, mut users, mut told) = (vec![], vec![], vec![]);
        for (next, fate) in steps.into_iter().zip(fates) {
            step(&mut world, next, &mut rooms, &mut users);
            told.extend(fate.into_iter().flat_map(|is_told| take(&world, is_told)));
        }
        loop {
            match take(&world, true) {
                hooks if hooks.is_empty() => break,
                hooks => told.extend(hooks),
            }
        }
        prop_assert_eq!(told.remove(0).kind, HookKind::ResyncNeeded);
        let (of_rooms, of_users): (Vec<Hook>, Vec<Hook>) =
            told.into_iter().partition(|hook| matches!(hook.kind, HookKind::Occupied | HookKind::Vacated));
        for (told, edges) in [(of_rooms, rooms), (of_users, users)] {
            prop_assert_eq!(told.len(), edges.len(), "{:?} instead of {:?}", told, edges);
            for (hook, (kind, name, time)) in told.iter().zip(&edges) {
                prop_assert!((hook.kind, &*hook.name) == (*kind, name.as_str()) && time.contains(&hook.time_ms), "{:?} of {:?}", hook, edges);
            }
            for pair in told.windows(2) {
                let (before, after) = (pair[0].stamp, pair[1].stamp);
                prop_assert!(after.generation != before.generation || after.seq > before.seq, "{:?}", pair);
            }
        }
    }
}

#[test]
fn an_edge_of_a_channel_carries_the_version_of_its_roster() {
    let mut world = world(Tiers::default());
    take(&world, true);
    world.enter("ann", "a");
    let occupied = take(&world, true).into_iter().find(|hook| hook.kind == HookKind::Occupied).unwrap();
    assert_eq!(Some(occupied.stamp), world.store.version(&world.channel).stamp("local"));
    world.enter("bob", "b");
    for (user, client) in [("ann", "a"), ("bob", "b")] {
        world.depart(&user.into(), &client.into(), Departure::Clean);
    }
    let vacated = take(&world, true).into_iter().find(|hook| hook.kind == HookKind::Vacated).unwrap();
    assert_eq!(Some(vacated.stamp), world.store.version(&world.channel).stamp("local"));
    assert_eq!((vacated.stamp.generation, vacated.stamp.seq), (occupied.stamp.generation, 4));
}

#[test]
fn a_user_who_is_erased_while_in_grace_is_told_offline_and_every_channel_by_itself_is_told() {
    let mut world = world(Tiers::default());
    take(&world, true);
    let other = Channel::parse("other").unwrap();
    world.store.join(&other, member("z", "zoe", ""), world.now);
    world.enter("ann", "a");
    world.depart(&"ann".into(), &"a".into(), Departure::Dropped);
    world.store.erase("ann", world.now.plus_ms(7));
    let told: Vec<_> = take(&world, true).into_iter().map(|hook| (hook.kind, hook.name.to_string(), hook.time_ms)).collect();
    let at_ms = world.now.wall_ms;
    assert_eq!(
        told,
        [
            (HookKind::Occupied, "other".to_owned(), at_ms),
            (HookKind::Online, "ann".to_owned(), at_ms),
            (HookKind::Occupied, "room".to_owned(), at_ms),
            (HookKind::Offline, "ann".to_owned(), at_ms + 7),
        ]
    );
}

#[test]
fn a_store_that_tells_no_service_keeps_nothing_for_one() {
    let rules = Rules { region: "local".into(), grace_ms: 0, tiers: Tiers::default() };
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let store = Embedded::new(rules, metrics, crate::world::random_u64, std::sync::Arc::new(drop));
    store.connect(&"ann".into(), &"a".into(), protocol::time::Now::default());
    assert!(store.hooks().is_none());
}
