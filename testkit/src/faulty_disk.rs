//! I/O: a disk that stands still, is slow or fails, for a node that was started with its variables: a small library between
//! the node and its system calls.

use crate::preloaded;
use anyhow::Result;
use std::fs;
use tempfile::TempDir;

const SOURCE: &str = include_str!("faulty_disk.c");

/// Orders to the disk of one node. Whatever is ordered holds for syncs that begin later, and for those that stand still.
#[derive(Debug)]
pub struct FaultyDisk {
    directory: TempDir,
    preload: (String, String),
}

impl FaultyDisk {
    /// A disk without faults. Needs `cc`, and a node that is linked dynamically.
    pub fn build() -> Result<FaultyDisk> {
        let (directory, preload) = preloaded::build(SOURCE)?;
        Ok(FaultyDisk { directory, preload })
    }

    /// The variables of a node with this disk.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        vec![self.preload.clone(), ("FAULTY_DISK".to_owned(), self.directory.path().to_string_lossy().into_owned())]
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

    /// Each sync of a snapshot's file fails with EIO, until [`FaultyDisk::heal`]; those of the log do not.
    pub fn fail_snapshots(&self) -> Result<()> {
        self.order("snapshots")
    }

    /// Whether the failure that was ordered has happened.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.directory.path().join("fail").exists()
    }

    /// Ends all faults.
    pub fn heal(&self) -> Result<()> {
        for order in ["stall", "slow", "fail", "snapshots"] {
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
