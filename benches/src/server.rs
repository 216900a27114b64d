//! I/O: what a process costs, as the kernel counts it (proc(5)).

use anyhow::{Context, anyhow};
use std::fs;

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
    cpu_fields_s(pid, 11)
}

/// The same of all children of this process that have ended.
pub(crate) fn ended_children_cpu_s() -> anyhow::Result<f64> {
    cpu_fields_s(std::process::id(), 13)
}

fn cpu_fields_s(pid: u32, from: usize) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces; it ends with the last parenthesis, and utime is the 12th field after it.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(|| anyhow!("stat of {pid}: {stat:?}"))?;
    let ticks = fields.split(' ').skip(from).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_PER_S)
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
