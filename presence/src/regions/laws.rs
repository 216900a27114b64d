//! Pure: the laws of unions, on random schedules.

use super::{
    reader::{Reader, apply, diffs, gone, pages, seen},
    schedule::{Step, step, steps},
    world::{MANY, NAMED, OWN, REGIONS, World},
    *,
};
use crate::{Entry, MemberKey, Since, Stats, Version};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Regions and their union pass through all three tiers of it.
const SMALL: Tiers = Tiers { at_once_max: 2, batched_max: 4 };
/// Long enough for regions to go.
const LONG: std::ops::Range<u64> = 1..400_000;
/// So short that no schedule of them makes a region go.
const SHORT: std::ops::Range<u64> = 1..2_000;

fn keys(entries: &[Entry]) -> impl Iterator<Item = MemberKey> {
    entries.iter().map(Entry::key)
}

proptest! {
    #[test]
    fn once_all_links_are_quiet_the_union_is_the_union_of_all_sessions(steps in steps(LONG)) {
        let mut world = World::new(NAMED, MANY);
        for step in steps {
            world.step(step);
        }
        world.calm();
        prop_assert_eq!(seen(&pages(&world.union)), world.truth());
        prop_assert!(world.union.is_complete(world.now));
        prop_assert!(world.union.as_of(world.now).values().all(|part| part.as_of_ms == Some(world.now.wall_ms)));
        let clients = world.truth().values().map(|seen| seen.1 as usize).sum();
        let expected = UnionStats { stats: Stats { clients, users: world.truth().len() }, is_upper_bound: false };
        prop_assert_eq!(world.union.stats(world.own_stats()), expected);
    }

    #[test]
    fn a_reader_that_applies_nothing_but_diffs_has_the_union_and_is_told_of_each_change_once(steps in steps(LONG), from in 0..60_usize) {
        let mut world = World::new(NAMED, MANY);
        let (mut reader, mut place) = (Reader::of(&world.union), world.union.place());
        for (index, step) in steps.into_iter().enumerate() {
            let said = world.step(step);
            for output in &said {
                let Output::Changed { diff, place: told } = output else { continue };
                place += 1;
                prop_assert_eq!(*told, place);
                prop_assert!(!diff.counts_only && !diff.is_upper_bound);
                prop_assert!(keys(&diff.join).all(|key| !reader.entries.contains_key(&key)), "whoever joins was absent");
                prop_assert!(keys(&diff.leave).chain(keys(&diff.update)).all(|key| reader.entries.contains_key(&key)), "and others were present");
                prop_assert!(diff.update.iter().all(|entry| diff.region_gone.is_some() || reader.entries.get(&entry.key()) != Some(entry)));
                prop_assert!(diff.leave.iter().all(|entry| reader.entries.get(&entry.key()) == Some(entry)), "as it was told");
                reader.follow(diff, &world.union);
                prop_assert_eq!(reader.entries.len(), diff.count);
            }
            prop_assert_eq!(world.union.place(), place);
            if index == from {
                reader = Reader::of(&world.union);
            }
            prop_assert_eq!(&reader.entries, &pages(&world.union));
        }
    }

    #[test]
    fn nobody_who_stays_in_one_region_leaves_while_cuts_are_short(steps in steps(SHORT), anchors in prop::collection::vec((0..3_usize, 1..=6_u8), 3)) {
        let mut world = World::new(NAMED, MANY);
        for (region, user) in &anchors {
            world.enter(*region, &format!("u{user}"));
        }
        world.calm();
        let anchored: BTreeSet<MemberKey> = anchors.iter().map(|(_, user)| MemberKey::User(format!("u{user}").as_str().into())).collect();
        for step in steps {
            // Their sessions are the first ones.
            if let Step::Depart(_) = &step {
                if world.sessions() > anchors.len() {
                    world.depart(world.sessions() - 1);
                }
                continue;
            }
            let said = world.step(step);
            let named = diffs(&said).flat_map(|diff| keys(&diff.leave).chain(keys(&diff.join)));
            prop_assert_eq!(named.filter(|key| anchored.contains(key)).count(), 0);
            prop_assert_eq!(gone(&said), 0);
        }
    }

    #[test]
    fn a_region_that_goes_takes_its_members_along_in_one_change_that_names_none_of_them(steps in steps(SHORT), region in 1..3_usize) {
        let mut world = World::new(NAMED, MANY);
        for step in steps {
            world.step(step);
        }
        world.calm();
        let before = pages(&world.union);
        world.cut(region);
        world.wait(REGION_GONE_MS - 1);
        prop_assert_eq!(diffs(&world.said()).count(), 0);
        prop_assert_eq!(&before, &pages(&world.union));
        world.wait(1);
        let said = world.said();
        let told: Vec<_> = diffs(&said).collect();
        prop_assert_eq!(told.len(), 1);
        prop_assert_eq!(told[0].region_gone.as_deref(), Some(REGIONS[region]));
        prop_assert_eq!((told[0].join.len(), told[0].leave.len()), (0, 0));
        let after = pages(&world.union);
        let elsewhere = before.values().filter(|entry| entry.regions().iter().any(|name| **name != *REGIONS[region]));
        prop_assert_eq!(elsewhere.map(Entry::key).collect::<BTreeSet<_>>(), after.keys().cloned().collect());
        prop_assert!(after.values().all(|entry| entry.regions().iter().all(|name| **name != *REGIONS[region])));
        // It comes back with one change, too.
        let said = world.calm();
        prop_assert_eq!(diffs(&said).count(), usize::from(before != after));
        prop_assert_eq!(&before, &pages(&world.union));
    }

    #[test]
    fn after_a_short_cut_the_difference_is_one_change(steps in steps(SHORT), meanwhile in prop::collection::vec((1..=6_u8, any::<bool>()), 1..20)) {
        let mut world = World::new(NAMED, MANY);
        for step in steps {
            world.step(step);
        }
        world.calm();
        world.cut(1);
        let before = pages(&world.union);
        for (user, enters) in meanwhile {
            if enters {
                world.enter(1, &format!("u{user}"));
            } else if let Some(last) = world.last_of(1) {
                world.depart(last);
            }
            world.wait(REGION_GONE_MS / 40);
        }
        prop_assert_eq!(diffs(&world.said()).count(), 0);
        let said = world.calm();
        prop_assert_eq!(seen(&pages(&world.union)), world.truth());
        prop_assert_eq!(diffs(&said).count(), usize::from(before != pages(&world.union)));
    }

    #[test]
    fn what_was_told_since_any_version_leads_to_the_union(steps in steps(SHORT)) {
        let mut world = World::new(NAMED, MANY);
        let mut known: Vec<(Version, BTreeMap<MemberKey, Entry>)> = vec![];
        let mut resumed = 0;
        for step in steps {
            world.step(step);
            let (version, now) = (world.union.version(), pages(&world.union));
            for (old, mut entries) in known.iter().cloned() {
                let Since::Diff(diff) = world.union.since(&old) else { continue };
                resumed += usize::from(old != version);
                prop_assert!(keys(&diff.join).all(|key| !entries.contains_key(&key)));
                prop_assert!(keys(&diff.leave).chain(keys(&diff.update)).all(|key| entries.contains_key(&key)));
                apply(&mut entries, &diff);
                prop_assert_eq!((&entries, diff.count, &diff.version), (&now, now.len(), &version));
            }
            match known.last() {
                Some((last, entries)) if *last == version => prop_assert_eq!(entries, &now, "a version names one union"),
                _ => known.push((version, now)),
            }
        }
        prop_assert!(known.len() < 3 || resumed > 0);
    }

    #[test]
    fn a_reader_catches_up_at_a_gateway_that_heard_the_same_in_another_way(steps in prop::collection::vec((step(SHORT), any::<bool>()), 1..120)) {
        // What happens in the rooms is the same for both, what happens on the links is not.
        let (mut here, mut there) = (World::new(NAMED, MANY), World::new(NAMED, MANY));
        for (step, is_here) in steps {
            if step.is_of_rooms() || is_here {
                here.step(step);
            }
            if step.is_of_rooms() || !is_here {
                there.step(step);
            }
            let mut reader = Reader::of(&there.union);
            reader.catch_up(&here.union);
            prop_assert_eq!(reader.entries, pages(&here.union));
        }
    }

    #[test]
    fn pages_read_while_regions_change_and_the_diffs_after_the_first_one_are_the_union(steps in steps(LONG), limit in 1..4_usize) {
        let mut world = World::new(NAMED, MANY);
        let (mut first, mut last, mut entries, mut since) = (None, None, BTreeMap::new(), vec![]);
        for step in steps {
            since.extend(world.step(step));
            let from = *first.get_or_insert(world.union.place());
            let page = world.union.page(last.as_ref(), limit);
            prop_assert!(page.snapshot.len() <= limit);
            prop_assert_eq!(&page.version, &world.union.version());
            last = page.next.as_ref().map(|cursor| crate::page::parse_cursor(cursor).unwrap());
            prop_assert!(last.is_none() || last == page.snapshot.last().map(Entry::key));
            entries.extend(page.snapshot.into_iter().map(|entry| (entry.key(), entry)));
            if last.is_none() {
                for output in since.drain(..) {
                    match output {
                        Output::Changed { diff, place } if place > from => apply(&mut entries, &diff),
                        _ => {}
                    }
                }
                prop_assert_eq!(std::mem::take(&mut entries), pages(&world.union));
                first = None;
            }
        }
    }

    #[test]
    fn rooms_of_every_size_are_counted_and_named_again_when_they_have_shrunk(steps in steps(SHORT), names_max in 8..40_usize) {
        let mut world = World::new(SMALL, names_max);
        world.is_in_order = true;
        let mut reader = Reader::of(&world.union);
        let follow = |said: Vec<Output>, reader: &mut Reader, world: &World| {
            for diff in diffs(&said) {
                reader.follow(diff, &world.union);
                assert!(!diff.is_upper_bound || diff.counts_only);
                assert!(diff.counts_only || (diff.join.len() + diff.update.len() <= diff.count));
            }
        };
        for step in steps {
            let said = world.step(step);
            follow(said, &mut reader, &world);
            prop_assert!(reader.is_behind || reader.entries == pages(&world.union));
        }
        let said = world.calm();
        follow(said, &mut reader, &world);
        let (stats, truth) = (world.union.stats(world.own_stats()), world.truth());
        let by_region: usize = (0..REGIONS.len()).map(|region| world.users(region)).sum();
        prop_assert_eq!(stats.stats.clients, world.sessions());
        if stats.is_upper_bound {
            prop_assert_eq!(reader.count, by_region);
            prop_assert!(reader.is_behind && stats.stats.users >= truth.len() && stats.stats.users <= by_region);
        } else {
            prop_assert_eq!((stats.stats.users, reader.count), (truth.len(), truth.len()));
            reader.catch_up(&world.union);
            prop_assert_eq!(seen(&reader.entries), truth);
        }
        // With few members all is named again: names that were too many are asked for after a while, at a change that is told.
        // They may be too many for the last time when all have left at once, so that the while begins when that has been told.
        while world.sessions() > 1 {
            world.depart(0);
        }
        let said = world.calm();
        follow(said, &mut reader, &world);
        world.wait(2 * REFUSED_MS);
        let said = world.calm();
        follow(said, &mut reader, &world);
        for user in ["u1", "u2"] {
            (0..REGIONS.len()).for_each(|region| world.enter(region, user));
            let said = world.calm();
            follow(said, &mut reader, &world);
        }
        prop_assert!(!reader.is_behind);
        prop_assert_eq!(seen(&reader.entries), world.truth());
    }

    #[test]
    fn while_the_own_region_is_counted_its_store_s_pages_name_it(own in 5..9_u8, others in prop::collection::vec((1..3_usize, 1..12_u8), 0..4), limit in 1..5_usize) {
        let mut world = World::new(SMALL, MANY);
        (0..own).for_each(|user| world.enter(OWN, &format!("u{user}x")));
        others.iter().for_each(|(region, user)| world.enter(*region, &format!("u{user}x")));
        world.calm();
        prop_assume!((1..3).all(|region| world.users(region) < 4));
        prop_assert!(world.union.counts_own() && world.union.page(None, 100).snapshot.len() <= others.len());
        let (mut entries, mut last): (BTreeMap<MemberKey, Entry>, Option<MemberKey>) = (BTreeMap::new(), None);
        loop {
            let page = world.union.page_beside(world.own_page(last.as_ref(), limit), last.as_ref(), limit);
            prop_assert_eq!(page.version.stamp(REGIONS[OWN]), world.own_page(None, 1).version.stamp(REGIONS[OWN]));
            prop_assert!(matches!(world.union.since(&page.version), Since::Snapshot(_)));
            prop_assert!(page.snapshot.iter().all(|entry| entries.keys().all(|key| *key < entry.key())));
            last = page.next.map(|cursor| crate::page::parse_cursor(&cursor).unwrap());
            entries.extend(page.snapshot.into_iter().map(|entry| (entry.key(), entry)));
            if last.is_none() {
                break;
            }
        }
        prop_assert_eq!(seen(&entries), world.truth());
    }
}
