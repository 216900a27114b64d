//! The coordinator in a simulated region: one test for each of its rules, and seeds with everything that goes wrong.

mod patience;
mod restored;
mod steps;
mod world;

use ring_coordinator::{
    change,
    coordinator::facts::{Alarm, Input, Refusal},
    document::{NodeState, Phase},
    etcd::record::Vote,
};
use world::{Faults, World, layout, serving};

use NodeState::{Drained, Serving};

/// A region of these nodes and so many gateways, with a leader that has settled.
fn settled(nodes: &[&str], gateways: usize) -> World {
    let mut world = World::new(1, nodes, gateways, Faults { late_ms: 200, ..Faults::default() });
    world.run(13_000);
    world
}

fn phases(world: &World) -> Vec<Phase> {
    world.history.iter().map(|document| document.phase).collect()
}

#[test]
fn a_node_is_added_in_four_steps_and_what_moved_is_swept_and_cleaned() {
    let mut world = settled(&["a", "b"], 3);
    world.want(7, serving(&["a", "b", "c"]));
    assert!(world.run_until(20_000, |world| world.epoch() == 5));
    assert_eq!(phases(&world), [Phase::Stable, Phase::Prepare, Phase::Fence, Phase::Switch, Phase::Stable]);
    assert_eq!((world.states().as_str(), world.answers.as_slice()), ("a b c", &[(7, Ok(5))][..]));
    assert_eq!(world.ring().current.node("c").map(|node| node.incarnation), Some(2));
    let to_c = world.sweeps.iter().filter(|(_, to, epoch)| to == "c" && *epoch == 4).count();
    assert_eq!(to_c, 2, "{:?}", world.sweeps);
    world.run(1_000);
    let cleaned: Vec<&str> = world.cleaned.iter().filter(|(_, epoch)| *epoch == 5).map(|(node, _)| node.as_str()).collect();
    assert_eq!(cleaned, ["a", "b", "c"]);
}

#[test]
fn a_drained_node_keeps_nothing_and_a_removed_one_is_cleaned_too() {
    let mut world = settled(&["a", "b"], 2);
    world.want(1, layout(&[("a", Serving), ("b", Drained)]));
    assert!(world.run_until(20_000, |world| world.epoch() == 5));
    assert_eq!(world.states(), "a (b)");
    world.run(60_000);
    assert_eq!(world.epoch(), 5, "a drained node comes back by a person's hand only");
    world.want(2, serving(&["a"]));
    assert!(world.run_until(20_000, |world| world.epoch() == 9));
    world.run(1_000);
    assert!(world.cleaned.contains(&("b".to_owned(), 9)), "{:?}", world.cleaned);
}

#[test]
fn a_gateway_that_does_not_acknowledge_is_expelled_after_two_leases_and_nobody_earlier() {
    let mut world = settled(&["a", "b"], 3);
    world.gateways.get_mut("g2").unwrap().hangs = true;
    world.want(1, serving(&["a", "b", "c"]));
    world.run(19_500);
    assert_eq!((world.ring().phase, world.expelled.len()), (Phase::Prepare, 0));
    assert!(world.run_until(5_000, |world| world.epoch() == 5), "{:?}", phases(&world));
    assert_eq!(world.expelled, ["g2"]);
}

#[test]
fn after_a_gap_in_etcd_nobody_is_taken_for_gone_before_a_lease_and_a_margin() {
    let mut world = settled(&["a", "b"], 3);
    world.gateways.get_mut("g1").unwrap().hangs = true;
    world.want(1, serving(&["a", "b", "c"]));
    world.run(1_000);
    world.tell(Input::Stale);
    let late = world.registered.remove("g1").unwrap();
    world.show();
    world.run(11_500);
    assert_eq!(world.ring().phase, Phase::Prepare, "a gateway that could not say that it is there");
    world.registered.insert("g1".to_owned(), late);
    world.show();
    world.run(3_000);
    assert_eq!((world.ring().phase, world.expelled.len()), (Phase::Prepare, 0));
}

