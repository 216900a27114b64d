//! I/O: less CPU or memory than a node wants, by a control group (version 1) of its own. For root only, where the kernel has them.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};
use uuid::Uuid;

const ROOT: &str = "/sys/fs/cgroup";
/// A quota is for so long.
const PERIOD_US: u32 = 100_000;

/// A group. Dropping it lets its processes out and removes it.
#[derive(Debug)]
pub struct ControlGroup {
    directory: PathBuf,
}

impl ControlGroup {
    /// One whose processes get so much of one CPU together.
    pub fn of_cpu(percent: u32) -> Result<ControlGroup> {
        let group = ControlGroup::new("cpu")?;
        group.set("cpu.cfs_period_us", u64::from(PERIOD_US))?;
        group.set("cpu.cfs_quota_us", u64::from(PERIOD_US / 100 * percent))?;
        Ok(group)
    }

    /// One whose processes are killed when they take more than this from when they are in it.
    pub fn of_memory(bytes: u64) -> Result<ControlGroup> {
        let group = ControlGroup::new("memory")?;
        group.set("memory.limit_in_bytes", bytes)?;
        Ok(group)
    }

    fn new(controller: &str) -> Result<ControlGroup> {
        let directory = Path::new(ROOT).join(controller).join(format!("headcount-{}", Uuid::new_v4()));
        let what = || format!("{}: control groups, version 1, and root are needed for this", directory.display());
        fs::create_dir(&directory).with_context(what)?;
        Ok(ControlGroup { directory })
    }

    /// Takes a process in, with all of its threads.
    pub fn take(&self, pid: u32) -> Result<()> {
        self.set("cgroup.procs", u64::from(pid))
    }

    fn set(&self, name: &str, value: u64) -> Result<()> {
        let file = self.directory.join(name);
        fs::write(&file, value.to_string()).with_context(|| file.display().to_string())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let inside = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        let outside = self.directory.with_file_name("cgroup.procs");
        inside.lines().for_each(|pid| _ = fs::write(&outside, pid));
        _ = fs::remove_dir(&self.directory);
    }
}
