//! I/O: how long a node needs until it serves its counters again.

use super::{Ack, headcount};
use crate::load;
use anyhow::{Context, ensure};
use std::{fmt::Write, path::Path, time::Instant};
use testkit::Node;

/// Starts after a clean stop, which leaves a snapshot, and after `kill -9`, which leaves a log too.
pub(super) async fn measure(sizes: &[usize], text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "## Recovery\n\nFrom the start of the process until it is ready, less the same for an empty node.\n")?;
    writeln!(text, "| counters | after | snapshot | log | seconds | counters/s |\n|---|---|---|---|---|---|")?;
    let mut empty = headcount(Ack::Fsync).await;
    empty.terminate().await;
    let nothing_s = restarted(&mut empty).await;
    drop(empty);
    for size in sizes {
        eprintln!("recovery of {size} counters …");
        let mut node = headcount(Ack::Fsync).await;
        load::fill(node.resp.context("no resp listener")?, *size).await?;
        node.kill9().await;
        row(&mut node, *size, "kill -9", nothing_s, text).await?;
        ensure!(node.terminate().await.success(), "the node did not end well");
        row(&mut node, *size, "a clean stop", nothing_s, text).await?;
    }
    writeln!(text)?;
    Ok(())
}

async fn row(node: &mut Node, size: usize, after: &str, nothing_s: f64, text: &mut String) -> anyhow::Result<()> {
    let (snapshot, log) = on_disk(&node.data_dir.join("counter"))?;
    let seconds = (restarted(node).await - nothing_s).max(0.001);
    #[allow(clippy::cast_precision_loss)] // figures for people
    let rate = size as f64 / seconds;
    eprintln!("recovery of {size} counters after {after}: {seconds:.2} s, {rate:.0}/s (snapshot {snapshot:.1} MiB, log {log:.1} MiB)");
    writeln!(text, "| {size} | {after} | {snapshot:.1} MiB | {log:.1} MiB | {seconds:.2} | {rate:.0} |")?;
    Ok(())
}

/// Seconds until the node is ready again.
#[allow(clippy::disallowed_methods)] // A stopwatch for people; nothing decides by it.
pub(crate) async fn restarted(node: &mut Node) -> f64 {
    let begun = Instant::now();
    node.restart().await;
    begun.elapsed().as_secs_f64()
}

/// MiB of snapshots and of log segments, without those that wait to be written over.
#[allow(clippy::cast_precision_loss)] // figures for people
pub(crate) fn on_disk(dir: &Path) -> anyhow::Result<(f64, f64)> {
    let (mut snapshot, mut log) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (name, bytes) = (entry.file_name(), entry.metadata()?.len());
        match name.to_string_lossy() {
            name if name.starts_with("snapshot") => snapshot += bytes,
            name if name.ends_with(".log") => log += bytes,
            _ => {}
        }
    }
    Ok((snapshot as f64 / f64::from(1 << 20), log as f64 / f64::from(1 << 20)))
}
