//! Pure: what a check has found, and how all of it is told.

use serde::Serialize;
use std::fmt;

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It could not be looked at, or is not for this node.
    Skipped,
    /// Nothing is to be done.
    Ok,
    /// It works, and will hurt some day.
    Warn,
    /// It does not work, or loses something.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check this is; stays the same from version to version.
    pub id: &'static str,
    /// Of what: a node of the ring, a listener, a file. Empty where there is only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// How it stands.
    pub status: Status,
    /// What was found, as one sentence.
    pub found: String,
    /// What to do about it: with [`Status::Warn`] and [`Status::Fail`].
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    /// Nothing is to be done.
    pub fn ok(id: &'static str, of: &str, found: impl Into<String>) -> Finding {
        Finding { id, of: of.to_owned(), status: Status::Ok, found: found.into(), advice: None }
    }

    /// It could not be looked at; the sentence says why.
    pub fn skipped(id: &'static str, of: &str, found: impl Into<String>) -> Finding {
        Finding { id, of: of.to_owned(), status: Status::Skipped, found: found.into(), advice: None }
    }

    /// It will hurt some day.
    pub fn warn(id: &'static str, of: &str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { id, of: of.to_owned(), status: Status::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    /// It hurts.
    pub fn fail(id: &'static str, of: &str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { id, of: of.to_owned(), status: Status::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many are of this status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|finding| finding.status == status).count()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Skipped => "skip",
            Status::Ok => "ok  ",
            Status::Warn => "WARN",
            Status::Fail => "FAIL",
        };
        let of = if self.of.is_empty() { String::new() } else { format!(" {}", self.of) };
        write!(out, "{status} {}{of}: {}", self.id, self.found)?;
        self.advice.as_ref().map_or(Ok(()), |advice| write!(out, "\n     do: {advice}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
        let [ok, warn, fail, skipped] = [Status::Ok, Status::Warn, Status::Fail, Status::Skipped].map(|status| self.count(status));
        write!(out, "{ok} ok, {warn} to look at, {fail} failed, {skipped} skipped")
    }
}

/// Bytes as people read them.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(size, _)| bytes >= *size);
    unit.map_or(format!("{bytes} B"), |(size, name)| format!("{}.{} {name}", bytes / size, bytes % size * 10 / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_each_finding_and_what_to_do() {
        let report = Report {
            findings: vec![
                Finding::ok("disk-fsync", "", "takes 1 ms"),
                Finding::fail("redis-reachable", "redis-a", "connection refused", "start it"),
            ],
        };
        let text = "ok   disk-fsync: takes 1 ms\nFAIL redis-reachable redis-a: connection refused\n     do: start it\n\
                    1 ok, 0 to look at, 1 failed, 0 skipped";
        assert_eq!(report.to_string(), text);
        let json = r#"{"findings":[{"id":"disk-fsync","status":"ok","found":"takes 1 ms"},{"id":"redis-reachable","of":"redis-a","status":"fail","found":"connection refused","do":"start it"}]}"#;
        assert_eq!(serde_json::to_string(&report).unwrap(), json);
    }

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_fits() {
        for (number, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (u64::MAX, "17179869183.9 GiB")] {
            assert_eq!(bytes(number), text);
        }
    }
}
