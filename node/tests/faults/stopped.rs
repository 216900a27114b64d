//! Processes that stand still, as on a machine that swaps or a hypervisor that pauses: their connections stay open.

use crate::{crowd::Crowd, settle, until_counted};
use serde_json::json;
use testkit::{Cluster, ClusterOptions, Load, LoadOptions, cluster::PATIENCE, eventually};

/// By how much the others may grow meanwhile: what they keep for those that lag (`FEED_BYTES_MAX`), and what waits for a
/// connection (`LINK_BYTES_MAX`), with some air.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// Stops replica 1 under load, until the others have noticed and counted on.
async fn stop_one(cluster: &Cluster, load: &Load) {
    until_counted(load, 200).await;
    let others = [0, 2];
    let before = others.map(|at| cluster.nodes[at].resident_bytes());
    cluster.nodes[1].freeze().await;
    for at in others {
        eventually(PATIENCE, async || {
            let (_, reading) = cluster.read(at, "t0").await.ok_or_else(|| json!("no answer"))?;
            if reading["silent"] == json!(["r1"]) && reading["complete"] == false { Ok(()) } else { Err(reading) }
        })
        .await;
    }
    // What one of them counts comes to the other, held up by nobody.
    let (status, reading) = cluster.read(0, "t0").await.unwrap();
    assert_eq!(status, 200);
    let covering = format!("t0?min={}", reading["session"].as_str().unwrap());
    assert_eq!(cluster.read(2, &covering).await.unwrap().0, 200, "{reading}");
    for (at, before) in others.into_iter().zip(before) {
        let now = cluster.nodes[at].resident_bytes();
        assert!(now < before + GROWTH_BYTES_MAX, "replica {at} grew from {before} to {now} bytes");
    }
    cluster.nodes[1].thaw().await;
    eventually(PATIENCE, async || {
        let (_, reading) = cluster.read(0, "t0").await.ok_or_else(|| json!("no answer"))?;
        if reading["complete"] == true { Ok(()) } else { Err(reading) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stands_still_holds_up_nobody_is_named_and_catches_up() {
    let cluster = Cluster::start(3, ClusterOptions::default()).await.unwrap();
    let others = cluster.targets().into_iter().filter(|target| target.at != 1).collect();
    let load = Load::start(others, LoadOptions::default());
    let crowd = Crowd::start(cluster.nodes[0].resp.unwrap(), 20_000, 100);
    stop_one(&cluster, &load).await;
    crowd.end(&cluster).await;
    load.retarget(cluster.targets());
    until_counted(&load, 200).await;
    settle("counter-stopped", &cluster, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_replica_that_stands_still_turn_to_others_and_nothing_counts_twice() {
    let cluster = Cluster::start(3, ClusterOptions::default()).await.unwrap();
    let targets = cluster.targets();
    let load = Load::start(vec![targets[1]], LoadOptions::default());
    until_counted(&load, 200).await;
    cluster.nodes[1].freeze().await;
    // Their last requests are in its sockets, and will be carried out when it goes on.
    let mut counted = 0;
    eventually(PATIENCE, async || {
        let before = std::mem::replace(&mut counted, load.tally().acknowledged);
        if counted == before { Ok(()) } else { Err("it still answers") }
    })
    .await;
    load.retarget(vec![targets[0], targets[2]]);
    until_counted(&load, 400).await;
    eventually(PATIENCE, async || if load.tally().unanswered > 0 { Ok(()) } else { Err("nobody was at it") }).await;
    cluster.nodes[1].thaw().await;
    load.retarget(targets);
    until_counted(&load, 200).await;
    settle("counter-stopped", &cluster, load).await;
}
