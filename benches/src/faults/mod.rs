//! I/O: counters under whatever may go wrong with real processes for minutes: a seeded nemesis, and disks that are lost a
//! thousand times. What comes out is checked, and written down.

mod lost_disks;
mod nemesis;

use crate::server::machine;
use anyhow::Context;
use clap::Args;
use std::{
    fmt::Write,
    path::PathBuf,
    time::{Instant, SystemTime},
};
use testkit::{Cluster, Load, Tally, cluster::PATIENCE};
use tokio::time::timeout;

/// What is to go wrong.
#[derive(Args)]
pub(crate) struct Options {
    /// Minutes of faults; 0: none.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// What is drawn follows from it; without it, another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Disks that are lost in turn; 0: none.
    #[arg(long, default_value_t = 0)]
    lost_disks: u64,
    /// Also write the report to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Runs everything and prints the report. Ends with a panic that tells what is wrong if something is.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(drawn_seed);
    println!("seed {seed}");
    let mut text = String::from("# Counters under faults\n\n");
    writeln!(text, "headcount {} on {}.\n", env!("CARGO_PKG_VERSION"), machine())?;
    if options.minutes > 0 {
        nemesis::run(options.minutes, seed, &mut text).await?;
    }
    if options.lost_disks > 0 {
        lost_disks::run(options.lost_disks, seed, &mut text).await?;
    }
    println!("{text}");
    if let Some(path) = &options.report {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// What it took until all was well again.
struct Settled {
    tally: Tally,
    /// Seconds until all tokens were counted, then until all replicas read the same, then until all ended lives were folded.
    counted_s: f64,
    equal_s: f64,
    folded_s: f64,
}

/// Ends the load after everything was mended, and checks what came of it.
async fn settle(cluster: &Cluster, load: Load) -> anyhow::Result<Settled> {
    let start = now();
    let tally = timeout(PATIENCE, load.end()).await.context("there are tokens that nobody counts")?;
    let counted_s = start.elapsed().as_secs_f64();
    cluster.until_all_read(&tally).await;
    let equal_s = start.elapsed().as_secs_f64();
    cluster.until_folded(&tally).await;
    Ok(Settled { tally, counted_s, equal_s, folded_s: start.elapsed().as_secs_f64() })
}

/// What the clients have seen, in a sentence.
fn describe(tally: &Tally) -> String {
    let Tally { acknowledged, unanswered, refused, counters, .. } = tally;
    let doubts: i64 = counters.values().map(|expected| expected.high - expected.low).sum();
    let exact = counters.iter().filter(|(key, expected)| key.starts_with('t') && expected.low == expected.high).count();
    format!(
        "{acknowledged} additions acknowledged; {unanswered} attempts without an answer and {refused} refused because a log could not be \
         written, which leaves the sums of the counters without tokens open by {doubts} in all; the {exact} counters with tokens are exact."
    )
}

#[allow(clippy::disallowed_methods)] // How long things take is what is measured here.
fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods)] // Any number will do.
fn drawn_seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs())
}
