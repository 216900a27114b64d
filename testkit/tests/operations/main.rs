//! What operators go by: alerts, their tests and their pages, the dashboard, the objectives. All of them ask for metrics that exist,
//! and none of them lacks another.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

mod alerts;
mod dashboard;
mod expressions;
mod objectives;

use std::path::{Path, PathBuf};

/// The table of all metrics.
const METRICS: &str = include_str!("../../../node/METRICS.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files of a folder of the repository with the ending `ending`, by their names, in order.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<(String, String)> = entries
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    found.sort();
    found
}
