//! I/O: what an addition and a counter cost, and how long recovery and snapshots take, as the number of counters grows.

mod figures;
mod pauses;
mod size;

use crate::{
    counters::{Ack, headcount, recovery::restarted},
    plot,
    probe::MANNER,
    redis,
    room::Room,
    server::machine,
};
use anyhow::{Context, ensure};
use clap::Args;
use figures::{Row, charts, tables};
use size::Runs;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Numbers of counters, one after the other; one that does not fit into memory or on disk is left out, and the report
    /// says so.
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000,10000000,50000000")]
    sizes: Vec<usize>,
    /// Pairs of runs, Redis and headcount in turn, for each rate.
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// Additions of one run.
    #[arg(long, default_value_t = 4_000_000)]
    operations: usize,
    /// Also write the report to this file, and its charts beside it, as .svg.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Runs everything and prints the report.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let Options { sizes, pairs, operations, report } = options;
    ensure!(*pairs > 0 && *operations > 0 && sizes.iter().all(|size| *size > 0), "sizes, pairs and operations are at least 1");
    let versions = redis::versions()?;
    let list = sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let command = format!("growth --sizes {list} --pairs {pairs} --operations {operations}");
    let mut empty = headcount(Ack::Fsync).await;
    empty.terminate().await;
    let nothing_s = restarted(&mut empty).await;
    drop(empty);

    let mut rows = Vec::new();
    for counters in sizes.iter().copied() {
        let room = Room::now()?;
        let figures = match room.lacks(1, counters) {
            Some(reason) => {
                eprintln!("{counters} counters are left out: a node with so many {reason}");
                Err(reason)
            }
            None => {
                let runs = Runs { pairs: *pairs, operations: *operations, nothing_s };
                Ok(size::measure(counters, runs, room.lacks_for_redis(counters)).await?)
            }
        };
        rows.push(Row { counters, figures });
        if let Some(path) = report {
            write(path, &text(&command, &versions, &rows, Some(path))?, &plot::svg(&charts(&rows)))?;
        }
    }
    println!("{}", text(&command, &versions, &rows, report.as_deref())?);
    Ok(())
}

/// Writes a report and its charts, which stand beside it.
pub(crate) fn write(path: &Path, text: &str, svg: &str) -> anyhow::Result<()> {
    for (path, content) in [(path.to_owned(), text), (path.with_extension("svg"), svg)] {
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The line that shows the charts beside a report.
pub(crate) fn shown(report: Option<&Path>) -> String {
    let svg = report.and_then(|path| Some(path.with_extension("svg").file_name()?.to_string_lossy().into_owned()));
    svg.map_or(String::new(), |svg| format!("![The figures as charts]({svg})\n\n"))
}

fn text(command: &str, versions: &str, rows: &[Row], report: Option<&Path>) -> anyhow::Result<String> {
    let mut text = String::from("# Cost as counters grow\n\n");
    let ours = env!("CARGO_PKG_VERSION");
    writeln!(text, "`headcount-bench {command}` on {}; headcount {ours}, {versions}.\n", machine())?;
    text += &shown(report);
    text += "An addition is `INCRBY key 1` of a key picked at random of all, 64 pipelined, 50 connections: medians of runs in turn,\n\
        Redis without persistence; CPU is that of the server's process. Load generator and server share the machine.\n\
        Keys have 16 bytes. Memory is the growth of resident memory over an empty server, after each key was counted once.\n\
        Disk is that of all files: the log's are written ahead, a mebibyte at least, which counts at small sizes. Recovery is\n\
        from the start of the process until it is ready, less the same for an empty node; its peak is that of the whole\n\
        process. The clock looks every 20 ms.\n\n";
    writeln!(
        text,
        "Pauses are those of clients beside that load: {MANNER}.\n\
         An addition is during a snapshot if any of the time that it took was, or half a second after, in which the log that the\n\
         snapshot replaces is removed.\n"
    )?;
    tables(rows, &mut text)?;
    Ok(text)
}
