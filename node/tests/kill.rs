//! Counters outlive `kill -9`: after any of them the value is at least every acknowledged increment and at most every
//! sent one.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use testkit::{Node, NodeOptions, figure};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Duration, timeout},
};

/// Rounds of counting and killing.
const ROUNDS: u64 = 100;
/// Connections that count at the same time.
const CLIENTS: usize = 4;

/// Sends increments one after the other until the connection breaks.
async fn count(address: std::net::SocketAddr, sent: Arc<AtomicU64>, acknowledged: Arc<AtomicU64>) {
    let Ok(stream) = TcpStream::connect(address).await else { return };
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        sent.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(b"*2\r\n$4\r\nINCR\r\n$5\r\nlikes\r\n").await.is_err() {
            return;
        }
        line.clear();
        match stream.read_line(&mut line).await {
            Ok(read) if read > 0 => assert!(line.starts_with(':'), "{line}"),
            _ => return,
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

async fn value(node: &Node) -> u64 {
    let answer = testkit::http::get(node.client, "/v1/counters/likes").await.unwrap();
    let digits = answer.body.split_once("\"value_s\":\"").and_then(|(_, rest)| rest.split_once('"'));
    digits.and_then(|(digits, _)| digits.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_hundred_kills_no_acknowledged_increment_is_lost_and_none_is_counted_twice() {
    let mut node = Node::start(NodeOptions::default()).await;
    let (sent, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for round in 0..ROUNDS {
        let resp = node.resp.unwrap();
        let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(count(resp, sent.clone(), acknowledged.clone()))).collect();
        // At a moment that depends on the counting alone: another one in every round.
        let until = acknowledged.load(Ordering::SeqCst) + 1 + round * 7 % 50;
        let reached = async {
            while acknowledged.load(Ordering::SeqCst) < until {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), reached).await.expect("counting goes on");
        node.kill9().await;
        for client in clients {
            client.await.unwrap();
        }
        let since = tokio::time::Instant::now();
        node.restart().await;
        figure::time("counter-killed", "ready again after", since.elapsed());
        let (value, sent, acknowledged) = (value(&node).await, sent.load(Ordering::SeqCst), acknowledged.load(Ordering::SeqCst));
        assert!((acknowledged..=sent).contains(&value), "round {round}: {acknowledged} acknowledged, {sent} sent, value {value}");
    }
    figure::count("counter-killed", "kills", ROUNDS);
    figure::count("counter-killed", "increments acknowledged, none lost", acknowledged.load(Ordering::SeqCst));
}
