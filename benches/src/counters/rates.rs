//! I/O: additions per second and their CPU, in pairs of runs: Redis, headcount, Redis, headcount, …

use super::{Ack, headcount, plain_redis};
use crate::{
    load,
    redis::{self, Persistence, Redis},
    server::cpu_s,
};
use anyhow::Context;
use core::net::SocketAddr;
use std::fmt::Write;

/// One comparison.
struct Row {
    pipeline: usize,
    ours: Ack,
    theirs: Persistence,
    /// Operations of one run.
    operations: usize,
    /// The ratio that must be reached.
    floor: Option<f64>,
}

const ROWS: [Row; 6] = [
    Row { pipeline: 64, ours: Ack::Memory, theirs: Persistence::None, operations: 4_000_000, floor: Some(2.0) },
    Row { pipeline: 16, ours: Ack::Memory, theirs: Persistence::None, operations: 2_000_000, floor: Some(1.3) },
    Row { pipeline: 1, ours: Ack::Memory, theirs: Persistence::None, operations: 200_000, floor: Some(0.95) },
    Row { pipeline: 64, ours: Ack::Fsync, theirs: Persistence::None, operations: 4_000_000, floor: Some(1.1) },
    Row { pipeline: 64, ours: Ack::Fsync, theirs: Persistence::Always, operations: 3_000_000, floor: Some(2.2) },
    Row { pipeline: 16, ours: Ack::Fsync, theirs: Persistence::Always, operations: 1_000_000, floor: None },
];
/// A quick run does this share of the operations.
const QUICK_SHARE: usize = 4;

/// A server under load.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
}

impl Subject {
    pub(crate) fn of(name: &'static str, node: &testkit::Node) -> anyhow::Result<Subject> {
        Ok(Subject { name, address: node.resp.context("no resp listener")?, pid: node.pid().context("the node ended")? })
    }
}

/// What one run has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Operations per second.
    pub(crate) rate: f64,
    /// Nanoseconds of the server's CPU for one operation.
    pub(crate) cpu_ns: f64,
}

/// Runs in turn, each of ours with one of theirs.
#[derive(Default)]
pub(super) struct Pairs {
    ours: Vec<Run>,
    theirs: Vec<Run>,
}

impl Pairs {
    /// Adds a pair, and tells of it.
    pub(super) fn push(&mut self, what: &str, ours: Run, theirs: Run) {
        self.ours.push(ours);
        self.theirs.push(theirs);
        eprintln!(
            "{what}, pair {}: {:.0}/s ({:.0} ns) against {:.0}/s ({:.0} ns), ratio {:.2}",
            self.ours.len(),
            ours.rate,
            ours.cpu_ns,
            theirs.rate,
            theirs.cpu_ns,
            ours.rate / theirs.rate
        );
    }

    /// The cells of a table: the medians of both, their ratio, those of the pairs, and whether `floor` is reached.
    pub(super) fn cells(&self, floor: Option<f64>) -> String {
        let ratios = || self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours.rate / theirs.rate);
        let (lowest, highest) = (ratios().fold(f64::MAX, f64::min), ratios().fold(0.0, f64::max));
        let (our, their) = (median(&self.ours), median(&self.theirs));
        let ratio = our.rate / their.rate;
        let floor = match floor {
            None => "–".to_owned(),
            Some(floor) => format!("{floor} {}", if ratio >= floor { "met" } else { "**missed**" }),
        };
        format!(
            "{:.0} ({:.0} ns) | {:.0} ({:.0} ns) | {ratio:.2} | {lowest:.2} to {highest:.2} | {floor}",
            our.rate, our.cpu_ns, their.rate, their.cpu_ns
        )
    }
}

/// Fills four servers with the same counters, and measures every row on them.
pub(super) async fn measure(pairs: usize, keys: usize, quick: bool, text: &mut String) -> anyhow::Result<()> {
    let (memory, fsync) = (headcount(Ack::Memory).await, headcount(Ack::Fsync).await);
    let (plain, always) = (plain_redis().await?, Redis::start(Persistence::Always).await?);
    let ours = [Subject::of("ack memory", &memory)?, Subject::of("ack fsync", &fsync)?];
    let theirs = [
        Subject { name: "no persistence", address: plain.address, pid: plain.pid },
        Subject { name: "appendfsync always", address: always.address, pid: always.pid },
    ];
    for Subject { name, address, .. } in ours.iter().chain(&theirs) {
        eprintln!("filling {name} with {keys} counters …");
        load::fill(*address, keys).await?;
    }

    writeln!(text, "## Rates\n\n`redis-benchmark -c 50 -r {keys} INCRBY key___rand_int__ 1`, medians of {pairs} pairs of runs in turn;")?;
    writeln!(
        text,
        "CPU is that of the server's process for one operation. Both servers are otherwise as they come: Redis rewrites its log,"
    )?;
    writeln!(text, "and headcount takes snapshots, when they see fit.\n")?;
    writeln!(text, "| pipelined | headcount | Redis | headcount/s (CPU) | Redis/s (CPU) | ratio | lowest to highest pair | floor |")?;
    writeln!(text, "|---|---|---|---|---|---|---|---|")?;
    for Row { pipeline, ours: ack, theirs: persistence, operations, floor } in ROWS {
        let (ours, theirs) = (&ours[ack as usize], &theirs[persistence as usize]);
        let operations = if quick { operations / QUICK_SHARE } else { operations };
        let mut runs = Pairs::default();
        for _ in 0..pairs {
            let their_run = one(theirs, pipeline, operations, keys).await?;
            runs.push(
                &format!("P{pipeline} {} against {}", ours.name, theirs.name),
                one(ours, pipeline, operations, keys).await?,
                their_run,
            );
        }
        writeln!(text, "| {pipeline} | {} | {} | {} |", ours.name, theirs.name, runs.cells(floor))?;
    }
    writeln!(text)?;
    Ok(())
}

/// One run of `redis-benchmark`.
pub(crate) async fn one(server: &Subject, pipeline: usize, operations: usize, keys: usize) -> anyhow::Result<Run> {
    let before = cpu_s(server.pid)?;
    let rate = redis::benchmark(server.address, pipeline, operations, keys).await?;
    #[allow(clippy::cast_precision_loss)] // figures for people
    let cpu_ns = (cpu_s(server.pid)? - before) * 1e9 / operations as f64;
    Ok(Run { rate, cpu_ns })
}

/// The median of each figure by itself.
pub(crate) fn median(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        match figures.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => figures[middle],
            _ => f64::midpoint(figures[middle - 1], figures[middle]),
        }
    };
    Run { rate: of(|run| run.rate), cpu_ns: of(|run| run.cpu_ns) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_of_each_figure_by_itself() {
        let runs = [(3.0, 10.0), (1.0, 30.0), (2.0, 20.0), (100.0, 0.0)].map(|(rate, cpu_ns)| Run { rate, cpu_ns });
        let of = |count: usize| {
            let Run { rate, cpu_ns } = median(&runs[..count]);
            (rate, cpu_ns)
        };
        assert_eq!((of(3), of(4)), ((2.0, 20.0), (2.5, 15.0)));
    }
}
