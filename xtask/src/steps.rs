//! I/O: the steps of `cargo xtask test`.

use crate::tools;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// One step: its name on the command line, what it does, and how.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn() -> Result<(), String>,
}

/// Every step, in the order of running: what fails fast first, what takes minutes to install last.
pub(crate) const ALL: [Step; 11] = [
    Step { name: "tools", what: "find or install what the tests need", run: tools::prepare },
    Step { name: "fmt", what: "cargo fmt --check", run: || cargo(&["fmt", "--all", "--check"]) },
    Step { name: "clippy", what: "cargo clippy, warnings denied", run: clippy },
    Step { name: "build", what: "build the binaries that tests start", run: || cargo(&["build", "--workspace", "--bins"]) },
    Step { name: "rust", what: "cargo test --workspace, to its end whatever fails", run: tests },
    Step { name: "simulation", what: "counters under ten thousand seeded runs of everything that may go wrong", run: simulation },
    Step { name: "schedules", what: "presence under thousands of seeded runs of faults, on real Redis servers", run: schedules },
    Step { name: "deploy", what: "what Helm, Compose, Kubernetes' schemas, promtool and systemd say to deploy/", run: deploy },
    Step { name: "node", what: "the published clients and the browser, if clients/tests is there", run: || node(&[]) },
    Step { name: "cluster", what: "the same against two gateways, three Redis nodes and etcd", run: cluster },
    Step { name: "deny", what: "cargo deny: bans, licences, sources", run: deny },
];

/// Every benchmark with the report that it writes.
const BENCHMARKS: [[&str; 2]; 9] = [
    ["bus", "benches/reports/bus.md"],
    ["counters", "benches/reports/counters.md"],
    ["fanout", "benches/reports/fanout.md"],
    ["growth", "benches/reports/growth.md"],
    ["overload", "benches/reports/overload.md"],
    ["presence", "benches/reports/presence.md"],
    ["regions", "benches/reports/regions.md"],
    ["replication", "benches/reports/replication.md"],
    ["ring", "benches/reports/ring.md"],
];

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The JavaScript tests, once there are some.
pub(crate) fn node_tests() -> Option<PathBuf> {
    Some(root().join("clients/tests")).filter(|directory| directory.join("package.json").exists())
}

/// Runs a program in `directory` with our own output; an error unless it ends with 0.
pub(crate) fn run(program: &str, arguments: &[&str], directory: &Path) -> Result<(), String> {
    run_with(&[], program, arguments, directory)
}