#[test]
fn a_lost_node_is_taken_out_within_seconds_and_comes_back_after_its_hold_down() {
    let mut world = settled(&["a", "b", "c"], 3);
    world.dead.insert("b".to_owned(), world.now);
    let lost_at = world.now;
    assert!(world.run_until(6_000, |world| world.epoch() == 2), "{:?}", world.alarms);
    assert_eq!((world.states().as_str(), world.ring().phase), ("a -b c", Phase::Switch));
    assert!(world.now - lost_at >= 5_000, "3 s until gateways notice, 2 s for the vote to last");
    world.run(5_000);
    assert_eq!((world.epoch(), world.ring().phase), (3, Phase::Stable));
    world.dead.clear();
    world.run(29_000);
    assert_eq!(world.epoch(), 3);
    assert!(world.run_until(10_000, |world| world.epoch() == 7));
    assert_eq!(world.states(), "a b c");
    assert_eq!(world.ring().current.node("b").map(|node| node.incarnation), Some(4), "it begins anew");

    world.run(60_000);
    world.dead.insert("b".to_owned(), world.now);
    assert!(world.run_until(10_000, |world| world.states() == "a -b c" && world.ring().phase == Phase::Stable));
    world.dead.clear();
    world.run(59_000);
    assert_eq!(world.states(), "a -b c", "the second time it waits twice as long");
    assert!(world.run_until(10_000, |world| world.states() == "a b c"));
}

#[test]
fn two_nodes_and_one_gateway_still_fail_over_by_the_own_probe_in_ten_seconds() {
    let mut world = settled(&["a", "b"], 1);
    world.dead.insert("a".to_owned(), world.now);
    world.run(9_900);
    assert_eq!(world.epoch(), 1);
    assert!(world.run_until(2_000, |world| world.states() == "-a b"));
    world.dead.insert("b".to_owned(), world.now);
    world.run(30_000);
    assert_eq!(world.states(), "-a b", "never below one serving node");
    assert_eq!(world.alarms, [Alarm::LastNodes].into());
}

#[test]
fn votes_without_the_own_probe_and_a_probe_without_votes_remove_nobody() {
    let mut world = settled(&["a", "b", "c"], 3);
    world.unreachable.insert("a".to_owned());
    world.run(60_000);
    assert_eq!((world.epoch(), world.alarms.len()), (1, 0));
    world.unreachable.clear();
    for vote in world.votes.get_mut("a").unwrap().values_mut() {
        vote.vote = Vote::Down;
    }
    // The gateways of the world would change their minds; this one is shown once and stays.
    let seen = world.seen();
    world.tell(Input::Seen(seen));
    world.stale_until = Some(u64::MAX);
    world.run(60_000);
    assert_eq!(world.epoch(), 1);
}

#[test]
fn many_nodes_that_look_down_at_once_are_the_network() {
    let mut world = settled(&["a", "b", "c", "d", "e"], 3);
    for node in ["a", "b"] {
        world.dead.insert(node.to_owned(), world.now);
    }
    world.run(30_000);
    assert_eq!((world.epoch(), &world.alarms), (1, &[Alarm::Frozen].into()));
    world.dead.remove("a");
    assert!(world.run_until(5_000, |world| world.states() == "a -b c d e"), "one of five may go");
}

#[test]
fn nodes_that_die_together_and_are_noticed_one_after_the_other_are_the_network_too() {
    for apart_ms in (0..2_000).step_by(100) {
        let mut world = settled(&["a", "b", "c"], 2);
        // They refuse connections.
        world.noticed_ms = 200;
        world.dead.insert("a".to_owned(), world.now);
        world.run(apart_ms);
        world.dead.insert("b".to_owned(), world.now);
        world.run(20_000);
        assert_eq!((world.epoch(), &world.alarms), (1, &[Alarm::Frozen].into()), "{apart_ms} ms apart");
        world.dead.clear();
        world.run(5_000);
        assert_eq!((world.epoch(), world.alarms.len()), (1, 0), "{apart_ms} ms apart");
    }
}

