//! Redis nodes in trouble that passes, one after the other, under traffic.

use crate::scene::{PATIENCE, Scene};
use std::time::Duration;
use testkit::{Disk, Region, eventually, resp::Reply};
use tokio::time::sleep;

/// A node that was away is connected to again after at most 2 s, its channels are subscribed to, and what was missed is read:
/// a second each; the rest is for a busy machine.
const BACK_MS: u64 = 6_000;
/// The same, after two seconds of silence.
const HUNG_MS: u64 = 2_000 + BACK_MS;
/// A publication that a full node refuses is tried for 10 s, and once the node has room the next try is at most 0.5 s away.
const FULL_MS: u64 = 11_500 + BACK_MS;
const AT: &str = "redis-1";

async fn cli(region: &Region, node: &str, words: &[&str]) -> Reply {
    region.redis[node].cli(words).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_nodes_in_trouble_lose_nothing_without_a_word() {
    let mut scene = Scene::start(2, 3).await;
    let epoch = scene.region.gateways[0].metric("headcount_ring_epoch").await;
    // These two come first, because for its first 12 s the coordinator removes nobody, however slow this machine is.
    comes_back_empty(&mut scene).await;
    comes_back_with_old_data(&mut scene).await;
    loses_all_connections(&scene).await;
    cuts_our_output_buffer(&scene).await;
    hangs_for_two_seconds(&scene).await;
    is_paused_for_two_seconds(&scene).await;
    runs_out_of_memory(&scene).await;
    scene.until_settled().await;
    two_of_three_freeze_the_ring_and_it_heals(&mut scene).await;
    assert_eq!(scene.region.gateways[0].metric("headcount_ring_epoch").await, epoch, "no fault has changed the ring");
}

async fn comes_back_empty(scene: &mut Scene) {
    let act = scene.act("empty", &[AT]).await;
    scene.region.redis.get_mut(AT).unwrap().kill().await;
    sleep(Duration::from_millis(500)).await;
    scene.region.restart_redis(AT, Disk::Empty).await;
    act.until_it_flows(Duration::from_secs(30)).await;
    scene.until_well(&[AT]).await;
    act.until_everybody_is_told().await;
    scene.assert_they_tell(&act, true, true).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(BACK_MS);
    sight.assert_nothing_was_refused();
}

async fn comes_back_with_old_data(scene: &mut Scene) {
    let act = scene.act("old", &[AT]).await;
    let saved = scene.region.redis[AT].save().await;
    // What follows is missing in what comes back.
    sleep(Duration::from_secs(1)).await;
    scene.region.restart_redis(AT, Disk::Older(saved)).await;
    act.until_it_flows(Duration::from_secs(30)).await;
    scene.until_well(&[AT]).await;
    act.until_everybody_is_told().await;
    scene.assert_they_tell(&act, false, true).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(BACK_MS);
    sight.assert_nothing_was_refused();
}

async fn loses_all_connections(scene: &Scene) {
    let act = scene.act("cut", &["redis-0", "redis-1", "redis-2"]).await;
    for node in scene.region.redis.keys() {
        for kind in ["pubsub", "normal"] {
            let Reply::Integer(killed) = cli(&scene.region, node, &["CLIENT", "KILL", "TYPE", kind]).await else { panic!("not killed") };
            assert!(killed >= 2, "{killed} connections of kind {kind} at {node}");
        }
    }
    act.until_it_flows(Duration::from_secs(30)).await;
    scene.until_well(&["redis-0", "redis-1", "redis-2"]).await;
    scene.assert_they_tell(&act, false, false).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(BACK_MS);
    sight.assert_nobody_was_told();
    sight.assert_nothing_was_refused();
}

async fn cuts_our_output_buffer(scene: &Scene) {
    let cuts = "headcount_redis_reconnects_total{node=\"redis-1\",reason=\"closed\",role=\"subscriptions\"}";
    let act = scene.act("burst", &[AT]).await;
    let mut before = Vec::new();
    for gateway in &scene.region.gateways {
        // What was never counted is not shown.
        before.push(Some(gateway.metric(cuts).await).filter(|shown| !shown.is_nan()).unwrap_or(0.0));
    }
    cli(&scene.region, AT, &["CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0"]).await;
    // In one step, so that nobody can read it away meanwhile.
    let burst = "for _ = 1, 40 do redis.call('PUBLISH', KEYS[1], string.rep('x', 10000)) end";
    for gateway in ["g0", "g1"] {
        cli(&scene.region, AT, &["EVAL", burst, "1", &format!("hc:canary:{gateway}")]).await;
    }
    for (gateway, before) in scene.region.gateways.iter().zip(&before) {
        eventually(Duration::from_secs(10), async || {
            let shown = gateway.metric(cuts).await;
            if shown > *before { Ok(()) } else { Err(format!("{cuts} is {shown}, as before")) }
        })
        .await;
    }
    cli(&scene.region, AT, &["CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60"]).await;
    act.until_it_flows(Duration::from_secs(30)).await;
    scene.until_well(&[AT]).await;
    scene.assert_they_tell(&act, false, false).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(BACK_MS);
    sight.assert_nobody_was_told();
    sight.assert_nothing_was_refused();
}

async fn hangs_for_two_seconds(scene: &Scene) {
    let act = scene.act("hung", &[AT]).await;
    scene.region.redis[AT].freeze().await;
    sleep(Duration::from_secs(2)).await;
    scene.region.redis[AT].thaw().await;
    act.until_it_flows(Duration::from_secs(30)).await;
    scene.until_well(&[AT]).await;
    scene.assert_they_tell(&act, false, false).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(HUNG_MS);
    sight.assert_nobody_was_told();
    sight.assert_nothing_was_refused();
}

async fn is_paused_for_two_seconds(scene: &Scene) {
    let act = scene.act("paused", &[AT]).await;
    assert_eq!(cli(&scene.region, AT, &["CLIENT", "PAUSE", "2000", "ALL"]).await, Reply::Text("OK".to_owned()));
    sleep(Duration::from_secs(2)).await;
    act.until_it_flows(Duration::from_secs(30)).await;
    scene.until_well(&[AT]).await;
    scene.assert_they_tell(&act, false, false).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(HUNG_MS);
    sight.assert_nobody_was_told();
    sight.assert_nothing_was_refused();
}

async fn runs_out_of_memory(scene: &Scene) {
    let act = scene.act("full", &[AT]).await;
    cli(&scene.region, AT, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    cli(&scene.region, AT, &["CONFIG", "SET", "maxmemory", "1"]).await;
    eventually(Duration::from_secs(30), async || if act.flow().refused > 0 { Ok(()) } else { Err("nothing is refused") }).await;
    let flow = act.flow();
    for (channel, pause_ms) in &flow.pauses_ms {
        let waits = act.affected.contains(channel) && channel.starts_with("kept");
        assert_eq!(waits, *pause_ms > BACK_MS, "{channel} stood for {pause_ms} ms: only what is kept needs memory");
    }
    assert_eq!(scene.region.gateways[0].metric("headcount_redis_up{node=\"redis-1\"}").await, 1.0, "it answers, and is not voted down");
    cli(&scene.region, AT, &["CONFIG", "SET", "maxmemory", "0"]).await;
    act.until_it_flows(Duration::from_secs(30)).await;
    scene.until_well(&[AT]).await;
    scene.assert_they_tell(&act, true, false).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(FULL_MS);
    sight.assert_nobody_was_told();
}

/// More than one of three looks like the network: nothing is removed, and what lives there waits or is refused.
async fn two_of_three_freeze_the_ring_and_it_heals(scene: &mut Scene) {
    let frozen = "headcount_coordinator_frozen{reason=\"frozen\"}";
    let epoch = scene.region.gateways[0].metric("headcount_ring_epoch").await;
    let act = scene.act("frozen", &["redis-1", "redis-2"]).await;
    for node in ["redis-1", "redis-2"] {
        scene.region.redis.get_mut(node).unwrap().kill().await;
    }
    scene.until_one_shows(frozen, 1.0, PATIENCE).await;
    for node in ["redis-1", "redis-2"] {
        scene.until_all_show(&format!("headcount_redis_up{{node=\"{node}\"}}"), 0.0).await;
    }
    // Longer than a removal would take.
    sleep(Duration::from_secs(7).saturating_sub(act.elapsed())).await;
    scene.until_one_shows(frozen, 1.0, PATIENCE).await;
    scene.until_all_show("headcount_ring_epoch", epoch).await;
    let outage = act.elapsed();
    for node in ["redis-1", "redis-2"] {
        scene.region.restart_redis(node, Disk::Empty).await;
    }
    act.until_it_flows(Duration::from_secs(30)).await;
    scene.until_well(&["redis-1", "redis-2"]).await;
    // What is not the case is not shown.
    scene.until_all_show(frozen, 0.0).await;
    act.until_everybody_is_told().await;
    scene.assert_they_tell(&act, true, true).await;
    let sight = scene.end(act).await;
    sight.assert_nothing_is_silently_lost(u64::try_from(outage.as_millis()).unwrap() + BACK_MS);
}
