//! Pure: what was measured at each number of counters, as tables and charts.

use crate::{
    counters::rates::Run,
    latency::Latencies,
    plot::{Chart, Scale, Series},
};
use std::fmt::{self, Write};

/// A recovery that takes less says nothing: readiness is looked for every 20 ms.
const TELLING_S: f64 = 0.1;

/// One number of counters.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) counters: usize,
    /// Or why it was not measured.
    pub(super) figures: Result<Figures, String>,
}

#[derive(Debug)]
pub(super) struct Figures {
    /// Counters made per second.
    pub(super) fill_rate: f64,
    /// Growth of resident memory over an empty node, in bytes for each counter.
    pub(super) resident: f64,
    pub(super) recoveries: [Recovery; 2],
    /// Or why it was left out.
    pub(super) redis: Result<Redis, String>,
    /// With acknowledgement from memory and after fsync.
    pub(super) rates: [Rates; 2],
    pub(super) pauses: Pauses,
}

#[derive(Debug)]
pub(super) struct Redis {
    pub(super) resident: f64,
}

/// Medians of runs in turn.
#[derive(Debug)]
pub(super) struct Rates {
    pub(super) ours: Run,
    pub(super) theirs: Option<Run>,
    /// Of the ratios of the pairs.
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) after: &'static str,
    /// Bytes on disk for each counter.
    pub(super) snapshot: f64,
    pub(super) log: f64,
    pub(super) seconds: f64,
    /// The most resident memory up to readiness, in bytes for each counter.
    pub(super) peak: f64,
}

/// What clients without a pipeline have seen while others loaded the node.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    pub(super) before: Latencies,
    pub(super) during: Latencies,
    /// Seconds that each snapshot took.
    pub(super) snapshots_s: Vec<f64>,
    /// The last one was still being written at the end.
    pub(super) is_cut_off: bool,
}

/// All tables.
pub(super) fn tables(rows: &[Row], out: &mut String) -> fmt::Result {
    for Row { counters, figures } in rows {
        match figures {
            Err(reason) => writeln!(out, "**{counters} counters were not measured**: a node with so many {reason}.\n")?,
            Ok(Figures { redis: Err(reason), .. }) => writeln!(out, "Redis was left out at {counters} counters: {reason}.\n")?,
            Ok(_) => {}
        }
    }
    writeln!(
        out,
        "## An addition\n\n| counters | ack | headcount/s (CPU) | Redis/s (CPU) | ratio | lowest to highest pair |\n|---|---|---|---|---|---|"
    )?;
    for (counters, figures) in measured(rows) {
        for (ack, Rates { ours, theirs, lowest, highest }) in ["memory", "fsync"].iter().zip(&figures.rates) {
            write!(out, "| {counters} | {ack} | {:.0} ({:.3} µs) | ", ours.rate, ours.cpu_ns / 1000.0)?;
            match theirs {
                None => writeln!(out, "– | – | – |")?,
                Some(theirs) => {
                    let ratio = ours.rate / theirs.rate;
                    writeln!(out, "{:.0} ({:.3} µs) | {ratio:.2} | {lowest:.2} to {highest:.2} |", theirs.rate, theirs.cpu_ns / 1000.0)?;
                }
            }
        }
    }
    writeln!(out, "\n## A counter\n\n| counters | made per second | memory | Redis, memory |\n|---|---|---|---|")?;
    for (counters, Figures { fill_rate, resident, redis, .. }) in measured(rows) {
        let theirs = redis.as_ref().map_or("–".to_owned(), |redis| format!("{:.1} B", redis.resident));
        writeln!(out, "| {counters} | {fill_rate:.0} | {resident:.1} B | {theirs} |")?;
    }
    writeln!(
        out,
        "\n## Disk and recovery\n\n| counters | after | snapshot, each | log, each | seconds | counters/s | peak memory, each |\n|---|---|---|---|---|---|---|"
    )?;
    for (counters, figures) in measured(rows) {
        for Recovery { after, snapshot, log, seconds, peak } in &figures.recoveries {
            #[allow(clippy::cast_precision_loss)] // figures for people
            let speed = match *seconds {
                seconds if seconds < TELLING_S => format!("< {TELLING_S} | –"),
                seconds => format!("{seconds:.2} | {:.0}", counters as f64 / seconds),
            };
            writeln!(out, "| {counters} | {after} | {snapshot:.1} B | {log:.1} B | {speed} | {peak:.1} B |")?;
        }
    }
    writeln!(
        out,
        "\n## Pauses\n\n| counters | | additions | p50 ms | p99 ms | p99.9 ms | max ms | snapshots |\n|---|---|---|---|---|---|---|---|"
    )?;
    for (counters, Figures { pauses, .. }) in measured(rows) {
        let Pauses { before, during, snapshots_s, is_cut_off } = pauses;
        let (shortest, longest) =
            snapshots_s.iter().fold((f64::MAX, 0.0_f64), |(low, high), seconds| (low.min(*seconds), high.max(*seconds)));
        let taken = match snapshots_s.len() {
            0 => "none".to_owned(),
            1 => format!("1 of {longest:.2} s"),
            count => format!("{count} of {shortest:.2} to {longest:.2} s"),
        };
        let unfinished = if *is_cut_off { ", the last one **not finished**" } else { "" };
        writeln!(out, "| {counters} | no snapshot | {} | {} | |", before.count(), before.cells())?;
        writeln!(out, "| {counters} | during a snapshot | {} | {} | {taken}{unfinished} |", during.count(), during.cells())?;
    }
    writeln!(out)
}

/// Rate, CPU and bytes over the number of counters.
pub(super) fn charts(rows: &[Row]) -> Vec<Chart> {
    let line = |name: &str, figure: &dyn Fn(&Figures) -> Option<f64>| {
        #[allow(clippy::cast_precision_loss)] // a place on paper
        let points = measured(rows).filter_map(|(counters, figures)| Some((counters as f64, figure(figures)?)));
        Series { name: name.to_owned(), points: points.collect() }
    };
    let runs = |of: fn(&Run) -> f64| {
        vec![
            line("headcount, ack memory", &|figures| Some(of(&figures.rates[0].ours))),
            line("headcount, ack fsync", &|figures| Some(of(&figures.rates[1].ours))),
            line("Redis, no persistence", &|figures| figures.rates[0].theirs.as_ref().map(of)),
        ]
    };
    let bytes = vec![
        line("headcount, memory", &|figures| Some(figures.resident)),
        line("headcount, snapshot", &|figures| Some(figures.recoveries[1].snapshot)),
        line("Redis, memory", &|figures| figures.redis.as_ref().ok().map(|redis| redis.resident)),
    ];
    let chart = |title: &str, y, series| Chart { title: title.to_owned(), x: ("counters", Scale::Log), y: (y, Scale::Linear), series };
    vec![
        chart("Additions per second, 64 pipelined", "additions/s", runs(|run| run.rate)),
        chart("Server CPU of an addition", "µs", runs(|run| run.cpu_ns / 1000.0)),
        chart("Bytes of a counter", "B", bytes),
    ]
}

fn measured(rows: &[Row]) -> impl Iterator<Item = (usize, &Figures)> {
    rows.iter().filter_map(|row| Some((row.counters, row.figures.as_ref().ok()?)))
}
