//! I/O: a small library between a node and its system calls, built by the system's C compiler, for faults that nothing else can bring
//! about.

use anyhow::{Context, Result, bail};
use std::{fs, process::Command};
use tempfile::TempDir;

/// Builds a library of this source, in a directory of its own; what the node's environment must say for it to be loaded. Needs
/// `cc`, and a node that is linked dynamically.
pub(crate) fn build(source: &str) -> Result<(TempDir, (String, String))> {
    let directory = tempfile::tempdir()?;
    let (file, library) = (directory.path().join("preloaded.c"), directory.path().join("preloaded.so"));
    fs::write(&file, source)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).arg(file);
    let status = compiler.status().context("cc, which builds what stands between a node and its system calls")?;
    if !status.success() {
        bail!("cc: {status}");
    }
    let preload = ("LD_PRELOAD".to_owned(), library.to_string_lossy().into_owned());
    Ok((directory, preload))
}
