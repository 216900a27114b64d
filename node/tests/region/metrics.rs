//! The table of metrics: what people read is what is served. What alerts ask for is compared with it in `testkit/tests/operations`.

use anyhow::ensure;
use std::time::Duration;
use testkit::{Authority, Disk, Identity, Node, NodeOptions, Region, RegionOptions, eventually, http, metric_table};

const TABLE: &str = include_str!("../../METRICS.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_metrics_is_what_is_served() {
    let mut region = Region::start(RegionOptions { redis_nodes: 2, gateways: 1, ..RegionOptions::default() }).await;
    let authority = Authority::new("metrics");
    let Identity { cert, key } = authority.signs("127.0.0.1");
    let tls = format!("[tls]\nclient_cert = {cert:?}\nclient_key = {key:?}\n");
    let told = "[node]\nname = \"n1\"\n[regions]\npeers = [\"eu=127.0.0.1:9\"]\n[counter]\nkey = \"sixteen bytes it has\"\n\
                [webhooks]\nurl = \"http://127.0.0.1:9/\"\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\n";
    let audit = tempfile::NamedTempFile::new().unwrap();
    let told = format!(
        "{tls}{told}[[sink]]\nurl = \"postgres://127.0.0.1:9/x\"\n[traces]\nendpoint = \"http://127.0.0.1:9\"\n[audit]\npath = {:?}\n",
        audit.path()
    );
    let alone = Node::start(NodeOptions { config_toml: told, ..NodeOptions::default() }).await;
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
        // What the probe serves has a table of its own.
        let of_nodes = TABLE.split("## The probe").next().unwrap_or_default();
        let differences = metric_table::differences(of_nodes, &served);
        ensure!(differences.is_empty(), "{differences:#?}");
        Ok(())
    })
    .await;
}
