//! A counter node that is told to end has its last additions on another disk before it goes, or says that it has not.

use serde_json::json;
use std::time::Duration;
use testkit::{Cluster, ClusterOptions, cluster::PATIENCE, eventually, figure, http};
use tokio::time::Instant;

/// So long it waits for a peer, and then there is the rest of its end.
const IN_TIME: Duration = Duration::from_secs(5 + 25);

/// Counts at the first one what the second one does not hear of, and tells the first one to end.
async fn told_to_end(cluster: &Cluster) {
    cluster.silence(0, 1);
    let answer = http::post(cluster.nodes[0].client, "/v1/counters/last/add", &json!({ "by": 7 })).await.unwrap();
    assert_eq!(answer.json()["acked"], "fsync", "{}", answer.body);
    cluster.nodes[0].signal_terminate().await;
    eventually(PATIENCE, async || if cluster.nodes[0].log().contains("drained") { Ok(()) } else { Err("it still serves") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_node_ends_when_a_peer_has_what_it_has_acknowledged() {
    let mut cluster = Cluster::start(2, ClusterOptions::default()).await.unwrap();
    let since = Instant::now();
    told_to_end(&cluster).await;
    // It has to say it anew: what it may have said is lost.
    cluster.heal();
    assert_eq!(cluster.nodes[0].wait().await.code(), Some(0));
    figure::time("hand-over", "ended after", since.elapsed());
    let log = cluster.nodes[0].log();
    assert!(!log.contains("no other node has these changes"), "{log}");
    let (_, reading) = cluster.read(1, "last").await.unwrap();
    assert_eq!(reading["value"], 7, "it is gone, and has taken something along: {reading}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_node_whose_peer_hears_nothing_ends_in_time_and_says_what_is_missing() {
    let mut cluster = Cluster::start(2, ClusterOptions::default()).await.unwrap();
    let since = Instant::now();
    told_to_end(&cluster).await;
    assert_eq!(cluster.nodes[0].wait().await.code(), Some(0));
    figure::time("hand-over", "ended after, without a peer", since.elapsed());
    assert!(since.elapsed() < IN_TIME, "{:?}", since.elapsed());
    let log = cluster.nodes[0].log();
    let told = log.lines().find(|line| line.contains("no other node has these changes")).unwrap_or_else(|| panic!("{log}"));
    assert!(told.contains("\"changes\":1"), "{told}");
    cluster.heal();
    cluster.nodes[0].restart().await;
    eventually(PATIENCE, async || match cluster.read(1, "last").await {
        Some((_, reading)) if reading["value"] == 7 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_node_at_once_whatever_it_waits_for() {
    let mut cluster = Cluster::start(2, ClusterOptions::default()).await.unwrap();
    told_to_end(&cluster).await;
    cluster.nodes[0].signal_terminate().await;
    assert_eq!(cluster.nodes[0].wait().await.code(), Some(0));
    let log = cluster.nodes[0].log();
    assert!(log.contains("ending at once") && !log.contains("no other node has these changes"), "{log}");
}
