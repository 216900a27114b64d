//! The tables of metrics: what people read is what is served, and what alerts ask for is there.

use anyhow::ensure;
use std::{collections::BTreeSet, time::Duration};
use testkit::{Authority, Disk, Identity, Node, NodeOptions, Region, RegionOptions, eventually, http, metric_table};

const TABLE: &str = include_str!("../../METRICS.md");
const RULES: &str = include_str!("../../../deploy/prometheus/headcount.rules.yml");

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_metrics_is_what_is_served() {
    let mut region = Region::start(RegionOptions { redis_nodes: 2, gateways: 1, ..RegionOptions::default() }).await;
    let authority = Authority::new("metrics");
    let Identity { cert, key } = authority.signs("127.0.0.1");
    let tls = format!("[tls]\nclient_cert = {cert:?}\nclient_key = {key:?}\n");
    let told = "[node]\nname = \"n1\"\n[regions]\npeers = [\"eu=127.0.0.1:9\"]\n[counter]\nkey = \"sixteen bytes it has\"\n\
                [webhooks]\nurl = \"http://127.0.0.1:9/\"\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\n";
    let alone = Node::start(NodeOptions { config_toml: tls + told, ..NodeOptions::default() }).await;
    let config_toml = format!(
        "[node]\nroles = [\"gateway\"]\n[counter]\nseeds = [\"127.0.0.1:9\"]\nkey = \"sixteen bytes it has\"\n[etcd]\nendpoints = [\"{}\"]\n",
        region.etcd.url()
    );
    let counting_elsewhere = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
    // Connections that ended have their reasons only then.
    region.restart_redis("redis-0", Disk::Empty).await;
    eventually(Duration::from_secs(30), async || {
        let mut served = String::new();
        for node in [&alone, &counting_elsewhere, &region.gateways[0]] {
            served += &http::get(node.admin, "/metrics").await?.body;
        }
        let differences = metric_table::differences(TABLE, &served);
        ensure!(differences.is_empty(), "{differences:#?}");
        Ok(())
    })
    .await;
}

/// The alerts by their names: expression and summary.
fn alerts() -> Vec<(String, String, String)> {
    let value = |alert: &str, key: &str| {
        let line = alert.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let split = RULES.split("- alert: ").skip(1);
    split.map(|alert| (alert.lines().next().unwrap().to_owned(), value(alert, "expr"), value(alert, "summary"))).collect()
}

#[test]
fn every_metric_and_label_that_an_alert_asks_for_is_in_the_table_and_every_alert_says_what_to_do() {
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|(name, ..)| name.as_str()).collect();
    let expected = [
        "HeadcountCanaryMissed",
        "HeadcountCoordinatorFrozen",
        "HeadcountFalseLeaves",
        "HeadcountNoLeader",
        "HeadcountPresenceBehind",
        "HeadcountPublicationsLost",
        "HeadcountRegionUnreachable",
        "HeadcountRingEpochsDiffer",
        "HeadcountRingNotStable",
        "HeadcountRingStale",
        "HeadcountRingUneven",
        "HeadcountTwoLeaders",
        "HeadcountWebhooksFailing",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    for (name, expression, summary) in &alerts {
        let asked = metric_table::asked(expression);
        assert!(!asked.is_empty(), "{name} asks for nothing: {expression}");
        assert_eq!(metric_table::unknown(TABLE, &asked), [""; 0], "{name}: {expression}");
        assert!(summary.split_whitespace().count() > 8 && summary.ends_with('.'), "{name} does not say what to do: {summary}");
    }
}
