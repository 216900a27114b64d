//! I/O: planned changes of the ring under heavy traffic, while each gateway learns of every step by another time: that
//! nothing is lost, doubled or out of order. Real gateways, Redis nodes and etcd.

use crate::server::machine;
use anyhow::{Context, ensure};
use clap::Args;
use std::{
    fmt::Write,
    path::PathBuf,
    time::{Duration, Instant},
};
use testkit::{Chance, Direction, Outcome, Region, RegionOptions, Traffic, TrafficOptions, UNPACED};

/// Goes on with the limits; namespaces of the channels: without history, and with.
const CONFIG: &str = "stale_timeout_s = 60\n[[namespace]]\nname = \"plain\"\nhistory_size = 0\npresence = false\njoin_leave = false\n\
                      [[namespace]]\nname = \"kept\"\npresence = false\njoin_leave = false\n";
/// The node that is added and removed.
const GUEST: &str = "redis-3";
/// What happens in each run, after that node was added and before it is removed. The ring then is as before.
const CHANGES: [&[&str]; 4] =
    [&["drain", "redis-0"], &["reweight", "redis-1", "3"], &["undrain", "redis-0"], &["reweight", "redis-1", "1"]];
/// Gateways, and Redis nodes that stay.
const GATEWAYS: usize = 2;
const REDIS_NODES: usize = 3;
/// How long what was published may take to arrive at the end of a run.
const ARRIVAL: Duration = Duration::from_secs(60);

/// How much of it.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs, each of which adds a node, drains another one, changes a weight and back, ends the drain, and removes the node.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// Publications per second.
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// Channels, every other one with history.
    #[arg(long, default_value_t = 500)]
    channels: usize,
    /// Connections that publish; each waits for the answer to one publication before the next.
    #[arg(long, default_value_t = 100)]
    publishers: usize,
    /// Milliseconds by which a gateway learns late at most.
    #[arg(long, default_value_t = 1_000)]
    skew_ms: u64,
    /// The delays follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write the report to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Runs everything and prints the report; an error if anything was lost, refused, doubled, out of order or told.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let region = RegionOptions {
        redis_nodes: REDIS_NODES,
        gateways: GATEWAYS,
        coordinators: 1,
        etcd_by_proxy: true,
        config_toml: format!("{UNPACED}{CONFIG}"),
        ..RegionOptions::default()
    };
    let mut region = Region::start(region).await;
    region.start_redis(GUEST).await;
    let mut chance = Chance::new(options.seed);
    let mut text = heading(options)?;
    let mut all = Outcome::default();
    for number in 1..=options.runs {
        let (outcome, took) = once(&region, options, &mut chance).await?;
        let Outcome { acknowledged, delivered, lost, doubled, out_of_order, told, longest_pause_ms, .. } = outcome;
        let (refused, rate) = (outcome.refused.values().sum::<u64>(), acknowledged as f64 / took.as_secs_f64());
        let line = format!(
            "| {number} | {:.1} | {acknowledged} | {rate:.0} | {delivered} | {lost} | {refused} | {doubled} | {out_of_order} | {told} | {longest_pause_ms} |",
            took.as_secs_f64()
        );
        println!("{line}");
        writeln!(text, "{line}")?;
        all.acknowledged += acknowledged;
        let expected = Outcome { acknowledged, delivered: acknowledged * GATEWAYS as u64, longest_pause_ms, ..Outcome::default() };
        ensure!(outcome == expected, "run {number} with the seed {}: {outcome:?}", options.seed);
    }
    writeln!(
        text,
        "\nAll in all {} publications in {} changes of the ring: each was delivered once, in order, at both gateways.",
        all.acknowledged,
        options.runs * (CHANGES.len() as u64 + 2)
    )?;
    println!("{text}");
    if let Some(path) = &options.report {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

async fn once(region: &Region, options: &Options, chance: &mut Chance) -> anyhow::Result<(Outcome, Duration)> {
    let gateways: Vec<_> = region.gateways.iter().map(|gateway| gateway.client).collect();
    let namespace = |at: usize| if at.is_multiple_of(2) { "plain" } else { "kept" };
    let channels = (0..options.channels).map(|at| format!("{}:room{at}", namespace(at))).collect();
    let traffic = TrafficOptions { channels, rate: options.rate, publishers: options.publishers };
    let traffic = Traffic::start(&gateways, &traffic).await?;
    let started = now();
    let url = region.redis[GUEST].url();
    let [first, last]: [&[&str]; 2] = [&["add", GUEST, &url], &["remove", GUEST]];
    for change in [first].into_iter().chain(CHANGES).chain([last]) {
        for way in &region.ways {
            way.delay(Direction::FromTarget, Duration::from_millis(chance.below(options.skew_ms + 1)));
        }
        region.ring(&[change, &["--force"]].concat()).await?;
    }
    let took = started.elapsed();
    Ok((traffic.finish(ARRIVAL).await?, took))
}

fn heading(options: &Options) -> anyhow::Result<String> {
    let Options { rate, channels, publishers, skew_ms, seed, .. } = options;
    let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
    let mut text = String::from("# Changes of the ring under traffic\n\n");
    writeln!(
        text,
        "headcount {} ({build}) on {}; {GATEWAYS} gateways, {REDIS_NODES} Redis nodes and one more, a coordinator, etcd and the clients on this one \
         machine.\n",
        env!("CARGO_PKG_VERSION"),
        machine()
    )?;
    writeln!(
        text,
        "{publishers} clients publish {rate} messages a second, as far as the machine allows, into {channels} channels, every other one with \
         history, and subscribers at each gateway check what arrives. Meanwhile the ring changes: a node is added, another one drained, a third \
         gets three times its weight, the drained one comes back, the weight is as before, and the node that was added is removed. Before each change every gateway's way from etcd gets a \
         delay between 0 and {skew_ms} ms, so that they learn of each step at different times (seed {seed}). The longest pause is that between \
         two deliveries in one channel.\n"
    )?;
    text.push_str("| run | s | acknowledged | per s | delivered | lost | refused | doubled | out of order | told | longest pause, ms |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|\n");
    Ok(text)
}

#[allow(clippy::disallowed_methods)] // How long things take is what is measured here.
fn now() -> Instant {
    Instant::now()
}
