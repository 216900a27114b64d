//! Gateways and counter nodes that find each other by etcd.

use crate::region::{PATIENCE, is, readyz};
use reqwest::Client;
use serde_json::{Value, json};
use testkit::{EtcdServer, Node, NodeOptions, RedisServer, eventually};

const KEY: &str = "the key of this cluster";

async fn node(name: &str, role: &str, etcd: &EtcdServer, seeds: &[String]) -> Node {
    let config_toml = format!(
        "[node]\nname = \"{name}\"\nregion = \"eu\"\nroles = [\"{role}\"]\n[counter]\nkey = \"{KEY}\"\nseeds = {}\n[etcd]\nendpoints = [\"{}\"]\n",
        json!(seeds),
        etcd.url()
    );
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

async fn registered(etcd: &EtcdServer) -> String {
    etcd.ctl(&["get", "/headcount/eu/counters/", "--prefix"]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_seeds_counts_at_the_nodes_that_etcd_tells_of_and_goes_on_without_etcd() {
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = Client::builder().no_proxy().build().unwrap();
    let mut etcd = EtcdServer::start().await;
    // Without a ring a gateway of a cluster is not ready.
    let redis = RedisServer::start(&[]).await;
    let ring =
        json!({ "format": "ring/v1", "epoch": 1, "phase": "stable", "nodes": [{ "id": "r0", "url": redis.url(), "incarnation": 1 }] });
    etcd.ctl(&["put", "/headcount/eu/ring", &ring.to_string()]).await.unwrap();
    let gateway = node("g1", "gateway", &etcd, &[]).await;
    is(readyz(&gateway).await, "no counter node of this region is known").unwrap();
    let counts = async || {
        eventually(PATIENCE, async || {
            let url = gateway.url() + "/v1/counters/likes/add";
            let answer = http.post(url).json(&json!({ "by": 1 })).send().await.map_err(|error| error.to_string())?;
            let answer = answer.json::<Value>().await.map_err(|error| error.to_string())?;
            answer["value"].as_i64().ok_or_else(|| answer.to_string())
        })
        .await
    };
    let mut first = node("c1", "counter", &etcd, &[]).await;
    assert_eq!(counts().await, 1);
    let address = first.peer.unwrap().to_string();
    assert_eq!(registered(&etcd).await, format!("/headcount/eu/counters/c1\n{{\"region\":\"eu\",\"address\":\"{address}\"}}\n"));

    // A node that comes later is found, and counts when the first one is gone: its key is gone with it.
    let second = node("c2", "counter", &etcd, &[address]).await;
    eventually(PATIENCE, async || is(gateway.log(), &second.peer.unwrap().to_string())).await;
    eventually(PATIENCE, async || if second.metric("headcount_counter_peers").await > 0.5 { Ok(()) } else { Err("alone") }).await;
    assert_eq!(counts().await, 2);
    assert_eq!(first.terminate().await.code(), Some(0));
    let left = registered(&etcd).await;
    assert!(left.contains("counters/c2") && !left.contains("counters/c1"), "{left}");
    assert!(counts().await >= 3);

    // Whoever tells of nodes may be mistaken: a good connection stays, and the node says again that it is there.
    etcd.ctl(&["del", "/headcount/eu/counters/", "--prefix"]).await.unwrap();
    eventually(PATIENCE, async || is(gateway.log(), "counter nodes: none are told of")).await;
    eventually(PATIENCE, async || is(registered(&etcd).await, "counters/c2")).await;
    assert!(counts().await >= 4);
    let connected = gateway.log().lines().filter(|line| line.contains("counter node: connected")).count();
    assert_eq!(connected, 2, "{}", gateway.log());

    // Nobody waits for etcd, and whoever is connected stays so.
    etcd.kill().await;
    assert!(counts().await >= 5);
    etcd.restart().await;
    assert!(counts().await >= 6);
    eventually(PATIENCE, async || {
        let up = gateway.metric("headcount_etcd_up").await;
        if up > 0.5 { Ok(()) } else { Err(format!("up: {up}")) }
    })
    .await;
    is(readyz(&gateway).await, "\"status\":\"ready\"").unwrap();
}
