//! I/O: presence over Redis nodes: what joins, returns, idle and churning members, and dead gateways cost.
//!
//! | file | what |
//! |---|---|
//! | `joins`, `sockets` | many joins into one room: through the store alone, and by sockets |
//! | `resume` | coming back to a big room |
//! | `refresh`, `schemes`, `turns` | idle and churning members, beside a scheme that refreshes every member |
//! | `idle` | connected clients who do nothing |
//! | `reaping` | the rows of a dead gateway |
//! | `gateways`, `usage`, `pace`, `visible` | what they share: stores without gateways, what Redis has done, evenly over a time, when a watcher sees what |

mod gateways;
mod idle;
mod joins;
mod pace;
mod reaping;
mod refresh;
mod resume;
mod schemes;
mod sockets;
mod turns;
mod usage;

use crate::{redis, server::machine};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::{fmt::Write, path::PathBuf, time::Duration};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Pairs of runs of both schemes that keep members.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds in which each churning member leaves once and comes back once.
    #[arg(long, default_value_t = 60)]
    churn_s: u64,
    /// About a tenth of all, and shorter: for trying. Its figures say nothing.
    #[arg(long)]
    quick: bool,
    /// Also write the report to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Joins,
    Sockets,
    Resume,
    Refresh,
    Idle,
    Reaping,
}

/// Runs everything and prints the report; an error if a count was wrong.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let Options { only, pairs, churn_s, quick, report } = options;
    let (quick, pairs) = (*quick, if *quick { (*pairs).min(2) } else { *pairs });
    let names: Vec<String> = only.iter().filter_map(|part| Some(part.to_possible_value()?.get_name().to_owned())).collect();
    let only_these = if names.is_empty() { String::new() } else { format!(" --only {}", names.join(",")) };
    let command = format!("--pairs {pairs} --churn-s {churn_s}{}{only_these}", if quick { " --quick" } else { "" });
    let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
    let mut text = String::from("# Presence at its Redis nodes\n\n");
    let (ours, versions, machine) = (env!("CARGO_PKG_VERSION"), redis::versions()?, machine());
    writeln!(text, "`headcount-bench presence {command}` on {machine}; headcount {ours} ({build}), {versions}.\n")?;
    if quick {
        writeln!(text, "**A quick run: everything is small and short, and the figures say nothing.**\n")?;
    }
    for part in [Part::Joins, Part::Sockets, Part::Resume, Part::Refresh, Part::Idle, Part::Reaping] {
        if !only.is_empty() && !only.contains(&part) {
            continue;
        }
        match part {
            Part::Joins => joins::measure(quick, &mut text).await,
            Part::Sockets => sockets::measure(quick, &mut text).await,
            Part::Resume => resume::measure(quick, &mut text).await,
            Part::Refresh => refresh::measure(pairs, Duration::from_secs((*churn_s).max(1)), quick, &mut text).await,
            Part::Idle => idle::measure(quick, &mut text).await,
            Part::Reaping => reaping::measure(quick, &mut text).await,
        }
        .with_context(|| format!("{part:?}"))?;
    }
    println!("{text}");
    if let Some(path) = report {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
