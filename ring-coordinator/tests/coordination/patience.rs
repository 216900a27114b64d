//! What the coordinator does not do yet, or not again.

use crate::{settled, world::serving};
use ring_coordinator::{coordinator::facts::Input, document::Phase};

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
