//! A disk without a free byte.

use crate::{settle, until_counted};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use testkit::{
    Cluster, ClusterOptions, Load, LoadOptions, Node, NodeOptions, SmallDisk, cluster::PATIENCE, eventually, figure, http, load::Target,
    resp::Reply, resp::Resp,
};
use uuid::Uuid;

/// Room for the log of a small load, and a snapshot.
const DISK_BYTES: u64 = 24 << 20;

async fn until_read_only(node: &Node, expected: f64) {
    eventually(PATIENCE, async || {
        let found = node.metric("headcount_counter_read_only").await;
        if (found - expected).abs() < 0.5 { Ok(()) } else { Err(format!("headcount_counter_read_only is {found}")) }
    })
    .await;
}

/// Writes until the log has used up what it had reserved, and then refuses.
async fn until_refused(node: &Node) {
    let (mut connection, resp) = (Resp::default(), node.resp.unwrap());
    let mut number = 0;
    eventually(PATIENCE, async || {
        let keys: Vec<String> = (0..500).map(|at| format!("filler:{}", number + at)).map(|key| key.replace(':', "-")).collect();
        number += keys.len();
        let commands: Vec<_> = keys.iter().map(|key| vec!["INCR", key.as_str()]).collect();
        let replies = connection.pipeline(resp, &commands).await.map_err(|error| error.to_string())?;
        let refused = replies.iter().any(|reply| matches!(reply, Reply::Error(reason) if reason.starts_with("MISCONF ")));
        if refused { Ok(()) } else { Err("still room".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_full_disk_refuses_additions_reads_on_says_so_and_works_again_once_there_is_room() {
    let disk = Arc::new(SmallDisk::mount(DISK_BYTES).await.unwrap());
    let mut node = Node::start(NodeOptions { disk: Some(Arc::clone(&disk)), ..NodeOptions::default() }).await;
    let targets = vec![Target { at: 0, client: node.client, resp: node.resp.unwrap() }];
    let load = Load::start(targets, LoadOptions::default());
    until_counted(&load, 200).await;
    for round in 0..2 {
        disk.fill().unwrap();
        until_refused(&node).await;
        until_read_only(&node, 1.0).await;
        let add = |by: i64| json!({ "by": by, "token": Uuid::now_v7() });
        let answer = http::post(node.client, "/v1/counters/refused/add", &add(1)).await.unwrap();
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &json!("storage_unavailable")), "{answer:?}");
        let answer = http::get(node.client, "/v1/counters/t0").await.unwrap();
        assert!(answer.status == 200 && answer.json()["value"].is_i64(), "{answer:?}");
        let ready = http::get(node.admin, "/readyz").await.unwrap();
        assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("degraded")), "{ready:?}");
        assert!(ready.json()["checks"]["counters"]["why"].as_str().unwrap().contains("No space left"), "{ready:?}");

        disk.free().unwrap();
        let since = tokio::time::Instant::now();
        until_read_only(&node, 0.0).await;
        figure::time("counter-disk-full", "counts again after there is room", since.elapsed());
        until_counted(&load, 200).await;
        let ready = http::get(node.admin, "/readyz").await.unwrap();
        assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")), "{ready:?}");
        if round == 0 {
            // Amid the load, and not after a clean end.
            node.kill9().await;
            node.restart().await;
            until_counted(&load, 200).await;
        }
    }
    let tally = tokio::time::timeout(Duration::from_secs(60), load.end()).await.expect("every token is counted in the end");
    assert!(tally.refused > 0 && tally.violations.is_empty(), "{tally:?}");
    for restarted in [false, true] {
        if restarted {
            node.kill9().await;
            node.restart().await;
        }
        for (key, expected) in &tally.counters {
            let value = http::get(node.client, &format!("/v1/counters/{key}")).await.unwrap().json()["value"].as_i64().unwrap();
            assert!(expected.admits(value), "{key} is {value}, and must be {expected:?}");
            assert!(!key.starts_with('t') || expected.low == expected.high, "what has a token is known: {key} {expected:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_replicas_those_with_room_count_on_and_the_full_one_catches_up() {
    let mut cluster = Cluster::start(3, ClusterOptions { disk_bytes: Some(DISK_BYTES), ..ClusterOptions::default() }).await.unwrap();
    let load = Load::start(cluster.targets(), LoadOptions::default());
    until_counted(&load, 200).await;
    cluster.small_disks[2].as_ref().unwrap().fill().unwrap();
    until_refused(&cluster.nodes[2]).await;
    until_read_only(&cluster.nodes[2], 1.0).await;
    // Also those whose clients turn to the full one first.
    until_counted(&load, 400).await;
    // The others name the one that says nothing, and dial it again and again.
    for at in [0, 1] {
        eventually(PATIENCE, async || {
            let log = cluster.nodes[at].log();
            let ends = log.lines().filter(|line| line.contains("counter peer: disconnected") && line.contains("r2/c1")).count();
            // One more may end while the first connections of both sides meet.
            if ends >= 3 { Ok(()) } else { Err(format!("{ends} connections ended")) }
        })
        .await;
        eventually(PATIENCE, async || {
            let (_, reading) = cluster.read(at, "t0").await.ok_or_else(|| json!("no answer"))?;
            if reading["silent"] == json!(["r2"]) && reading["complete"] == false { Ok(()) } else { Err(reading) }
        })
        .await;
        assert!((cluster.nodes[at].metric("headcount_counter_read_only").await).abs() < 0.5);
    }
    cluster.small_disks[2].as_ref().unwrap().free().unwrap();
    until_read_only(&cluster.nodes[2], 0.0).await;
    until_counted(&load, 200).await;
    eventually(PATIENCE, async || if cluster.is_held_elsewhere(0).await { Ok(()) } else { Err("it does not catch up") }).await;
    cluster.until_metric("headcount_counter_peers", 2.0).await;
    let log = cluster.nodes[2].log();
    let mut closed: Vec<_> = log.lines().filter_map(|line| line.split_once("closing the connection").map(|(_, link)| link)).collect();
    let total = closed.len();
    closed.sort_unstable();
    closed.dedup();
    assert_eq!(closed.len(), total, "a connection that ended while the disk was full is not known to have ended");
    let attempts = log.lines().filter(|line| line.contains("still cannot be written")).count();
    assert!((1..30).contains(&attempts), "once a second is often enough, and not {attempts} times");
    cluster.nodes[2].kill9().await;
    cluster.nodes[2].restart().await;
    settle("counter-disk-full", &cluster, load).await;
}
