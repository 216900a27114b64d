//! I/O: many clients in one channel.

use crate::{
    client::Client,
    server::{cpu_s, machine, resident_kib},
};
use anyhow::Context;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use std::{fmt::Write, path::PathBuf};
use testkit::{Node, NodeOptions};
use tokio::task::JoinSet;

/// Connections opened at the same time.
const CONNECTING: usize = 100;
/// The channel that all are in.
const CHANNEL: &str = "crowd";

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// WebSocket clients; each needs a file in this process and one in the server's.
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Messages published one after the other, each delivered to every client.
    #[arg(long, default_value_t = 50)]
    messages: usize,
    /// Bytes of each message's data.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Also write the report to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Runs and prints the report; an error if anybody missed a message or got one out of order.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let Options { clients: count, messages, bytes, report } = options;
    let node = Node::start(NodeOptions::default()).await;
    let (pid, address) = (node.pid().context("the node ended")?, node.client);
    let (rss_before, cpu_before) = (resident_kib(pid)?, cpu_s(pid)?);

    eprintln!("connecting {count} clients …");
    let clients: Vec<Client> =
        stream::iter(0..*count).map(|_| Client::subscribe(address, CHANNEL)).buffer_unordered(CONNECTING).try_collect().await?;
    let mut publisher = Client::subscribe(address, "elsewhere").await.context("publisher")?;
    let (rss_idle, cpu_connected) = (resident_kib(pid)?, cpu_s(pid)?);

    eprintln!("publishing {messages} messages …");
    let mut readers = JoinSet::new();
    let wanted = *messages;
    for mut client in clients {
        readers.spawn(async move { client.expect(wanted).await.map(|()| client) });
    }
    let data = json!({ "text": "x".repeat(bytes.saturating_sub(11)) });
    for _ in 0..*messages {
        publisher.publish(CHANNEL, &data).await?;
    }
    let mut kept = Vec::with_capacity(*count);
    while let Some(reader) = readers.join_next().await {
        kept.push(reader??);
    }
    let (rss_after, cpu_delivered) = (resident_kib(pid)?, cpu_s(pid)?);

    #[allow(clippy::cast_precision_loss)] // figures for people
    let per = |total: f64, each: usize| total / each as f64;
    #[allow(clippy::cast_precision_loss)]
    let kib = |after: u64| per(after as f64 - rss_before as f64, *count);
    let mut text = String::new();
    writeln!(text, "# A crowd in one channel\n")?;
    writeln!(
        text,
        "`headcount-bench crowd --clients {count} --messages {messages} --bytes {bytes}` on {}, headcount {}.",
        machine(),
        env!("CARGO_PKG_VERSION")
    )?;
    writeln!(text, "JSON over WebSocket, presence, join and leave and history on; every client received every message in order.\n")?;
    writeln!(text, "| figure | value |\n|---|---|")?;
    writeln!(text, "| idle memory of a connection (RSS) | {:.1} KiB |", kib(rss_idle))?;
    writeln!(text, "| after the messages | {:.1} KiB |", kib(rss_after))?;
    writeln!(text, "| CPU to connect and subscribe | {:.0} µs |", per((cpu_connected - cpu_before) * 1e6, *count))?;
    writeln!(text, "| CPU of one delivery | {:.2} µs |", per((cpu_delivered - cpu_connected) * 1e6, count * messages))?;
    println!("{text}");
    if let Some(path) = report {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
