//! I/O: replicas that lose their disks in turn, again and again, under load.

use super::{Settled, describe, now, settle};
use anyhow::{Context, bail, ensure};
use std::{collections::BTreeSet, fmt::Write, time::Duration};
use testkit::{Cluster, ClusterOptions, Load, LoadOptions, cluster::PATIENCE, eventually, node::binary};
use tokio::process::Command;

const REPLICAS: usize = 3;
/// Losses between two lines of progress.
const PROGRESS: u64 = 50;

/// Takes `count` disks away, and appends what came of it to the report.
pub(super) async fn run(count: u64, seed: u64, text: &mut String) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(REPLICAS, ClusterOptions::default()).await?;
    let options = LoadOptions { clients: 8, pause: Duration::from_millis(10), on_two_disks: true, seed };
    let load = Load::start(cluster.targets(), options);
    let start = now();
    for number in 0..count {
        let at = usize::try_from(number)? % REPLICAS;
        eventually(PATIENCE, async || {
            load.tally().mark(at);
            if cluster.is_held_elsewhere(at).await { Ok(()) } else { Err("it alone has something") }
        })
        .await;
        cluster.nodes[at].kill9().await;
        load.tally().lost(at);
        cluster.replace_disk(at, None).await?;
        if (number + 1).is_multiple_of(PROGRESS) || number + 1 == count {
            let acknowledged = load.tally().acknowledged;
            println!("{:4.0} s: {} disks lost, {acknowledged} additions", start.elapsed().as_secs_f64(), number + 1);
        }
    }
    let lost_s = start.elapsed().as_secs_f64();
    let Settled { tally, equal_s, folded_s, .. } = settle(&cluster, load).await?;
    let memory: Vec<String> = (0..REPLICAS).map(|at| format!("{} MiB", cluster.nodes[at].resident_bytes() >> 20)).collect();
    let mut most_entries = 0;
    for node in &mut cluster.nodes {
        ensure!(node.terminate().await.success(), "a node did not end well");
        most_entries = most_entries.max(entries(&node.data_dir, &tally.counters.keys().collect()).await?);
    }
    ensure!(most_entries <= REPLICAS, "a counter has {most_entries} entries left");
    writeln!(text, "## {count} lost disks\n\n`headcount-bench faults --minutes 0 --seed {seed} --lost-disks {count}`\n")?;
    writeln!(
        text,
        "{REPLICAS} replicas, killed (`kill -9`) in turn, each started again with an empty directory as soon as the others covered its \
         session. Nobody waited for ended lives to be folded, which begins 10 s after a start; but when there are some 190 of them, \
         sessions are longer than a node takes, and the next disk waits until some were folded. Meanwhile 8 clients counted, with \
         `ack: replicated` over HTTP, or over RESP and once more over HTTP.\n"
    )?;
    writeln!(text, "- {count} disks lost in {lost_s:.0} s, {:.2} s each.", lost_s / count as f64)?;
    writeln!(text, "- After the last one: equal everywhere after {equal_s:.1} s, all ended lives folded after {folded_s:.1} s.")?;
    writeln!(text, "- {}", describe(&tally))?;
    writeln!(text, "- Every counter then has {most_entries} entries (`headcount counter export` of all three), one for each member.")?;
    writeln!(text, "- Memory of the replicas at the end: {}.\n", memory.join(", "))?;
    Ok(())
}

/// The most entries that one of these counters has, by the program's own export.
async fn entries(data_dir: &std::path::Path, keys: &BTreeSet<&String>) -> anyhow::Result<usize> {
    let mut command = Command::new(binary()?);
    let output = command.args(["counter", "export", "--data-dir"]).arg(data_dir).output().await?;
    if !output.status.success() {
        bail!("counter export: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut most = 0;
    for line in String::from_utf8(output.stdout)?.lines() {
        let counter: serde_json::Value = serde_json::from_str(line)?;
        if keys.contains(&counter["key"].as_str().context("a key")?.to_owned()) {
            let actors = |side: &str| counter["crdt"][side]["inner"]["dots"].as_object().cloned().unwrap_or_default();
            most = most.max(actors("p").into_iter().chain(actors("n")).map(|(actor, _)| actor).collect::<BTreeSet<_>>().len());
        }
    }
    Ok(most)
}
