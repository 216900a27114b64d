//! I/O: runs the tests of the fault matrix one after the other, and writes what each fault was seen to cost into docs/guarantees.md.

use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use testkit::{
    fault_matrix::{self, TABLE, Test},
    figure,
};

const HELP: &str = "fault-matrix [--release] [--noted]\n\
                    --release  tests the released build, and not the debug one\n\
                    --noted    runs nothing: takes what was noted last, in target/figures";

fn main() -> Result<()> {
    let (mut is_release, mut is_noted) = (false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--release" => is_release = true,
            "--noted" => is_noted = true,
            _ => bail!("{HELP}"),
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?;
    let target = root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let directory = target.join("figures");
    if !is_noted {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        run_all(root, &directory, is_release)?;
    }
    write(root, &directory, if is_release { "released" } else { "debug" })
}

/// Each test once, those of one program together.
fn run_all(root: &Path, directory: &Path, is_release: bool) -> Result<()> {
    let mut programs: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
    for row in fault_matrix::rows(TABLE) {
        for (package, program, path) in row.tests.iter().filter_map(Test::addressed) {
            let paths = programs.entry((package, program)).or_default();
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    for ((package, program), paths) in programs {
        // The very cargo that runs us, whatever is on the PATH.
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).env(figure::DIRECTORY, directory).arg("test");
        cargo.args(is_release.then_some("--release")).args(["--package", &package, "--test", program, "--"]);
        // One after the other: they measure times.
        cargo.args(["--include-ignored", "--test-threads", "1", "--exact"]).args(paths);
        let status = cargo.status().with_context(|| format!("{cargo:?}"))?;
        if !status.success() {
            bail!("{cargo:?}: {status}");
        }
    }
    Ok(())
}

fn write(root: &Path, directory: &Path, build: &str) -> Result<()> {
    let mut rows = Vec::new();
    for row in fault_matrix::rows(TABLE) {
        let figures = figure::noted(directory, row.id)?;
        rows.push((row, figures));
    }
    let missing: Vec<&str> = rows.iter().filter(|(_, figures)| figures.is_empty()).map(|(row, _)| row.id).collect();
    if !missing.is_empty() {
        bail!("nothing is noted of {}", missing.join(", "));
    }
    let about = format!("headcount {}, {build} build, on {}, {}.", env!("CARGO_PKG_VERSION"), machine(), today()?);
    let file: PathBuf = root.join("docs/guarantees.md");
    let page = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let page = fault_matrix::with_table(&page, &fault_matrix::page_table(&rows, &about));
    fs::write(&file, page.context("docs/guarantees.md has no marks between which the table goes")?)?;
    println!("{}: {} rows", file.display(), rows.len());
    Ok(())
}

fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown CPU", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} × {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

fn today() -> Result<String> {
    let date = Command::new("date").args(["-u", "+%F"]).output().context("date")?;
    Ok(String::from_utf8(date.stdout)?.trim().to_owned())
}
