//! A node whose configuration changes under it: what SIGHUP does to the real binary.

use anyhow::{Result, ensure};
use std::time::Duration;
use testkit::{Node, NodeOptions, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a line of the log with `text`, and returns the newest such.
async fn line(node: &Node, text: &str, count: usize) -> serde_json::Value {
    eventually(PATIENCE, async || -> Result<serde_json::Value> {
        let log = node.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
        ensure!(lines.len() == count, "{} lines with {text:?}", lines.len());
        Ok(serde_json::from_str(lines[count - 1])?)
    })
    .await
}

#[tokio::test]
async fn sighup_applies_what_may_change_names_the_rest_and_refuses_a_bad_file_as_a_whole() {
    let node = Node::start(NodeOptions { config_toml: "[log]\nlevel = \"info\"\n".into(), ..NodeOptions::default() }).await;
    assert!(!node.log().contains("\"DEBUG\""));
    let started = node.metric("headcount_config_last_reload_timestamp_seconds").await;
    assert!(started > 1_700_000_000.0, "{started}");

    // A level that is good beside values that are not: nothing of it.
    node.configure("[log]\nlevel = \"debug\"\n[limits]\nmessage_bytes = 1\n[presence]\ngrace = 5\n");
    node.signal_hangup().await;
    let refused = line(&node, "read again and refused", 1).await;
    let problems = refused["problems"].as_str().unwrap();
    assert!(problems.contains("limits.message_bytes = 1: ") && problems.contains("presence.grace: unknown key"), "{problems}");
    assert_eq!(node.metric("headcount_config_reloads_total{result=\"refused\"}").await, 1.0);

    node.configure("[log]\nlevel = \"debug\"\n[node]\nregion = \"eu\"\n[auth]\napi_keys = [\"a secret thing\"]\n");
    node.signal_hangup().await;
    let taken = line(&node, "the configuration was read again\"", 1).await;
    assert_eq!((taken["changed"].as_str(), taken["needs_restart"].as_str()), (Some("log.level"), Some("auth.api_keys, node.region")));
    assert_eq!(node.metric("headcount_config_reloads_total{result=\"ok\"}").await, 1.0);
    assert!(!node.log().contains("a secret thing"));

    // A connection that ends without a word is a matter of debugging.
    drop(tokio::net::TcpStream::connect(node.client).await.unwrap());
    line(&node, "a connection ended before its first request", 1).await;

    node.configure("[log]\nlevel = \"info\"\n");
    node.signal_hangup().await;
    let taken = line(&node, "the configuration was read again\"", 2).await;
    assert_eq!((taken["changed"].as_str(), taken["needs_restart"].as_str()), (Some("log.level"), Some("")));
}
