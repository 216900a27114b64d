//! I/O: three regions whose links are watched: bytes, visibility, and a newcomer.

mod catch_up;
mod cluster;
mod gossip;
mod visibility;

use crate::{
    growth::{shown, write},
    plot,
    server::machine,
};
use anyhow::ensure;
use clap::{Args, ValueEnum};
use std::{fmt::Write, path::PathBuf};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these parts.
    #[arg(long, value_delimiter = ',', default_value = "gossip,visibility,catch-up")]
    only: Vec<Part>,
    #[command(flatten)]
    sizes: Sizes,
    /// A few small runs of each part: for trying. Overrides all sizes.
    #[arg(long)]
    quick: bool,
    /// Also write the report to this file, and its charts beside it, as .svg.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Bytes on each link, for additions to few and to many counters, and after a cut.
    Gossip,
    /// From an acknowledgement until another region shows the addition, by the delay of the links.
    Visibility,
    /// An empty replica joins.
    CatchUp,
}

#[derive(Args, Clone, Debug)]
struct Sizes {
    /// Additions of each run of gossip.
    #[arg(long, default_value_t = 1_000_000)]
    additions: usize,
    /// Numbers of counters that they go to while all regions are connected, once at a pace that takes ten seconds and once as
    /// fast as possible.
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000,1000000")]
    distinct: Vec<usize>,
    /// The same while the region that counts is cut off.
    #[arg(long, value_delimiter = ',', default_value = "1,1000,100000,1000000")]
    cut_distinct: Vec<usize>,
    /// Delays of the links, in milliseconds one way, at which visibility is measured.
    #[arg(long, value_delimiter = ',', default_value = "0,25,100")]
    delays_ms: Vec<u64>,
    /// Seconds of each run of visibility, with a hundred additions each.
    #[arg(long, default_value_t = 30)]
    seconds: usize,
    /// Additions per second beside those whose visibility is measured, in every second run.
    #[arg(long, default_value_t = 50_000)]
    background: usize,
    /// Numbers of counters that an empty replica catches up with.
    #[arg(long, value_delimiter = ',', default_value = "1000000,10000000")]
    joined: Vec<usize>,
}

/// Runs everything and prints the report.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let Options { only, sizes, quick, report } = options;
    let sizes = if *quick { Sizes::quick() } else { sizes.clone() };
    let counts = [&sizes.distinct, &sizes.cut_distinct, &sizes.joined].into_iter().flatten();
    let smallest = counts.chain([&sizes.additions, &sizes.seconds, &sizes.background]).min();
    ensure!(smallest > Some(&0), "numbers of counters, additions and seconds are at least 1");
    let most = sizes.distinct.iter().chain(&sizes.cut_distinct).max();
    ensure!(most <= Some(&sizes.additions), "{} additions cannot go to {} counters", sizes.additions, most.unwrap_or(&0));

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut text, ours) = (String::from("# Replication between regions\n\n"), env!("CARGO_PKG_VERSION"));
    writeln!(text, "`headcount-bench {}` on {}; headcount {ours}.\n", arguments.join(" "), machine())?;
    text += &shown(report.as_deref());
    text += "Three nodes, each a region; nodes, proxies, load and readers share one machine.\n\n";
    let mut charts = Vec::new();
    for part in only {
        match part {
            Part::Gossip => charts.push(gossip::measure(&sizes, &mut text).await?),
            Part::Visibility => charts.push(visibility::measure(&sizes, &mut text).await?),
            Part::CatchUp => catch_up::measure(&sizes, &mut text).await?,
        }
        if let Some(path) = report {
            write(path, &text, &plot::svg(&charts))?;
        }
    }
    println!("{text}");
    Ok(())
}

impl Sizes {
    fn quick() -> Sizes {
        Sizes {
            additions: 100_000,
            distinct: vec![1, 100, 10_000, 100_000],
            cut_distinct: vec![1, 1000, 100_000],
            delays_ms: vec![0, 25],
            seconds: 5,
            background: 20_000,
            joined: vec![200_000],
        }
    }
}