#[test]
fn what_may_look_down_at_once_is_all_that_goes_in_a_minute() {
    let mut world = settled(&["a", "b", "c", "d", "e", "f"], 3);
    world.dead.insert("a".to_owned(), world.now);
    world.run(1_000);
    world.dead.insert("b".to_owned(), world.now);
    assert!(world.run_until(10_000, |world| world.states() == "-a -b c d e f"), "two of six, one after the other");
    let removed_at = world.now;
    world.dead.insert("c".to_owned(), world.now);
    world.run(20_000);
    assert_eq!((world.states().as_str(), &world.alarms), ("-a -b c d e f", &[Alarm::Throttled].into()));
    assert!(world.run_until(60_000, |world| world.states() == "-a -b -c d e f"));
    assert!(world.now - removed_at >= 58_000, "{}", world.now - removed_at);
}

#[test]
fn a_new_node_that_dies_before_the_fence_ends_the_change_and_after_it_is_taken_out() {
    let mut world = settled(&["a", "b"], 3);
    world.gateways.get_mut("g2").unwrap().hangs = true;
    world.want(1, serving(&["a", "b", "c"]));
    world.run(2_000);
    world.dead.insert("c".to_owned(), world.now);
    world.run(5_000);
    assert_eq!((world.epoch(), world.ring().phase, world.states().as_str()), (3, Phase::Stable, "a b"));

    let mut world = settled(&["a", "b"], 3);
    world.votes.insert("c".to_owned(), Default::default());
    world.unreachable.insert("a".to_owned());
    world.want(1, serving(&["a", "b", "c"]));
    world.run(1_500);
    assert_eq!(world.ring().phase, Phase::Fence, "a cannot be fenced");
    world.dead.insert("c".to_owned(), world.now);
    world.unreachable.clear();
    assert!(world.run_until(20_000, |world| world.ring().phase == Phase::Stable));
    assert_eq!(world.states(), "a b -c");
}

#[test]
fn an_old_owner_that_dies_before_it_is_fenced_does_not_hold_up_the_others() {
    let mut world = settled(&["a", "b", "c"], 3);
    world.unreachable.insert("b".to_owned());
    world.want(1, serving(&["a", "b", "c", "d"]));
    world.run(1_500);
    assert_eq!(world.ring().phase, Phase::Fence);
    world.unreachable.clear();
    world.dead.insert("b".to_owned(), world.now);
    assert!(world.run_until(30_000, |world| world.ring().phase == Phase::Stable), "{:?} {:?}", phases(&world), world.alarms);
    assert_eq!(world.states(), "a -b c d");
}

#[test]
fn a_leader_that_alone_cannot_fence_lets_another_one_try() {
    let mut world = settled(&["a", "b"], 3);
    world.unreachable.insert("a".to_owned());
    world.want(1, serving(&["a", "b", "c"]));
    world.run(1_500);
    assert_eq!((world.ring().phase, world.resigned), (Phase::Fence, 0));
    assert!(world.run_until(6_000, |world| world.resigned == 1));
    world.unreachable.clear();
    assert!(world.run_until(6_000, |world| world.ring().phase == Phase::Switch), "a fence waits for nobody's lease");
}

