//! Nodes with given peers, what they are told and what they say.

use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Node, NodeOptions, eventually};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Where nobody listens: a seed for a node that only waits to be dialed, and an address that leads nowhere.
pub(crate) const NOWHERE: &str = "127.0.0.1:9";
/// In `[counter]`.
pub(crate) const KEY: &str = "key = \"the key of this cluster\"\n";

/// Starts a node with these peers; `more` follows in its section `[counter]`. Nobody learns where it is.
pub(crate) async fn node(name: &str, seeds: &[&str], more: &str) -> Node {
    let config_toml =
        format!("[node]\nname = \"{name}\"\nregion = \"eu\"\n[counter]\naddress = \"{NOWHERE}\"\nseeds = {}\n{more}", json!(seeds));
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

/// The peer listener's address.
pub(crate) fn address(node: &Node) -> String {
    node.peer.unwrap().to_string()
}

pub(crate) fn http() -> reqwest::Client {
    // The second test of this process finds it installed.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build().unwrap()
}

pub(crate) async fn count(node: &Node, key: &str, by: i64) {
    let answer = http().post(format!("{}/v1/counters/{key}/add", node.url())).json(&json!({ "by": by })).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

pub(crate) async fn value(node: &Node, key: &str) -> i64 {
    let answer: Value = http().get(format!("{}/v1/counters/{key}", node.url())).send().await.unwrap().json().await.unwrap();
    answer["value"].as_i64().unwrap_or_else(|| panic!("{answer}"))
}

pub(crate) async fn until_all_read(nodes: &[&Node], key: &str, expected: i64) {
    eventually(PATIENCE, async || {
        for node in nodes {
            match value(node, key).await {
                found if found == expected => {}
                found => return Err(format!("{key} is {found} at {}, not {expected}", node.client)),
            }
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn metric(node: &Node, name: &str) -> f64 {
    let body = testkit::http::get(node.admin, "/metrics").await.unwrap().body;
    body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(f64::NAN)
}

pub(crate) async fn until_metric(node: &Node, name: &str, expected: f64) {
    eventually(PATIENCE, async || match metric(node, name).await {
        found if (found - expected).abs() < 0.5 => Ok(()),
        found => Err(format!("{name} is {found}, not {expected}")),
    })
    .await;
}

/// Waits until one line of the node's log, a warning if it is one of a refusal, holds all `parts`.
pub(crate) async fn until_logged(node: &Node, parts: &[&str]) {
    eventually(PATIENCE, async || {
        let log = node.log();
        let is_meant = |line: &str| line.contains("WARN") && parts.iter().all(|part| line.contains(part));
        if log.lines().any(is_meant) { Ok(()) } else { Err(format!("{} has not warned: {parts:?}", node.client)) }
    })
    .await;
}
