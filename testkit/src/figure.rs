//! I/O: what a fault has cost, as a test saw it, noted for docs/guarantees.md when somebody asks for it.

use crate::fault_matrix;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Names the directory in which figures are noted, one file for each row of the matrix. Unset: they are printed only.
pub const DIRECTORY: &str = "HEADCOUNT_FIGURES";

/// Tests of one program run at the same time; programs run one after the other.
static WRITING: Mutex<()> = Mutex::new(());

/// One figure of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The largest of all runs.
    pub value: f64,
    /// Its unit; empty for a number of things that the name names.
    pub unit: String,
    /// How often it was measured.
    pub runs: u64,
}

/// Notes one figure of a row of [`fault_matrix::TABLE`]. Of several under one name the largest stays, so a figure says the more the
/// worse it is, or is the same each time. Panics if there is no such row, or if the note cannot be written.
pub fn figure(row: &str, name: &str, value: f64, unit: &str) {
    assert!(fault_matrix::rows(fault_matrix::TABLE).iter().any(|found| found.id == row), "there is no row {row:?} in the fault matrix");
    println!("{row}: {name} {value:.3} {unit}");
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let _writing = WRITING.lock();
        note(Path::new(&directory), row, &Figure { name: name.to_owned(), value, unit: unit.to_owned(), runs: 1 })
            .expect("noting a figure");
    }
}

/// How long something took, as [`figure`] in seconds.
pub fn time(row: &str, name: &str, took: std::time::Duration) {
    figure(row, name, took.as_secs_f64(), "s");
}

/// A number of things, as [`figure`]: of what was lost, or of what was tried.
#[allow(clippy::cast_precision_loss)] // exact up to 2^53
pub fn count(row: &str, name: &str, number: u64) {
    figure(row, name, number as f64, "");
}

/// What is noted of a row, in the order in which it was first noted; nothing if nothing is.
pub fn noted(directory: &Path, row: &str) -> Result<Vec<Figure>> {
    let file = file(directory, row);
    if !file.exists() {
        return Ok(Vec::new());
    }
    let found: Value = serde_json::from_str(&fs::read_to_string(&file)?).with_context(|| file.display().to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let figures = found["figures"].as_array().into_iter().flatten().map(|figure| Figure {
        name: text(&figure["name"]),
        value: figure["value"].as_f64().unwrap_or(f64::NAN),
        unit: text(&figure["unit"]),
        runs: figure["runs"].as_u64().unwrap_or_default(),
    });
    Ok(figures.collect())
}

fn note(directory: &Path, row: &str, new: &Figure) -> Result<()> {
    let mut figures = noted(directory, row)?;
    match figures.iter_mut().find(|known| known.name == new.name) {
        Some(known) => (known.value, known.runs) = (known.value.max(new.value), known.runs + 1),
        None => figures.push(new.clone()),
    }
    let written =
        figures.iter().map(|Figure { name, value, unit, runs }| json!({ "name": name, "value": value, "unit": unit, "runs": runs }));
    fs::create_dir_all(directory)?;
    let written = json!({ "row": row, "figures": written.collect::<Vec<_>>() });
    Ok(fs::write(file(directory, row), format!("{written:#}\n"))?)
}

fn file(directory: &Path, row: &str) -> PathBuf {
    directory.join(format!("{row}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_runs_the_worst_is_noted() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(noted(directory.path(), "row").unwrap(), []);
        let figure = |name: &str, value| Figure { name: name.to_owned(), value, unit: "s".to_owned(), runs: 1 };
        for (name, value) in [("pause", 2.5), ("back", 1.0), ("pause", 4.0), ("pause", 3.0)] {
            note(directory.path(), "row", &figure(name, value)).unwrap();
        }
        let expected = [Figure { runs: 3, ..figure("pause", 4.0) }, figure("back", 1.0)];
        assert_eq!(noted(directory.path(), "row").unwrap(), expected);
        assert_eq!(noted(directory.path(), "other").unwrap(), []);
    }

    #[test]
    #[should_panic(expected = "there is no row \"typo\"")]
    fn a_figure_of_no_row_is_a_mistake() {
        figure("typo", "pause", 1.0, "s");
    }
}
