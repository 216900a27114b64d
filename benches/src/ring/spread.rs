//! Pure: how evenly a scheme spreads channels, and what moves when nodes come and go.

use super::placement::{Placement, Scheme};
use std::{collections::HashMap, fmt::Write, sync::Arc};

/// Ways to name node number `i`.
const NAMES: [fn(usize) -> String; 6] = [
    |i| format!("redis-{i}"),
    |i| format!("r{i:03}"),
    |i| format!("eu-west-1.cache.{i}"),
    |i| format!("shard-{}", i * 7 + 1000),
    |i| format!("10.0.{}.{}", i / 250, i % 250 + 1),
    |i| format!("{:016x}", (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
];
/// Nodes that are taken out, one at a time, of each set of names.
const DEATHS: usize = 3;

/// Nodes of this number, named in the first of the ways.
pub(super) fn ids(nodes: usize) -> Vec<Arc<str>> {
    (0..nodes).map(|i| NAMES[0](i).into()).collect()
}

/// Figures over all ways of naming: the mean, and the worst.
#[derive(Default)]
struct Figure {
    sum: f64,
    worst: f64,
    count: u32,
}

impl Figure {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.worst = self.worst.max(value);
        self.count += 1;
    }

    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count.max(1))
    }

    fn both(&self) -> String {
        format!("{:.3} ({:.3})", self.mean(), self.worst)
    }
}

#[derive(Default)]
struct Figures {
    /// Standard deviation of the nodes' channels, over their mean.
    deviation: Figure,
    /// The most channels of a node, over the mean.
    most: Figure,
    added: Figure,
    added_between_others: Figure,
    removed: Figure,
    removed_between_others: Figure,
    /// The most that one survivor gets of a dead node's channels, over an even share of them.
    heir: Figure,
    /// The most channels of a node after a death, over the mean then.
    most_after_death: Figure,
}

/// The table for this number of nodes.
pub(super) fn table(channels: &[String], nodes: usize, text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "## {nodes} nodes\n")?;
    writeln!(
        text,
        "| | deviation | most / mean | added: moved / least | between others | removed: moved / least | between others | \
         heir / even | most / mean after |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for scheme in Scheme::ALL {
        eprintln!("{} over {nodes} nodes …", scheme.name());
        let figures = measure(scheme, channels, nodes);
        writeln!(
            text,
            "| {} | {:.1} % | {} | {} | {:.2} % | {} | {:.2} % | {} | {} |",
            scheme.name(),
            figures.deviation.mean() * 100.0,
            figures.most.both(),
            figures.added.both(),
            figures.added_between_others.mean() * 100.0,
            figures.removed.both(),
            figures.removed_between_others.mean() * 100.0,
            figures.heir.both(),
            figures.most_after_death.both(),
        )?;
    }
    writeln!(text)?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn measure(scheme: Scheme, channels: &[String], nodes: usize) -> Figures {
    let mut figures = Figures::default();
    let all = channels.len() as f64;
    for name in NAMES {
        let ids: Vec<Arc<str>> = (0..=nodes).map(|i| name(i).into()).collect();
        let before = owners(scheme, channels, &ids[..nodes], &ids);
        let counts = counts(&before, ids.len());
        let mean = all / nodes as f64;
        let variance = counts[..nodes].iter().map(|count| (*count as f64 - mean).powi(2)).sum::<f64>() / nodes as f64;
        figures.deviation.add(variance.sqrt() / mean);
        figures.most.add(most(&counts) / mean);

        let (moved, between_others) = moved(&before, &owners(scheme, channels, &ids, &ids), nodes);
        figures.added.add(moved / (all / (nodes + 1) as f64));
        figures.added_between_others.add(between_others / all);

        for dead in (0..DEATHS.min(nodes)).map(|death| death * nodes / DEATHS) {
            let survivors: Vec<_> = ids[..nodes].iter().enumerate().filter(|(i, _)| *i != dead).map(|(_, id)| id.clone()).collect();
            let after = owners(scheme, channels, &survivors, &ids);
            let (moved, between_others) = self::moved(&before, &after, dead);
            figures.removed.add(moved / counts[dead].max(1) as f64);
            figures.removed_between_others.add(between_others / all);
            let mut heirs = vec![0; ids.len()];
            before.iter().zip(&after).filter(|(before, _)| **before == dead).for_each(|(_, heir)| heirs[*heir] += 1);
            figures.heir.add(most(&heirs) * survivors.len() as f64 / counts[dead].max(1) as f64);
            figures.most_after_death.add(most(&self::counts(&after, ids.len())) * survivors.len() as f64 / all);
        }
    }
    figures
}

/// The owner of each channel, as a number in `all`.
fn owners(scheme: Scheme, channels: &[String], ids: &[Arc<str>], all: &[Arc<str>]) -> Vec<usize> {
    let numbers: HashMap<&str, usize> = all.iter().enumerate().map(|(number, id)| (id.as_ref(), number)).collect();
    let placement = Placement::new(scheme, ids);
    channels.iter().filter_map(|channel| placement.owner(channel).map(|id| numbers[id.as_ref()])).collect()
}

fn counts(owners: &[usize], nodes: usize) -> Vec<usize> {
    let mut counts = vec![0; nodes];
    owners.iter().for_each(|owner| counts[*owner] += 1);
    counts
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn most(counts: &[usize]) -> f64 {
    counts.iter().copied().max().unwrap_or_default() as f64
}

/// How many channels moved, and how many of them neither from nor to `changed`.
#[allow(clippy::cast_precision_loss)] // figures for people
fn moved(before: &[usize], after: &[usize], changed: usize) -> (f64, f64) {
    let moved = || before.iter().zip(after).filter(|(from, to)| from != to);
    let between_others = moved().filter(|(from, to)| **from != changed && **to != changed).count();
    (moved().count() as f64, between_others as f64)
}
