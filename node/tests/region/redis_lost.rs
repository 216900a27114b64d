//! Redis nodes that are lost for good: taken out of the ring, under traffic.

use crate::scene::{Act, PATIENCE, Scene};
use std::time::Duration;
use testkit::Disk;
use tokio::time::sleep;

/// A dead node refuses connections: voted down at once, 2 s of votes, a probe, and the ring is changed: about 3 s. One that
/// hangs is noticed after 3.5 s: about 6 s. Then channels are subscribed to elsewhere, and their streams asked for in vain for
/// half a second. The rest is for a busy machine; it is still less than a publication is tried.
const LOST_MS: u64 = 9_500;
/// A lone gateway's coordinator wants to see its probe, one each second, fail for 10 s. Then the same.
const LOST_ALONE_MS: u64 = 16_500;
/// So long a publication is tried.
const REFUSED_MS: u64 = 10_000;
const AT: &str = "redis-1";

/// The ring goes on without the node, and every gateway says so.
async fn until_removed(scene: &Scene, left: usize) {
    scene.until_one_shows("headcount_coordinator_nodes_removed_total{node=\"redis-1\"}", 1.0, PATIENCE).await;
    scene.until_all_show("headcount_ring_nodes{state=\"down\"}", 1.0).await;
    #[allow(clippy::cast_precision_loss)] // a few
    scene.until_all_show("headcount_ring_nodes{state=\"serving\"}", left as f64).await;
    scene.until_all_show("headcount_ring_phase{phase=\"stable\"}", 1.0).await;
    // It is looked for, so that it can come back.
    scene.until_all_show("headcount_redis_up{node=\"redis-1\"}", 0.0).await;
    scene.until_ready().await;
}

async fn ended(scene: &Scene, act: Act, pause_ms: u64) {
    act.until_it_flows(Duration::from_secs(30)).await;
    act.until_everybody_is_told().await;
    scene.assert_they_tell(&act, true, true).await;
    let election_ms = scene.election_ms(&act).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(pause_ms + election_ms);
    if election_ms == 0 && pause_ms < REFUSED_MS {
        sight.assert_nothing_was_refused();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_taken_out_of_the_ring_and_its_channels_go_on_elsewhere() {
    let mut scene = Scene::start(2, 3).await;
    scene.until_settled().await;
    let act = scene.act("dead", &[AT]).await;
    scene.region.redis.get_mut(AT).unwrap().kill().await;
    until_removed(&scene, 2).await;
    ended(&scene, act, LOST_MS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_is_taken_out_of_the_ring_and_does_no_harm_when_it_goes_on() {
    let scene = Scene::start(2, 3).await;
    scene.until_settled().await;
    let act = scene.act("hangs", &[AT]).await;
    scene.region.redis[AT].freeze().await;
    until_removed(&scene, 2).await;
    act.until_it_flows(Duration::from_secs(30)).await;
    // What was sent to it before is done only now, where nobody listens.
    scene.region.redis[AT].thaw().await;
    scene.until_all_show("headcount_redis_up{node=\"redis-1\"}", 1.0).await;
    ended(&scene, act, LOST_MS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_and_one_gateway_still_fail_over() {
    let mut scene = Scene::start(1, 2).await;
    scene.until_settled().await;
    let act = scene.act("alone", &[AT]).await;
    scene.region.redis.get_mut(AT).unwrap().kill().await;
    until_removed(&scene, 1).await;
    ended(&scene, act, LOST_ALONE_MS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a lost node must be well for 30 s before it is taken in again"]
async fn a_lost_node_that_comes_back_is_taken_in_again_as_another_one() {
    let mut scene = Scene::start(2, 3).await;
    scene.until_settled().await;
    let act = scene.act("lost", &[AT]).await;
    let incarnation = incarnation(&scene).await;
    scene.region.redis.get_mut(AT).unwrap().kill().await;
    until_removed(&scene, 2).await;
    ended(&scene, act, LOST_MS).await;
    // That it takes slots again is a planned change: nobody notices.
    let act = scene.act("back", &["redis-0", "redis-2"]).await;
    scene.region.restart_redis(AT, Disk::Empty).await;
    // A coordinator that is elected meanwhile begins to count anew.
    let patience = Duration::from_secs(120);
    scene.until_one_shows("headcount_coordinator_nodes_readmitted_total{node=\"redis-1\"}", 1.0, patience).await;
    assert!(act.elapsed() >= Duration::from_secs(30), "after {:?}", act.elapsed());
    scene.until_all_show("headcount_ring_nodes{state=\"serving\"}", 3.0).await;
    scene.until_all_show("headcount_ring_phase{phase=\"stable\"}", 1.0).await;
    scene.until_well(&[AT]).await;
    sleep(Duration::from_secs(1)).await;
    let after = self::incarnation(&scene).await;
    assert!(after > incarnation, "{incarnation}, then {after}");
    scene.assert_they_tell(&act, false, false).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(3_000);
    sight.assert_nobody_was_told();
    sight.assert_nothing_was_refused();
    assert!(sight.outcome.lost_plain.is_empty(), "{:?}", sight.outcome);
}

async fn incarnation(scene: &Scene) -> u64 {
    let status = scene.region.ring_status().await.unwrap();
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["id"] == AT).unwrap()["incarnation"].as_u64().unwrap()
}
