//! I/O: what the embedded store does at its bounds, with many members and from many threads.

use crate::{
    embedded::SHARDS,
    largest::LOOKED_AT_MAX,
    world::{GRACE_MS, Replica, World, apply, member, random_u64, roster, world},
    *,
};
use protocol::name::Channel;
use std::{collections::BTreeMap, sync::Arc};

fn changed(events: Vec<Event>) -> Vec<Arc<Diff>> {
    events.into_iter().filter_map(|event| if let Event::Changed { diff, .. } = event { Some(diff) } else { None }).collect()
}

fn join(world: &World, user: usize) {
    world.store.join(&world.channel, member(&format!("c{user}"), &format!("u{user}"), ""), world.now);
}

fn leave(world: &World, user: usize, departure: Departure) {
    world.store.leave(&world.channel, &format!("c{user}"), departure, world.now);
}

fn is_remembered(world: &World, channel: &Channel) -> bool {
    world.store.version(channel).to_string() != "local=0:0"
}

#[test]
fn a_big_room_tells_every_join_at_once_but_counts_by_the_second_and_names_again_when_it_has_shrunk() {
    let mut world = world(Tiers::default());
    (0..6_000).for_each(|user| join(&world, user));
    let said = world.said();
    assert_eq!(said.iter().filter(|event| matches!(event, Event::Joined { .. })).count(), 6_000);
    let diffs = changed(said);
    // 200 at once, and one where names stop, before the first batch was due.
    assert_eq!((diffs.len(), diffs[200].counts_only, diffs[200].count), (201, true, 5_001));
    world.wait(COUNT_MS - 1);
    assert_eq!(changed(world.said()).len(), 0);
    world.wait(1);
    assert!(matches!(&changed(world.said())[..], [diff] if diff.counts_only && diff.is_empty() && diff.count == 6_000));
    assert_eq!(roster(&world.store, &world.channel).len(), 6_000);
    // Who asks is told the names that have changed, and no others.
    let known = world.store.version(&world.channel).to_string();
    (0..60).for_each(|user| leave(&world, user, Departure::Clean));
    (6_000..6_060).for_each(|user| join(&world, user));
    world.wait(COUNT_MS);
    assert!(changed(world.said()).iter().all(|diff| diff.counts_only && diff.is_empty() && diff.count == 6_000));
    let Since::Diff(diff) = world.store.since(&world.channel, &known) else { panic!("all of them") };
    assert_eq!((diff.join.len(), diff.leave.len(), diff.update.len(), diff.count, diff.counts_only), (60, 60, 0, 6_000, false));
    (0..60).for_each(|user| join(&world, user));
    (6_000..6_060).for_each(|user| leave(&world, user, Departure::Clean));
    world.wait(COUNT_MS);
    world.said();

    (4_400..6_000).for_each(|user| leave(&world, user, Departure::Clean));
    let mut replica = Replica::default();
    let diffs = changed(world.said());
    assert!(matches!(&diffs[..], [turn] if turn.counts_only && turn.count == 4_499));
    world.wait(COUNT_MS);
    diffs.iter().chain(&changed(world.said())).for_each(|diff| replica.follow(diff, &world.store, &world.channel));
    assert_eq!((replica.resyncs, replica.entries.len()), (1, 4_400));
    assert_eq!(replica.entries, roster(&world.store, &world.channel));
}

#[test]
fn diffs_are_remembered_up_to_a_number_an_age_and_a_size() {
    let mut world = world(Tiers::default());
    let version = |world: &World| world.store.version(&world.channel).to_string();
    let is_diff = |world: &World, since: &str| matches!(world.store.since(&world.channel, since), Since::Diff(_));
    join(&world, 0);
    let first = version(&world);
    for change in 0..RECENT_DIFFS_MAX {
        assert!(is_diff(&world, &first), "after {change}");
        world.store.set_status(&world.channel, "c0", change.to_string().into(), world.now);
    }
    join(&world, 1);
    assert!(!is_diff(&world, &first));

    world.wait(RECENT_MS - 1);
    let second = version(&world);
    join(&world, 2);
    world.wait(RECENT_MS - 1);
    assert!(is_diff(&world, &second));
    world.wait(1);
    assert!(!is_diff(&world, &second));
    for garbage in ["", "local", "local=0:0", "other=1:1", &format!("{}0", version(&world))] {
        assert!(!is_diff(&world, garbage), "{garbage}");
    }

    let third = version(&world);
    (3..4_003).for_each(|user| join(&world, user));
    world.wait(COUNT_MS);
    assert!(is_diff(&world, &third));
    for info in 0..RECENT_ENTRIES_MAX / 4_000 {
        (3..4_003).for_each(|user| world.store.set_status(&world.channel, &format!("c{user}"), info.to_string().into(), world.now));
        world.wait(COUNT_MS);
    }
    assert!(!is_diff(&world, &third));
}

#[test]
fn an_empty_roster_is_forgotten_with_its_diffs_or_when_there_are_too_many() {
    let mut world = world(Tiers::default());
    join(&world, 0);
    leave(&world, 0, Departure::Clean);
    world.wait(RECENT_MS - 1);
    assert!(is_remembered(&world, &world.channel));
    world.wait(1);
    assert!(!is_remembered(&world, &world.channel));
    assert_eq!((world.store.tick(world.now), world.store.stats(&world.channel)), (None, Stats::default()));

    let channels: Vec<Channel> = (0..SHARDS * VACANT_PER_SHARD_MAX + 5_000).map(|n| Channel::parse(&n.to_string()).unwrap()).collect();
    for channel in &channels {
        world.store.join(channel, member("c", "u", ""), world.now);
        world.store.leave(channel, "c", Departure::Clean, world.now);
    }
    let remembered = channels.iter().filter(|channel| is_remembered(&world, channel)).count();
    assert!(remembered <= SHARDS * VACANT_PER_SHARD_MAX && remembered > SHARDS * VACANT_PER_SHARD_MAX / 2);
    assert_eq!(world.metrics.rooms.get(), 0);
}

