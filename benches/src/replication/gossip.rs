//! I/O: bytes between regions for additions to few and to many counters, while all are connected and after a cut.

use super::{
    Sizes,
    cluster::{Cluster, REGIONS},
};
use crate::{
    load::Turns,
    plot::{Chart, Scale, Series},
};
use std::{fmt::Write, time::Duration};
use tokio::time::{Instant, sleep};

/// How long the idle links are watched: several times what is sent most rarely.
const IDLE: Duration = Duration::from_secs(11);
/// After all is covered, acknowledgements may still be on their way.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Flushes per second: each sends what has changed, once.
const FLUSHES_PER_S: f64 = 50.0;
/// Seconds for which paced additions go on.
const PACED_S: usize = 10;

/// Bytes on the links while something happened, less what idle links carry.
struct Window {
    bytes: [[f64; 3]; 3],
    /// Until all additions were acknowledged.
    adding: Duration,
    /// From then, or from the healing, until all nodes showed them.
    converging: Duration,
}

/// The two measurements; `name` begins the names of counters that no other run has.
pub(super) async fn measure(sizes: &Sizes, text: &mut String) -> anyhow::Result<Chart> {
    let cluster = Cluster::start(REGIONS.len()).await?;
    eprintln!("gossip: watching idle links …");
    // Newcomers have more to say.
    sleep(IDLE).await;
    let (before, begun) = (cluster.traffic(), Instant::now());
    sleep(IDLE).await;
    let idle = cluster.traffic().since(&before, &[[0.0; 3]; 3], 0.0).map(|to| to.map(|bytes| bytes / begun.elapsed().as_secs_f64()));
    writeln!(text, "## Bytes between regions\n\n| idle link | B/s | back |\n|---|---|---|")?;
    for (from, to) in [(0, 1), (0, 2), (1, 2)] {
        writeln!(text, "| {} → {} | {:.0} | {:.0} |", REGIONS[from], REGIONS[to], idle[from][to], idle[to][from])?;
    }
    let additions = sizes.additions;
    writeln!(
        text,
        "\n{additions} additions in eu over so many counters in turn; bytes are those that arrived until all regions showed\n\
         everything and {AFTERWARDS:?} longer, less the idle share. *Changes* are counters that changed in a flush, computed from the\n\
         rate and {FLUSHES_PER_S:.0} flushes a second: what has to be told if each flush tells each of them once. *B per …* is what one\n\
         of the other regions was told, from wherever.\n"
    )?;
    writeln!(
        text,
        "| counters | additions/s | eu → us | eu → ap | us ↔ ap | back to eu | B per addition | changes | B per change | all shown after |\n|---|---|---|---|---|---|---|---|---|---|"
    )?;
    let mut lines = vec![];
    let modes = [("paced", 'p', Some((additions / PACED_S).max(1))), ("full speed", 'f', None)];
    for (mode, letter, per_s) in modes {
        let mut points = Vec::new();
        for keys in sizes.distinct.iter().copied() {
            let turns = Turns { name: format!("{letter}{keys:07}"), keys, additions, per_s };
            let window = online(&cluster, &turns, &idle).await?;
            points.push(row(&turns, &window, text)?);
        }
        lines.push(Series { name: format!("connected, {mode}"), points });
    }
    writeln!(
        text,
        "\n### After a cut\n\neu was cut off from both others while it counted {additions} additions; bytes and seconds are from the healing on,\n\
         greetings of new connections included. Who is connected again first tells the other.\n"
    )?;
    writeln!(
        text,
        "| counters | additions/s | eu → us | eu → ap | us ↔ ap | back to eu | B per counter | all shown after |\n|---|---|---|---|---|---|---|---|"
    )?;
    for (mode, letter, per_s) in modes {
        let mut points = Vec::new();
        for keys in sizes.cut_distinct.iter().copied() {
            let turns = Turns { name: format!("c{letter}{keys:07}"), keys, additions, per_s };
            let window = cut(&cluster, &turns, &idle).await?;
            points.push(cut_row(&turns, &window, text)?);
        }
        lines.push(Series { name: format!("after a cut, {mode}"), points });
    }
    writeln!(
        text,
        "\nTroubles that the nodes count themselves (gaps, digest mismatches, poisoned chunks): {}.\n",
        cluster.troubles().await?
    )?;
    Ok(Chart {
        title: format!("{additions} additions: bytes that told them to one other region"),
        x: ("counters that they went to", Scale::Log),
        y: ("bytes", Scale::Log),
        series: lines,
    })
}

