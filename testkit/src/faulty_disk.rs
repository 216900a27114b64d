//! I/O: a disk that stands still, is slow or fails, for a node that was started with its variables: a small library between
//! the node and its system calls, built here by the system's C compiler.

use anyhow::{Context, Result, bail};
use std::{fs, path::PathBuf, process::Command};
use tempfile::TempDir;

const SOURCE: &str = include_str!("faulty_disk.c");

/// Orders to the disk of one node. Whatever is ordered holds for syncs that begin later, and for those that stand still.
#[derive(Debug)]
pub struct FaultyDisk {
    directory: TempDir,
}

impl FaultyDisk {
    /// A disk without faults. Needs `cc`, and a node that is linked dynamically.
    pub fn build() -> Result<FaultyDisk> {
        let directory = tempfile::tempdir()?;
        let source = directory.path().join("faulty_disk.c");
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(directory.path().join("faulty_disk.so")).arg(source);
        let status = compiler.status().context("cc, which builds the library between a node and its disk")?;
        if !status.success() {
            bail!("cc: {status}");
        }
        Ok(FaultyDisk { directory })
    }

    /// The variables of a node with this disk.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let library = path(self.directory.path().join("faulty_disk.so"));
        vec![("LD_PRELOAD".to_owned(), library), ("FAULTY_DISK".to_owned(), path(self.directory.path().to_owned()))]
    }

    /// No sync ends, until [`FaultyDisk::heal`].
    pub fn stall(&self) -> Result<()> {
        self.order("stall")
    }

    /// Each sync takes 50 ms more, until [`FaultyDisk::heal`].
    pub fn slow_down(&self) -> Result<()> {
        self.order("slow")
    }

    /// The next sync fails with EIO, once.
    pub fn fail_once(&self) -> Result<()> {
        self.order("fail")
    }

    /// Whether the failure that was ordered has happened.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.directory.path().join("fail").exists()
    }

    /// Ends all faults.
    pub fn heal(&self) -> Result<()> {
        for order in ["stall", "slow", "fail"] {
            let file = self.directory.path().join(order);
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    fn order(&self, order: &str) -> Result<()> {
        Ok(fs::write(self.directory.path().join(order), "")?)
    }
}
