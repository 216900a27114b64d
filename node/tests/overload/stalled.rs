//! Many who do not read, on a channel where much is said.

use super::{NEWCOMER, node};
use anyhow::ensure;
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;
use testkit::{Node, Visitor, eventually, figure, http};

const STALLED: usize = 40;
const BUDGET_BYTES: usize = 4 << 20;
const MESSAGES: usize = 1_500;
const MESSAGE_BYTES: usize = 8 * 1024;
/// More than the kernel is to take for a client, and less than may wait for one.
const UNREAD_BYTES: usize = 640 * 1024;
/// What the kernels of both ends may have of it.
const ELSEWHERE_BYTES: usize = 192 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_those_who_do_not_read_stays_within_its_bound_and_others_miss_nothing() {
    let node = node(format!("[limits]\nqueued_bytes = {BUDGET_BYTES}\n[namespace_default]\nhistory_size = 0\nrecover = false\n")).await;
    let stalled = join_all((0..STALLED).map(|_| subscriber(&node))).await;
    let mut reader = subscriber(&node).await;
    let reading = tokio::spawn(async move {
        let mut heard = Vec::new();
        while heard.len() < MESSAGES {
            let messages = reader.hear().await.unwrap().expect("who reads is not closed");
            heard.extend(messages.iter().filter_map(|message| message["push"]["pub"]["data"]["number"].as_u64()));
        }
        heard
    });
    let mut most_queued = 0.0_f64;
    for number in 0..MESSAGES {
        publish(&node, number).await;
        if number % 20 == 0 {
            most_queued = most_queued.max(node.metric("headcount_queued_bytes").await);
        }
    }
    assert_eq!(reading.await.unwrap(), (0..MESSAGES as u64).collect::<Vec<_>>());
    // At the whole of it each may have a little, and the message at hand.
    let most = BUDGET_BYTES + STALLED * (16 * 1024 + 2 * MESSAGE_BYTES);
    figure("stalled-readers", "most that waited", most_queued / f64::from(1 << 20), "MiB");
    assert!(most_queued <= most as f64, "{most_queued} of {most}");
    assert!(node.metric("headcount_shed_connections_total").await > 0.0, "at most {most_queued} bytes have waited");
    assert!(node.metric("headcount_disconnects_total{reason=\"slow\"}").await > 0.0);
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_one_who_does_not_read_waits_where_it_is_counted() {
    let node = node("[namespace_default]\nhistory_size = 0\nrecover = false\n".to_owned()).await;
    let stalled = subscriber(&node).await;
    for number in 0..UNREAD_BYTES / MESSAGE_BYTES {
        publish(&node, number).await;
    }
    eventually(PATIENCE, async || {
        let queued = node.metric("headcount_queued_bytes").await;
        ensure!(queued > (UNREAD_BYTES - ELSEWHERE_BYTES) as f64, "{queued} of {UNREAD_BYTES}");
        Ok(())
    })
    .await;
    assert_eq!(node.metric("headcount_connections{wire=\"json\"}").await, 1.0);
    drop(stalled);
}

async fn subscriber(node: &Node) -> Visitor {
    let mut client = Visitor::begin(node.client, None, None, NEWCOMER).await.unwrap().visitor();
    client.ask(r#"{"id":2,"subscribe":{"channel":"hot"}}"#).await.unwrap();
    client
}

async fn publish(node: &Node, number: usize) {
    let message = json!({ "data": { "number": number, "filling": "x".repeat(MESSAGE_BYTES) } });
    assert_eq!(http::post(node.client, "/v1/channels/hot/messages", &message).await.unwrap().status, 200);
}
