//! What Redis nodes and etcd hold or tell that is not ours: it is counted, named in the log in few bytes, and dropped; what was known
//! before stays in force.

use crate::raw::{PATIENCE, metric};
use serde_json::json;
use std::time::Duration;
use testkit::{Guest, Node, Region, RegionOptions, crowd, eventually, resp::Reply};

const ROOM: &str = "the-room";

async fn region() -> Region {
    let config_toml = format!("{}[namespace_default]\nhistory_size = 10\nhistory_ttl_s = 600\n", crowd::auth_toml());
    Region::start(RegionOptions { redis_nodes: 1, gateways: 1, config_toml, ..RegionOptions::default() }).await
}

async fn guest(region: &Region, user: &str) -> Guest {
    let gateway = region.gateways[0].client;
    Guest::enter(crowd::Wish { user: user.to_owned(), channels: vec![ROOM.to_owned()], gateway }).await.unwrap()
}

/// Publishes at the Redis node; how many heard it.
async fn publish(region: &Region, channel: &str, payload: &str) -> i64 {
    match region.redis["redis-0"].cli(&["PUBLISH", channel, payload]).await.unwrap() {
        Reply::Integer(count) => count,
        other => panic!("{other:?}"),
    }
}

/// The Redis channels that the gateway listens to, of these kinds.
async fn listened(region: &Region, kind: &str) -> Vec<String> {
    match region.redis["redis-0"].cli(&["PUBSUB", "CHANNELS", kind]).await.unwrap() {
        Reply::List(names) => names.into_iter().map(|name| if let Reply::Text(name) = name { name } else { panic!("{name:?}") }).collect(),
        other => panic!("{other:?}"),
    }
}

async fn until_more(node: &Node, line: &str, than: f64) {
    eventually(PATIENCE, async || match metric(node, line).await {
        now if now > than => Ok(()),
        now => Err(format!("{line} is {now} still")),
    })
    .await;
}

