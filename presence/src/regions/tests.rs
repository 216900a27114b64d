//! Pure: what a union tells when, in examples.

use super::{
    reader::{diffs, gone, pages, seen},
    world::{MANY, NAMED, OWN, World},
    *,
};
use crate::{Diff, Since, Version};

#[test]
fn a_silent_region_is_stale_then_gone_and_known_again_when_it_answers() {
    let mut world = World::new(NAMED, MANY);
    world.enter(1, "u1");
    world.calm();
    let us = |world: &World| world.union.as_of(world.now)["ap"];
    let current = |world: &World| AsOf { as_of_ms: Some(world.now.wall_ms), is_stale: false, is_gone: false, counts_only: false };
    let stale = |said: &[Output]| -> Vec<(String, bool)> {
        let stale =
            |output: &Output| if let Output::Stale(region, is_stale) = output { Some((region.to_string(), *is_stale)) } else { None };
        said.iter().filter_map(stale).collect()
    };
    assert_eq!(us(&world), current(&world));
    let heard_ms = world.now.wall_ms;
    world.cut(1);
    world.wait(REGION_STALE_MS - 1);
    assert_eq!(us(&world), AsOf { as_of_ms: Some(heard_ms), ..current(&world) });
    assert_eq!(stale(&world.said()), []);
    world.wait(1);
    assert_eq!(stale(&world.said()), [("ap".to_owned(), true)]);
    assert_eq!(us(&world), AsOf { as_of_ms: Some(heard_ms), is_stale: true, is_gone: false, counts_only: false });
    assert!(!world.union.is_complete(world.now));
    world.wait(REGION_GONE_MS - REGION_STALE_MS);
    assert_eq!(us(&world), AsOf { as_of_ms: Some(heard_ms), is_stale: true, is_gone: true, counts_only: false });
    assert_eq!(serde_json::to_string(&us(&world)).unwrap(), format!(r#"{{"as_of_ms":{heard_ms},"stale":true,"gone":true}}"#));
    let said = world.calm();
    assert_eq!((stale(&said), us(&world)), (vec![("ap".to_owned(), false)], current(&world)));
}

#[test]
fn a_link_that_comes_back_in_the_last_moment_has_the_time_to_answer() {
    let mut world = World::new(NAMED, MANY);
    world.enter(1, "u1");
    world.calm();
    world.cut(1);
    world.wait(REGION_GONE_MS - 1);
    world.heal(1);
    world.wait(ANSWER_MS - 1);
    assert_eq!(gone(&world.said()), 0);
    world.wait(2);
    assert_eq!(gone(&world.said()), 1);
}

#[test]
fn a_region_that_was_never_heard_of_is_not_complete_and_never_goes() {
    let rules = Arc::new(Rules::new("eu".into()));
    let now = protocol::time::Now { mono_ms: 5, wall_ms: 9 };
    let (mut union, mut out) = (Union::new(rules, &["us".into()], 0, now), vec![]);
    union.handle(Input::Tick, now.plus_ms(2 * REGION_GONE_MS), &mut out);
    assert_eq!(out, [Output::Stale("eu".into(), true), Output::Stale("us".into(), true)]);
    let json = serde_json::to_string(&union.as_of(now)).unwrap();
    assert_eq!(json, r#"{"eu":{"as_of_ms":null,"stale":false,"gone":true},"us":{"as_of_ms":null,"stale":false,"gone":true}}"#);
    assert_eq!((union.version().to_string().as_str(), union.is_complete(now)), ("eu=0:0,us=0:0", false));
}

#[test]
fn the_json_of_a_union_is_that_of_a_roster_with_regions() {
    let mut world = World::new(NAMED, MANY);
    world.enter(2, "u");
    world.enter(OWN, "u");
    world.enter(1, "v");
    world.calm();
    let page = serde_json::to_value(world.union.page(None, 10)).unwrap();
    assert_eq!(
        page["snapshot"].to_string(),
        r#"[{"chan_info":0,"client":"c1","conn_info":{},"num_clients":2,"regions":["eu","us"],"user":"u"},{"chan_info":0,"client":"c2","conn_info":{},"num_clients":1,"regions":["ap"],"user":"v"}]"#
    );
    world.cut(2);
    world.wait(REGION_GONE_MS);
    let said = world.said();
    let diff: &Diff = diffs(&said).next().unwrap();
    let json = serde_json::to_string(diff).unwrap();
    let expected = r#""join":[],"leave":[],"update":[{"user":"u","client":"c1","num_clients":1,"conn_info":{},"chan_info":0,"regions":["eu"]}],"count":2,"region_gone":"us"}"#;
    assert!(json.ends_with(expected), "{json}");
}

#[test]
fn versions_of_a_gateway_that_heard_the_regions_in_another_order_are_known() {
    let mut world = World::new(NAMED, MANY);
    world.calm();
    let before = world.union.version();
    world.enter(1, "a");
    world.arrive();
    let middle = world.union.version();
    world.enter(2, "b");
    world.arrive();
    let stamp = |version: &Version, region: &str| (Arc::<str>::from(region), version.stamp(region).unwrap());
    let after = world.union.version();
    let parts = [stamp(&before, "eu"), stamp(&before, "ap"), stamp(&after, "us")];
    let other = Version::of_regions(parts.iter().map(|(region, stamp)| (region, *stamp)));
    assert!(other != before && other != middle);
    let Since::Diff(diff) = world.union.since(&other) else { panic!("{other} is known") };
    assert_eq!((diff.join.len(), &*diff.join[0].user().clone(), diff.count), (1, "a", 2));
    let one_region = Version::of(&"eu".into(), before.stamp("eu").unwrap());
    assert!(matches!(world.union.since(&one_region), Since::Snapshot(_)), "who knew one region knows nothing of the others");
}

#[test]
fn pages_of_an_earlier_question_are_not_mixed_with_those_of_the_last_one() {
    let mut world = World::new(NAMED, MANY);
    world.arrive();
    for user in ["a", "b", "c", "d"] {
        world.enter(1, user);
    }
    world.restart(1);
    // The first answer gets as far as its first page, and the rest comes late.
    world.cut(1);
    world.heal(1);
    world.answer_all(1);
    let late = world.take_said(1);
    world.cut(1);
    world.depart(0);
    world.enter(1, "e");
    world.heal(1);
    world.answer_all(1);
    let answer = world.take_said(1);
    assert!(late.len() > 1 && answer.len() > 1);
    let (first, rest) = answer.split_first().unwrap();
    for message in [first].into_iter().chain(&late).chain(rest) {
        world.hear(1, message.clone());
    }
    assert_eq!(seen(&pages(&world.union)), world.truth());
}

#[test]
fn counts_of_an_earlier_question_do_not_supersede_those_of_the_last_one() {
    let mut world = World::new(Tiers { at_once_max: 1, batched_max: 2 }, MANY);
    (0..4).for_each(|user| world.enter(1, &format!("u{user}")));
    world.calm();
    world.enter(1, "u4");
    world.wait(1_000);
    let late = world.take_said(1);
    world.enter(1, "u5");
    world.cut(1);
    world.wait(1_000);
    world.heal(1);
    world.arrive();
    assert!(!late.is_empty());
    late.into_iter().for_each(|message| world.hear(1, message));
    let stats = world.union.stats(world.own_stats());
    assert_eq!((stats.stats.users, stats.is_upper_bound), (6, true));
}
