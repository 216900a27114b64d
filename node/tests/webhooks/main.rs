//! A service is told who comes and goes, by a real process about real clients: at least once, in order, signed.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

mod cluster;
mod down;
mod receiver;

use receiver::{PATIENCE, Receiver, SECRETS};
use serde_json::json;
use std::{process::Command, time::Duration};
use testkit::{
    Guest, Node, NodeOptions,
    crowd::{self, Wish},
    eventually, http,
};

/// A node that knows guests.
async fn node(config_toml: &str) -> Node {
    let config_toml = format!("{}[presence]\ngrace_s = 1\n{config_toml}", crowd::auth_toml());
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

async fn enter(node: &Node, user: &str, channels: &[&str]) -> Guest {
    let channels = channels.iter().map(|channel| (*channel).to_owned()).collect();
    Guest::enter(Wish { user: user.to_owned(), channels, gateway: node.client }).await.unwrap()
}

/// Waits until nobody is in the channel.
async fn empty(node: &Node, channel: &str) {
    eventually(PATIENCE, async || {
        let stats = http::get(node.client, &format!("/v1/channels/{channel}/presence/stats")).await?.json();
        anyhow::ensure!(stats["num_clients"] == 0, "in {channel}: {stats}");
        Ok(())
    })
    .await;
}

async fn metrics(node: &Node) -> String {
    http::get(node.admin, "/metrics").await.unwrap().body
}

#[tokio::test(flavor = "multi_thread")]
async fn first_and_last_members_and_connections_are_told_in_order_and_signed() {
    let receiver = Receiver::start().await;
    let node = node(&receiver.toml("")).await;
    let ann = enter(&node, "ann", &["room"]).await;
    let told = receiver.until("ann comes", |told| told.len() == 3).await;
    assert_eq!(told, ["resync_needed", "online ann", "occupied room"]);

    // Neither a second member, nor a second device, nor one who comes back in time is told of.
    let (bob, second) = (enter(&node, "bob", &["room", "other"]).await, enter(&node, "ann", &["room"]).await);
    drop((ann, second));
    let ann = enter(&node, "ann", &["room"]).await;
    bob.leave().await;
    ann.leave().await;
    empty(&node, "room").await;
    // A client of nobody in particular is in a channel, too, and goes without a word.
    drop(enter(&node, "", &["room"]).await);
    receiver
        .until_told(&[
            "resync_needed",
            "online ann",
            "online bob",
            "occupied room",
            "occupied other",
            "vacated other",
            "offline bob",
            "vacated room",
            "offline ann",
            "occupied room",
            "vacated room",
        ])
        .await;
    receiver.assert_sound();

    let taken = receiver.taken();
    let rooms: Vec<_> = taken.iter().filter(|event| event["channel"] == "room").collect();
    assert!(rooms.len() == 4 && rooms.iter().all(|event| event["gen"] == rooms[0]["gen"]), "one roster: {rooms:?}");
    let page = http::get(node.client, "/v1/channels/room/presence").await.unwrap().json();
    let version = format!("local={}:{}", rooms[3]["gen"].as_str().unwrap(), rooms[3]["seq"]);
    assert_eq!(page["version"], json!(version), "what was told last is the roster's version");
    for heard in receiver.heard() {
        let sent_s: u64 = heard.header("webhook-timestamp").parse().unwrap();
        assert!(heard.events().iter().all(|event| event["time_ms"].as_u64().unwrap() / 1000 <= sent_s), "told before it happened");
    }

    let metrics = metrics(&node).await;
    for line in [
        "headcount_webhook_events_total{type=\"resync_needed\"} 1",
        "headcount_webhook_events_total{type=\"occupied\"} 3",
        "headcount_webhook_events_total{type=\"vacated\"} 3",
        "headcount_webhook_events_total{type=\"online\"} 2",
        "headcount_webhook_events_total{type=\"offline\"} 2",
        "headcount_webhook_delay_seconds_count 11",
        "headcount_webhook_requests_total{outcome=\"refused\"} 0",
        "headcount_webhook_up 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    assert_eq!(node.readiness().await.unwrap().1["checks"]["webhooks"], json!({ "status": "ok" }));
    assert!(!node.log().contains("webhooks_failing"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_kinds_and_namespaces_that_are_wanted_are_told() {
    let receiver = Receiver::start().await;
    let chosen =
        "events = [\"vacated\", \"online\"]\nnamespaces = [\"chat\", \"\"]\n[[namespace]]\nname = \"chat\"\n[[namespace]]\nname = \"game\"";
    let node = node(&receiver.toml(chosen)).await;
    enter(&node, "ann", &["chat:a", "game:a", "room"]).await.leave().await;
    // What comes later in the same queue shows that nothing before it was left for later.
    enter(&node, "bob", &["chat:b"]).await.leave().await;
    receiver.until_told(&["resync_needed", "online ann", "vacated chat:a", "vacated room", "online bob", "vacated chat:b"]).await;
    receiver.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_begins_says_first_that_something_may_not_have_been_told() {
    let receiver = Receiver::start().await;
    let mut node = node(&receiver.toml("")).await;
    let _ann = enter(&node, "ann", &["room"]).await;
    receiver.until_told(&["resync_needed", "online ann", "occupied room"]).await;
    node.kill9().await;
    node.restart().await;
    let _bob = enter(&node, "bob", &["room"]).await;
    let told = receiver.until("bob comes", |told| told.len() == 6).await;
    assert_eq!(told[3..], ["resync_needed", "online bob", "occupied room"]);
    let taken = receiver.taken();
    assert_ne!(taken[0]["gen"], taken[3]["gen"]);
    receiver.assert_sound();
}

#[tokio::test]
async fn a_node_that_cannot_tell_does_not_start_and_one_that_need_not_tell_says_nothing_of_it() {
    let refused = |env: &[(&str, &str)]| {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(testkit::node::binary().unwrap());
        let output = command.arg("serve").env_clear().envs(env.iter().copied()).current_dir(directory.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (url, secrets) = ("HEADCOUNT_WEBHOOKS__URL", "HEADCOUNT_WEBHOOKS__SECRETS");
    for (env, reason) in [
        (vec![(url, "https://a.example/")], "webhooks.secrets: must be set with webhooks.url"),
        (vec![(url, "http://a.example/"), (secrets, SECRETS[0])], "webhooks.url = \"http://a.example/\": must begin with https://"),
        (vec![(url, "https://a.example/"), (secrets, "whsec_c2hvcnQ=")], "webhooks.secrets: secret 1: must be whsec_ and the base64"),
    ] {
        let (code, stderr) = refused(&env);
        assert!(code == Some(64) && stderr.contains(reason) && !stderr.contains("c2hvcnQ"), "{code:?} {stderr}");
    }

    let silent = node("").await;
    assert!(!metrics(&silent).await.contains("headcount_webhook"));
    assert_eq!(silent.readiness().await.unwrap().1["checks"].get("webhooks"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_for_more_than_a_minute_degrades_the_node_and_no_client_notices() {
    let mut receiver = Receiver::start().await;
    receiver.close().await;
    let node = node(&receiver.toml("")).await;
    let ann = enter(&node, "ann", &["room"]).await;
    let (status, report) = eventually(PATIENCE + Duration::from_secs(60), async || {
        let (status, report) = node.readiness().await?;
        anyhow::ensure!(report["status"] != "ready", "it is {report}");
        Ok((status, report))
    })
    .await;
    assert_eq!((status, &report["status"], &report["checks"]["webhooks"]["status"]), (200, &json!("degraded"), &json!("degraded")));
    let why = report["checks"]["webhooks"]["why"].as_str().unwrap();
    assert!(why.starts_with("the endpoint has not taken what it was sent for ") && why.contains("refused"), "{why}");
    assert!(metrics(&node).await.contains("\nheadcount_webhook_up 0\n"));
    assert_eq!(ann.ended(), None);
}
