//! Counters of three regions, through the real binary: exact whatever is killed, cut or retried.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod cluster;
mod stock;

use cluster::{Answer, Cluster, PATIENCE, options};
use serde_json::json;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use testkit::{Node, eventually, figure};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::RwLock};
use uuid::Uuid;

/// Clients that count at the same time.
const CLIENTS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_in_one_region_is_read_in_all_and_never_older_than_its_session() {
    let cluster = Cluster::start().await;
    for at in 0..3 {
        cluster.counted(at, "likes", json!({ "by": 10_i64.pow(u32::try_from(at).unwrap()) })).await;
    }
    cluster.until_all_read("likes", 111).await;
    for round in 1..=50 {
        let answer = cluster.counted(round % 3, "likes", json!({ "by": 1 })).await;
        let session = answer["session"].as_str().unwrap();
        let (status, reading) = cluster.get((round + 1) % 3, &format!("likes?min={session}")).await;
        assert_eq!(status, 200, "{reading}");
        assert!(reading["value"].as_u64() >= answer["value"].as_u64(), "{reading} after {answer}");
    }
    let (_, reading) = cluster.get(0, "likes?detail=replicas").await;
    assert_eq!(reading["complete"], true, "{reading}");
    let regions: Vec<_> = reading["as_of"].as_object().unwrap().keys().collect();
    assert_eq!(regions, ["ap", "eu", "us"]);
    let replicas = reading["replicas"].as_object().unwrap();
    assert_eq!(replicas.values().map(|entry| entry["increments"].as_i64().unwrap()).sum::<i64>(), 161, "{reading}");
    assert_eq!(cluster.counted(1, "likes", json!({ "by": -161, "ack": "replicated" })).await["acked"], "replicated");
    cluster.until_all_read("likes", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_who_votes_in_two_regions_during_a_cut_counts_once_after_it() {
    let mut cluster = Cluster::start().await;
    assert_eq!(cluster.vote(2, "liked:1", "cid", true).await, 1);
    cluster.until_all_read("liked:1", 1).await;
    [(0, 1), (0, 2), (1, 2)].into_iter().for_each(|(one, other)| cluster.cut(one, other));
    for at in [0, 1] {
        for press in 1..=3 {
            assert_eq!(cluster.vote(at, "liked:1", "ann", true).await, 2, "press {press} at node {at}");
        }
    }
    assert_eq!(cluster.vote(1, "liked:1", "bob", true).await, 3);
    // Who takes a vote back that was seen is not overruled by those who only have it.
    assert_eq!(cluster.vote(0, "liked:1", "cid", false).await, 1);
    // What was acknowledged is there after a crash, too.
    cluster.nodes[1].kill9().await;
    cluster.nodes[1].restart().await;
    cluster.heal();
    cluster.until_all_read("liked:1", 2).await;
    for at in 0..3 {
        let (_, page) = cluster.get(at, "liked:1/voters").await;
        let users: BTreeSet<&str> = page["users"].as_array().unwrap().iter().map(|user| user.as_str().unwrap()).collect();
        assert_eq!(users, BTreeSet::from(["ann", "bob"]), "node {at}");
        assert_eq!(cluster.get(at, "liked:1/voters/cid").await.1["voted"], false);
    }
    // Both had turned it on; once is enough to turn it off everywhere.
    assert_eq!(cluster.vote(2, "liked:1", "ann", false).await, 1);
    cluster.until_all_read("liked:1", 1).await;
    cluster.until_metric("headcount_counter_digest_mismatches_total", 0.0).await;
    cluster.until_metric("headcount_counter_votes", 3.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_is_exact_after_kills_cuts_silences_and_retries_elsewhere() {
    let cluster = Arc::new(RwLock::new(Cluster::start().await));
    let (ends, counted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (cluster, ends, counted) = (Arc::clone(&cluster), Arc::clone(&ends), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut at = client;
                while !ends.load(Ordering::Relaxed) {
                    // Whatever happens, this one token is tried, at one node after the other, until somebody has counted it.
                    let body = json!({ "by": 1, "token": Uuid::now_v7() });
                    loop {
                        match cluster.read().await.add(at % 3, "likes", &body).await {
                            Answer::Counted(_) => break,
                            Answer::Refused(answer) => panic!("{answer}"),
                            Answer::Unknown => at += 1,
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                    at += 1;
                }
            })
        })
        .collect();
    for round in 0..9 {
        let (one, other) = (round % 3, (round + 1) % 3);
        let before = counted.load(Ordering::Relaxed);
        match round / 3 {
            0 => {
                cluster.write().await.nodes[one].kill9().await;
                let mut cluster = cluster.write().await;
                cluster.nodes[one].restart().await;
            }
            1 => cluster.read().await.cut(one, other),
            _ => cluster.read().await.silence(one, other),
        }
        // Counting goes on, whatever is broken.
        eventually(PATIENCE, async || if counted.load(Ordering::Relaxed) > before + 200 { Ok(()) } else { Err("nobody counts") }).await;
        cluster.read().await.heal();
    }
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let cluster = cluster.read().await;
    let since = tokio::time::Instant::now();
    cluster.until_all_read("likes", counted.load(Ordering::Relaxed)).await;
    figure::time("counter-links", "replicas equal after the end of it", since.elapsed());
    let counted = u64::try_from(counted.load(Ordering::Relaxed)).unwrap();
    figure::count("counter-links", "additions acknowledged, each counted once", counted);
    for (name, expected) in [
        ("headcount_counter_law_violations_total", 0.0),
        ("headcount_counter_poisoned_chunks_total", 0.0),
        ("headcount_counter_digest_mismatches_total", 0.0),
    ] {
        cluster.until_metric(name, expected).await;
    }
    // The lives that the kills have ended fold back.
    cluster.until_metric("headcount_counter_origins", 3.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_hides_nothing_and_its_lives_fold_back() {
    let mut cluster = Cluster::start().await;
    for round in 1..=3 {
        let answer = cluster.counted(0, "likes", json!({ "by": 5, "ack": "replicated" })).await;
        assert_eq!(answer["acked"], "replicated", "{answer}");
        cluster.nodes[0].kill9().await;
        std::fs::remove_dir_all(cluster.nodes[0].data_dir.join("counter")).unwrap();
        cluster.nodes[0].restart().await;
        // At once, before it knows anything of what it has lost.
        cluster.counted(0, "likes", json!({ "by": 1 })).await;
        cluster.until_all_read("likes", 6 * round).await;
        cluster.until_metric("headcount_counter_origins", 3.0).await;
        cluster.until_all_read("likes", 6 * round).await;
        let (_, reading) = cluster.get(1, "likes?detail=replicas").await;
        assert_eq!(reading["replicas"], json!({ "eu/c1": { "increments": 6 * round, "decrements": 0 } }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_silent_is_named_and_counts_on_by_itself() {
    let cluster = Cluster::start().await;
    cluster.counted(0, "likes", json!({ "by": 1 })).await;
    cluster.until_all_read("likes", 1).await;
    cluster.silence(0, 1);
    cluster.cut(0, 2);
    cluster.cut(1, 2);
    eventually(PATIENCE, async || {
        let (_, reading) = cluster.get(1, "likes").await;
        if reading["silent"] == json!(["ap", "eu"]) && reading["complete"] == false { Ok(()) } else { Err(reading) }
    })
    .await;
    for at in 0..3 {
        let answer = cluster.counted(at, "likes", json!({ "by": 2, "ack": "replicated" })).await;
        assert_eq!(answer["acked"], "fsync", "there is no peer to be had");
    }
    let session = cluster.counted(0, "likes", json!({ "by": 1 })).await["session"].as_str().unwrap().to_owned();
    assert_eq!(cluster.get(1, &format!("likes?min={session}")).await.0, 412, "rather no answer than an old one");
    assert_eq!(cluster.value(1, "likes").await, 3);
    // Who wants it no older than this is told that it cannot be had.
    eventually(PATIENCE, async || match cluster.get(1, "likes?max_staleness_ms=1000").await {
        (412, answer) if answer["error"]["code"] == "precondition_failed" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    cluster.heal();
    cluster.until_all_read("likes", 8).await;
    eventually(PATIENCE, async || {
        let (_, reading) = cluster.get(1, "likes").await;
        if reading["complete"] == true { Ok(()) } else { Err(reading) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_once_wherever_it_is_tried_again() {
    let cluster = Cluster::start().await;
    let token = Uuid::now_v7();
    let body = json!({ "by": 3, "token": token });
    cluster.counted(0, "likes", body.clone()).await;
    cluster.until_all_read("likes", 3).await;
    for at in 0..3 {
        let answer = cluster.counted(at, "likes", body.clone()).await;
        assert_eq!((&answer["duplicate"], &answer["value"]), (&json!(true), &json!(3)), "{answer}");
    }
    // Cut off from each other they cannot know, and make up for it later.
    for (one, other) in [(0, 1), (1, 2), (0, 2)] {
        cluster.cut(one, other);
    }
    let body = json!({ "by": 5, "token": Uuid::now_v7() });
    for at in 0..3 {
        assert_eq!(cluster.counted(at, "likes", body.clone()).await["duplicate"], false);
    }
    cluster.heal();
    cluster.until_all_read("likes", 8).await;

    let old = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000, 0));
    match cluster.add(2, "likes", &json!({ "by": 1, "token": old })).await {
        Answer::Refused(answer) => {
            assert_eq!(answer["error"]["code"], "token_expired");
            assert!(answer["error"]["server_time_ms"].as_u64() > Some(1_700_000_000_000), "{answer}");
        }
        _ => panic!("an old token was taken"),
    }
    cluster.until_all_read("likes", 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_not_let_in() {
    let cluster = Cluster::start().await;
    let seed = cluster.nodes[0].peer.unwrap().to_string();
    let stranger = Node::start(options("eu-west", &[seed], "another key than theirs")).await;
    eventually(
        PATIENCE,
        async || if stranger.log().contains("does not have this cluster's key") { Ok(()) } else { Err("not refused yet") },
    )
    .await;
    let admin = testkit::http::get(stranger.admin, "/metrics").await.unwrap().body;
    assert!(admin.contains("headcount_counter_peers 0"), "{admin}");
    assert!((cluster.metric(0, "headcount_counter_origins").await - 3.0).abs() < 0.5);

    let peer = cluster.nodes[0].peer.unwrap();
    figure("counter-strangers", "connections refused", cluster.metric(0, "headcount_counter_refused_peers_total").await, "");
    assert_ne!(greeting(peer).await, greeting(peer).await, "a proof that was overheard is good for no other connection");
}

/// The first message that a node sends to whoever connects.
async fn greeting(peer: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(peer).await.unwrap();
    let mut bytes = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}
