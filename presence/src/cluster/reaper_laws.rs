//! Pure: the laws of reaping, on random schedules of failures, and the single rules by hand.

use super::{
    reaper::{Input, OVERDUE_MS, OWNERS_MAX, Output, REPEAT_MS, Reaper},
    reaper_world::{GATEWAYS, REAP_MS, STEP_MS, State, Step, TTLS_MS, World, steps},
    row::OwnerId,
};
use proptest::prelude::*;
use protocol::time::Now;
use std::{collections::BTreeSet, sync::Arc};

/// The default.
const TTL_MS: u64 = TTLS_MS[1];

/// From the last renewal until everybody knows: the lease, the silence (margin and landing pass meanwhile), and three
/// steps: etcd is heard, the canary is listened for, and the tick comes.
fn judged_ms(ttl_ms: u64) -> u64 {
    ttl_ms + 5_000 + 3 * STEP_MS
}

fn ttl_ms() -> impl Strategy<Value = u64> {
    prop::sample::select(TTLS_MS.to_vec())
}

proptest! {
    #[test]
    fn no_living_writer_is_called_dead_and_in_the_end_all_that_is_registered_lives(steps in steps(), ttl_ms in ttl_ms()) {
        let mut world = World::new(ttl_ms);
        for step in steps {
            world.step(step);
            prop_assert_eq!(&world.wronged, &[]);
        }
        world.heal();
        world.wait(60_000);
        prop_assert_eq!(&world.wronged, &[]);
        if world.gateways.iter().any(|gateway| gateway.state == State::Runs) {
            prop_assert_eq!(world.registered(), world.living());
        }
    }

    #[test]
    fn who_crashes_is_gone_after_the_lease_and_the_silence_also_if_the_first_one_crashes(
        crashes in prop::collection::btree_map(0..GATEWAYS, 0..20_000_u64, 1..GATEWAYS),
        ttl_ms in ttl_ms(),
    ) {
        let mut world = World::new(ttl_ms);
        let mut order: Vec<_> = crashes.into_iter().map(|(index, at_ms)| (at_ms / STEP_MS * STEP_MS, index)).collect();
        order.sort_unstable();
        let began_ms = world.now_ms;
        let mut dead = vec![];
        let mut bound_ms = 0;
        for (at_ms, index) in order {
            while world.now_ms < began_ms + at_ms {
                world.wait(STEP_MS);
            }
            world.step(Step::Crash(index));
            dead.push(world.gateways[index].owner());
            bound_ms = world.now_ms + judged_ms(ttl_ms) + REAP_MS;
        }
        while world.now_ms < bound_ms {
            world.wait(STEP_MS);
        }
        prop_assert_eq!(&world.wronged, &[]);
        prop_assert_eq!(world.registered(), world.living());
        for gateway in world.gateways.iter().filter(|gateway| gateway.state == State::Runs) {
            prop_assert_eq!(&gateway.dead, &dead.iter().map(|owner| (owner.clone(), 1)).collect(), "everybody says so once");
        }
    }
}

#[test]
fn a_crash_is_over_for_all_within_a_lease_and_seven_seconds() {
    for ttl_ms in TTLS_MS {
        let bound_ms = judged_ms(ttl_ms) + REAP_MS;
        assert!(bound_ms <= ttl_ms + 7_000);
        let mut world = World::new(ttl_ms);
        world.step(Step::Crash(2));
        world.wait(bound_ms);
        assert_eq!(world.registered(), world.living(), "{ttl_ms}");
    }
}

#[test]
fn an_etcd_that_lost_all_leases_at_once_kills_nobody() {
    for (stopped_ms, ttl_ms) in [6_000, 9_800, 12_000, 40_000].into_iter().flat_map(|ms| TTLS_MS.map(|ttl_ms| (ms, ttl_ms))) {
        let mut world = World::new(ttl_ms);
        let living = world.living();
        for step in [Step::Etcd(false), Step::Wait(stopped_ms), Step::Etcd(true), Step::Wait(60_000)] {
            world.step(step);
        }
        assert_eq!((world.wronged.as_slice(), world.registered()), (&[][..], living), "{stopped_ms} {ttl_ms}");
    }
}

