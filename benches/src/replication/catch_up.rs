//! I/O: an empty replica joins regions that hold many counters.

use super::{
    Sizes,
    cluster::{Cluster, REGIONS},
};
use crate::{
    load,
    probe::{MANNER, Probe, Timed},
    room::Room,
};
use std::{fmt::Write, time::Duration};
use tokio::time::{Instant, sleep};

/// How long additions at the node that serves the newcomer are timed before it comes.
const BEFORE: Duration = Duration::from_secs(5);
/// Until metrics have been brought up to date.
const METRICS: Duration = Duration::from_secs(2);

pub(super) async fn measure(sizes: &Sizes, text: &mut String) -> anyhow::Result<()> {
    writeln!(
        text,
        "## An empty replica\n\nAll counters were made in eu, and us has them, too, when ap starts with an empty disk. Seconds are from the start of\n\
         its process until it shows everything. Additions in eu, before and meanwhile, are those of {MANNER}.\n"
    )?;
    writeln!(
        text,
        "| counters | seconds | counters/s | eu → ap | us → ap | B per counter | additions in eu | p50 ms | p99 ms | p99.9 ms | max ms | troubles |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for counters in sizes.joined.iter().copied() {
        if let Some(reason) = Room::now()?.lacks(REGIONS.len() as u64, counters) {
            eprintln!("catching up with {counters} counters is left out: it {reason}");
            writeln!(text, "| {counters} | **left out**: {reason} | | | | | | | | | | |")?;
            continue;
        }
        one(counters, text).await?;
    }
    writeln!(text)?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // figures for people
async fn one(counters: usize, text: &mut String) -> anyhow::Result<()> {
    eprintln!("catching up: {counters} counters …");
    let mut cluster = Cluster::start(REGIONS.len() - 1).await?;
    load::fill(cluster.resp(0)?, counters).await?;
    cluster.until_covered(&cluster.session(0).await?).await?;
    let probe = Probe::start(cluster.resp(0)?).await?;
    sleep(BEFORE).await;
    let calm = Timed::latencies(&probe.end().await?, |_| true);

    let probe = Probe::start(cluster.resp(0)?).await?;
    let session = cluster.session(0).await?;
    let (before, begun) = (cluster.traffic(), Instant::now());
    cluster.join().await?;
    cluster.until_covered(&session).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = cluster.traffic().since(&before, &[[0.0; 3]; 3], 0.0);
    let busy = Timed::latencies(&probe.end().await?, |_| true);

    sleep(METRICS).await;
    let troubles = cluster.troubles().await?;
    let (rate, each) = (counters as f64 / seconds, (bytes[0][2] + bytes[1][2]) / counters as f64);
    eprintln!(
        "catching up: {counters} counters in {seconds:.2} s, {each:.1} B each, p99 in eu {:.1} ms, {:.1} ms before; troubles: {troubles}",
        busy.at(0.99),
        calm.at(0.99)
    );
    writeln!(text, "| {counters} | | | | | | before | {} | |", calm.cells())?;
    writeln!(
        text,
        "| {counters} | {seconds:.2} | {rate:.0} | {:.0} | {:.0} | {each:.1} | meanwhile | {} | {troubles} |",
        bytes[0][2],
        bytes[1][2],
        busy.cells()
    )?;
    Ok(())
}