#[test]
fn a_crowd_whose_graces_end_together_is_gone_after_one_tick() {
    let mut world = world(Tiers::default());
    (0..2_500).for_each(|user| join(&world, user));
    (0..2_500).for_each(|user| leave(&world, user, Departure::Dropped));
    assert_eq!((world.metrics.grace_pending.get(), world.metrics.members.get()), (2_500, 2_500));
    world.wait(GRACE_MS);
    assert_eq!((world.metrics.grace_pending.get(), world.metrics.members.get(), world.metrics.leaves.get()), (0, 0, 2_500));
}

#[test]
fn events_come_in_the_order_of_the_changes_whatever_threads_make_them() {
    let world = world(Tiers::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for round in 0..500 {
                    let user = thread * 20 + round % 20;
                    if round % 3 == 2 { leave(world, user, Departure::Clean) } else { join(world, user) }
                }
            });
        }
    });
    let (mut entries, mut seq) = (BTreeMap::new(), 0);
    for diff in changed(world.said()) {
        seq += 1;
        assert_eq!(diff.version.stamp("local").map(|stamp| stamp.seq), Some(seq));
        apply(&mut entries, &diff);
        assert_eq!(diff.count, entries.len());
    }
    assert_eq!(entries, roster(&world.store, &world.channel));
}

#[test]
fn a_roster_that_was_forgotten_and_made_anew_continues_no_version_of_the_old_one() {
    let mut world = world(Tiers::default());
    join(&world, 0);
    let old = world.store.version(&world.channel).to_string();
    leave(&world, 0, Departure::Clean);
    world.wait(RECENT_MS);
    (0..3).for_each(|user| join(&world, user));
    assert!(matches!(world.store.since(&world.channel, &old), Since::Snapshot(page) if page.snapshot.len() == 3 && page.next.is_none()));
}

#[test]
fn a_client_that_comes_under_another_user_has_left_the_first() {
    let world = world(Tiers::default());
    world.store.join(&world.channel, member("c0", "ann", ""), world.now);
    world.store.join(&world.channel, member("c0", "bob", ""), world.now);
    assert_eq!(world.store.stats(&world.channel), Stats { clients: 1, users: 1 });
    assert_eq!(roster(&world.store, &world.channel).into_keys().collect::<Vec<_>>(), [MemberKey::User("bob".into())]);
}

#[test]
fn a_query_answers_for_each_user_in_the_order_asked() {
    let mut world = world(Tiers::default());
    ["ann", "bob"].iter().for_each(|user| world.enter(user, user));
    world.depart(&"bob".into(), &"bob".into(), Departure::Clean);
    let known = world.store.query(&["zoe", "ann", "bob"]).iter().map(|user| (user.online, user.last_seen_ms)).collect::<Vec<_>>();
    assert_eq!(known, [(false, None), (true, None), (false, Some(world.now.wall_ms))]);
}

#[test]
fn the_largest_rooms_come_first_and_of_too_many_not_all_are_looked_at() {
    let world = world(Tiers::default());
    let enter = |room: &str, user: &str, client: &str| {
        world.store.join(&Channel::parse(room).unwrap(), member(client, user, ""), world.now);
    };
    [("a", "ann", "1"), ("b", "ann", "2"), ("b", "ann", "3"), ("c", "ann", "4"), ("c", "bob", "5"), ("c", "cat", "6")]
        .iter()
        .for_each(|(room, user, client)| enter(room, user, client));
    let Largest { rooms, is_complete } = world.store.largest(2);
    let found: Vec<_> = rooms.iter().map(|room| (room.channel.as_str(), room.size)).collect();
    let of = |clients, users| Size::Region(Stats { clients, users });
    assert_eq!((found, is_complete), (vec![("c", of(3, 3)), ("b", of(2, 1))], true));
    world.store.leave(&Channel::parse("c").unwrap(), "4", Departure::Clean, world.now);
    world.store.leave(&Channel::parse("c").unwrap(), "5", Departure::Clean, world.now);
    world.store.leave(&Channel::parse("a").unwrap(), "1", Departure::Clean, world.now);
    assert_eq!(world.store.largest(9).rooms.iter().map(|room| room.channel.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    (0..=LOOKED_AT_MAX).for_each(|room| enter(&format!("r{room}"), "ann", "1"));
    assert!(!world.store.largest(2).is_complete);
}

#[test]
fn the_table_of_metrics_is_what_is_registered() {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let mut table = METRICS.map(|(name, help)| (name.to_owned(), help.to_owned()));
    table.sort();
    let registered: Vec<_> = registry.gather().iter().map(|family| (family.name().to_owned(), family.help().to_owned())).collect();
    assert_eq!(registered, table);
    assert!(Metrics::register(&registry).is_err());
    let rules = Rules { region: "local".into(), grace_ms: 0, tiers: Tiers::default() };
    let store = Embedded::new(rules, metrics, random_u64, Arc::new(drop));
    assert_eq!(store.page(&Channel::parse("room").unwrap(), Some("!"), 1), Err(BadCursor));
}
