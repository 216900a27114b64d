//! A flood of lines of one event: the real binary writes some of them, tells how many it has left out, and everything else still stands
//! in the log.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use anyhow::ensure;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Begun, Node, NodeOptions, Visitor, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of one event in a window.
const MOST: usize = 10;
const FLOOD: usize = 100;

async fn node(more: &str) -> Node {
    let config_toml = format!("[log]\nlevel = \"info,gateway=debug\"\nlines_per_event = {MOST}\n[limits]\nnewcomers_per_s = 0\n{more}");
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

/// A client whose first frame is none, which is closed for it.
async fn malformed(node: &Node) {
    let begun = Visitor::begin(node.client, None, None, "{\"id\":").await.unwrap();
    assert!(matches!(begun, Begun::Closed(3501)), "{begun:?}");
}

fn lines(node: &Node, message: &str) -> Vec<Value> {
    let lines = node.log();
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line["message"] == message).collect()
}

/// How many lines with this message were left out, as the log tells.
fn left_out(node: &Node, message: &str) -> usize {
    let told = lines(node, "lines were left out").into_iter().filter(|line| line["message_was"] == message);
    told.map(|line| usize::try_from(line["lines"].as_u64().unwrap()).unwrap()).sum()
}

#[tokio::test]
async fn of_a_flood_some_lines_are_written_one_tells_of_the_rest_and_other_events_still_appear() {
    let mut node = node("").await;
    for _ in 0..FLOOD {
        malformed(&node).await;
    }
    let ann = Visitor::begin(node.client, None, None, &json!({ "id": 1, "connect": {} }).to_string()).await.unwrap().visitor();
    drop(ann);
    eventually(PATIENCE, async || {
        let told = left_out(&node, "malformed frame");
        ensure!(told > 0, "nothing is told yet: {}", node.log());
        Ok(())
    })
    .await;
    assert!(node.metric("headcount_log_lines_left_out_total{level=\"debug\"}").await >= 1.0);
    // The last word tells what no window has.
    assert!(node.terminate().await.success());
    let (written, told) = (lines(&node, "malformed frame"), left_out(&node, "malformed frame"));
    assert_eq!(written.len() + told, FLOOD, "what is not written is told: {}", node.log());
    // One window's, and some more where the machine is slow; never as many as came.
    assert!((MOST..FLOOD).contains(&written.len()), "{} lines", written.len());
    assert!(written.iter().all(|line| line["connection"].is_u64()), "{written:?}");
    let told = lines(&node, "lines were left out");
    assert!(told.iter().all(|line| line["level"] == "WARN" && line["level_was"] == "debug"), "{told:?}");
    // Whatever else there was to say, and was not said too often.
    for message in ["draining", "drained"] {
        assert_eq!(lines(&node, message).len(), 1, "{message}");
    }
}

#[tokio::test]
async fn without_a_limit_every_line_is_written_and_each_connection_tells_its_number_from_beginning_to_end() {
    let node = node("").await;
    node.configure("[log]\nlevel = \"info,gateway=debug\"\nlines_per_event = 0\n[limits]\nnewcomers_per_s = 0\n");
    node.signal_hangup().await;
    eventually(PATIENCE, async || if lines(&node, "the configuration was read again").len() == 1 { Ok(()) } else { Err("not yet") }).await;
    for _ in 0..3 * MOST {
        malformed(&node).await;
    }
    eventually(PATIENCE, async || {
        let numbers =
            |message: &str| -> Vec<u64> { lines(&node, message).iter().map(|line| line["connection"].as_u64().unwrap()).collect() };
        let (come, malformed, gone) = (numbers("a client comes"), numbers("malformed frame"), numbers("a client is gone"));
        ensure!(come.len() == 3 * MOST && malformed == come && gone.len() == come.len(), "{come:?} {malformed:?} {gone:?}");
        Ok(())
    })
    .await;
    assert_eq!(left_out(&node, "malformed frame"), 0);
}
