//! I/O: everything that is measured at one number of counters. One node has them on its disk and is started again and
//! again; Redis is there only while the two are compared.

use super::{
    figures::{Figures, Rates, Recovery, Redis},
    pauses,
};
use crate::{
    counters::{
        Ack,
        rates::{Subject, median, one},
        recovery::{on_disk, restarted},
    },
    load,
    redis::{Persistence, Redis as Server},
    server::{peak_kib, resident_kib},
};
use anyhow::{Context, ensure};
use std::path::Path;
use testkit::{Node, NodeOptions};
use tokio::time::Instant;

/// How the rates are measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    pub(super) pairs: usize,
    pub(super) operations: usize,
    /// What an empty node needs to start, in seconds.
    pub(super) nothing_s: f64,
}

/// Commands in a pipeline.
const PIPELINE: usize = 64;

#[allow(clippy::cast_precision_loss)] // figures for people
pub(super) async fn measure(counters: usize, runs: Runs, without_redis: Option<String>) -> anyhow::Result<Figures> {
    let dir = tempfile::tempdir()?;
    let each = |bytes: f64| bytes / counters as f64;
    eprintln!("{counters} counters: filling …");
    let mut node = start(Ack::Fsync, dir.path()).await?;
    let (address, pid) = (node.resp.context("no resp listener")?, node.pid().context("the node ended")?);
    let (empty_kib, begun) = (resident_kib(pid)?, Instant::now());
    load::fill(address, counters).await?;
    let fill_rate = counters as f64 / begun.elapsed().as_secs_f64();
    let resident = each((resident_kib(pid)? as f64 - empty_kib as f64) * 1024.0);
    eprintln!("{counters} counters: filled with {fill_rate:.0}/s, {resident:.1} B each");

    node.kill9().await;
    let killed = recover(&mut node, counters, "kill -9", runs.nothing_s).await?;
    ensure!(node.terminate().await.success(), "the node did not end well");
    let ended = recover(&mut node, counters, "a clean stop", runs.nothing_s).await?;

    let (server, redis) = match without_redis {
        Some(reason) => (None, Err(reason)),
        None => {
            let server = Server::start(Persistence::None).await?;
            let empty_kib = resident_kib(server.pid)?;
            load::fill(server.address, counters).await?;
            let resident = each((resident_kib(server.pid)? as f64 - empty_kib as f64) * 1024.0);
            (Some(server), Ok(Redis { resident }))
        }
    };
    let theirs = server.as_ref().map(|server| Subject { name: "Redis", address: server.address, pid: server.pid });
    let fsync = rates(&Subject::of("ack fsync", &node)?, theirs.as_ref(), counters, runs).await?;
    eprintln!("{counters} counters: waiting for a snapshot under load …");
    let pauses = pauses::measure(&node, counters).await?;
    eprintln!("{counters} counters: at most {:.1} ms without, {:.1} ms during a snapshot", pauses.before.max(), pauses.during.max());
    ensure!(node.terminate().await.success(), "the node did not end well");
    drop(node);
    let node = start(Ack::Memory, dir.path()).await?;
    let memory = rates(&Subject::of("ack memory", &node)?, theirs.as_ref(), counters, runs).await?;
    Ok(Figures { fill_rate, resident, recoveries: [killed, ended], redis, rates: [memory, fsync], pauses })
}

/// A node on what `dir` holds.
async fn start(ack: Ack, dir: &Path) -> anyhow::Result<Node> {
    // The addresses of a node that was there before are not this one's.
    match std::fs::remove_file(dir.join("listen.json")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let env = vec![("HEADCOUNT_COUNTER__ACK".to_owned(), ack.name().to_owned())];
    Ok(Node::start(NodeOptions { env, data_dir: Some(dir.to_owned()), ..NodeOptions::default() }).await)
}

#[allow(clippy::cast_precision_loss)] // figures for people
async fn recover(node: &mut Node, counters: usize, after: &'static str, nothing_s: f64) -> anyhow::Result<Recovery> {
    let each = |bytes: f64| bytes / counters as f64;
    let (snapshot_mib, log_mib) = on_disk(&node.data_dir.join("counter"))?;
    let seconds = (restarted(node).await - nothing_s).max(0.001);
    let peak = peak_kib(node.pid().context("the node ended")?)?;
    eprintln!("{counters} counters: recovered in {seconds:.2} s after {after}");
    let mib = f64::from(1 << 20);
    Ok(Recovery { after, snapshot: each(snapshot_mib * mib), log: each(log_mib * mib), seconds, peak: each(peak as f64 * 1024.0) })
}

async fn rates(ours: &Subject, theirs: Option<&Subject>, counters: usize, runs: Runs) -> anyhow::Result<Rates> {
    let (mut our_runs, mut their_runs) = (Vec::new(), Vec::new());
    for pair in 1..=runs.pairs {
        if let Some(theirs) = theirs {
            their_runs.push(one(theirs, PIPELINE, runs.operations, counters).await?);
        }
        let run = one(ours, PIPELINE, runs.operations, counters).await?;
        eprintln!("{counters} counters: {}, run {pair}: {:.0}/s, {:.0} ns of CPU each", ours.name, run.rate, run.cpu_ns);
        our_runs.push(run);
    }
    let ratios = || our_runs.iter().zip(&their_runs).map(|(ours, theirs)| ours.rate / theirs.rate);
    let (lowest, highest) = (ratios().fold(f64::MAX, f64::min), ratios().fold(0.0, f64::max));
    let theirs = (!their_runs.is_empty()).then(|| median(&their_runs));
    Ok(Rates { ours: median(&our_runs), theirs, lowest, highest })
}