/// One reaper, `g1`, which hears itself at the nodes `a` and `b` and is told what is in etcd.
struct Bench {
    reaper: Reaper,
    now_ms: u64,
    etcd: Vec<(&'static str, u64)>,
}

impl Bench {
    /// It judges since long.
    fn new(etcd: &[(&'static str, u64)], owners: &[(&str, u64)]) -> Bench {
        let mut bench = Bench { reaper: Reaper::new("g1".into(), TTL_MS), now_ms: 0, etcd: etcd.to_vec() };
        bench.tell(Input::Nodes(["a".into(), "b".into()].into()));
        bench.tell(Input::Owners { node: "a".into(), owners: owners.iter().map(|(name, number)| owner(name, *number)).collect() });
        bench.pass(20_000);
        bench
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        let mut out = vec![];
        let now = Now { mono_ms: self.now_ms, wall_ms: 1_000_000 + self.now_ms };
        self.reaper.handle(input, now, &mut out);
        for output in &out {
            if let Output::Listen(gateway) = output {
                for node in ["a", "b"] {
                    self.reaper.handle(Input::Listening { gateway: gateway.clone(), node: node.into() }, now, &mut vec![]);
                }
            }
        }
        out
    }

    /// All that is put out meanwhile, and when.
    fn pass(&mut self, ms: u64) -> Vec<(u64, Output)> {
        let (until_ms, mut out) = (self.now_ms + ms, vec![]);
        while self.now_ms < until_ms {
            self.now_ms += 500;
            let gateways = self.etcd.iter().map(|(name, incarnation)| ((*name).into(), *incarnation)).collect();
            let own = |node: &str| Input::Canary { gateway: "g1".into(), node: node.into() };
            let facts = [Input::Etcd { gateways, is_fresh: true }, own("a"), own("b"), Input::Tick];
            for fact in facts {
                let told = self.tell(fact);
                out.extend(told.into_iter().map(|output| (self.now_ms, output)));
            }
        }
        out
    }
}

fn owner(gateway: &str, incarnation: u64) -> OwnerId {
    OwnerId { gateway: gateway.into(), incarnation }
}

fn reap(gateway: &str, incarnation: u64, seen_ms: u64) -> Output {
    Output::Reap { node: "a".into(), owner: owner(gateway, incarnation), seen_ms }
}

#[test]
fn the_first_gateway_reaps_again_and_again_until_it_is_done_and_says_when_the_lease_was_gone() {
    let mut bench = Bench::new(&[("g1", 1), ("g2", 1), ("g3", 1)], &[("g2", 1)]);
    bench.etcd = vec![("g1", 1), ("g3", 1)];
    let out = bench.pass(11_000);
    let (g2, gone_ms) = (owner("g2", 1), 20_500);
    let ordered = reap("g2", 1, 1_000_000 + gone_ms);
    let dead_ms = gone_ms + 5_000;
    let first = [(gone_ms, Output::Listen("g2".into())), (dead_ms, Output::Dead(g2.clone())), (dead_ms, ordered.clone())];
    assert_eq!(out, [&first[..], &[(dead_ms + REPEAT_MS, ordered)]].concat());
    bench.tell(Input::Reaped { node: "a".into(), owner: g2 });
    assert_eq!(bench.pass(20_000), [(32_000, Output::Unlisten("g2".into()))]);
}

#[test]
fn others_say_who_is_dead_and_reap_what_the_first_one_leaves_lying() {
    let mut bench = Bench::new(&[("g0", 1), ("g1", 1), ("g2", 1)], &[("g2", 1)]);
    bench.etcd = vec![("g0", 1), ("g1", 1)];
    let out = bench.pass(5_500 + OVERDUE_MS);
    let (dead_ms, seen_ms) = (25_500, 1_020_500);
    assert_eq!(out[1..], [(dead_ms, Output::Dead(owner("g2", 1))), (dead_ms + OVERDUE_MS, reap("g2", 1, seen_ms))]);
    bench.etcd = vec![];
    let out = bench.pass(40_000);
    assert!(!out.iter().any(|(_, output)| matches!(output, Output::Reap { .. })), "who has no record itself reaps nothing");
    let dead = out.into_iter().filter_map(|(_, output)| if let Output::Dead(owner) = output { Some(owner) } else { None });
    assert_eq!(dead.collect::<Vec<_>>(), [owner("g0", 1)], "and is alive, whatever etcd says");
}

#[test]
fn a_first_one_that_has_just_begun_is_not_waited_for() {
    let mut bench = Bench::new(&[("g0", 1), ("g1", 1), ("g2", 1)], &[("g0", 1), ("g2", 1)]);
    bench.etcd = vec![("g0", 2), ("g1", 1)];
    let reaped = bench.pass(5_500).into_iter().filter(|(_, output)| matches!(output, Output::Reap { .. }));
    assert_eq!(reaped.collect::<Vec<_>>(), [(23_500, reap("g0", 1, 1_020_500)), (25_500, reap("g2", 1, 1_020_500))]);
}

#[test]
fn an_earlier_life_is_dead_once_the_later_one_was_there_for_a_while_and_a_later_one_than_the_records_is_not() {
    let mut bench = Bench::new(&[("g1", 1), ("g2", 0)], &[("g2", 5), ("g2", 7)]);
    assert_eq!(bench.pass(20_000), [], "a gateway that writes nothing yet kills nobody");
    bench.etcd = vec![("g1", 1), ("g2", 6)];
    let (since_ms, seen_ms) = (40_500, 1_040_500);
    let dead = [(since_ms + 3_000, Output::Dead(owner("g2", 5))), (since_ms + 3_000, reap("g2", 5, seen_ms))];
    assert_eq!(bench.pass(8_000), dead);
}

#[test]
fn an_earlier_life_of_a_gateway_that_was_gone_before_it_came_back_is_not_waited_for_again() {
    let mut bench = Bench::new(&[("g1", 1), ("g2", 1)], &[("g2", 1)]);
    bench.etcd = vec![("g1", 1)];
    assert_eq!(bench.pass(4_000).len(), 1, "it is listened for");
    bench.etcd.push(("g2", 2));
    let out = bench.pass(3_000);
    assert_eq!(out[1..], [(24_500, Output::Dead(owner("g2", 1))), (24_500, reap("g2", 1, 1_020_500))]);
}

#[test]
fn a_gateway_hears_of_a_life_of_its_own_that_is_later_than_its_record_says() {
    let mut bench = Bench::new(&[("g1", 5)], &[]);
    let mut told = |incarnation| bench.tell(Input::Owners { node: "a".into(), owners: [owner("g1", incarnation)].into() });
    assert_eq!((told(4), told(5), told(6)), (vec![], vec![], vec![Output::Surpass(6)]));
}

#[test]
fn an_owner_that_no_node_knows_of_any_longer_is_called_dead_too() {
    let mut bench = Bench::new(&[("g1", 1), ("g2", 3)], &[]);
    bench.etcd = vec![("g1", 1)];
    let out = bench.pass(8_000);
    assert_eq!(out[1..2], [(25_500, Output::Dead(owner("g2", 3)))], "its rows are gone from Redis, and held by those who follow");
}

#[test]
fn what_is_told_of_a_node_that_does_not_serve_is_nothing_and_its_owners_go_with_it() {
    let mut bench = Bench::new(&[("g1", 1), ("g2", 1)], &[("g2", 1)]);
    bench.tell(Input::Nodes(["b".into()].into()));
    bench.tell(Input::Owners { node: "a".into(), owners: [owner("g3", 1)].into() });
    bench.etcd = vec![("g1", 1)];
    let out = bench.pass(20_000);
    assert_eq!(out[1..], [(25_500, Output::Dead(owner("g2", 1))), (26_000, Output::Unlisten("g2".into()))]);
}

#[test]
fn who_went_in_order_leaves_nothing_to_reap() {
    let mut bench = Bench::new(&[("g1", 1), ("g2", 1)], &[("g2", 1)]);
    bench.tell(Input::Owners { node: "a".into(), owners: BTreeSet::new() });
    bench.etcd = vec![("g1", 1)];
    assert_eq!(bench.pass(5_500)[1..], [(25_500, Output::Dead(owner("g2", 1)))]);
}

#[test]
fn who_came_back_after_all_dies_another_death() {
    let mut bench = Bench::new(&[("g1", 1), ("g2", 1)], &[("g2", 1)]);
    let mut deaths = vec![];
    for _ in 0..2 {
        bench.etcd = vec![("g1", 1)];
        deaths.push(bench.pass(5_500)[1..].to_vec());
        bench.etcd = vec![("g1", 1), ("g2", 1)];
        let alive: Vec<Output> =
            bench.pass(500).into_iter().map(|(_, output)| output).filter(|out| matches!(out, Output::Alive(_))).collect();
        assert_eq!(alive, [Output::Alive(owner("g2", 1))], "what is held for it is held again");
    }
    let death = |dead_ms: u64| vec![(dead_ms, Output::Dead(owner("g2", 1))), (dead_ms, reap("g2", 1, 1_000_000 + dead_ms - 5_000))];
    assert_eq!(deaths, [death(25_500), death(31_500)]);
}

#[test]
fn an_owner_that_is_known_by_retained_rows_only_is_called_dead() {
    let mut bench = Bench::new(&[("g1", 1), ("g3", 5)], &[]);
    let mut out = bench.tell(Input::Retained([owner("g2", 7), owner("g3", 5), owner("g3", 4)].into()));
    out.extend(bench.tell(Input::Listening { gateway: "g2".into(), node: "a".into() }));
    out.extend(bench.pass(8_000).into_iter().map(|(_, output)| output));
    let dead: BTreeSet<OwnerId> =
        out.into_iter().filter_map(|output| if let Output::Dead(owner) = output { Some(owner) } else { None }).collect();
    assert_eq!(dead, [owner("g2", 7), owner("g3", 4)].into());
}

#[test]
fn an_owner_above_its_gateways_record_that_no_node_knows_is_entered_until_one_does() {
    let mut bench = Bench::new(&[("g1", 1), ("g3", 5)], &[]);
    let retained = || Input::Retained([owner("g3", 7), owner("g3", 5), owner("g3", 4), owner("g4", 9)].into());
    let entered = |out: Vec<Output>| out.into_iter().filter(|output| matches!(output, Output::Enter(_))).collect::<Vec<_>>();
    for _ in 0..2 {
        assert_eq!(entered(bench.tell(retained())), [Output::Enter(owner("g3", 7))]);
    }
    bench.tell(Input::Owners { node: "a".into(), owners: [owner("g3", 7)].into() });
    assert_eq!(entered(bench.tell(retained())), []);
}

#[test]
fn nobody_is_suspected_before_etcd_was_there() {
    let mut bench = Bench { reaper: Reaper::new("g1".into(), TTL_MS), now_ms: 0, etcd: vec![] };
    bench.tell(Input::Nodes(["a".into()].into()));
    bench.tell(Input::Etcd { gateways: [].into(), is_fresh: false });
    assert_eq!(bench.tell(Input::Owners { node: "a".into(), owners: [owner("g2", 1)].into() }), []);
    assert_eq!(bench.tell(Input::Etcd { gateways: [].into(), is_fresh: true }), [Output::Listen("g2".into())]);
}

#[test]
fn owners_beyond_the_bound_wait_until_others_are_gone() {
    let owners = |from: usize| (from..from + OWNERS_MAX).map(|number| owner(&format!("h{number:05}"), 1)).collect::<BTreeSet<_>>();
    let node: Arc<str> = "a".into();
    let mut bench = Bench::new(&[("g1", 1)], &[]);
    bench.tell(Input::Owners { node: node.clone(), owners: owners(1) });
    assert_eq!(bench.reaper.ignored(), 1, "one place is g1's");
    let out = bench.pass(8_000);
    let reaped = out.into_iter().filter_map(|(_, output)| if let Output::Reap { owner, .. } = output { Some(owner) } else { None });
    let reaped: Vec<_> = reaped.collect();
    assert_eq!(reaped.len(), OWNERS_MAX - 1);
    reaped.into_iter().for_each(|owner| _ = bench.tell(Input::Reaped { node: node.clone(), owner }));
    bench.pass(1_000);
    bench.tell(Input::Owners { node, owners: owners(OWNERS_MAX) });
    assert_eq!(bench.reaper.ignored(), 2);
}

#[test]
fn who_has_stood_still_hears_what_came_meanwhile_before_it_judges() {
    let mut world = World::new(TTL_MS);
    // The first one comes back from the dead, and its canary with it, while the second one stands still.
    for step in [Step::Wait(4_001), Step::Pause(0), Step::Wait(13_601), Step::Pause(1), Step::Resume(0), Step::Wait(1_201)] {
        world.step(step);
    }
    world.heal();
    world.wait(60_000);
    assert_eq!(&world.wronged, &[]);
}