fn run_with(env: &[(&str, PathBuf)], program: &str, arguments: &[&str], directory: &Path) -> Result<(), String> {
    println!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program).args(arguments).envs(env.iter().cloned()).current_dir(directory).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{program} {}`: {status}", arguments.join(" "))),
        Err(error) => Err(format!("cannot run {program}: {error}")),
    }
}

/// Builds the released binary and runs `headcount-bench` on it; without `options`, every benchmark, and their reports are written.
pub(crate) fn bench(options: &[&str]) -> Result<(), String> {
    cargo(&["build", "--release", "--package", "headcount-node", "--package", "headcount-benches"])?;
    let program = target().join("release/headcount-bench").display().to_string();
    if options.is_empty() {
        BENCHMARKS.iter().try_for_each(|[name, report]| run(&program, &[name, "--report", report], &root()))
    } else {
        run(&program, options, &root())
    }
}

/// The same with the nemesis of `headcount-bench faults`; without options, also with changes of the ring under heavy traffic, the fault
/// matrix with its figures, every alert, what else the tests have no time for, and fifty random runs of presence.
pub(crate) fn faults(options: &[&str]) -> Result<(), String> {
    if let ["--matrix", more @ ..] = options {
        return matrix(more);
    }
    if options == ["--alerts"] {
        return alerts();
    }
    if !options.is_empty() {
        return bench(&[&["faults"][..], options].concat());
    }
    bench(&["faults", "--minutes", "10", "--lost-disks", "1000", "--report", "benches/reports/faults.md"])?;
    bench(&["moves", "--report", "benches/reports/ring-moves.md"])?;
    matrix(&["--release"])?;
    alerts()?;
    let region = ["--package", "headcount-node", "--test", "region"];
    cargo(&[&["test"], &region[..], &["--", "--ignored", "--skip", "presence_random"]].concat())?;
    cargo(&[
        "test",
        "--package",
        "headcount-node",
        "--test",
        "regions",
        "--test",
        "hostile",
        "--",
        "--ignored",
        "--skip",
        "again_and_again",
    ])?;
    // One line for each run.
    cargo(&[&["test", "--release"], &region[..], &["presence_random", "--", "--ignored", "--nocapture"]].concat())
}

/// The soak of `headcount-bench`; without options for an hour, with its report.
pub(crate) fn soak(options: &[&str]) -> Result<(), String> {
    let whole = ["--minutes", "60", "--report", "benches/reports/soak.md"];
    bench(&[&["soak"][..], if options.is_empty() { &whole } else { options }].concat())
}

/// The tests of testkit/FAULTS.md, and what they have measured into docs/guarantees.md; a row without a figure is an error.
fn matrix(options: &[&str]) -> Result<(), String> {
    cargo(&[&["run", "--package", "headcount-testkit", "--bin", "fault-matrix", "--"], options].concat())
}

/// Every alert, before a real Prometheus, into benches/reports/alerts.md; an alert that does not fire is an error. The nodes are the binary
/// that cargo builds with the test.
fn alerts() -> Result<(), String> {
    cargo(&["test", "--package", "headcount-node", "--test", "alerts", "--", "--ignored", "--nocapture"])
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    // The very cargo that runs us, whatever is on the PATH.
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(&program, arguments, &root())
}

/// A run takes half an hour: it tells all that failed, not the first.
fn tests() -> Result<(), String> {
    cargo(&["test", "--workspace", "--no-fail-fast"])
}

/// Optimised: a run takes a millisecond then, and thirty without.
fn simulation() -> Result<(), String> {
    seeds("headcount-counter", "simulation", "10000")
}

/// Optimised, too; most of the time it is Redis that works.
fn schedules() -> Result<(), String> {
    seeds("headcount-presence", "schedules", "2000")
}

fn seeds(package: &str, test: &str, count: &str) -> Result<(), String> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["test", "--profile", "seeds", "--package", package, "--test", test];
    run_with(&[("HEADCOUNT_SEEDS", PathBuf::from(count))], &program, &arguments, &root())
}

fn clippy() -> Result<(), String> {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn cluster() -> Result<(), String> {
    node(&[("HEADCOUNT_CLUSTER", "1".into())])
}

/// The suites of clients/tests; `mode` says against what.
fn node(mode: &[(&str, PathBuf)]) -> Result<(), String> {
    let Some(directory) = node_tests() else {
        println!("clients/tests has no package.json yet: nothing to run");
        return Ok(());
    };
    // The binary that the step before built, whatever else lies about.
    let binary = std::env::var_os("HEADCOUNT_BIN").map_or_else(|| target().join("debug/headcount"), PathBuf::from);
    let own = [("HEADCOUNT_BIN", binary), ("HEADCOUNT_PYTHON", tools::python())];
    // Most of the time they wait for something.
    run_with(&[&own, mode].concat(), "node", &["--test", "--test-concurrency=2"], &directory)
}

/// With the Python packages that the tools install, so only where they do.
fn deploy() -> Result<(), String> {
    let python = tools::python();
    if !python.exists() {
        println!("left out: there is no {}; the step `tools` makes it", python.display());
        return Ok(());
    }
    let binary = target().join("debug/headcount").display().to_string();
    run(&python.display().to_string(), &["deploy/tests/check.py", "--headcount", &binary], &root())
}

fn deny() -> Result<(), String> {
    let program = tools::cargo_deny()?;
    run(&program, &["--all-features", "check", "bans", "licenses", "sources"], &root())
}
