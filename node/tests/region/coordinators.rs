//! Coordinators that die in the middle of a change, and gateways that sleep through one, or hear of it late.

use crate::service::{Service, change, end, options, ring, traffic_in};
use serde_json::Value;
use std::time::Duration;
use testkit::{Chance, Direction, EtcdWatch, Region, RegionOptions, Traffic, eventually, figure, region::PREFIX};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where a change is when its coordinator dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Prepare,
    Fence,
    Switch,
    /// It is done, and perhaps not answered yet.
    End,
}

impl At {
    fn is(self, document: &Value) -> bool {
        let phase = match self {
            At::Prepare => "prepare",
            At::Fence => "fence",
            At::Switch => "switch",
            At::End => "stable",
        };
        document["phase"] == phase
    }
}

/// The next document whose epoch is above `base`.
async fn next(watch: &mut EtcdWatch, base: &Value) -> Value {
    loop {
        let document: Value = serde_json::from_str(&timeout(PATIENCE, watch.next()).await.unwrap().unwrap()).unwrap();
        if document["epoch"].as_u64() > base["epoch"].as_u64() {
            return document;
        }
    }
}

/// `loser` is a node that the change takes slots from.
async fn the_leader_is_killed(service: &mut Service, at: At, args: &[&str], loser: &str) {
    let leads = service.region.leader().await;
    let base = ring(&service.region).await;
    let mut leader = service.region.coordinators.remove(leads);
    let region = &service.region;
    let mut watch = region.etcd.watch(&format!("{PREFIX}ring")).await.unwrap();
    // While a gateway is stopped, `prepare` lasts; while a node that loses slots is, `fence` does.
    region.gateways[1].freeze().await;
    let killing = async {
        loop {
            let document = next(&mut watch, &base).await;
            if at == At::Prepare && at.is(&document) {
                leader.kill9().await;
                region.gateways[1].thaw().await;
                return document;
            }
            if At::Prepare.is(&document) {
                if at == At::Fence {
                    region.redis[loser].freeze().await;
                }
                region.gateways[1].thaw().await;
            }
            if at.is(&document) {
                leader.kill9().await;
                let found = ring(region).await;
                if at == At::Fence {
                    region.redis[loser].thaw().await;
                }
                assert_eq!(found, document, "the phase was over before the coordinator was dead");
                return document;
            }
        }
    };
    let asked = tokio::time::Instant::now();
    let args = [args, &["--force"]].concat();
    let (told, killed) = tokio::join!(timeout(PATIENCE, region.ring(&args)), killing);
    told.expect("an answer").unwrap();
    let took = asked.elapsed();
    println!("the leader was killed at {at:?}, in epoch {}: {args:?} was done after {took:?}", killed["epoch"]);
    figure::time("coordinator-killed", "the change is done after it was asked for", took);
    let ended = ring(region).await;
    assert_eq!(ended["phase"], "stable");
    assert_ne!(ended["nodes"], base["nodes"]);
    leader.restart().await;
    service.region.coordinators.insert(leads, leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_dies_before_a_change_is_certain_and_a_successor_ends_it() {
    let mut service = Service::start(RegionOptions { coordinators: 2, ..options() }).await;
    the_leader_is_killed(&mut service, At::Prepare, &["drain", "redis-2"], "redis-2").await;
    the_leader_is_killed(&mut service, At::Fence, &["undrain", "redis-2"], "redis-0").await;
    service.end_unharmed("coordinator-killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_dies_when_a_change_is_certain_and_a_successor_ends_it() {
    let mut service = Service::start(RegionOptions { coordinators: 2, ..options() }).await;
    the_leader_is_killed(&mut service, At::Switch, &["drain", "redis-2"], "redis-2").await;
    the_leader_is_killed(&mut service, At::End, &["undrain", "redis-2"], "redis-0").await;
    service.end_unharmed("coordinator-killed").await;
}

/// A coordinator alone knows of a newer ring only by others.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_started_after_etcd_was_restored_changes_nothing_until_the_ring_is_published() {
    let mut service = Service::start(RegionOptions { coordinators: 1, ..options() }).await;
    let backup = service.region.etcd.save().await.unwrap();
    let old = ring(&service.region).await;
    service.change(&["drain", "redis-2"]).await;
    let newest = ring(&service.region).await;
    service.region.coordinators[0].kill9().await;
    service.region.etcd.restore(&backup).await.unwrap();
    service.region.coordinators[0].restart().await;
    service.region.leader().await;

    let refused = service.region.ring(&["reweight", "redis-1", "3", "--force"]).await.unwrap_err().to_string();
    assert!(refused.contains("etcd holds an older ring than is known here"), "{refused}");
    assert_eq!(ring(&service.region).await, old);
    service.region.ring(&["publish"]).await.unwrap();
    assert_eq!(ring(&service.region).await["nodes"], newest["nodes"]);
    service.lookout.until_well().await;
    service.change(&["reweight", "redis-1", "3"]).await;
    service.end_unharmed("etcd-restored").await;
}

/// A gateway that is not there for a whole change: `back` ends that.
async fn a_change_goes_on_without_a_gateway(row: &str, region: &Region, away: impl AsyncFnOnce(), back: impl AsyncFnOnce()) {
    let [here, there] = [0, 1].map(|at: usize| region.gateways[at].client);
    let kept = Traffic::start(&[here, there], &traffic_in("kept:both")).await.unwrap();
    // What is published where the gateway is away, as heard by others; and what others publish, as heard there.
    let said = Traffic::start_between(&[there], &[here], &traffic_in("plain:there")).await.unwrap();
    let heard = Traffic::start_between(&[here], &[there], &traffic_in("plain:here")).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    away().await;
    change(region, &["drain", "redis-2"]).await;
    let gateways = region.etcd.ctl(&["get", "--keys-only", "--prefix", &format!("{PREFIX}gw/")]).await.unwrap();
    assert!(gateways.contains("gw/g0") && !gateways.contains("gw/g1"), "{gateways}");
    back().await;
    let returned = tokio::time::Instant::now();
    eventually(PATIENCE, async || {
        let epochs = [region.gateways[0].metric("headcount_ring_epoch").await, region.gateways[1].metric("headcount_ring_epoch").await];
        let registered = region.gateways[1].metric("headcount_ring_registered").await;
        let is_back = (epochs[0] - epochs[1]).abs() < 0.5 && registered > 0.5;
        if is_back { Ok(()) } else { Err(format!("epochs {epochs:?}, registered {registered}")) }
    })
    .await;
    figure::time(row, "at the newest ring again after", returned.elapsed());
    // It counts again.
    change(region, &["undrain", "redis-2"]).await;
    for (what, traffic) in [("kept", kept), ("said there", said)] {
        println!("{what}:");
        let outcome = end(traffic).await;
        assert_eq!((outcome.lost, outcome.doubled, outcome.out_of_order), (0, 0, 0), "{what}");
        figure::count(row, "lost, doubled or out of order", outcome.lost + outcome.doubled + outcome.out_of_order);
    }
    println!("heard there, in channels that keep nothing:");
    let outcome = end(heard).await;
    assert_eq!((outcome.doubled, outcome.out_of_order), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_sleeps_through_a_change_and_is_fenced_out_until_it_knows() {
    let region = Region::start(RegionOptions { coordinators: 1, ..options() }).await;
    let gateway = &region.gateways[1];
    a_change_goes_on_without_a_gateway("gateway-asleep", &region, async || gateway.freeze().await, async || gateway.thaw().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_cut_off_from_etcd_learns_of_a_change_from_redis() {
    let region = Region::start(RegionOptions { coordinators: 1, etcd_by_proxy: true, ..options() }).await;
    let way = &region.ways[1];
    a_change_goes_on_without_a_gateway("gateway-without-etcd", &region, async || way.cut(), async || way.heal()).await;
}

/// Each gateway learns of each step late, by another time.
#[tokio::test(flavor = "multi_thread")]
async fn gateways_learn_late_of_every_step_and_nothing_is_lost_doubled_or_out_of_order() {
    let service = Service::start(RegionOptions { coordinators: 1, etcd_by_proxy: true, ..options() }).await;
    let mut chance = Chance::new(7);
    for change in [&["drain", "redis-0"][..], &["reweight", "redis-1", "3"], &["undrain", "redis-0"], &["remove", "redis-2"]] {
        for way in &service.region.ways {
            way.delay(Direction::FromTarget, Duration::from_millis(chance.below(1_000)));
        }
        service.change(change).await;
    }
    service.end_unharmed("etcd-late").await;
}
