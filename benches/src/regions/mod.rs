//! I/O: two regions over slow links: how soon one shows what has changed in the other.

mod counters;
mod joins;
mod messages;
mod scene;

use crate::{
    growth::{shown, write},
    latency::Latencies,
    plot::{self, Chart, Scale, Series},
    server::machine,
};
use anyhow::ensure;
use clap::Args;
use scene::Scene;
use std::{fmt::Write, path::PathBuf, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Milliseconds over the link's delay that 99 of 100 changes must be shown within.
const BOUND_MS: f64 = 100.0;
/// From the moment at which all is prepared until the first change.
const LEAD: Duration = Duration::from_millis(500);

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Delays of the links, in milliseconds one way.
    #[arg(long, value_delimiter = ',', default_value = "0,80")]
    delays_ms: Vec<u64>,
    /// Changes per second of each kind. There are as many clients as joins.
    #[arg(long, default_value_t = 1_000)]
    rate: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 10)]
    seconds: usize,
    /// Runs at each delay.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// One short run: for trying. Overrides all of these.
    #[arg(long)]
    quick: bool,
    /// Also write the report to this file, and its chart beside it, as .svg.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// How much is done in one run.
#[derive(Clone, Copy)]
struct Load {
    rate: usize,
    seconds: usize,
    /// When the first change is due.
    begin: Instant,
}

/// What the other region has shown, and by which way.
struct Shown {
    way: &'static str,
    latencies: Latencies,
}

/// Runs everything and prints the report; an error if anything was not shown, or shown twice.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let Options { report, .. } = options;
    let (delays_ms, rate, seconds, runs) =
        if options.quick { (vec![80], 200, 3, 1) } else { (options.delays_ms.clone(), options.rate, options.seconds, options.runs) };
    ensure!(rate > 0 && seconds > 0 && runs > 0, "a rate, seconds and runs are at least 1");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = format!(
        "# Between two regions\n\n`headcount-bench {}` on {}; headcount {}.\n\n",
        arguments.join(" "),
        machine(),
        env!("CARGO_PKG_VERSION")
    );
    text += &shown(report.as_deref());
    writeln!(
        text,
        "Two regions, each with a Redis node, an etcd and a gateway that counts, too; they, the proxies between them, and all clients share\n\
         one machine. In one region {rate} messages, {rate} joins and {rate} additions a second for {seconds} s, all at the same time;\n\
         clients of the other one watch. Milliseconds are from the moment at which a change was due at its client (not when the client came\n\
         to it, so that what is held up counts) until a client of the other region had it. Both clocks are one. Each line is {runs} runs\n\
         together; every change of every run was shown, and none twice. The bound is {BOUND_MS} ms over the delay, for 99 of 100.\n\n\
         - messages: {} channels, each with a publisher that waits for every answer; a subscriber of all of them.\n\
         - joins: clients that are connected already enter one of {} rooms, in which somebody is; a watcher of `presence:<room>`, and one of\n\
         \x20 `join_leave`. Whoever is the first of a region waits for a way there and back besides. Rooms of more than 200 are told every 250 ms\n\
         \x20 by each of the two regions, and so are slower by half a second at most.\n\
         - counters: {} counters, one addition after the other in each (ack fsync); a reader who asks for all of them every {:?} or\n\
         \x20 when the last answer has come, and a subscriber of `counter:<key>`, who is told ten times a second at most.\n",
        messages::CHANNELS,
        joins::ROOMS,
        counters::KEYS,
        counters::POLL
    )?;
    writeln!(
        text,
        "| one way | shown by | changes | p50 ms | p99 ms | p99.9 ms | max ms | p99 − delay, ≤ {BOUND_MS} ms |\n|---|---|---|---|---|---|---|---|"
    )?;
    let mut series: Vec<Series> = Vec::new();
    for delay_ms in delays_ms {
        let mut all: Vec<Shown> = Vec::new();
        for run in 0..runs {
            eprintln!("{delay_ms} ms one way, run {} of {runs} …", run + 1);
            for shown in once(delay_ms, Load { rate, seconds, begin: Instant::now() }).await? {
                eprintln!("  {}: p50 {:.1} ms, p99 {:.1} ms", shown.way, shown.latencies.at(0.5), shown.latencies.at(0.99));
                match all.iter_mut().find(|all| all.way == shown.way) {
                    Some(all) => all.latencies = std::mem::take(&mut all.latencies).and(shown.latencies),
                    None => all.push(shown),
                }
            }
        }
        #[allow(clippy::cast_precision_loss)] // figures for people
        let link_ms = delay_ms as f64;
        for Shown { way, latencies } in all {
            let over = latencies.at(0.99) - link_ms;
            let verdict = if over <= BOUND_MS { "met" } else { "**missed**" };
            writeln!(text, "| {delay_ms} ms | {way} | {} | {} | {over:.1}: {verdict} |", latencies.count(), latencies.cells())?;
            match series.iter_mut().find(|series| series.name == way) {
                Some(series) => series.points.push((link_ms, latencies.at(0.99))),
                None => series.push(Series { name: way.to_owned(), points: vec![(link_ms, latencies.at(0.99))] }),
            }
        }
    }
    println!("{text}");
    if let Some(path) = report {
        let chart = Chart {
            title: "99 of 100 changes are shown in the other region within".to_owned(),
            x: ("delay of the link, one way, ms", Scale::Linear),
            y: ("ms", Scale::Linear),
            series,
        };
        write(path, &text, &plot::svg(&[chart]))?;
    }
    Ok(())
}

/// Two new regions, whose links are slow once they are there, and all kinds of changes at the same time.
async fn once(delay_ms: u64, load: Load) -> anyhow::Result<Vec<Shown>> {
    let scene = Arc::new(Scene::start().await);
    let messages = messages::prepare(&scene, load).await?;
    let counters = counters::prepare(&scene, load).await?;
    // Those who are to join answer no pings until they do.
    let joins = joins::prepare(&scene, load).await?;
    scene.delay(Duration::from_millis(delay_ms));
    let load = Load { begin: Instant::now() + LEAD, ..load };
    let (joins, messages, counters) = tokio::try_join!(joins.run(load), messages.run(load), counters.run(load))?;
    Ok([messages, joins, counters].into_iter().flatten().collect())
}

impl Load {
    fn changes(self) -> usize {
        self.rate * self.seconds
    }

    /// When a change is due.
    #[allow(clippy::cast_precision_loss)] // a share
    fn due(self, index: usize) -> Instant {
        self.begin + Duration::from_secs_f64(index as f64 / self.rate as f64)
    }
}
