//! I/O: `cargo xtask fuzz`: the fuzz targets, one after the other.

use crate::steps::{root, run};
use std::{
    fs,
    process::{Command, Stdio},
};

/// Seconds for each target, unless they are given.
const SECONDS: u64 = 60;
/// Bytes of an input.
const LENGTH_MAX: u64 = 65_536;
/// What one allocation may take, whatever the input says.
const MALLOC_MIB_MAX: u64 = 64;

/// Runs every target, or the one that is named, for so many seconds each.
pub(crate) fn fuzz(options: &[&str]) -> Result<(), String> {
    let (seconds, only) = chosen(options)?;
    if !works("rustup", &["run", "nightly", "rustc", "--version"]) {
        return Err("fuzzing needs a nightly toolchain: `rustup toolchain install nightly --profile minimal`".to_owned());
    }
    if !works("cargo", &["fuzz", "--version"]) {
        return Err("fuzzing needs cargo-fuzz: `cargo install cargo-fuzz --locked`".to_owned());
    }
    let corpora = root().join("fuzz/corpus");
    let folders = fs::read_dir(&corpora).map_err(|error| format!("{}: {error}", corpora.display()))?;
    let mut targets: Vec<String> = folders.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    targets.sort_unstable();
    if let Some(only) = only {
        targets.retain(|target| *target == only);
    }
    if targets.is_empty() {
        return Err(format!("no such target; each is a folder of {}", corpora.display()));
    }
    targets.iter().try_for_each(|target| {
        let (found, seeds) = (format!("fuzz/target/found/{target}"), format!("fuzz/corpus/{target}"));
        fs::create_dir_all(root().join(&found)).map_err(|error| format!("{found}: {error}"))?;
        let [time, length, memory] =
            [format!("-max_total_time={seconds}"), format!("-max_len={LENGTH_MAX}"), format!("-malloc_limit_mb={MALLOC_MIB_MAX}")];
        let arguments = ["+nightly", "fuzz", "run", target, &found, &seeds, "--", &time, &length, &memory, "-print_final_stats=1"];
        run("cargo", &arguments, &root())
    })
}

/// Seconds and the target.
fn chosen<'a>(options: &[&'a str]) -> Result<(u64, Option<&'a str>), String> {
    let (seconds, rest) = match options {
        ["--seconds", seconds, rest @ ..] => (seconds.parse().map_err(|_| format!("--seconds {seconds} is no whole number"))?, rest),
        rest => (SECONDS, rest),
    };
    match rest {
        [] => Ok((seconds, None)),
        [target] if !target.starts_with('-') => Ok((seconds, Some(target))),
        rest => Err(format!("unknown arguments: {}", rest.join(" "))),
    }
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_targets_run_for_a_minute_unless_it_is_said_otherwise() {
        assert_eq!(chosen(&[]), Ok((60, None)));
        assert_eq!(chosen(&["peer_message"]), Ok((60, Some("peer_message"))));
        assert_eq!(chosen(&["--seconds", "5", "peer_message"]), Ok((5, Some("peer_message"))));
        assert_eq!(chosen(&["--seconds", "x"]).unwrap_err(), "--seconds x is no whole number");
        assert_eq!(chosen(&["--second"]).unwrap_err(), "unknown arguments: --second");
        assert_eq!(chosen(&["a", "b"]).unwrap_err(), "unknown arguments: a b");
    }
}
