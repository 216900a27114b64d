//! A node whose runtime does not get on, from outside: the binary as it is shipped, whose workers are blocked by a failpoint.

use anyhow::{Result, ensure};
use serde_json::json;
use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};
use testkit::{Node, NodeOptions, eventually, figure, http};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);
const STALLS: &str = "headcount_runtime_stalls_total";

fn options(watchdog_s: u64) -> NodeOptions {
    let env = vec![("HEADCOUNT_FAILPOINTS".to_owned(), "stall".to_owned())];
    NodeOptions { config_toml: format!("[node]\nwatchdog_s = {watchdog_s}\n"), env, ..NodeOptions::default() }
}

/// The order is answered by a runtime that is stuck from then on, if at all.
fn stall(node: &Node, ms: u64) {
    let admin = node.admin;
    tokio::spawn(async move { http::post(admin, &format!("/failpoints/stall?ms={ms}"), &json!({})).await });
}

#[tokio::test]
async fn a_runtime_that_is_stuck_is_described_and_ended_with_70() {
    let mut node = Node::start(options(2)).await;
    stall(&node, 3_600_000);
    let stuck = Instant::now();
    assert_eq!(node.wait().await.code(), Some(70));
    figure::time("runtime-stuck", "ended after", stuck.elapsed());
    let log = node.log();
    assert!(log.contains("headcount: the runtime has not ticked for 2") && log.contains("phase ready"), "{log}");
    for thread in ["tokio-rt-worker: state ", "watchdog: state "] {
        assert!(log.contains(thread), "{thread}: {log}");
    }
}

#[tokio::test]
async fn a_stall_that_passes_is_counted_and_ends_nothing() {
    let node = Node::start(options(0)).await;
    assert_eq!(node.metric(STALLS).await, 0.0);
    stall(&node, 3_000);
    eventually(PATIENCE, async || -> Result<()> {
        let stalls = node.metric(STALLS).await;
        ensure!(stalls >= 1.0, "{stalls}");
        Ok(())
    })
    .await;
    assert!(node.log().contains("the runtime did not tick for so long"), "{}", node.log());
}

#[tokio::test]
async fn a_process_that_was_stopped_for_longer_than_the_limit_goes_on() {
    let node = Node::start(options(2)).await;
    node.freeze().await;
    // Not a wait for anything: this is how long it is stopped.
    tokio::time::sleep(Duration::from_secs(4)).await;
    node.thaw().await;
    eventually(PATIENCE, async || -> Result<()> {
        // A tick has come, and says how late it was.
        let lag = node.metric("headcount_runtime_lag_seconds").await;
        ensure!(lag > 1.0, "{lag}");
        Ok(())
    })
    .await;
    // So that the watchdog has looked several times, whatever comes first after such a pause.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.metric(STALLS).await, 0.0);
    assert_eq!(http::get(node.admin, "/healthz").await.unwrap().status, 200);
    assert!(!node.log().contains("has not ticked"), "{}", node.log());
}

#[tokio::test]
async fn failpoints_exist_only_where_they_were_named_at_the_start() {
    let node = Node::start(NodeOptions::default()).await;
    assert_eq!(http::post(node.admin, "/failpoints/stall?ms=1", &json!({})).await.unwrap().status, 404);
    let refused = std::process::Command::new(testkit::node::binary().unwrap()).env("HEADCOUNT_FAILPOINTS", "stal").output().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"stal\" is no failpoint"), "{refused:?}");
}

#[tokio::test]
async fn a_supervisor_is_told_the_phase_and_that_the_runtime_ticks_as_long_as_it_does() {
    let name = format!("headcount-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let mut until = async |word: &str| {
        eventually(PATIENCE, async || -> Result<()> {
            let mut buffer = [0; 256];
            while let Ok(length) = socket.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            let found = heard.iter().position(|message| message == word);
            ensure!(found.is_some(), "{heard:?} without {word:?}");
            heard.drain(..=found.unwrap_or_default());
            Ok(())
        })
        .await;
    };
    let mut options = options(0);
    options.env.extend([("NOTIFY_SOCKET".to_owned(), format!("@{name}")), ("WATCHDOG_USEC".to_owned(), "1000000".to_owned())]);
    let mut node = Node::start(options).await;
    until("READY=1\nSTATUS=ready").await;
    until("WATCHDOG=1").await;
    until("WATCHDOG=1").await;
    assert_eq!(node.terminate().await.code(), Some(0));
    until("STOPPING=1\nSTATUS=draining").await;
}
