//! What the coordinator does not do yet, or not again.

use crate::{settled, world::serving};
use ring_coordinator::{coordinator::facts::Input, document::Phase};

/// How long a change takes once etcd is seen again: two rounds of acknowledgements, and what is under way.
const CHANGE_MS: u64 = 5_000;

#[test]
fn a_gateway_that_was_late_before_a_gap_has_all_its_time_again_after_it() {
    let mut world = settled(&["a", "b"], 3);
    world.gateways.get_mut("g2").unwrap().hangs = true;
    world.want(1, serving(&["a", "b", "c"]));
    world.run(15_000);
    world.tell(Input::Stale);
    world.show();
    world.run(19_000);
    assert_eq!(world.expelled.len(), 0);
    world.run(2_000);
    assert_eq!(world.expelled, ["g2"]);
}

#[test]
fn nothing_is_swept_from_a_node_before_it_is_fenced() {
    let mut world = settled(&["a", "b"], 3);
    world.kill_at = Some(4);
    world.want(1, serving(&["a", "b", "c"]));
    world.run(1_000);
    assert_eq!((world.ring().phase, world.sweeps.len()), (Phase::Switch, 0));
    world.unreachable.insert("a".to_owned());
    world.run(10_000);
    assert!(world.leaders == 2 && world.sweeps.iter().all(|(from, ..)| from == "b"), "{:?}", world.sweeps);
    world.unreachable.clear();
    assert!(world.run_until(20_000, |world| world.ring().phase == Phase::Stable));
    assert!(world.sweeps.iter().any(|(from, ..)| from == "a"));
}

#[test]
fn a_fence_of_an_older_epoch_does_not_count() {
    let mut world = settled(&["a", "b"], 3);
    world.unreachable.insert("a".to_owned());
    world.want(1, serving(&["a", "b", "c"]));
    world.run(1_000);
    assert_eq!((world.ring().phase, world.epoch()), (Phase::Fence, 3));
    world.tell(Input::Fenced { node: "a".to_owned(), epoch: 3 });
    assert_eq!(world.ring().phase, Phase::Fence);
    world.unreachable.clear();
    assert!(world.run_until(5_000, |world| world.ring().phase == Phase::Switch));
}

#[test]
fn while_a_write_may_still_appear_nothing_else_is_written() {
    let mut world = settled(&["a", "b"], 3);
    world.swallows = Some(0);
    world.want(1, serving(&["a", "b", "c"]));
    world.run(1_900);
    assert_eq!(world.swallows, Some(1));
    world.run(300);
    assert_eq!(world.swallows, Some(2), "then it counts as lost");
    world.tell(Input::NotWritten);
    world.run(100);
    assert_eq!(world.swallows, Some(2), "what was refused is not tried again at once");
    world.run(300);
    assert_eq!(world.swallows, Some(3));
}

#[test]
fn after_a_gap_a_change_goes_on_as_soon_as_all_who_listen_at_the_nodes_are_registered() {
    let mut world = settled(&["a", "b"], 3);
    world.tell(Input::Stale);
    world.run(1_000);
    world.show();
    world.want(1, serving(&["a", "b", "c"]));
    assert!(world.run_until(CHANGE_MS, |world| world.ring().phase == Phase::Stable && world.epoch() > 1), "{:?}", world.ring().phase);

    // So it is for a successor, who has seen nothing before.
    world.kill_leader();
    let epoch = world.epoch();
    assert!(world.run_until(6_000, |world| world.leader.is_some()));
    world.want(2, serving(&["a", "b"]));
    assert!(world.run_until(CHANGE_MS, |world| world.ring().phase == Phase::Stable && world.epoch() > epoch));
}

#[test]
fn after_a_gap_a_change_waits_for_one_who_listens_and_is_not_registered_as_long_as_a_lease_lives() {
    let mut world = settled(&["a", "b"], 3);
    world.tell(Input::Stale);
    let back_at = world.now + 8_000;
    world.registered.remove("g2");
    world.gateways.get_mut("g2").unwrap().back_at = back_at;
    world.show();
    let shown = world.now;
    world.want(1, serving(&["a", "b", "c"]));
    world.run(7_900);
    assert_eq!(world.ring().phase, Phase::Prepare);
    assert!(world.run_until(CHANGE_MS, |world| world.ring().phase == Phase::Stable));
    assert!(world.now < shown + 12_000 && world.registered.contains_key("g2"));

    // One who does not come back is waited for so long and no longer.
    world.tell(Input::Stale);
    world.registered.remove("g2");
    world.gateways.get_mut("g2").unwrap().back_at = u64::MAX;
    world.show();
    world.want(2, serving(&["a", "b"]));
    world.run(11_900);
    assert_eq!(world.ring().phase, Phase::Prepare);
    assert!(world.run_until(CHANGE_MS, |world| world.ring().phase == Phase::Stable));
}

#[test]
fn after_a_gap_a_node_that_has_not_told_who_listens_is_waited_for() {
    let mut world = settled(&["a", "b"], 3);
    world.tell(Input::Stale);
    world.is_mute = true;
    world.show();
    world.want(1, serving(&["a", "b", "c"]));
    world.run(11_900);
    assert_eq!(world.ring().phase, Phase::Prepare);
    assert!(world.run_until(CHANGE_MS, |world| world.ring().phase == Phase::Stable));
}
