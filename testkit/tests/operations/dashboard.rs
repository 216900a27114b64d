//! The dashboard: its queries ask for metrics that exist, and Grafana takes it as it is.

use crate::{
    expressions::{are_expressions, unknown},
    root,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// What the panels of a row are about.
const ROWS: [&str; 8] = ["Overview", "Clients", "Delivery", "Presence", "Counters", "Ring", "Regions", "Runtime"];
/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("deploy/grafana/headcount.json")).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().collect()
}

fn is_row(panel: &Value) -> bool {
    panel["type"] == "row"
}

#[test]
fn every_query_asks_for_metrics_and_labels_that_exist() {
    let dashboard = dashboard();
    let mut expressions = Vec::new();
    for panel in panels(&dashboard).into_iter().filter(|panel| !is_row(panel)) {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{} shows nothing", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(unknown(expression), [""; 0], "{}: {expression}", panel["title"]);
            assert_eq!(unknown(&legend_as_query(expression, target["legendFormat"].as_str().unwrap())), [""; 0], "{}", panel["title"]);
            expressions.push(expression.replace("$__rate_interval", "1m"));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|variable| variable["type"] == "query") {
        assert_eq!(unknown(variable["definition"].as_str().unwrap()), [""; 0], "{}", variable["name"]);
        assert_eq!(variable["definition"], variable["query"]["query"]);
    }
    are_expressions(&expressions);
}

/// A legend names labels that a series has only if its query groups by them or its metric has them.
fn legend_as_query(expression: &str, legend: &str) -> String {
    let labels: Vec<&str> = legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0)).collect();
    format!("sum by ({}) ({expression})", if labels.is_empty() { "job".to_owned() } else { labels.join(", ") })
}

#[test]
fn grafana_finds_unique_panels_side_by_side_and_a_datasource_that_one_chooses() {
    let dashboard = dashboard();
    assert_eq!(dashboard["schemaVersion"], 39);
    let panels = panels(&dashboard);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id stands twice");
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= COLUMNS && place("w") > 0 && place("h") > 0, "{}", panel["title"]);
        for (x, y) in (place("x")..place("x") + place("w")).flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y))) {
            assert!(taken.insert((x, y)), "{} lies over another panel", panel["title"]);
        }
        let sources = panel["targets"].as_array().into_iter().flatten().chain((!is_row(panel)).then_some(*panel));
        sources.for_each(|source| assert_eq!(source["datasource"]["uid"], "${datasource}", "{}", panel["title"]));
    }
    let rows: Vec<&str> = panels.iter().filter(|panel| is_row(panel)).map(|panel| panel["title"].as_str().unwrap()).collect();
    assert_eq!(rows, ROWS);
    let variables: Vec<&Value> = dashboard["templating"]["list"].as_array().unwrap().iter().map(|variable| &variable["type"]).collect();
    assert_eq!(variables, ["datasource", "query", "query"]);
}