async fn online(cluster: &Cluster, turns: &Turns, idle: &[[f64; 3]; 3]) -> anyhow::Result<Window> {
    let (before, begun) = (cluster.traffic(), Instant::now());
    let adding = turns.run(cluster.resp(0)?).await?;
    let converging = cluster.until_covered(&cluster.session(0).await?).await?;
    sleep(AFTERWARDS).await;
    let bytes = cluster.traffic().since(&before, idle, begun.elapsed().as_secs_f64());
    cluster.compare(turns).await?;
    Ok(Window { bytes, adding, converging })
}

async fn cut(cluster: &Cluster, turns: &Turns, idle: &[[f64; 3]; 3]) -> anyhow::Result<Window> {
    cluster.isolate(0);
    let adding = turns.run(cluster.resp(0)?).await?;
    let session = cluster.session(0).await?;
    let (before, begun) = (cluster.traffic(), Instant::now());
    cluster.heal();
    let converging = cluster.until_covered(&session).await?;
    sleep(AFTERWARDS).await;
    let bytes = cluster.traffic().since(&before, idle, begun.elapsed().as_secs_f64());
    cluster.compare(turns).await?;
    Ok(Window { bytes, adding, converging })
}

/// What one of the other regions was told, from wherever: the mean of both.
fn told(bytes: &[[f64; 3]; 3]) -> f64 {
    f64::midpoint(bytes[0][1] + bytes[2][1], bytes[0][2] + bytes[1][2])
}

/// `eu → us | eu → ap | us ↔ ap | back to eu`.
fn links(bytes: &[[f64; 3]; 3]) -> String {
    let all = [bytes[0][1], bytes[0][2], bytes[1][2] + bytes[2][1], bytes[1][0] + bytes[2][0]];
    all.map(|bytes| format!("{bytes:.0}")).join(" | ")
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn row(turns: &Turns, window: &Window, text: &mut String) -> anyhow::Result<(f64, f64)> {
    let Window { bytes, adding, converging } = window;
    let (keys, additions) = (turns.keys as f64, turns.additions as f64);
    let (one, rate) = (told(bytes), additions / adding.as_secs_f64());
    let changes = (adding.as_secs_f64() * FLUSHES_PER_S).max(1.0) * keys.min((rate / FLUSHES_PER_S).max(1.0));
    // No more than additions, and no fewer than counters.
    let changes = changes.min(additions).max(keys.min(additions));
    eprintln!("gossip: {additions} additions to {keys} counters at {rate:.0}/s: {one:.0} B per region, {:.1} each change", one / changes);
    writeln!(
        text,
        "| {} | {rate:.0} | {} | {:.2} | {changes:.0} | {:.1} | {:.3} s |",
        turns.keys,
        links(bytes),
        one / additions,
        one / changes,
        converging.as_secs_f64()
    )?;
    Ok((keys, one))
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn cut_row(turns: &Turns, window: &Window, text: &mut String) -> anyhow::Result<(f64, f64)> {
    let Window { bytes, adding, converging } = window;
    let (keys, one, rate) = (turns.keys as f64, told(bytes), turns.additions as f64 / adding.as_secs_f64());
    let seconds = converging.as_secs_f64();
    eprintln!("gossip: after a cut with {keys} counters changed at {rate:.0}/s: {one:.0} B per region, {seconds:.2} s");
    writeln!(text, "| {} | {rate:.0} | {} | {:.1} | {seconds:.2} s |", turns.keys, links(bytes), one / keys)?;
    Ok((keys, one))
}
