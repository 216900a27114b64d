//! `headcount doctor` against real servers that are well, and against what will hurt.

#![allow(clippy::unwrap_used)] // All of this is a test.

mod certificates;
mod etcd;
mod host;
mod region;

use serde_json::Value;
use std::{collections::BTreeMap, process::Stdio};
use testkit::node::binary;
use tokio::process::Command;

/// The page that explains each check.
const PAGE: &str = include_str!("../../../docs/doctor.md");

/// What one run has told.
pub(crate) struct Told {
    pub(crate) code: i32,
    /// Status, words and advice by check and what it is of.
    pub(crate) findings: BTreeMap<(String, String), Value>,
    /// All of stdout and stderr.
    pub(crate) text: String,
}

impl Told {
    /// The status of a check, and all that it says.
    pub(crate) fn of(&self, id: &str, of: &str) -> (&str, String) {
        let finding = self.findings.get(&(id.to_owned(), of.to_owned()));
        let finding = finding.unwrap_or_else(|| panic!("{id} {of} is not told of: {}", self.text));
        (finding["status"].as_str().unwrap(), finding.to_string())
    }

    pub(crate) fn assert(&self, id: &str, of: &str, status: &str, words: &str) {
        let (found, text) = self.of(id, of);
        assert!(found == status && text.contains(words), "{text} is not {status} with {words:?}");
        assert_eq!(self.findings[&(id.to_owned(), of.to_owned())]["do"].is_string(), ["warn", "fail"].contains(&status), "{text}");
    }

    /// Which checks fail.
    pub(crate) fn failed(&self) -> Vec<(&str, &str)> {
        let failed = self.findings.iter().filter(|(_, finding)| finding["status"] == "fail");
        failed.map(|((id, of), _)| (id.as_str(), of.as_str())).collect()
    }
}

/// The program, with these variables and no other of its own.
pub(crate) fn command(variables: &[(&str, &str)]) -> Command {
    command_of(Command::new(binary().unwrap()), variables)
}

/// The same for a program that runs it.
pub(crate) fn command_of(mut command: Command, variables: &[(&str, &str)]) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADCOUNT_")) {
        command.env_remove(name);
    }
    // What this machine allows is not what these tests are about.
    command.env("HEADCOUNT_LIMITS__CONNECTIONS", "100");
    for listener in ["CLIENT", "RESP", "ADMIN", "PEER"] {
        command.env(format!("HEADCOUNT_LISTEN__{listener}"), "127.0.0.1:0");
    }
    for (name, value) in variables {
        command.env(name, value);
    }
    command.args(["doctor", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) async fn doctor(variables: &[(&str, &str)]) -> Told {
    told(command(variables)).await
}

pub(crate) async fn told(mut command: Command) -> Told {
    let output = command.output().await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let findings: BTreeMap<(String, String), Value> =
        findings.map(|finding| ((text(finding, "id"), text(finding, "of")), finding.clone())).collect();
    for (id, _) in findings.keys() {
        assert!(PAGE.contains(&format!("| `{id}` |")), "{id} is not in docs/doctor.md");
    }
    Told { code: output.status.code().unwrap(), findings, text: out + &err }
}
