//! I/O: counters, votes, stock and events over RESP, headcount and Redis in turn under the same client: rates, memory of each, recovery.

mod memory;
mod pipelines;
pub(crate) mod rates;
pub(crate) mod recovery;
mod stock;
mod votes;
mod windows;

use crate::{
    redis::{self, Persistence, Redis},
    server::machine,
};
use anyhow::Context;
use clap::Args;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};
use testkit::Node;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Pairs of runs per row, whose ratio is that of the medians; 0: no rates.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Counters that the runs add to, at random.
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Numbers of counters at which memory and recovery are measured; 0: neither.
    #[arg(long, value_delimiter = ',', default_value = "1000000,10000000")]
    sizes: Vec<usize>,
    /// Measure votes beside sets instead: --keys users vote, and --sizes are numbers of votes.
    #[arg(long)]
    votes: bool,
    /// Measure taking from a stock beside a script in Lua instead: --keys are takings in a run.
    #[arg(long, conflicts_with = "votes")]
    stock: bool,
    /// Measure events by the minute, hour and day beside an INCR for each bucket instead: --keys are events in a run.
    #[arg(long, conflicts_with_all = ["votes", "stock"])]
    windows: bool,
    /// Two pairs of short runs, and 200,000 counters only: for trying.
    #[arg(long)]
    quick: bool,
    /// Also write the report to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// How headcount acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    Memory,
    Fsync,
}

impl Ack {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ack::Memory => "memory",
            Ack::Fsync => "fsync",
        }
    }
}

/// Runs everything and prints the report.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let versions = redis::versions()?;
    let Options { pairs, keys, sizes, votes, stock, windows, quick, report } = options;
    let (pairs, keys, sizes) = if *quick { (2, 200_000, vec![200_000]) } else { (*pairs, *keys, sizes.clone()) };
    let command = match quick {
        true => "--quick".to_owned(),
        false => format!("--pairs {pairs} --keys {keys} --sizes {}", sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    };
    let sizes: Vec<usize> = sizes.into_iter().filter(|size| *size > 0).collect();

    let (option, title) = match (votes, stock, windows) {
        (true, ..) => ("--votes ", "Votes beside sets in Redis"),
        (_, true, _) => ("--stock ", "Stock beside a script in Redis"),
        (.., true) => ("--windows ", "Events by the hour beside Redis"),
        _ => ("", "Counters beside Redis"),
    };
    let (command, mut text) = (format!("{option}{command}"), format!("# {title}\n\n"));
    let ours = env!("CARGO_PKG_VERSION");
    writeln!(text, "`headcount-bench counters {command}` on {}; headcount {ours}, {versions}.\n", machine())?;
    if *stock {
        stock::measure(pairs, keys, &mut text).await?;
    } else if *windows {
        windows::measure(pairs, keys, &mut text).await?;
    } else if *votes {
        votes::measure(pairs, keys, &sizes, &mut text).await?;
    } else {
        counters(pairs, keys, &sizes, *quick, &mut text).await?;
    }
    done(&text, report.as_deref())
}

async fn counters(pairs: usize, keys: usize, sizes: &[usize], quick: bool, text: &mut String) -> anyhow::Result<()> {
    if pairs > 0 {
        rates::measure(pairs, keys, quick, text).await?;
    }
    if !sizes.is_empty() {
        memory::measure(sizes, text).await?;
        recovery::measure(sizes, text).await?;
    }
    Ok(())
}

fn done(text: &str, report: Option<&Path>) -> anyhow::Result<()> {
    println!("{text}");
    if let Some(path) = report {
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// A node that acknowledges as `ack` says.
pub(crate) async fn headcount(ack: Ack) -> Node {
    pipelines::headcount_with(ack, "").await
}

/// A Redis without persistence.
async fn plain_redis() -> anyhow::Result<Redis> {
    Redis::start(Persistence::None).await
}
