//! I/O: calls per second and their CPU, in pairs of runs at the same server: redis-benchmark, headcount, redis-benchmark, …

use super::{
    NODE, gateway,
    runs::{self, Run, ratios},
};
use crate::redis::{CLIENTS, Persistence, Redis};
use anyhow::ensure;
use ring_coordinator::redis::{Link, Reply, Script};
use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use testkit::eventually;
use tokio::{task::JoinSet, time::Instant};

/// What is called.
#[derive(Clone, Copy, Debug)]
enum Command {
    Publish,
    Script,
}

/// Command, commands that each of redis-benchmark's clients pipelines, and operations of a run.
const ROWS: [(Command, usize, usize); 6] = [
    (Command::Publish, 1, 200_000),
    (Command::Publish, 16, 500_000),
    (Command::Publish, 100, 1_000_000),
    (Command::Script, 1, 100_000),
    (Command::Script, 16, 300_000),
    (Command::Script, 100, 500_000),
];
/// A quick run does this share of the operations.
const QUICK_SHARE: usize = 10;

/// Bytes of a publication.
const PAYLOAD_BYTES: usize = 100;
/// As the bus publishes without history: the fence, then the publication.
const PUBLISH_BEHIND_FENCE: &str = "local fence = redis.call('GET', KEYS[1]) \
    if fence and tonumber(fence) > tonumber(ARGV[1]) then return redis.error_reply('STALERING ' .. fence) end \
    return redis.call('PUBLISH', ARGV[2], ARGV[3])";
const FENCE: &str = "hc:{1}:min_epoch";
const CHANNEL: &str = "hc:{1}:pub:room";

pub(super) async fn measure(pairs: usize, quick: bool, text: &mut String) -> anyhow::Result<()> {
    let servers = [Redis::start(Persistence::None).await?];
    let (nodes, _) = gateway("calls", servers[0].address)?;
    let link = eventually(std::time::Duration::from_secs(10), async || nodes.link(NODE)).await;
    link.call(&Script::new(PUBLISH_BEHIND_FENCE), &[FENCE.as_bytes()], &[b"1", CHANNEL.as_bytes(), b"x"]).await?;

    writeln!(
        text,
        "## Calls\n\nPublications of {PAYLOAD_BYTES} bytes that nobody listens to, medians of {pairs} pairs of runs in turn at the same server."
    )?;
    writeln!(
        text,
        "redis-benchmark has {CLIENTS} connections, each with so many commands in its pipeline; headcount has one connection, and"
    )?;
    writeln!(
        text,
        "{CLIENTS} times as many callers, each of whom waits for its answer. CPU for one operation is that of Redis and that of the process"
    )?;
    writeln!(text, "that calls; it depends less on what else runs on the machine than the rates do.\n")?;
    writeln!(text, "| command | pipelined | headcount/s (CPU) | redis-benchmark/s (CPU) | ratio | lowest to highest pair |")?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for (command, pipeline, operations) in ROWS {
        let operations = if quick { operations / QUICK_SHARE } else { operations };
        let (mut our_runs, mut their_runs) = (Vec::new(), Vec::new());
        for pair in 1..=pairs {
            let theirs = Run::timed(&servers, operations, theirs(&servers, command, pipeline, operations)).await?;
            let ours = Run::timed(&servers, operations, ours(&link, command, pipeline * CLIENTS, operations)).await?;
            let ratio = ours.rate / theirs.rate;
            eprintln!("{command:?} P{pipeline}, pair {pair}: {:.0}/s against {:.0}/s, ratio {ratio:.2}", ours.rate, theirs.rate);
            our_runs.push(ours);
            their_runs.push(theirs);
        }
        let (ratio, lowest, highest) = ratios(&our_runs, &their_runs);
        let name = match command {
            Command::Publish => "PUBLISH",
            Command::Script => "EVALSHA fence and PUBLISH",
        };
        let (ours, theirs) = (Run::median(&our_runs).cells(), Run::median(&their_runs).cells());
        writeln!(text, "| {name} | {pipeline} | {ours} | {theirs} | {ratio:.2} | {lowest:.2} to {highest:.2} |")?;
    }
    writeln!(text)?;
    nodes.shutdown().await;
    Ok(())
}

async fn theirs(servers: &[Redis], command: Command, pipeline: usize, operations: usize) -> anyhow::Result<f64> {
    let (script, payload) = (Script::new(PUBLISH_BEHIND_FENCE), "x".repeat(PAYLOAD_BYTES));
    let words = match command {
        Command::Publish => vec!["PUBLISH", CHANNEL, &payload],
        Command::Script => vec!["EVALSHA", script.sha1(), "1", FENCE, "1", CHANNEL, &payload],
    };
    runs::theirs(servers, pipeline, operations, &words).await
}

#[allow(clippy::cast_precision_loss)] // figures for people
async fn ours(link: &Link, command: Command, callers: usize, operations: usize) -> anyhow::Result<f64> {
    let (script, payload) = (Script::new(PUBLISH_BEHIND_FENCE), "x".repeat(PAYLOAD_BYTES));
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(CHANNEL).arg(&payload);
    let (left, begun) = (Arc::new(AtomicUsize::new(operations)), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (link, left) = (link.clone(), Arc::clone(&left));
        let (script, payload, publish) = (script.clone(), payload.clone(), publish.clone());
        tasks.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let answer = match command {
                    Command::Publish => link.command(&publish).await?,
                    Command::Script => link.call(&script, &[FENCE.as_bytes()], &[b"1", CHANNEL.as_bytes(), payload.as_bytes()]).await?,
                };
                ensure!(answer == Reply::Integer(0), "{answer:?}");
            }
            Ok(())
        });
    }
    while let Some(caller) = tasks.join_next().await {
        caller??;
    }
    Ok(operations as f64 / begun.elapsed().as_secs_f64())
}
