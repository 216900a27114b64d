//! I/O: what a soak was, what came of it, and what it found.

use super::{Period, Soak, memory, plan::Kind};
use crate::{
    growth::{self, shown},
    latency::Latencies,
    plot,
    server::machine,
};
use std::{fmt::Write, path::Path, process::Command, sync::atomic::Ordering};
use testkit::Outcome;

const HEADING: &str = "| period | faults | messages acknowledged | delivered | missing, and told | refused or cut off | longest pause of a channel, s | \
                       likes acknowledged | links, s | messages, s | counters, s | rosters, s |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// Writes it where it is wanted, and returns it: after each period, so that a run that is ended early has shown something.
pub(super) fn write(soak: &Soak, report: Option<&Path>, clients: usize) -> anyhow::Result<String> {
    let samples = soak.memory.samples();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
    let mut text = format!(
        "# Everything at once, for {} minutes\n\n`headcount-bench {}` (seed {}) on {}; headcount {} ({build}), {}, {}. Everything shares the machine.\n\n",
        (soak.began.elapsed().as_secs() + 30) / 60,
        arguments.join(" "),
        soak.seed,
        machine(),
        env!("CARGO_PKG_VERSION"),
        version("redis-server"),
        version("etcd"),
    );
    text += &shown(report);
    writeln!(
        text,
        "Two regions, each with two gateways that have counters, a coordinator, three Redis nodes that keep nothing on disk and one more, and\n\
         etcd; {} clients in rooms of 50 that are in both regions, half of which come and go; {} messages a second into {} channels with\n\
         history, with a subscriber of each channel at each gateway's door; {} services that add likes, half of them with tokens that are\n\
         retried until they are counted. The second gateway of each region is killed, stopped and restarted, the first one never: whoever is\n\
         there must not be cut off, and it shows memory over the whole time. Faults overlap; no part is broken twice at a time.\n",
        clients,
        super::RATE,
        super::CHANNELS,
        super::LIKERS,
    )?;
    broken(soak, &mut text)?;
    text += "## Periods\n\nEach is minutes of faults, then all is mended. The last four columns: how long after that all links between the regions were up,\n\
             every message had arrived or was told to be missing, every counter read what was acknowledged at each gateway, and every roster was\n\
             the truth at each gateway. Refused or cut off are publications whose publisher was told so, or whose connection ended.\n\
             A channel's pause counts while the regions are cut off from each other, too.\n\n";
    text += HEADING;
    for (at, period) in soak.periods.iter().enumerate() {
        writeln!(text, "{}", row(at + 1, period))?;
    }
    faults(soak, &mut text)?;
    text += "\n## Memory\n\nEach process is looked at every 5 seconds. A process that lived all the time is flat if its median of the last quarter is at most a tenth\n\
             and 8 MiB (32 descriptors, 4 threads) above that of the second one: the first quarter allocates everything for the first time, and\n\
             medians pass over peaks. Of runs of less than 17 minutes nothing is judged.\n\n";
    text += &memory::table(&samples);
    if let Some(path) = report {
        growth::write(path, &text, &plot::svg(&memory::charts(&samples)))?;
    }
    Ok(text)
}

fn broken(soak: &Soak, text: &mut String) -> anyhow::Result<()> {
    let (count, kept) = soak.wrongs.all();
    if count == 0 {
        text.push_str(
            "**Every promise was kept**: nobody was told gone who was here, nobody was cut off from a gateway that lived, every acknowledged\n\
             message came once and in order or was told to be missing, every counter read the acknowledged sum, every roster was the truth at each\n\
             quiet point, every process that was started again let clients in, and no process that lived all the time grew.\n\n",
        );
    } else {
        writeln!(text, "**{count} promises were broken**, the first of them:\n")?;
        kept.iter().try_for_each(|wrong| writeln!(text, "- {wrong}"))?;
        text.push('\n');
    }
    Ok(())
}

fn faults(soak: &Soak, text: &mut String) -> anyhow::Result<()> {
    text.push_str("\n## Faults and recovery\n\n| fault | times |\n|---|---|\n");
    for kind in Kind::ALL {
        writeln!(text, "| {} | {} |", kind.name(), soak.nemesis.counts.get(&kind).copied().unwrap_or_default())?;
    }
    text.push_str("\n| seconds | times | median | worst |\n|---|---|---|---|\n");
    for (what, times) in soak.nemesis.times() {
        let times = Latencies::of(times);
        writeln!(text, "| {what} | {} | {:.1} | {:.1} |", times.count(), times.at(0.5), times.max())?;
    }
    let counts = soak.crowd.counts();
    let [entered, away, left, dropped, cut_off, told] =
        [&counts.entered, &counts.turned_away, &counts.left, &counts.dropped, &counts.cut_off, &counts.leaves_told]
            .map(|count| count.load(Ordering::Relaxed));
    let [half, most, all] = soak.crowd.comebacks_s();
    writeln!(text, "| a client was cut off: until it is in again (99 % within {most:.1}) | {cut_off} | {half:.1} | {all:.1} |")?;
    writeln!(
        text,
        "\nClients came in {entered} times, left {left} times with a word and {dropped} times without one, were cut off {cut_off} times, and knocked in\n\
         vain {away} times. Watchers were told {told} times that somebody had gone.",
    )?;
    Ok(())
}

/// A line of the table of periods.
pub(super) fn row(number: usize, period: &Period) -> String {
    let Period { faults, messages, likes, linked_s, arrived_s, equal_s, exact_s } = period;
    let Outcome { acknowledged, delivered, lost_and_told, cut_off, longest_pause_ms, .. } = messages;
    let in_vain = messages.refused.values().sum::<u64>() + cut_off;
    format!(
        "| {number} | {faults} | {acknowledged} | {delivered} | {lost_and_told} | {in_vain} | {}.{} | {likes} | {linked_s:.1} | {arrived_s:.1} | {equal_s:.1} | {exact_s:.1} |",
        longest_pause_ms / 1_000,
        longest_pause_ms % 1_000 / 100
    )
}

/// What a program says of itself, in its first line.
fn version(program: &str) -> String {
    let said = Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let first = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned();
    if first.is_empty() { format!("{program} of an unknown version") } else { first }
}
