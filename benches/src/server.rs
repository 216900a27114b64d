//! I/O: what a process costs, as the kernel counts it (proc(5)).

use anyhow::{Context, anyhow};
use std::{fs, iter::Sum, num::ParseFloatError, ops::Sub};

/// Ticks of `utime` and `stime` in a second; 100 on every Linux that Rust supports (`getconf CLK_TCK`).
const TICKS_PER_S: f64 = 100.0;

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "VmRSS:")
}

/// The most resident memory that a process has had so far, in KiB.
pub(crate) fn peak_kib(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, name: &'static str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
    line.trim().trim_end_matches(" kB").parse().context(name)
}

/// CPU seconds of a process so far, user and system together.
pub(crate) fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    Ok(cpu(pid)?.total_s())
}

/// The same of all children of this process that have ended.
pub(crate) fn ended_children_cpu_s() -> anyhow::Result<f64> {
    Ok(cpu_fields(std::process::id(), 13)?.total_s())
}

/// CPU seconds, by where they were spent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// In the program itself.
    pub(crate) user_s: f64,
    /// In the kernel on its behalf.
    pub(crate) system_s: f64,
}

impl Cpu {
    pub(crate) fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu { user_s: self.user_s - before.user_s, system_s: self.system_s - before.system_s }
    }
}

impl Sum for Cpu {
    fn sum<I: Iterator<Item = Cpu>>(parts: I) -> Cpu {
        parts.fold(Cpu::default(), |sum, part| Cpu { user_s: sum.user_s + part.user_s, system_s: sum.system_s + part.system_s })
    }
}

/// CPU seconds of a process so far.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Cpu> {
    cpu_fields(pid, 11)
}

/// A process and all that it has started, and they.
pub(crate) fn family(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut family = vec![pid];
    let mut index = 0;
    while let Some(member) = family.get(index) {
        for task in fs::read_dir(format!("/proc/{member}/task"))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            family.extend(children.split_whitespace().map(str::parse::<u32>).collect::<Result<Vec<_>, _>>()?);
        }
        index += 1;
    }
    Ok(family)
}

fn cpu_fields(pid: u32, from: usize) -> anyhow::Result<Cpu> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces; it ends with the last parenthesis, and utime is the 12th field after it.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(|| anyhow!("stat of {pid}: {stat:?}"))?;
    let mut seconds = fields.split(' ').skip(from).map(|ticks| Ok::<_, ParseFloatError>(ticks.parse::<f64>()? / TICKS_PER_S));
    let mut next = || seconds.next().context("stat ends early");
    Ok(Cpu { user_s: next()??, system_s: next()?? })
}

/// Seconds that a process has waited for a CPU so far, with something to do.
pub(crate) fn waited_s(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let ns = stat.split_whitespace().nth(1).and_then(|ns| ns.parse::<f64>().ok());
    Ok(ns.ok_or_else(|| anyhow!("schedstat of {pid}: {stat:?}"))? / 1e9)
}

/// Which machine this is, in one line.
pub(crate) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} × {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
