//! I/O: what clients without a pipeline see while many others load the node and it takes a snapshot.

use super::figures::Pauses;
use crate::{
    probe::{Probe, Timed},
    redis,
};
use anyhow::{Context, bail};
use std::{collections::BTreeSet, ffi::OsString, path::Path, time::Duration};
use testkit::Node;
use tokio::time::{Instant, interval};

/// How often it is looked whether a snapshot is being written.
const LOOK: Duration = Duration::from_millis(5);
/// How long snapshots are to be watched, one after the other if they are short, as long as [`REPEATING`] allows.
const ENOUGH: Duration = Duration::from_secs(5);
const REPEATING: Duration = Duration::from_secs(30);
/// What is counted to a snapshot after its end: the log that it replaces is removed then.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// How long one may let itself be waited for and take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Snapshots, and longest additions, whose moments are told.
const SHOWN: usize = 5;
/// Additions; more than are done in that time.
const ENDLESS: usize = 2_000_000_000;

/// Adds at random to `keys` counters until a snapshot has been written, and times clients beside that.
pub(super) async fn measure(node: &Node, keys: usize) -> anyhow::Result<Pauses> {
    let address = node.resp.context("no resp listener")?;
    let counters = node.data_dir.join("counter");
    let mut load = tokio::spawn(async move { redis::benchmark(address, 64, ENDLESS, keys).await });
    let probe = Probe::start(address).await?;
    let (mut snapshots, mut writing_since): (Vec<(Instant, Instant)>, _) = (Vec::new(), None);
    let (mut looks, begun) = (interval(LOOK), Instant::now());
    let is_cut_off = loop {
        looks.tick().await;
        let now = Instant::now();
        match (is_written(&counters), writing_since) {
            (true, None) => writing_since = Some(now),
            (false, Some(since)) => {
                snapshots.push((since, now));
                writing_since = None;
            }
            _ => {}
        }
        if load.is_finished() {
            let rate = (&mut load).await??;
            bail!("redis-benchmark ended by itself, at {rate}/s");
        }
        let (passed, watched) = (now - begun, snapshots.iter().map(|(from, to)| *to - *from).sum::<Duration>());
        let is_over = writing_since.is_none() && snapshots.last().is_some_and(|(_, to)| *to + AFTERWARDS < now);
        if is_over && (watched > ENOUGH || passed > REPEATING) {
            break false;
        }
        if passed > PATIENCE {
            break writing_since.is_some();
        }
    };
    let timed = probe.end().await?;
    load.abort();
    // Its end is that of the program, too.
    _ = load.await;
    let at = |moment: Instant| moment.saturating_duration_since(begun).as_secs_f64();
    for (from, to) in snapshots.iter().take(SHOWN) {
        eprintln!("  a snapshot from {:.3} to {:.3} s", at(*from), at(*to));
    }
    let mut longest: Vec<&Timed> = timed.iter().collect();
    longest.sort_by_key(|Timed { due, answered }| std::cmp::Reverse(*answered - *due));
    for Timed { due, answered } in longest.iter().take(SHOWN) {
        eprintln!("  an addition from {:.3} to {:.3} s", at(*due), at(*answered));
    }
    let last = writing_since.map(|since| (since, Instant::now()));
    let is_during =
        |Timed { due, answered }: &Timed| snapshots.iter().chain(&last).any(|(from, to)| *due <= *to + AFTERWARDS && answered >= from);
    Ok(Pauses {
        before: Timed::latencies(&timed, |timed| !is_during(timed)),
        during: Timed::latencies(&timed, is_during),
        snapshots_s: snapshots.iter().map(|(from, to)| (*to - *from).as_secs_f64()).collect(),
        is_cut_off,
    })
}

/// Whether a snapshot is being written, or the one before it removed: then there are parts of two, or of one and no manifest.
fn is_written(counters: &Path) -> bool {
    let names = || std::fs::read_dir(counters).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let generation = |name: OsString| Some(name.to_str()?.strip_prefix("snapshot-")?.split_once('-')?.0.to_owned());
    let generations: BTreeSet<String> = names().filter_map(generation).collect();
    generations.len() > usize::from(counters.join("snapshot").exists())
}
