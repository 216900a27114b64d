//! I/O: readers who do not read, on a channel where much is said, and what those in other channels feel of it.

use super::{neighbours::Neighbours, threads::Threads};
use crate::{
    client::Client,
    latency::Latencies,
    server::{peak_kib, resident_kib},
};
use anyhow::Context;
use core::net::SocketAddr;
use serde_json::json;
use std::{fmt::Write, time::Duration};
use testkit::{Begun, Node, NodeOptions, Visitor};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{interval, sleep},
};

/// What may wait for all clients together.
const BUDGET_BYTES: usize = 64 << 20;
/// What is said on the hot channel: so many bytes, so often a second.
const MESSAGE_BYTES: usize = 4096;
const MESSAGES_PER_S: u64 = 20;
/// Clients in other channels.
const NEIGHBOURS: usize = 200;
/// One turn.
const TURN: Duration = Duration::from_secs(10);
/// From the change to the next turn.
const PAUSE: Duration = Duration::from_secs(2);
/// Pause of a reader who was closed.
const AGAIN: Duration = Duration::from_secs(1);
const FRAME: &str = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"hot\"}}";

/// Measures it, and adds to the report; an error if a neighbour lost something.
pub(super) async fn run(stalled: usize, pairs: usize, text: &mut String) -> anyhow::Result<()> {
    let config_toml = format!("[limits]\nqueued_bytes = {BUDGET_BYTES}\n[namespace_default]\nhistory_size = 0\nrecover = false\n");
    let node = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
    let pid = node.pid().context("the node ended")?;
    let mut neighbours = Neighbours::start(node.client, NEIGHBOURS).await?;
    let threads = Threads::of_a_crowd()?;
    let _talking = Talk(tokio::spawn(talk(node.client)));
    sleep(PAUSE).await;
    let before_kib = resident_kib(pid)?;
    let (mut ratios, mut without, mut with) = (Vec::new(), Latencies::default(), Latencies::default());
    let mut queued_bytes = 0.0_f64;
    for pair in 0..pairs {
        let alone = turn(&neighbours, &node, &mut queued_bytes).await;
        let mut readers = JoinSet::new();
        for number in 0..stalled {
            readers.spawn_on(stall(node.client, number), threads.handle());
        }
        sleep(PAUSE).await;
        let among = turn(&neighbours, &node, &mut queued_bytes).await;
        drop(readers);
        sleep(PAUSE).await;
        eprintln!("pair {}: p99 {:.1} ms, with stalled readers {:.1} ms", pair + 1, alone.at(0.99), among.at(0.99));
        ratios.push(among.at(0.99) / alone.at(0.99));
        (without, with) = (without.and(alone), with.and(among));
    }
    neighbours.end().await?;
    let peak_kib = peak_kib(pid)?;
    let shed = node.metric("headcount_shed_connections_total").await;
    let slow = node.metric("headcount_disconnects_total{reason=\"slow\"}").await;
    let ratio = Latencies::of(ratios).at(0.5);
    writeln!(
        text,
        "## Readers who do not read\n\n\
         One node whose clients may have {} MiB waiting together, of which one may have 1 MiB. On one channel {MESSAGES_PER_S} messages of\n\
         {MESSAGE_BYTES} bytes a second; {stalled} subscribers that read nothing, and come again a second after they were closed. {NEIGHBOURS}\n\
         clients in other channels hear 1,000 messages a second together. Turns of {TURN:?} in turn, with the stalled ones and without, {pairs}\n\
         of each.\n\n\
         | messages among the others | deliveries | p50 ms | p99 ms | p99.9 ms | max ms |\n|---|---|---|---|---|---|\n\
         | without stalled readers | {} | {} |\n| with | {} | {} |\n\n\
         Median of the {pairs} ratios of p99: {ratio:.2} ({}). At most {:.1} MiB waited, as `headcount_queued_bytes` says twice a second;\n\
         {shed} connections were closed to make room, {slow} with 3008 in all. The node had {} MiB resident before and {} MiB at its\n\
         peak. None of the others lost a message or was closed.\n",
        BUDGET_BYTES >> 20,
        without.count(),
        without.cells(),
        with.count(),
        with.cells(),
        if ratio <= 1.5 { "within 1.5" } else { "**over 1.5**" },
        queued_bytes / f64::from(1 << 20),
        before_kib / 1024,
        peak_kib / 1024,
    )?;
    Ok(())
}

/// What the neighbours feel for a while.
async fn turn(neighbours: &Neighbours, node: &Node, queued_bytes: &mut f64) -> Latencies {
    let from_ms = neighbours.now_ms();
    let mut looks = interval(Duration::from_millis(500));
    while neighbours.now_ms() - from_ms < TURN.as_secs_f64() * 1000.0 {
        looks.tick().await;
        *queued_bytes = queued_bytes.max(node.metric("headcount_queued_bytes").await);
    }
    neighbours.between(from_ms, neighbours.now_ms())
}

/// Somebody who talks, until this is gone.
struct Talk(JoinHandle<anyhow::Result<()>>);

impl Drop for Talk {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn talk(gateway: SocketAddr) -> anyhow::Result<()> {
    let mut client = Client::connect(gateway).await?;
    let mut due = interval(Duration::from_millis(1000 / MESSAGES_PER_S));
    let filling = "x".repeat(MESSAGE_BYTES);
    loop {
        due.tick().await;
        client.ask(json!({ "publish": { "channel": "hot", "data": filling } })).await?;
    }
}

/// A reader who does not read, again and again.
async fn stall(gateway: SocketAddr, number: usize) -> anyhow::Result<()> {
    let from = SocketAddr::from(([127, 0, 0, u8::try_from(2 + number % 20)?], 0));
    loop {
        if let Ok(Begun::In(visitor)) = Visitor::begin(gateway, Some(from), None, FRAME).await {
            visitor.until_ended().await;
        }
        sleep(AGAIN).await;
    }
}
