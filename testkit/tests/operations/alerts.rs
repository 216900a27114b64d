//! Alerts: each asks for metrics that exist, says what to do, has a page and a test.

use crate::{
    expressions::{promtool, unknown},
    files, root,
};
use std::collections::{BTreeMap, BTreeSet};

/// What every page of an alert has, in this order.
const SECTIONS: [&str; 6] =
    ["## What users see", "## How to look", "## Causes, the likely ones first", "## What to do", "## How to know that it is over", ""];

/// One alert: its name, and its keys with their values. An alert may stand several times, for several severities.
struct Alert {
    name: String,
    keys: BTreeMap<String, String>,
}

fn alerts() -> Vec<Alert> {
    let rules = std::fs::read_to_string(root().join("deploy/prometheus/headcount.rules.yml")).unwrap();
    let alert = |text: &str| {
        let (name, text) = text.split_once('\n').unwrap();
        let pairs = text.lines().filter_map(|line| line.trim().split_once(": "));
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()));
        Alert { name: name.trim().to_owned(), keys: pairs.collect() }
    };
    rules.split("- alert: ").skip(1).map(alert).collect()
}

#[test]
fn every_alert_asks_for_what_exists_and_says_what_to_do_and_where_its_page_is() {
    let alerts = alerts();
    assert!(alerts.len() > 30, "the alerts were not found");
    for Alert { name, keys } in &alerts {
        assert_eq!(unknown(&keys["expr"]), [""; 0], "{name}: {}", keys["expr"]);
        let summary = &keys["summary"];
        assert!(summary.split_whitespace().count() > 8 && summary.ends_with('.'), "{name} does not say what to do: {summary}");
        assert_eq!(keys["runbook_url"], format!("docs/runbooks/{name}.md"));
        assert!(["page", "ticket"].iter().any(|severity| keys["labels"].contains(&format!("severity: {severity}"))), "{name}");
    }
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let names: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    let pages = files("docs/runbooks", "md");
    let titles: BTreeSet<String> = pages.iter().map(|(file, _)| file.trim_end_matches(".md").to_owned()).collect();
    assert_eq!(names, titles);
    for (file, page) in &pages {
        assert!(page.starts_with(&format!("# {}\n\n", file.trim_end_matches(".md"))), "{file} has another title");
        let mut rest = page.as_str();
        for section in SECTIONS {
            let (_, after) = rest.split_once(section).unwrap_or_else(|| panic!("{file} has no {section:?} where it belongs"));
            rest = after;
        }
        assert_eq!(testkit::metric_table::unknown(crate::METRICS, &named(page)), [""; 0], "{file}");
    }
}

/// The metrics that a page names, in queries and in text.
fn named(page: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut named = testkit::metric_table::asked(page);
    named.iter_mut().for_each(|(_, labels)| labels.retain(|label| !["job", "instance", "le"].contains(&label.as_str())));
    named
}

#[test]
fn every_query_of_a_page_is_an_expression() {
    let pages = files("docs/runbooks", "md");
    let queries = pages.iter().flat_map(|(_, page)| crate::objectives::queries(page));
    crate::expressions::are_expressions(&queries.collect::<Vec<_>>());
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let tests: String = files("deploy/prometheus/tests", "yml").into_iter().map(|(_, text)| text).collect();
    for Alert { name, .. } in alerts() {
        let about: Vec<&str> =
            tests.split("- expr: ").filter(|test| test.contains(&format!("alertname=\"{name}\",alertstate=\"firing\""))).collect();
        assert!(about.iter().any(|test| test.contains(&format!("labels: '{{alertname=\"{name}\""))), "{name} fires in no test");
        assert!(about.iter().any(|test| test.contains("exp_samples: []")), "{name} is silent in no test");
    }
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    let tests = files("deploy/prometheus/tests", "yml");
    let tests: Vec<String> = tests.into_iter().map(|(file, _)| format!("tests/{file}")).collect();
    assert!(!tests.is_empty());
    let tests = ["test", "rules"].into_iter().chain(tests.iter().map(String::as_str)).collect();
    for arguments in [vec!["check", "rules", "headcount.rules.yml"], tests] {
        if let Some((is_well, text)) = promtool(&arguments) {
            assert!(is_well, "promtool {}\n{text}", arguments.join(" "));
        }
    }
}
