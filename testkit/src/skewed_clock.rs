//! I/O: a wall clock that a test sets, for a node that was started with its variables. Programs for that exist, and hang with allocators
//! that ask for the time themselves; this one asks nobody.

use crate::preloaded;
use anyhow::Result;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};
use tempfile::TempDir;

/// The wall clock of one node. Its monotonic clock goes on as ever.
#[derive(Debug)]
pub struct SkewedClock {
    directory: TempDir,
    preload: (String, String),
}

impl SkewedClock {
    /// One that is right. Needs `cc`, and a node that is linked dynamically.
    pub fn build() -> Result<SkewedClock> {
        let (directory, preload) = preloaded::build(include_str!("skewed_clock.c"))?;
        fs::write(directory.path().join("offset"), 0_i64.to_ne_bytes())?;
        Ok(SkewedClock { directory, preload })
    }

    /// The variables of a node with this clock.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        vec![self.preload.clone(), ("SKEWED_CLOCK".to_owned(), self.directory.path().to_string_lossy().into_owned())]
    }

    /// From now on it is off by so many seconds.
    pub fn set(&self, offset_s: i64) -> Result<()> {
        // In place, because the node has the file's memory.
        Ok(File::options().write(true).open(self.directory.path().join("offset"))?.write_all_at(&offset_s.to_ne_bytes(), 0)?)
    }
}
