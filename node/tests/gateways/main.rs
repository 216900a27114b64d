//! A gateway without counters, through the real binary: it counts exactly at the counter nodes of its region, whichever of
//! them is killed or stops answering.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod found;
mod region;
mod windows;

use region::{Answer, PATIENCE, Region, is, metric, readyz};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};
use testkit::{eventually, http};
use tokio::sync::RwLock;
use uuid::Uuid;

/// Clients that count at the same time.
const CLIENTS: usize = 6;

/// Breaks one node after the other, in both ways, while counting goes on.
async fn break_in_turn(region: &RwLock<Region>, counted: &AtomicI64) {
    for round in 0..6 {
        let (at, before) = (round % 2, counted.load(Ordering::Relaxed));
        if round < 4 {
            region.write().await.counters[at].kill9().await;
        } else {
            region.read().await.counters[at].freeze().await;
        }
        eventually(PATIENCE, async || if counted.load(Ordering::Relaxed) > before + 100 { Ok(()) } else { Err("nobody counts") }).await;
        if round < 4 {
            region.write().await.counters[at].restart().await;
        } else {
            region.read().await.counters[at].thaw().await;
        }
        let before = counted.load(Ordering::Relaxed);
        eventually(PATIENCE, async || if counted.load(Ordering::Relaxed) > before + 100 { Ok(()) } else { Err("nobody counts") }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tokens_what_was_acknowledged_counts_once_and_what_is_unknown_at_most_once() {
    let region = Arc::new(RwLock::new(Region::start(1, "").await));
    let [counted, unknown] = [0, 0].map(|start| Arc::new(AtomicI64::new(start)));
    let ends = Arc::new(AtomicBool::new(false));
    // The gateway is never restarted: clients need not hold the lock that restarting takes.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (region, ends) = (Arc::clone(&region), Arc::clone(&ends));
            let (counted, unknown) = (Arc::clone(&counted), Arc::clone(&unknown));
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    let answer = region.read().await.add(0, "likes", &json!({ "by": 1 })).await;
                    match answer {
                        Answer::Counted(_) => _ = counted.fetch_add(1, Ordering::Relaxed),
                        Answer::Unknown => _ = unknown.fetch_add(1, Ordering::Relaxed),
                        Answer::NotCounted => {}
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            })
        })
        .collect();
    break_in_turn(&region, &counted).await;
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let region = region.read().await;
    region.until_resolved().await;
    let (counted, unknown) = (counted.load(Ordering::Relaxed), unknown.load(Ordering::Relaxed));
    let value = region.settled_value("likes").await;
    assert!((counted..=counted + unknown).contains(&value), "{value}, acknowledged {counted}, unknown {unknown}");
    for name in ["headcount_counter_failovers_total", "headcount_counter_batches_resent_total"] {
        assert!(metric(&region.gateways[0], name).await >= 1.0, "{name}");
    }
    assert!((metric(&region.gateways[0], "headcount_counter_outcomes_unknown_total").await - unknown as f64).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_the_counter_nodes_leaves_no_caller_in_doubt() {
    let region = Arc::new(RwLock::new(Region::start(1, "").await));
    let ends = Arc::new(AtomicBool::new(false));
    let counted: Arc<Vec<AtomicI64>> = Arc::new((0..CLIENTS).map(|_| AtomicI64::new(0)).collect());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (region, counted, ends) = (Arc::clone(&region), Arc::clone(&counted), Arc::clone(&ends));
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    region.read().await.counted(0, "likes", json!({ "by": 1 })).await;
                    counted[client].fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    // Whoever waits for a node that is gone is told that nothing is known, and that ends its task.
    let all_go_on = async || {
        let before: Vec<i64> = counted.iter().map(|counted| counted.load(Ordering::Relaxed)).collect();
        eventually(PATIENCE, async || {
            let go_on = counted.iter().zip(&before).all(|(counted, before)| counted.load(Ordering::Relaxed) > before + 20);
            if go_on { Ok(()) } else { Err("somebody waits") }
        })
        .await;
    };
    for at in [0, 1, 0, 1] {
        all_go_on().await;
        region.read().await.counters[at].signal_terminate().await;
        all_go_on().await;
        region.write().await.counters[at].wait().await;
        all_go_on().await;
        region.write().await.counters[at].restart().await;
    }
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let region = region.read().await;
    region.until_resolved().await;
    let expected: i64 = counted.iter().map(|counted| counted.load(Ordering::Relaxed)).sum();
    eventually(PATIENCE, async || match region.settled_value("likes").await {
        value if value == expected => Ok(()),
        value => Err(format!("{value}, not {expected}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tokens_tried_at_two_gateways_everything_counts_once() {
    let region = Arc::new(RwLock::new(Region::start(2, "").await));
    let (counted, ends) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (region, counted, ends) = (Arc::clone(&region), Arc::clone(&counted), Arc::clone(&ends));
            tokio::spawn(async move {
                let mut at = client;
                while !ends.load(Ordering::Relaxed) {
                    let body = json!({ "by": 1, "token": Uuid::now_v7() });
                    while !matches!(region.read().await.add(at % 2, "likes", &body).await, Answer::Counted(_)) {
                        at += 1;
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                    // Somebody did not hear the answer.
                    if at.is_multiple_of(3) {
                        let again = region.read().await.add((at + 1) % 2, "likes", &body).await;
                        drop(again);
                    }
                    at += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            })
        })
        .collect();
    break_in_turn(&region, &counted).await;
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let region = region.read().await;
    region.until_resolved().await;
    let expected = counted.load(Ordering::Relaxed);
    eventually(PATIENCE, async || {
        let value = region.settled_value("likes").await;
        if value == expected { Ok(()) } else { Err(format!("{value}, not {expected}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_api_of_counters_is_there() {
    let region = Region::start(2, "").await;
    for round in 1..=20 {
        let answer = region.counted(round % 2, "likes", json!({ "by": 1, "ack": "replicated" })).await;
        assert_eq!(answer["acked"], "replicated", "{answer}");
        let session = answer["session"].as_str().unwrap();
        let (status, reading) = region.get((round + 1) % 2, &format!("/likes?min={session}")).await;
        assert_eq!((status, &reading["value"]), (200, &json!(round)), "{reading}");
    }
    let (_, reading) = region.get(0, "/likes?detail=replicas").await;
    let replicas = reading["replicas"].as_object().unwrap();
    assert_eq!(replicas.values().map(|entry| entry["increments"].as_i64().unwrap()).sum::<i64>(), 20, "{reading}");
    assert!(replicas.keys().all(|member| ["eu/c1", "eu/c2"].contains(&member.as_str())), "{reading}");
    assert_eq!((&reading["complete"], reading["as_of"].as_object().unwrap().len()), (&json!(true), 1), "{reading}");

    let batch = json!({ "ops": [{ "key": "a", "by": 2 }, { "key": "b", "by": i64::MAX }, { "key": "b", "by": 1 }] });
    let (_, answer) = region.call(0, "POST", "/v1/counters/batch", &batch).await;
    let [a, b, again] = answer["results"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((&a["value"], &b["value"], &again["error"]["code"]), (&json!(2), &json!(i64::MAX), &json!("counter_overflow")));
    let session = answer["session"].as_str().unwrap();
    assert_eq!(region.get(1, &format!("/a?min={session}")).await.1["value"], 2);
    let (_, several) = region.get(0, "?keys=a,b,c").await;
    let values: Vec<_> = several["counters"].as_array().unwrap().iter().map(|counter| &counter["value"]).collect();
    assert_eq!(values, [&json!(2), &json!(i64::MAX), &json!(0)]);

    // On both disks, for the gateways may count at different nodes, which would make up for it later.
    let body = json!({ "by": 3, "token": Uuid::now_v7(), "ack": "replicated" });
    region.counted(0, "likes", body.clone()).await;
    let again = region.counted(1, "likes", body.clone()).await;
    assert_eq!((&again["duplicate"], &again["value"]), (&json!(true), &json!(23)), "{again}");
    let (status, _) = region.call(0, "POST", "/v1/counters/likes/add", &json!({ "by": 4, "token": body["token"] })).await;
    assert_eq!(status, 409);
    let old = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000, 0));
    let (status, answer) = region.call(0, "POST", "/v1/counters/likes/add", &json!({ "by": 1, "token": old })).await;
    assert!(status == 410 && answer["error"]["server_time_ms"].as_u64() > Some(1_700_000_000_000), "{answer}");
    let (status, answer) = region.call(1, "DELETE", &format!("/v1/counters/likes?token={}", Uuid::now_v7()), &Value::Null).await;
    assert_eq!((status, &answer["value"]), (200, &json!(0)), "{answer}");
    assert_eq!(region.get(0, "/likes?min=nonsense").await.0, 400);
    assert_eq!(region.get(0, "/likes?min=1.ff-1").await.0, 412);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_are_cast_and_asked_for_through_gateways_that_keep_none() {
    let region = Region::start(2, "[[namespace]]\nname = \"liked\"\ntype = \"unique\"").await;
    let voters = "/v1/counters/liked:1/voters";
    let turn = async |gateway, method, user| {
        let (status, answer) = region.call(gateway, method, &format!("{voters}/{user}?ack=replicated"), &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        (answer["value"].as_i64().unwrap(), answer["duplicate"] == true)
    };
    assert_eq!(turn(0, "PUT", "ann").await, (1, false));
    // The gateways may count at different nodes.
    region.settled_value("liked:1").await;
    assert_eq!(turn(1, "PUT", "ann").await, (1, true));
    assert_eq!(turn(1, "PUT", "bob").await, (2, false));
    assert_eq!(turn(1, "PUT", "cid").await, (3, false));
    assert_eq!(turn(1, "DELETE", "bob").await, (2, false));
    assert_eq!(region.settled_value("liked:1").await, 2);
    let (_, page) = region.get(0, "/liked:1/voters?limit=1").await;
    assert_eq!(page, json!({ "key": "liked:1", "users": ["cid"], "next": "cid" }));
    let (_, rest) = region.get(0, "/liked:1/voters?cursor=cid").await;
    assert_eq!(rest, json!({ "key": "liked:1", "users": ["ann"], "next": null }));
    for (user, voted) in [("ann", true), ("bob", false)] {
        assert_eq!(region.get(1, &format!("/liked:1/voters/{user}")).await.1["voted"], voted, "{user}");
    }
    let (status, receipt) = region.call(0, "DELETE", "/v1/users/cid", &Value::Null).await;
    assert_eq!((status, &receipt["votes"]), (200, &json!(1)), "{receipt}");
    assert_eq!(region.settled_value("liked:1").await, 1);
    let (status, answer) = region.get(0, "/liked:1/voters?cursor=nobody").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_request")), "{answer}");
    let (status, answer) = region.call(0, "POST", "/v1/counters/liked:1/add", &json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("wrong_type")), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_is_sold_through_gateways_that_keep_none_and_never_twice() {
    let region = Region::start(2, "[[namespace]]\nname = \"stock\"\ntype = \"bounded\"").await;
    let add = async |gateway, by: i64| {
        let body = json!({ "by": by, "token": Uuid::now_v7(), "ack": "replicated" });
        region.call(gateway, "POST", "/v1/counters/stock:1/add", &body).await
    };
    let (status, answer) = add(0, 10).await;
    assert_eq!((status, &answer["value"]), (200, &json!(10)), "{answer}");
    assert_eq!(region.settled_value("stock:1").await, 10);
    // The gateways may count at different nodes: what is missing at one of them comes from the other one.
    for gateway in [1, 0, 1, 0, 1] {
        eventually(PATIENCE, async || match add(gateway, -2).await {
            (200, _) => Ok(()),
            (409, answer) if answer["error"]["code"] == "insufficient" && answer["error"]["elsewhere"] != 0 => Err(answer),
            other => panic!("{other:?}"),
        })
        .await;
    }
    assert_eq!(region.settled_value("stock:1").await, 0);
    for gateway in 0..2 {
        let (status, answer) = add(gateway, -1).await;
        let error = &answer["error"];
        assert_eq!((status, &error["code"], &error["here"], &error["elsewhere"]), (409, &json!("insufficient"), &json!(0), &json!(0)));
    }
    let long = format!("/v1/counters/stock:{}/add", "x".repeat(231));
    assert_eq!(region.call(0, "POST", &long, &json!({})).await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_values_come_through_a_gateway_also_after_its_node_is_gone() {
    let mut region = Region::start(2, "").await;
    region.counted(0, "likes", json!({ "by": 1 })).await;
    let mut events = region.events(0, "counter:likes").await;
    events.until("\"value\":1,").await;
    region.counted(1, "likes", json!({ "by": 1, "ack": "replicated" })).await;
    events.until("\"value\":2,").await;
    for at in 0..2 {
        region.counters[at].kill9().await;
        let expected = 3 + i64::try_from(at).unwrap();
        eventually(PATIENCE, async || match region.add(1, "likes", &json!({ "by": 1 })).await {
            Answer::Counted(answer) => Ok(answer),
            other => Err(format!("{other:?}")),
        })
        .await;
        events.until(&format!("\"value\":{expected},")).await;
        region.counters[at].restart().await;
        for node in &region.counters {
            eventually(PATIENCE, async || is(peers(node).await, "headcount_counter_peers 1\n")).await;
        }
        assert_eq!(region.settled_value("likes").await, expected);
    }
}

async fn peers(node: &testkit::Node) -> String {
    testkit::http::get(node.admin, "/metrics").await.unwrap().body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_belong_is_told_so_and_serves_everything_but_counters() {
    let region = Region::start(1, "producers = [\"eu/g1\"]").await;
    region.counted(0, "likes", json!({ "by": 1 })).await;
    let stranger = region.gateway("g1", "another key than theirs").await;
    let unnamed = region.gateway("g2", "the key of this cluster").await;
    for (node, why) in [(&stranger, "does not have this cluster's key"), (&unnamed, "counter.producers of this node does not name eu/g2")] {
        eventually(PATIENCE, async || is(readyz(node).await, why)).await;
        assert!(readyz(node).await.contains("\"status\":\"degraded\""));
        assert!(node.log().contains(why), "{}", node.log());
        assert_eq!(testkit::http::get(node.admin, "/readyz").await.unwrap().status, 200);
    }
    let mut region = region;
    region.gateways = vec![stranger, unnamed];
    for at in 0..2 {
        eventually(PATIENCE, async || match region.add(at, "likes", &json!({ "by": 1 })).await {
            Answer::NotCounted => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let (status, answer) = region.get(at, "/likes").await;
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("storage_unavailable")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("/readyz"), "{answer}");
        let (status, _) = region.call(at, "POST", "/v1/channels/room/messages", &json!({ "data": 1 })).await;
        assert_eq!(status, 200);
    }
    assert_eq!(region.settled_value("likes").await, 1);
    assert!(!region.gateways[0].data_dir.join("counter").exists());
    assert_eq!((region.gateways[0].resp, region.gateways[0].peer), (None, None));
    assert_eq!(region.counters[0].client.port(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hottest_counters_are_known_where_they_are_counted_and_a_gateway_without_any_says_so() {
    let region = Region::start(1, "").await;
    for _ in 0..5 {
        region.counted(0, "likes", json!({ "by": 3 })).await;
    }
    let hot = async |node: &testkit::Node| http::get(node.admin, "/v1/hot/counters").await.unwrap();
    eventually(PATIENCE, async || {
        let mut found = Vec::new();
        for node in &region.counters {
            found.extend(hot(node).await.json()["counters"].as_array().unwrap().clone());
        }
        let additions: u64 = found.iter().filter_map(|counter| counter["additions"].as_u64()).sum();
        if additions == 5 && found.iter().all(|counter| counter["key"] == "likes") { Ok(()) } else { Err(json!(found)) }
    })
    .await;
    let answer = hot(&region.gateways[0]).await;
    assert!(answer.status == 404 && answer.body.contains("this gateway keeps no counters itself"), "{}", answer.body);
    // So it is with the change feed: every node that keeps counters tells all of them.
    for node in &region.counters {
        eventually(PATIENCE, async || match http::get(node.admin, "/v1/feed").await.unwrap().json() {
            page if page["counters"][0]["key"] == "likes" && page["counters"][0]["value"] == 15 => Ok(()),
            page => Err(page),
        })
        .await;
    }
    let (status, answer) = region.call(0, "GET", "/v1/feed", &json!(null)).await;
    assert_eq!((status, &answer["error"]["code"]), (501, &json!("counters_elsewhere")), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_counters_asks_for_the_greatest_where_they_are_also_when_one_node_is_gone() {
    let mut region = Region::start(1, "").await;
    for (key, by) in [("views", 2), ("likes", 5)] {
        // Both nodes have it, whichever of them goes.
        region.counted(0, key, json!({ "by": by, "ack": "replicated" })).await;
    }
    let greatest = async |region: &Region, likes: i64| {
        let likes = json!({ "key": "likes", "value": likes, "value_s": likes.to_string() });
        let expected = json!({ "namespace": "", "counters": [likes, { "key": "views", "value": 2, "value_s": "2" }] });
        eventually(PATIENCE, async || match region.call(0, "GET", "/v1/top", &json!(null)).await {
            (200, top) if top == expected => Ok(()),
            (status, top) => Err(format!("{status} {top}")),
        })
        .await;
    };
    greatest(&region, 5).await;
    region.counters[0].kill9().await;
    region.counted(0, "likes", json!({ "by": 1 })).await;
    greatest(&region, 6).await;
}