/// That a message of one guest is in the history afterwards, and both are there.
async fn goes_on(ann: &Guest, text: &str) {
    let answer = ann.ask(json!({ "publish": { "channel": ROOM, "data": text } })).await.unwrap();
    assert_eq!(answer.get("error"), None, "{answer}");
    let kept = ann.ask(json!({ "history": { "channel": ROOM, "limit": 10, "reverse": true } })).await.unwrap();
    assert_eq!(kept["history"]["publications"][0]["data"], text, "{kept}");
    assert_eq!(ann.ended(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_redis_node_tells_that_is_not_ours_is_counted_and_dropped() {
    let region = region().await;
    let node = &region.gateways[0];
    let (ann, bob) = (guest(&region, "ann").await, guest(&region, "bob").await);
    // Somebody looks at the roster, so that its changes are listened to.
    let roster = ann.ask(json!({ "presence": { "channel": ROOM } })).await.unwrap();
    assert_eq!(roster["presence"]["presence"].as_object().unwrap().len(), 2, "{roster}");
    let huge = "x".repeat(1 << 20);
    let line = "headcount_delivery_dropped_total{node=\"redis-0\",reason=\"decode\"}";
    let all = listened(&region, "hc:*").await;
    let publications: Vec<&String> = all.iter().filter(|name| name.ends_with(&format!(":{ROOM}")) && name.contains(":pub:")).collect();
    assert_eq!(publications.len(), 1, "{all:?}");
    for channel in [publications[0].as_str(), "hc:ctl"] {
        for payload in ["", "\u{1}\u{7f}", "{\"data\":1}", &huge] {
            let before = metric(node, line).await;
            assert!(publish(&region, channel, payload).await > 0, "{channel} is listened to: {all:?}");
            until_more(node, line, before).await;
        }
    }
    let undecoded = "headcount_presence_undecoded_total";
    let before = metric(node, undecoded).await;
    assert!(publish(&region, "hc:contacts", "?").await > 0);
    until_more(node, undecoded, before).await;
    // Whatever else is listened to gets it, too.
    for channel in &all {
        publish(&region, channel, "\u{7}poison").await;
    }
    goes_on(&ann, "after-poison").await;
    assert_eq!(bob.ended(), None);
    let shown = node.log().lines().filter(|line| line.contains("dropped")).map(str::len).max().unwrap();
    assert!(shown < 1000, "a line of {shown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_redis_node_that_holds_something_else_costs_its_own_channel_only() {
    let region = region().await;
    let redis = &region.redis["redis-0"];
    let ann = guest(&region, "ann").await;
    goes_on(&ann, "before").await;
    let Reply::List(keys) = redis.cli(&["KEYS", &format!("hc:*:{ROOM}")]).await.unwrap() else { panic!("no keys") };
    assert!(!keys.is_empty());
    for key in &keys {
        let Reply::Text(key) = key else { panic!("{key:?}") };
        redis.cli(&["DEL", key]).await.unwrap();
        redis.cli(&["SET", key, "poison"]).await.unwrap();
    }
    // The channel is answered with an error, in whatever time a publication is tried for.
    let answer = ann.ask(json!({ "publish": { "channel": ROOM, "data": 1 } })).await.unwrap();
    assert!(answer.get("error").is_some(), "{answer}");
    let answer = ann.ask(json!({ "publish": { "channel": "another-room", "data": 1 } })).await.unwrap();
    assert_eq!(answer.get("error"), None, "{answer}");
    for key in &keys {
        let Reply::Text(key) = key else { panic!("{key:?}") };
        redis.cli(&["DEL", key]).await.unwrap();
    }
    eventually(PATIENCE, async || {
        let answer = ann.ask(json!({ "publish": { "channel": ROOM, "data": 2 } })).await?;
        if answer.get("error").is_none() { Ok(()) } else { Err(anyhow::anyhow!("{answer}")) }
    })
    .await;
    assert_eq!(ann.ended(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_etcd_holds_that_is_not_ours_is_counted_and_the_last_ring_stays_in_force() {
    let region = region().await;
    let node = &region.gateways[0];
    let ann = guest(&region, "ann").await;
    let epoch = metric(node, "headcount_ring_epoch").await;
    let prefix = testkit::region::PREFIX;
    let ring = region.etcd.ctl(&["get", "--print-value-only", &format!("{prefix}ring")]).await.unwrap();
    let skipped = |reason: &str| format!("headcount_etcd_entries_skipped_total{{reason=\"{reason}\"}}");
    let huge = "9".repeat(100_000);
    for (key, value, reason) in [
        ("gw/bad", "{", "undecodable"),
        ("gw/bad", huge.as_str(), "full"),
        ("gw/bad", "{\"address\":5}", "undecodable"),
        ("votes/redis-0/bad", "{\"vote\":\"maybe\",\"since_ms\":-1}", "undecodable"),
        ("counters/bad", "[]", "undecodable"),
        ("unheard/of", "1", "unknown"),
        ("ring", "{\"epoch\":99999}", "undecodable"),
        ("ring", "\u{1b}[31m poison", "undecodable"),
    ] {
        let before = metric(node, &skipped(reason)).await;
        region.etcd.ctl(&["put", &format!("{prefix}{key}"), value]).await.unwrap();
        until_more(node, &skipped(reason), before).await;
        goes_on(&ann, &format!("{key} is {value:.20}")).await;
    }
    assert_eq!(metric(node, "headcount_ring_epoch").await, epoch, "the last good ring is in force");
    // And when somebody has put it right, it is followed again.
    region.etcd.ctl(&["put", &format!("{prefix}ring"), ring.trim()]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    goes_on(&ann, "mended").await;
    let log = node.log();
    assert!(!log.contains('\u{1b}'), "an escape of the poison's is in the log");
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(longest < 2_000, "a line of {longest} bytes");
}
