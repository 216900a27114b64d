//! I/O: the connections to Redis nodes, as the bus uses them: calls of many callers, publications from gateway to
//! gateway, and subscriptions of many channels.

mod calls;
mod publications;
mod runs;
mod subscriptions;

use crate::{
    clock::{clock, random_u64},
    redis,
    server::machine,
};
use anyhow::Context;
use clap::Args;
use core::net::SocketAddr;
use ring_coordinator::{
    document::{Document, Layout, Node},
    redis::{Access, Hearing, Nodes, NodesConfig},
};
use std::{fmt::Write, path::PathBuf};

/// What to measure.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Pairs of runs per row, whose ratio is that of the medians; 0: no calls.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Channels of each gateway that subscribes; 0: no subscriptions.
    #[arg(long, default_value_t = 100_000)]
    channels: usize,
    /// Rounds of publications, ours and those of redis-benchmark in turn, whose medians count; 0: no publications.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// At most two pairs and rounds, of short runs, and 10,000 channels: for trying.
    #[arg(long)]
    quick: bool,
    /// Also write the report to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Runs everything and prints the report.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let versions = redis::versions()?;
    let mut options = options.clone();
    if options.quick {
        options.pairs = options.pairs.min(2);
        options.rounds = options.rounds.min(2);
        options.channels = options.channels.min(10_000);
    }
    let Options { pairs, channels, rounds, quick, report } = options;
    let command = format!("--pairs {pairs} --channels {channels} --rounds {rounds}{}", if quick { " --quick" } else { "" });
    let mut text = String::from("# The bus at its Redis nodes\n\n");
    let ours = env!("CARGO_PKG_VERSION");
    writeln!(text, "`headcount-bench bus {command}` on {}; headcount {ours}, {versions}.\n", machine())?;
    if pairs > 0 {
        calls::measure(pairs, quick, &mut text).await?;
    }
    if rounds > 0 {
        publications::measure(rounds, quick, &mut text).await?;
    }
    if channels > 0 {
        subscriptions::measure(channels, &mut text).await?;
    }
    println!("{text}");
    if let Some(path) = &report {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The connections of a gateway to one server, which the document calls `redis-a`.
fn gateway(name: &str, address: SocketAddr) -> anyhow::Result<(Nodes, Hearing)> {
    let config = NodesConfig { gateway: name.to_owned(), access: Access::default(), scripts: Vec::new(), clock, random_u64 };
    let (nodes, hearing) = Nodes::new(config, &prometheus::Registry::new())?;
    let url = format!("redis://{address}");
    let node = Node { id: NODE.to_owned(), url, weight: 1, state: Default::default(), incarnation: 1 };
    let current = Layout { nodes: vec![node], ..Layout::default() };
    nodes.apply(&Document { epoch: 1, current, ..Document::default() });
    Ok((nodes, hearing))
}

/// The one node.
const NODE: &str = "redis-a";