#[test]
fn a_person_wins_over_what_the_coordinator_does_by_itself() {
    let mut world = settled(&["a", "b", "c"], 3);
    world.dead.insert("b".to_owned(), world.now);
    assert!(world.run_until(20_000, |world| world.states() == "a -b c" && world.ring().phase == Phase::Stable));
    world.dead.clear();
    for gateway in world.gateways.values_mut() {
        gateway.hangs = true;
    }
    assert!(world.run_until(40_000, |world| world.ring().phase == Phase::Prepare));
    world.want(9, layout(&[("a", Serving), ("b", Drained), ("c", Serving)]));
    for gateway in world.gateways.values_mut() {
        gateway.hangs = false;
    }
    assert!(world.run_until(20_000, |world| world.states() == "a (b) c" && world.ring().phase == Phase::Stable));
    assert!(world.answers.iter().any(|(wanted, result)| *wanted == 9 && result.is_ok()), "{:?}", world.answers);
    world.run(100_000);
    assert_eq!(world.states(), "a (b) c");
}

#[test]
fn a_lost_node_can_be_taken_out_by_hand_at_once_and_in_any_phase() {
    let mut world = settled(&["a", "b", "c"], 3);
    world.dead.extend(["a", "b"].map(|node| (node.to_owned(), world.now)));
    world.run(10_000);
    assert_eq!(world.alarms, [Alarm::Frozen].into());
    world.tell(Input::Remove { wanted: 3, nodes: ["a", "b"].map(str::to_owned).into() });
    assert_eq!((world.states().as_str(), world.answers.last()), ("-a -b c", Some(&(3, Ok(2)))));
    world.tell(Input::Remove { wanted: 4, nodes: ["c".to_owned()].into() });
    assert_eq!(world.answers.last(), Some(&(4, Err(change::Refusal::LastNode.into()))));
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing() {
    let mut world = settled(&["a", "b"], 2);
    let mut heavy = serving(&["a"]);
    heavy.nodes[0].weight = 17;
    for (base, layout, expected) in [
        (3, serving(&["a"]), "the ring was at epoch 3 when this was planned and is at 1 now; plan again"),
        (1, layout(&[("a", Drained)]), "no node would be left that takes slots; add one, or undrain one, first"),
        (1, heavy, "nodes[0].weight = 17: is 1 to 16"),
        (1, serving(&["a", "b"]), "nothing to change: the ring has this layout"),
    ] {
        world.tell(Input::Wanted { wanted: 1, base, layout });
        let refusal = world.answers.pop().map(|(_, result)| result.unwrap_err().to_string());
        assert_eq!(refusal.as_deref(), Some(expected));
    }
    world.dead.insert("c".to_owned(), world.now);
    world.want(5, serving(&["a", "b", "c"]));
    world.want(6, serving(&["a"]));
    world.run(6_000);
    let refusals: Vec<_> = world.answers.drain(..).collect();
    assert_eq!(refusals, [(6, Err(Refusal::Busy)), (5, Err(Refusal::Unreachable("c".to_owned())))]);
    world.tell(Input::Abort { wanted: 8 });
    assert_eq!(world.answers.last(), Some(&(8, Err(Refusal::NothingToAbort))));
    assert_eq!(world.epoch(), 1);
}

#[test]
fn a_change_is_dropped_on_request_until_the_fence() {
    let mut world = settled(&["a", "b"], 3);
    world.gateways.get_mut("g2").unwrap().hangs = true;
    world.want(1, serving(&["a", "b", "c"]));
    world.run(1_000);
    world.tell(Input::Abort { wanted: 2 });
    let dropped = Refusal::Dropped("somebody wants it dropped".to_owned());
    assert_eq!(world.answers, [(1, Err(dropped)), (2, Ok(3))]);
    assert_eq!((world.ring().phase, world.states().as_str()), (Phase::Stable, "a b"));
}

#[test]
fn who_wants_a_change_dropped_is_answered_when_it_is() {
    let mut world = settled(&["a", "b"], 3);
    world.gateways.get_mut("g2").unwrap().hangs = true;
    world.want(1, serving(&["a", "b", "c"]));
    world.run(1_000);
    world.swallows = Some(0);
    world.tell(Input::Abort { wanted: 2 });
    world.run(1_000);
    assert_eq!((world.ring().phase, world.answers.len()), (Phase::Prepare, 1), "{:?}", world.answers);
    world.tell(Input::Abort { wanted: 3 });
    assert_eq!(world.answers.last(), Some(&(3, Err(Refusal::Busy))), "its document may still appear");
    world.swallows = None;
    assert!(world.run_until(6_000, |world| world.ring().phase == Phase::Stable));
    assert_eq!((world.answers.last(), world.states().as_str()), (Some(&(2, Ok(3))), "a b"));
}

#[test]
fn the_first_layout_that_is_wanted_becomes_the_ring() {
    let mut world = World::new(1, &[], 1, Faults::default());
    world.document = None;
    world.run(1_000);
    world.tell(Input::Wanted { wanted: 1, base: 0, layout: serving(&["b", "a"]) });
    assert_eq!((world.epoch(), world.states().as_str(), world.ring().phase), (1, "a b", Phase::Stable));
    assert_eq!(world.answers, [(1, Ok(1))]);
}

#[test]
fn a_successor_goes_on_from_any_phase() {
    for epoch in 2..=4 {
        let mut world = settled(&["a", "b"], 3);
        world.kill_at = Some(epoch);
        world.want(1, serving(&["a", "b", "c"]));
        assert!(world.run_until(60_000, |world| world.leaders == 2), "killed at {epoch}");
        world.tell(Input::Wanted { wanted: 2, base: 1, layout: serving(&["a", "b", "c"]) });
        assert!(world.run_until(60_000, |world| world.epoch() == 5), "killed at {epoch}");
        assert_eq!(world.answers, [(2, Ok(5))], "it knows whose change it ends");
        assert_eq!((world.states().as_str(), world.ring().phase), ("a b c", Phase::Stable));
    }
}

/// Changes, deaths of nodes, hanging gateways, lost and late writes, gaps, dying leaders: each document is checked as it
/// is written (`World::check_step`), and in the end all is well again.
#[test]
fn whatever_goes_wrong_each_step_is_a_right_one_and_the_ring_comes_to_rest() {
    let (mut documents, mut leaders) = (0, 0);
    for seed in 0..40 {
        let faults = Faults { write: 150, order: 150, leader: 1, gap: 1, late_ms: 3_000 };
        let mut world = World::new(seed, &["a", "b", "c"], 3, faults);
        world.votes.insert("d".to_owned(), Default::default());
        for turn in 0..40 {
            world.run(4_000);
            match world.random(6) {
                0 => {
                    let node = ["a", "b", "c", "d"][usize::try_from(world.random(4)).unwrap()].to_owned();
                    world.dead.insert(node, world.now);
                }
                1 | 2 => world.dead.clear(),
                3 => {
                    let wanted = [
                        serving(&["a", "b", "c", "d"]),
                        serving(&["a", "b", "c"]),
                        layout(&[("a", Serving), ("b", Serving), ("c", Drained)]),
                    ];
                    let wanted = wanted[usize::try_from(world.random(3)).unwrap()].clone();
                    world.want(turn, wanted);
                }
                4 => {
                    let hangs = world.chance(500);
                    world.gateways.get_mut("g2").unwrap().hangs = hangs;
                }
                _ => {}
            }
        }
        world.faults = Faults { late_ms: 200, ..Faults::default() };
        world.dead.clear();
        world.gateways.get_mut("g2").unwrap().hangs = false;
        world.run(10_000);
        let is_at_rest = |world: &World| {
            world.ring().phase == Phase::Stable && world.ring().current.nodes.iter().all(|node| node.state != NodeState::Down)
        };
        assert!(world.run_until(40 * 60_000, is_at_rest), "seed {seed}: {:?} {}", world.ring().phase, world.states());
        let epoch = world.epoch();
        world.run(60_000);
        assert_eq!(world.epoch(), epoch, "seed {seed}: it goes on changing");
        documents += world.history.len();
        leaders += world.leaders;
    }
    assert!(documents > 400 && leaders > 80, "too little happened: {documents} documents, {leaders} leaders");
}
