//! What an expression of Prometheus asks for, and what promtool says to it.

use crate::{METRICS, root};
use std::{collections::BTreeSet, process::Command};
use testkit::metric_table;

/// Labels that Prometheus puts on everything, and that of buckets.
const PROMETHEUS: [&str; 3] = ["job", "instance", "le"];
/// Metrics that are not ours.
const OTHERS: [&str; 1] = ["up"];

/// What is wrong with the metrics and labels of `expression`, those that it groups by included; nothing if they exist.
pub(crate) fn unknown(expression: &str) -> Vec<String> {
    let mut asked = metric_table::asked(expression);
    let groups = expression.match_indices("by (").filter_map(|(at, start)| expression[at + start.len()..].split_once(')'));
    let grouped: BTreeSet<String> = groups.flat_map(|(labels, _)| labels.split(',')).map(|label| label.trim().to_owned()).collect();
    for (_, labels) in &mut asked {
        labels.extend(grouped.iter().cloned());
        labels.retain(|label| !PROMETHEUS.contains(&label.as_str()));
    }
    if asked.is_empty() && !OTHERS.iter().any(|other| expression.contains(other)) {
        return vec![format!("{expression:?} asks for nothing")];
    }
    metric_table::unknown(METRICS, &asked)
}

/// Runs promtool in deploy/prometheus. `None`: it is not installed, which a line says; with `CI` set that is a failure.
pub(crate) fn promtool(arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new("promtool").args(arguments).current_dir(root().join("deploy/prometheus")).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            Some((output.status.success(), text.into_owned()))
        }
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("left out: promtool cannot be run ({error}); `cargo xtask test --only tools` installs it");
            None
        }
        Err(error) => panic!("promtool: {error}"),
    }
}

/// Whether promtool takes all of them for expressions.
pub(crate) fn are_expressions(expressions: &[String]) {
    let rule = |(index, expression): (usize, &String)| {
        let quoted = serde_json::to_string(expression).unwrap();
        format!("      - {{ record: \"checked:{index}\", expr: {quoted} }}\n")
    };
    let rules: String = expressions.iter().enumerate().map(rule).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("groups:\n  - name: checked\n    rules:\n{rules}")).unwrap();
    if let Some((is_well, text)) = promtool(&["check", "rules", file.path().to_str().unwrap()]) {
        assert!(is_well, "{text}\n{rules}");
    }
}

#[test]
fn what_does_not_exist_is_told() {
    assert_eq!(unknown("sum by (job, wire) (headcount_connections{instance=\"g1\",wire=\"json\"})"), [""; 0]);
    assert_eq!(unknown("sum by (colour) (headcount_connections)"), ["headcount_connections{colour}"]);
    assert_eq!(unknown("headcount_no_such_metric"), ["headcount_no_such_metric"]);
    assert_eq!(unknown("vector(1)"), ["\"vector(1)\" asks for nothing"]);
}
