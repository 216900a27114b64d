//! I/O: whether the machine has the memory and the disk that a measurement needs, looked at before it begins.

use anyhow::{Context, ensure};
use std::{fs, process::Command};

/// Memory of a node for one counter: of the table, and of the snapshot that a start reads while it builds the table.
const MEMORY_PER_COUNTER: u64 = 140;
/// Disk of a node for one counter: a snapshot, the next one being written, and the log that grew meanwhile.
const DISK_PER_COUNTER: u64 = 160;
/// Memory of Redis for one counter.
const REDIS_PER_COUNTER: u64 = 110;
/// What a node takes whatever it holds: of memory as of disk.
const NODE_BYTES: u64 = 512 << 20;

/// What is free now, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    memory: u64,
    disk: u64,
}

impl Room {
    pub(crate) fn now() -> anyhow::Result<Room> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("no MemAvailable in /proc/meminfo")?;
        let memory = kib.trim().trim_end_matches(" kB").parse::<u64>().context("MemAvailable")? << 10;
        let dir = std::env::temp_dir();
        // The system call has no safe wrapper in the standard library.
        let output = Command::new("df").arg("-Pk").arg(&dir).output().context("running df")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "df -Pk {}: {}", dir.display(), String::from_utf8_lossy(&output.stderr));
        let kib = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)).context("df names no free space")?;
        Ok(Room { memory, disk: kib.parse::<u64>().with_context(|| format!("df: {text}"))? << 10 })
    }

    /// Why `nodes` nodes with `counters` counters each do not fit; `None` if they do.
    pub(crate) fn lacks(self, nodes: u64, counters: usize) -> Option<String> {
        let (memory, disk) = (nodes * need(counters, MEMORY_PER_COUNTER), nodes * need(counters, DISK_PER_COUNTER));
        let short = |what, needed: u64, free: u64| {
            let hint = if what == "disk" { " (TMPDIR names another place)" } else { "" };
            (needed > free).then(|| format!("needs about {} of {what}, and {} is free{hint}", gib(needed), gib(free)))
        };
        short("memory", memory, self.memory).or_else(|| short("disk", disk, self.disk))
    }

    /// Why Redis with `counters` counters does not fit beside what else is measured.
    pub(crate) fn lacks_for_redis(self, counters: usize) -> Option<String> {
        let (needed, half) = (counters as u64 * REDIS_PER_COUNTER, self.memory / 2);
        (needed > half).then(|| format!("it needs about {}, and half of the free memory is {}", gib(needed), gib(half)))
    }
}

fn need(counters: usize, each: u64) -> u64 {
    NODE_BYTES + counters as u64 * each
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_with_what_is_missing() {
        let room = Room { memory: 8 << 30, disk: 4 << 30 };
        assert_eq!(room.lacks(1, 10_000_000), None);
        assert_eq!(room.lacks(1, 100_000_000).unwrap(), "needs about 13.5 GiB of memory, and 8.0 GiB is free");
        assert!(room.lacks(3, 10_000_000).unwrap().contains("of disk, and 4.0 GiB is free (TMPDIR"));
        assert_eq!(room.lacks_for_redis(10_000_000), None);
        assert_eq!(room.lacks_for_redis(50_000_000).unwrap(), "it needs about 5.1 GiB, and half of the free memory is 4.0 GiB");
    }
}
