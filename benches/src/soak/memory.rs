//! I/O: what each process holds, looked at again and again, and whether that is flat.

use crate::plot::{Chart, Scale, Series};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Looks at one process; later ones are left out. Two days of them.
const SAMPLES_MAX: usize = 40_000;
/// The rule needs so many looks, in quarters of some minutes: a shorter run is all beginning.
const JUDGED_MIN: usize = 200;
/// What may be more in the last quarter than in the second one: a tenth, and some room for what comes and goes with the load: tables that
/// double, and pages that the allocator keeps of the busiest moment so far. The first quarter is left out, in which everything is allocated
/// for the first time. Half an hour of an hour lies between the two: of 60 MiB, 28 more an hour pass, and 30 do not.
const GROWTH_PERCENT: u64 = 110;
const GROWTH_KIB: u64 = 8 * 1024;
const GROWTH_DESCRIPTORS: u64 = 32;
const GROWTH_THREADS: u64 = 4;

/// What a process held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at_s: u64,
    pub(super) pid: u32,
    pub(super) kib: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// One figure of a sample.
type Figure = fn(&Sample) -> u64;
/// Whether a process is drawn in a chart, by its name.
type IsIn = fn(&str) -> bool;

/// By the name of the process, in all its lives.
pub(super) type Samples = BTreeMap<String, Vec<Sample>>;

pub(super) struct Memory {
    processes: Arc<Mutex<Vec<(String, u32)>>>,
    samples: Arc<Mutex<Samples>>,
    task: JoinHandle<()>,
}

impl Memory {
    pub(super) fn start() -> Memory {
        let (processes, samples) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Samples::new())));
        let (looked_at, noted) = (Arc::clone(&processes), Arc::clone(&samples));
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let mut ticks = tokio::time::interval(LOOK);
            loop {
                ticks.tick().await;
                let processes: Vec<(String, u32)> = looked_at.lock().expect("nobody panics").clone();
                for (name, pid) in processes {
                    let Some(sample) = look(pid, began.elapsed().as_secs()) else { continue };
                    let mut noted = noted.lock().expect("nobody panics");
                    let samples = noted.entry(name).or_default();
                    if samples.len() < SAMPLES_MAX {
                        samples.push(sample);
                    }
                }
            }
        });
        Memory { processes, samples, task }
    }

    /// These run now.
    pub(super) fn follow(&self, processes: Vec<(String, u32)>) {
        *self.processes.lock().expect("nobody panics") = processes;
    }

    pub(super) fn samples(&self) -> Samples {
        self.samples.lock().expect("nobody panics").clone()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `None` if it has just ended.
fn look(pid: u32, at_s: u64) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(Sample { at_s, pid, kib: number("VmRSS:")?, descriptors, threads: number("Threads:")? })
}

/// What is not flat, of a process that lived all the time; nothing of others and of short runs.
pub(super) fn growth(samples: &[Sample]) -> Vec<String> {
    if samples.len() < JUDGED_MIN || !lived_on(samples) {
        return Vec::new();
    }
    let rules: [(&str, Figure, u64); 3] = [
        ("KiB", |sample| sample.kib, GROWTH_KIB),
        ("descriptors", |sample| sample.descriptors, GROWTH_DESCRIPTORS),
        ("threads", |sample| sample.threads, GROWTH_THREADS),
    ];
    let grown = rules.into_iter().filter_map(|(what, of, room)| {
        let (before, after) = (median(quarter(samples, 1), of), median(quarter(samples, 3), of));
        (after > before * GROWTH_PERCENT / 100 + room).then(|| format!("{before} {what} in the second quarter, {after} in the last"))
    });
    grown.collect()
}

fn lived_on(samples: &[Sample]) -> bool {
    samples.windows(2).all(|pair| pair[0].pid == pair[1].pid)
}

fn quarter(samples: &[Sample], number: usize) -> &[Sample] {
    &samples[samples.len() * number / 4..samples.len() * (number + 1) / 4]
}

fn median(samples: &[Sample], of: Figure) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A row for each process.
pub(super) fn table(all: &Samples) -> String {
    let mut text = String::from(
        "| process | lives | MiB, median of the second quarter | of the last | most | descriptors, of the second | of the last | most | threads, most |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, samples) in all {
        let lives = 1 + samples.windows(2).filter(|pair| pair[0].pid != pair[1].pid).count();
        let mib = |kib: u64| format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024);
        let quarters = |of| [1, 3].map(|number| median(quarter(samples, number), of));
        let most = |of: Figure| samples.iter().map(of).max().unwrap_or_default();
        let ([kib, last_kib], [descriptors, last_descriptors]) = (quarters(|sample| sample.kib), quarters(|sample| sample.descriptors));
        // Writing to a String cannot fail.
        _ = writeln!(
            text,
            "| {name} | {lives} | {} | {} | {} | {descriptors} | {last_descriptors} | {} | {} |",
            mib(kib),
            mib(last_kib),
            mib(most(|sample| sample.kib)),
            most(|sample| sample.descriptors),
            most(|sample| sample.threads),
        );
    }
    text
}

/// Memory over time: gateways, Redis nodes, and the rest.
#[allow(clippy::cast_precision_loss)] // figures for people
pub(super) fn charts(all: &Samples) -> Vec<Chart> {
    let line = |(name, samples): (&String, &Vec<Sample>)| Series {
        name: name.clone(),
        points: samples.iter().map(|sample| (sample.at_s as f64 / 60.0, sample.kib as f64 / 1024.0)).collect(),
    };
    let groups: [(&str, IsIn); 3] = [
        ("Gateways with counters", |name| name.contains("gateway")),
        ("Redis nodes", |name| name.contains("redis")),
        ("etcd, coordinators and the clients", |name| !name.contains("gateway") && !name.contains("redis")),
    ];
    let chart = |(title, is_in): (&str, IsIn)| Chart {
        title: title.to_owned(),
        x: ("minutes", Scale::Linear),
        y: ("MiB resident", Scale::Linear),
        series: all.iter().filter(|(name, _)| is_in(name)).map(line).collect(),
    };
    groups.map(chart).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(kib: impl Fn(u64) -> u64, pid: impl Fn(u64) -> u32) -> Vec<String> {
        let sample = |at| Sample { at_s: at * 5, pid: pid(at), kib: kib(at), descriptors: 500 + at % 7, threads: 9 };
        growth(&(0..720).map(sample).collect::<Vec<_>>())
    }

    #[test]
    fn what_grows_by_the_hour_is_not_flat_and_what_grows_at_first_is() {
        assert_eq!(grown(|at| 60_000 + at * 50, |_| 1).len(), 1, "35 MiB an hour");
        assert_eq!(grown(|at| 20_000 + at.min(180) * 400, |_| 1), [""; 0], "the first quarter");
        assert_eq!(grown(|at| if at % 40 == 0 { 300_000 } else { 60_000 }, |_| 1), [""; 0], "peaks");
        assert_eq!(grown(|at| 60_000 + at * 50, |at| u32::from(at > 300)), [""; 0], "two lives");
    }

    #[test]
    fn descriptors_and_threads_have_a_rule_of_their_own() {
        let sample = |at: u64| Sample { at_s: at, pid: 1, kib: 1, descriptors: 100 + at, threads: at / 40 };
        assert_eq!(growth(&(0..400).map(sample).collect::<Vec<_>>()).len(), 2);
        assert!(growth(&(0..JUDGED_MIN as u64 - 1).map(sample).collect::<Vec<_>>()).is_empty(), "a short run");
    }
}
