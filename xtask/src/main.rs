//! I/O: `cargo xtask test | bench | faults | fuzz | soak`: everything that checks the repository, in one place.
//! It depends on nothing, so that it builds in a second and runs before anything else does.

mod fuzzing;
mod steps;
mod tools;

use std::{process::ExitCode, time::Instant};

const HELP: &str = "\
cargo xtask test [--only STEP[,STEP]] [--skip STEP[,STEP]]
                       everything that CI checks, in order, up to the first failure
cargo xtask bench [BENCHMARK …]
                       measures the released binary; without arguments everything, into benches/reports/
cargo xtask faults [--minutes N] [--seed S] [--lost-disks N]
                       replicas of the released binary under whatever may go wrong; without arguments for ten minutes, and
                       a thousand lost disks, then changes of the ring under heavy traffic, into benches/reports/, and
                       the fault matrix, and the long tests of a region, fifty random runs of presence among them
cargo xtask faults --matrix [--release] [--noted]
                       the tests of testkit/FAULTS.md, one after the other, with what each fault was seen to cost written into
                       docs/guarantees.md; with --noted only that, of the tests that ran last
cargo xtask faults --alerts
                       a fault for every alert, before a real Prometheus, into benches/reports/alerts.md; needs root
cargo xtask fuzz [--seconds N] [TARGET]
                       every fuzz target, or one, for 60 seconds each; needs a nightly toolchain and cargo-fuzz
cargo xtask soak [--minutes N] [--seed S]
                       two regions of the released binary with everything at once; without arguments for an hour, into
                       benches/reports/soak.md

Steps of `test`:
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test" | "faults" | "fuzz" | "soak", "--help" | "-h", ..] => {
            println!("{}", help());
            ExitCode::SUCCESS
        }
        ["test", options @ ..] => match selection(options) {
            Ok(selected) => run(&selected),
            Err(reason) => {
                eprintln!("xtask: {reason}\n\n{}", help());
                ExitCode::from(64)
            }
        },
        ["bench", options @ ..] => exit_code(&steps::bench(options)),
        ["faults", options @ ..] => exit_code(&steps::faults(options)),
        ["fuzz", options @ ..] => exit_code(&fuzzing::fuzz(options)),
        ["soak", options @ ..] => exit_code(&steps::soak(options)),
        ["help" | "--help" | "-h"] => {
            println!("{}", help());
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{}", help());
            ExitCode::from(64)
        }
    }
}

/// Runs the steps in order, each under its heading and with its time, up to the first failure.
fn run(selected: &[&steps::Step]) -> ExitCode {
    let mut times = Vec::new();
    for step in selected {
        println!("\n=== {}: {}", step.name, step.what);
        let (seconds, outcome) = timed(step.run);
        if let Err(reason) = outcome {
            eprintln!("\n=== {} FAILED after {seconds:.0} s: {reason}", step.name);
            return ExitCode::FAILURE;
        }
        println!("=== {} took {seconds:.0} s", step.name);
        times.push(format!("{} {seconds:.0} s", step.name));
    }
    println!("\n=== all is well: {}", times.join(", "));
    ExitCode::SUCCESS
}

#[allow(clippy::disallowed_methods)] // A stopwatch for people; nothing decides by it.
fn timed(run: fn() -> Result<(), String>) -> (f64, Result<(), String>) {
    let start = Instant::now();
    let outcome = run();
    (start.elapsed().as_secs_f64(), outcome)
}

fn selection(options: &[&str]) -> Result<Vec<&'static steps::Step>, String> {
    let (only, skip) = match options {
        [] => (None, Vec::new()),
        ["--only", names] => (Some(named(names)?), Vec::new()),
        ["--skip", names] => (None, named(names)?),
        _ => return Err(format!("unknown arguments: {}", options.join(" "))),
    };
    let is_selected = |step: &&steps::Step| only.as_ref().is_none_or(|only| only.contains(&step.name)) && !skip.contains(&step.name);
    Ok(steps::ALL.iter().filter(is_selected).collect())
}

fn named(names: &str) -> Result<Vec<&'static str>, String> {
    let step =
        |name: &str| steps::ALL.iter().find(|step| step.name == name).map(|step| step.name).ok_or_else(|| format!("no step {name:?}"));
    names.split(',').map(step).collect()
}

fn help() -> String {
    let steps = steps::ALL.iter().map(|step| format!("  {:<10} {}\n", step.name, step.what));
    HELP.to_owned() + &steps.collect::<String>()
}

fn exit_code(outcome: &Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &[&str]) -> Result<Vec<&'static str>, String> {
        selection(options).map(|steps| steps.iter().map(|step| step.name).collect())
    }

    #[test]
    fn all_steps_run_unless_some_are_selected() {
        assert_eq!(
            names(&[]).unwrap(),
            ["tools", "fmt", "clippy", "build", "rust", "simulation", "schedules", "deploy", "node", "cluster", "deny"]
        );
        assert_eq!(names(&["--only", "rust,fmt"]).unwrap(), ["fmt", "rust"]);
        assert_eq!(
            names(&["--skip", "tools,deny,node"]).unwrap(),
            ["fmt", "clippy", "build", "rust", "simulation", "schedules", "deploy", "cluster"]
        );
        assert_eq!(names(&["--only", "rsut"]).unwrap_err(), "no step \"rsut\"");
        assert_eq!(names(&["--onyl", "rust"]).unwrap_err(), "unknown arguments: --onyl rust");
    }
}
