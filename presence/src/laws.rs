//! Pure: the laws of presence, on random schedules.

use crate::{
    world::{GRACE_MS, Replica, Step, World, apply, roster, steps, world},
    *,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Whose presence, and whether it began.
type Edge = (MemberKey, bool);

/// Twelve users pass through all three tiers of it.
const SMALL: Tiers = Tiers { at_once_max: 3, batched_max: 6 };
/// Names are always told.
const NAMED: Tiers = Tiers { at_once_max: 4, batched_max: 1_000 };

fn diffs(events: &[Event]) -> impl Iterator<Item = &Diff> {
    events.iter().filter_map(|event| if let Event::Changed { diff, .. } = event { Some(&**diff) } else { None })
}

/// What join and leave pushes, and online and offline pushes, say.
fn edges(events: &[Event]) -> (Vec<Edge>, Vec<Edge>) {
    let (mut channel, mut node) = (vec![], vec![]);
    for event in events {
        match event {
            Event::Joined { member, .. } => channel.push((member.key(), true)),
            Event::Left { member, .. } => channel.push((member.key(), false)),
            Event::Online { user, .. } => node.push((MemberKey::User(user.clone()), true)),
            Event::Offline { user, .. } => node.push((MemberKey::User(user.clone()), false)),
            Event::Changed { .. } | Event::Contacts { .. } | Event::Stale { .. } => {}
        }
    }
    (channel, node)
}

proptest! {
    #[test]
    fn each_presence_has_exactly_one_join_and_one_leave_over_any_number_of_devices_and_outages(steps in steps(4)) {
        let mut world = world(SMALL);
        let mut said = vec![];
        for step in steps {
            said.extend(world.step(step));
            let (channel, node) = edges(&said);
            let named = |edge: &&Edge| matches!(edge.0, MemberKey::User(_));
            prop_assert_eq!(&channel, &world.edges);
            prop_assert_eq!(&node, &world.edges.iter().filter(named).cloned().collect::<Vec<_>>());
        }
        let joins = world.edges.iter().filter(|edge| edge.1).count();
        prop_assert_eq!(world.metrics.joins.get(), joins as u64);
        prop_assert_eq!(world.metrics.leaves.get(), (world.edges.len() - joins) as u64);
    }

    #[test]
    fn nobody_sees_an_outage_that_is_shorter_than_the_grace(outages in prop::collection::vec((1..=2_usize, 0..GRACE_MS, 0..500_u64), 1..20)) {
        let mut world = world(NAMED);
        for watcher in ["a", "b", "z"] {
            world.enter(watcher, watcher);
        }
        world.enter("u", "0.0");
        world.said();
        let mut devices = 1;
        for (index, (devices_after, outage_ms, pause_ms)) in outages.iter().enumerate() {
            for device in 0..devices {
                world.depart(&"u".into(), &format!("{index}.{device}").as_str().into(), Departure::Dropped);
            }
            world.wait(*outage_ms);
            prop_assert!(world.store.user("u").online && roster(&world.store, &world.channel).len() == 4);
            for device in 0..*devices_after {
                world.enter("u", &format!("{}.{device}", index + 1));
            }
            world.wait(*pause_ms);
            devices = *devices_after;
        }
        let said = world.said();
        prop_assert_eq!(edges(&said), (vec![], vec![]));
        prop_assert!(diffs(&said).all(|diff| diff.join.is_empty() && diff.leave.is_empty() && diff.count == 4));
        prop_assert_eq!(world.metrics.flaps_avoided.get(), outages.len() as u64);
    }

    #[test]
    fn counts_are_exact_at_every_moment_in_rooms_of_every_size(steps in steps(12)) {
        let mut world = world(SMALL);
        let mut told = 0;
        for step in steps.into_iter().chain([Step::Wait(2 * GRACE_MS)]) {
            told = diffs(&world.step(step)).last().map_or(told, |diff| diff.count);
            let truth = world.count();
            prop_assert_eq!(world.store.stats(&world.channel), truth);
            prop_assert_eq!(world.store.online_totals(), truth);
            prop_assert_eq!(world.store.clients(&world.channel).len(), truth.clients);
            prop_assert_eq!(world.store.rooms(), usize::from(truth.users > 0));
            let Metrics { members, users_online, clients_online, rooms, .. } = &world.metrics;
            let gauges = [members, users_online, clients_online, rooms].map(|gauge| usize::try_from(gauge.get()).unwrap());
            prop_assert_eq!(gauges, [truth.users, truth.users, truth.clients, world.store.rooms()]);
            prop_assert!(told == truth.users || truth.users >= SMALL.at_once_max, "a small room is told at once");
        }
        prop_assert_eq!(told, world.count().users, "and any room in the end");
    }

    #[test]
    fn a_replica_that_applies_nothing_but_diffs_is_the_roster(steps in steps(12)) {
        let mut world = world(SMALL);
        let (mut replica, mut seq, mut told) = (Replica::default(), 0, BTreeMap::new());
        for step in steps.into_iter().chain([Step::Wait(2 * GRACE_MS)]) {
            let said = world.step(step);
            for diff in diffs(&said) {
                seq += 1;
                prop_assert_eq!(diff.version.stamp("local").unwrap().seq, seq, "seq is dense");
                replica.follow(diff, &world.store, &world.channel);
            }
            let version = world.store.version(&world.channel);
            if replica.version.as_ref() == Some(&version) {
                prop_assert_eq!(&replica.entries, &roster(&world.store, &world.channel));
            }
            told.extend(diffs(&said).map(|diff| (diff.version.to_string(), diff.counts_only)));
            let is_named = told.get(&version.to_string()) == Some(&false);
            prop_assert!(!is_named || replica.version == Some(version), "the replica is up to date wherever names are told");
            if is_named && matches!(step, Step::Wait(COUNT_MS..)) {
                prop_assert_eq!(&replica.entries, &world.truth());
            }
        }
        prop_assert!(replica.resyncs <= told.values().filter(|counts_only| **counts_only).count());
    }

    #[test]
    fn what_was_told_since_any_retained_version_leads_to_the_roster_as_told(steps in steps(12)) {
        let mut world = world(SMALL);
        let mut known: Vec<(String, BTreeMap<MemberKey, Entry>)> = vec![];
        for step in steps {
            world.step(step);
            let (version, now) = (world.store.version(&world.channel), roster(&world.store, &world.channel));
            if version.stamp("local").unwrap().seq == 0 {
                continue;
            }
            match known.last() {
                Some((last, entries)) if *last == version.to_string() => prop_assert_eq!(entries, &now, "a version names one roster"),
                _ => known.push((version.to_string(), now.clone())),
            }
            for (old, mut entries) in known.iter().cloned() {
                let Since::Diff(diff) = world.store.since(&world.channel, &old) else { panic!("{old} is retained") };
                let lists = [&diff.join, &diff.leave, &diff.update];
                let named: BTreeSet<MemberKey> = lists.into_iter().flatten().map(Entry::key).collect();
                prop_assert_eq!(named.len(), diff.len(), "it names nobody twice");
                prop_assert!(diff.join.iter().all(|entry| !entries.contains_key(&entry.key())));
                prop_assert!(diff.leave.iter().chain(&diff.update).all(|entry| entries.contains_key(&entry.key())));
                apply(&mut entries, &diff);
                prop_assert_eq!((&entries, diff.count, &diff.version), (&now, now.len(), &version));
            }
        }
    }

    #[test]
    fn pages_read_while_members_come_and_go_and_the_diffs_after_the_first_one_are_the_roster(steps in steps(12), limit in 1..4_usize) {
        let mut world = world(NAMED);
        let (mut first, mut cursor, mut entries, mut since) = (None::<Version>, None, BTreeMap::new(), vec![]);
        for step in steps {
            since.extend(diffs(&world.step(step)).cloned());
            let page = world.store.page(&world.channel, cursor.as_deref(), limit).unwrap();
            prop_assert!(page.snapshot.len() <= limit);
            let from = first.get_or_insert(page.version);
            entries.extend(page.snapshot.into_iter().map(|entry| (entry.key(), entry)));
            cursor = page.next;
            if cursor.is_none() {
                since.iter().filter(|diff| !matches!(diff.version.partial_cmp(from), Some(order) if order.is_le())).for_each(|diff| apply(&mut entries, diff));
                prop_assert_eq!(&entries, &roster(&world.store, &world.channel));
                (first, entries) = (None, BTreeMap::new());
                since.clear();
            }
        }
    }

    #[test]
    fn the_roster_is_the_sessions_once_a_batch_is_told(steps in steps(12)) {
        let mut world = world(NAMED);
        for step in steps {
            world.step(step);
            let World { store, channel, .. } = &world;
            if store.stats(channel).users < NAMED.at_once_max - NAMED.at_once_max / 10 {
                prop_assert_eq!(roster(store, channel), world.truth(), "a small room is told at once");
            }
        }
        world.wait(2 * GRACE_MS);
        prop_assert_eq!(roster(&world.store, &world.channel), world.truth());
    }
}
