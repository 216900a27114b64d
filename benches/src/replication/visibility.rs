//! I/O: how soon the other regions show an addition, after it was acknowledged in the first.

use super::{
    Sizes,
    cluster::{Cluster, REGIONS},
};
use crate::{
    latency::Latencies,
    load::Turns,
    plot::{Chart, Scale, Series},
    resp::Connection,
};
use anyhow::{Context, ensure};
use core::net::SocketAddr;
use std::{fmt::Write, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// Between two additions, whatever became of the first.
const EVERY: Duration = Duration::from_millis(10);
/// Between two reads.
const POLL: Duration = Duration::from_millis(1);
/// Additions before those that count.
const WARM_UP: usize = 200;
/// How long the others may need to show everything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Counters that the load beside adds to.
const BACKGROUND_KEYS: usize = 100_000;
/// Milliseconds above the link's delay: what must be reached, and what is aimed at, by the 99th of 100.
const FLOOR_MS: f64 = 100.0;
const AIM_MS: f64 = 60.0;

/// When one addition was due and when its acknowledgement had come.
#[derive(Clone, Copy)]
struct Added {
    due: Instant,
    acked: Instant,
}

/// What one reader has seen.
#[derive(Default)]
struct Seen {
    /// Each new value with the moment at which the answer that showed it had come.
    values: Vec<(usize, Instant)>,
    /// From the sending of a read to the answer of the next, in milliseconds: by so much at most is seen too late.
    gaps_ms: Vec<f64>,
}

pub(super) async fn measure(sizes: &Sizes, text: &mut String) -> anyhow::Result<Chart> {
    let (seconds, background) = (sizes.seconds, sizes.background);
    let cluster = Cluster::start(REGIONS.len()).await?;
    writeln!(
        text,
        "## Visibility\n\nFrom the moment at which the client in eu had the acknowledgement (ack fsync) to the moment at which a client of\n\
         another region had the first answer that shows the addition; us and ap together. Both clocks are one, in the process\n\
         that holds the clients. One addition every {EVERY:?} to one counter for {seconds} s, each due at its own moment, and with load\n\
         {background} more per second over {BACKGROUND_KEYS} counters in eu. Readers ask on a connection of their own, {POLL:?} after the last\n\
         answer's question at the soonest; so what they see is late by the *poll* at most, by half of it on average. The proxy's\n\
         clock adds up to 1 ms to a delay.\n"
    )?;
    writeln!(
        text,
        "| one way | load | p50 ms | p99 ms | p99.9 ms | max ms | since due: p50 | p99 | p99.9 | max | poll p50 | poll p99 | floor: p99 ≤ {FLOOR_MS} ms over the link | aim {AIM_MS} ms |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    let mut lines = [("idle", 0.5), ("idle", 0.99), ("loaded", 0.5), ("loaded", 0.99)]
        .map(|(load, share)| Series { name: format!("{load}, p{:.0}", share * 100.0), points: Vec::new() });
    for delay_ms in sizes.delays_ms.iter().copied() {
        cluster.delay(Duration::from_millis(delay_ms));
        for (number, load) in [0, background].into_iter().enumerate() {
            let key = format!("seen_{delay_ms}_{load}");
            let name = format!("b{delay_ms}");
            let work = (load > 0).then(|| Turns { name, keys: BACKGROUND_KEYS, additions: load * (seconds + 3), per_s: Some(load) });
            let address = cluster.resp(0)?;
            let beside: JoinHandle<anyhow::Result<Duration>> = tokio::spawn(async move {
                match work {
                    Some(turns) => turns.run(address).await,
                    None => Ok(Duration::ZERO),
                }
            });
            let (acked, due, gaps) = one(&cluster, &key, seconds).await?;
            let took = beside.await??.as_secs_f64();
            #[allow(clippy::cast_precision_loss)] // figures for people
            let (link_ms, rate) = (delay_ms as f64, if load == 0 { 0.0 } else { (load * (seconds + 3)) as f64 / took });
            let over = acked.at(0.99) - link_ms;
            let verdict = |bound: f64| if over <= bound { "met" } else { "**missed**" };
            writeln!(
                text,
                "| {delay_ms} ms | {rate:.0}/s | {} | {} | {:.1} | {:.1} | {} | {} |",
                acked.cells(),
                due.cells(),
                gaps.at(0.5),
                gaps.at(0.99),
                verdict(FLOOR_MS),
                verdict(AIM_MS)
            )?;
            eprintln!("visibility: {delay_ms} ms one way, {rate:.0}/s beside: p50 {:.1} ms, p99 {:.1} ms", acked.at(0.5), acked.at(0.99));
            for (line, share) in lines[2 * number..].iter_mut().zip([0.5, 0.99]) {
                line.points.push((link_ms, acked.at(share)));
            }
        }
    }
    writeln!(text)?;
    Ok(Chart {
        title: "From the acknowledgement in eu until another region shows it".to_owned(),
        x: ("delay of the links, one way, ms", Scale::Linear),
        y: ("ms", Scale::Linear),
        series: lines.into(),
    })
}

/// Since the acknowledgement, since the addition was due, and the readers' gaps.
async fn one(cluster: &Cluster, key: &str, seconds: usize) -> anyhow::Result<(Latencies, Latencies, Latencies)> {
    let per_s = usize::try_from(Duration::from_secs(1).as_millis() / EVERY.as_millis())?;
    let total = WARM_UP + seconds * per_s;
    let mut readers = Vec::new();
    for at in 1..REGIONS.len() {
        readers.push(tokio::spawn(watch(cluster.resp(at)?, key.to_owned(), total)));
    }
    let added = add(cluster.resp(0)?, key, total).await?;
    let (mut acked, mut due, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    for reader in readers {
        let seen = timeout(PATIENCE, reader).await.context("a region does not show everything")???;
        gaps.extend(seen.gaps_ms);
        let mut values = seen.values.into_iter().peekable();
        for (number, addition) in added.iter().enumerate().skip(WARM_UP) {
            // The n-th addition is shown by the first answer that is n at least.
            while values.next_if(|(value, _)| *value <= number).is_some() {}
            let (_, at) = values.peek().context("an addition was never shown")?;
            acked.push(ms_between(addition.acked, *at));
            due.push(ms_between(addition.due, *at));
        }
    }
    Ok((Latencies::of(acked), Latencies::of(due), Latencies::of(gaps)))
}

async fn add(address: SocketAddr, key: &str, total: usize) -> anyhow::Result<Vec<Added>> {
    let mut connection = Connection::open(address).await?;
    // The readers are there before the first.
    sleep(Duration::from_millis(200)).await;
    let mut ticks = interval(EVERY);
    let mut added = Vec::with_capacity(total);
    for number in 1..=total {
        // A tick that was missed comes at once, with the moment at which it was due.
        let due = ticks.tick().await;
        let value = connection.number(&["INCR", key]).await?;
        ensure!(usize::try_from(value) == Ok(number), "{key} is {value} after {number} additions");
        added.push(Added { due, acked: Instant::now() });
    }
    Ok(added)
}

async fn watch(address: SocketAddr, key: String, total: usize) -> anyhow::Result<Seen> {
    let mut connection = Connection::open(address).await?;
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut last, mut asked_before) = (Seen::default(), 0, None);
    while last < total {
        ticks.tick().await;
        let asked = Instant::now();
        let value = usize::try_from(connection.number(&["GET", &key]).await?)?;
        let now = Instant::now();
        seen.gaps_ms.extend(asked_before.map(|before| ms_between(before, now)));
        asked_before = Some(asked);
        if value > last {
            seen.values.push((value, now));
            last = value;
        }
    }
    Ok(seen)
}

/// Negative if `to` was earlier: an acknowledgement travels, too.
fn ms_between(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(later) => later.as_secs_f64() * 1000.0,
        None => -from.duration_since(to).as_secs_f64() * 1000.0,
    }
}
