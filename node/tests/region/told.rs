//! What `GET /v1/ring` tells: the same as `headcount ring status`, and what the gateway knows itself.

use anyhow::{Context, ensure};
use core::net::SocketAddr;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Node, NodeOptions, Region, RegionOptions, eventually, http};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a listener answers, which must be as the OpenAPI document says.
async fn ring(listener: SocketAddr) -> Value {
    let answer = http::get(listener, "/v1/ring").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let document: Value = serde_json::from_str(include_str!("../../../gateway/openapi.json")).unwrap();
    let body = serde_json::from_str(&answer.body).unwrap();
    let offences = offences(&document["components"]["schemas"]["Ring"], &body, "");
    assert!(offences.is_empty(), "{offences:?}: {body}");
    body
}

/// Where a value is not as its schema says; a field that the schema does not name is one.
fn offences(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allows = |allowed: &Value| allowed == kind || (allowed == "number" && kind == "integer");
    let is_allowed = match &schema["type"] {
        Value::Null => return Vec::new(),
        Value::Array(several) => several.iter().any(allows),
        one => allows(one),
    };
    let mut found = Vec::new();
    if !is_allowed || schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        found.push(format!("{at}: {value}"));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(offences(&schema["items"], item, &format!("{at}[]")));
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match schema["properties"].get(name) {
            Some(schema) => found.extend(offences(schema, field, &at)),
            None => found.push(format!("{at} is not in the document")),
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    found.extend(required.filter(|name| value.is_object() && value.get(name).is_none()).map(|name| format!("{at}.{name} is missing")));
    found
}

/// That of the answer which etcd knows too.
fn status(ring: &Value) -> Value {
    let of = |name: &str| (name.to_owned(), ring[name].clone());
    Value::Object(["epoch", "phase", "nodes", "gateways", "wanted", "answer"].map(of).into_iter().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_tells_what_the_command_tells_and_how_it_stands_itself() {
    let mut region = Region::start(RegionOptions { redis_nodes: 2, gateways: 2, ..RegionOptions::default() }).await;
    let g0 = (region.gateways[0].client, region.gateways[0].admin);
    for listener in [g0.0, g0.1, region.gateways[1].client] {
        eventually(PATIENCE, async || {
            let (told, expected) = (status(&ring(listener).await), region.ring_status().await?);
            ensure!(told["gateways"].as_array().context("gateways")?.len() == 2 && told == expected, "{told}\n{expected}");
            Ok(())
        })
        .await;
    }
    let here = eventually(PATIENCE, async || {
        let here = ring(g0.0).await["here"].clone();
        let nodes = here["nodes"].as_array().context("nodes")?;
        ensure!(nodes.iter().all(|node| node["opinion"]["vote"] == "up" && node["canary_lag_ms"].is_u64()), "{here}");
        ensure!(here["registered"] == true, "{here}");
        Ok(here)
    })
    .await;
    let told = ["gateway", "source", "standing", "trouble"].map(|name| here[name].clone());
    assert_eq!(told, [json!("g0"), json!("etcd"), json!("fresh"), Value::Null]);
    assert!(here["etcd_age_ms"].is_u64(), "{here}");
    let ids: Vec<&Value> = here["nodes"].as_array().unwrap().iter().map(|node| &node["id"]).collect();
    assert_eq!(ids, ["redis-0", "redis-1"]);
    assert!(here["nodes"].as_array().unwrap().iter().all(|node| node["connected"] == true && node["listening"] == true), "{here}");

    // A wish that waits for a gateway, and which one that is.
    region.gateways[1].freeze().await;
    region.start_redis("redis-2").await;
    region.ring(&["add", "redis-2", &region.redis["redis-2"].url(), "--force", "--wait", "0", "--by", "ann@ops"]).await.unwrap();
    eventually(PATIENCE, async || {
        let ring = ring(g0.0).await;
        let (mine, other) = (&ring["gateways"][0], &ring["gateways"][1]);
        ensure!(ring["wanted"]["by"] == "ann@ops" && ring["phase"] == "prepare" && mine["acked"] == ring["epoch"], "{ring}");
        let is_behind = |what: &str| other[what].as_u64() < ring["epoch"].as_u64();
        ensure!(mine["epoch"] == ring["epoch"] && is_behind("epoch") && is_behind("acked"), "{ring}");
        Ok(())
    })
    .await;
    region.gateways[1].thaw().await;

    // A node that is lost: who says so, and why.
    eventually(PATIENCE, async || {
        let ring = ring(g0.0).await;
        ensure!(
            ring["phase"] == "stable" && ring["wanted"].is_null() && ring["gateways"].as_array().context("gateways")?.len() == 2,
            "{ring}"
        );
        Ok(())
    })
    .await;
    region.redis.get_mut("redis-1").unwrap().kill().await;
    eventually(PATIENCE, async || {
        let ring = ring(g0.0).await;
        let (node, own) = (&ring["nodes"][1], &ring["here"]["nodes"][1]);
        let voters: Vec<&Value> = node["down_votes"].as_array().context("votes")?.iter().map(|vote| &vote["gateway"]).collect();
        ensure!(voters == ["g0", "g1"] && node["state"] == "down" && node["slots"] == 0, "{ring}");
        ensure!(own["opinion"]["vote"] == "down" && own["connected"] == false && own["listening"] == false, "{ring}");
        ensure!(own["opinion"]["reason"] == node["down_votes"][0]["reason"], "{ring}");
        Ok(())
    })
    .await;

    // Without etcd: its word grows old, and a gateway that starts goes by a copy, and knows of nobody else.
    region.etcd.stop().await;
    eventually(PATIENCE, async || {
        let ring = ring(g0.0).await;
        ensure!(ring["here"]["etcd_age_ms"].as_u64() > Some(11_000) && ring["here"]["registered"] == false, "{ring}");
        ensure!(ring["gateways"].as_array().context("gateways")?.len() == 2, "what was known last: {ring}");
        Ok(())
    })
    .await;
    region.gateways[1].restart().await;
    let ring = ring(region.gateways[1].client).await;
    assert!(["disk", "redis"].map(Value::from).contains(&ring["here"]["source"]), "{ring}");
    assert_eq!((&ring["here"]["etcd_age_ms"], &ring["gateways"], &ring["here"]["registered"]), (&Value::Null, &json!([]), &json!(false)));
    assert_eq!(ring["nodes"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_gateway_alone_has_no_ring_and_says_so_on_both_listeners_and_the_admin_one_asks_for_no_key() {
    let config_toml = "[auth]\napi_keys = [\"a key\"]\nhmac_secrets = [\"a secret of at least thirty-two bytes\"]\n";
    let node = Node::start(NodeOptions { config_toml: config_toml.into(), ..NodeOptions::default() }).await;
    assert_eq!(http::get(node.client, "/v1/ring").await.unwrap().status, 401);
    let told = ring(node.admin).await;
    let nothing = json!({ "epoch": 0, "phase": "stable", "nodes": [], "gateways": [], "wanted": null, "answer": null });
    assert_eq!((status(&told), &told["mode"], &told["here"]), (nothing, &json!("embedded"), &Value::Null));
}

#[tokio::test]
async fn a_node_without_clients_has_the_page_and_no_ring() {
    let config_toml = "[node]\nname = \"c1\"\nroles = [\"counter\"]\n[counter]\nkey = \"sixteen bytes it has\"\n";
    let node = Node::start(NodeOptions { config_toml: config_toml.into(), ..NodeOptions::default() }).await;
    assert_eq!(http::get(node.admin, "/v1/ring").await.unwrap().status, 404);
    let page = http::get(node.admin, "/ops").await.unwrap();
    assert!(page.status == 200 && page.body.starts_with("<!doctype html>"), "{} {}", page.status, page.body);
    // Each script and style that the page names, and each that those name, is there.
    let mut asked: Vec<String> = named(&page.body);
    let mut at = 0;
    while let Some(path) = asked.get(at).cloned() {
        let file = http::get(node.admin, &path).await.unwrap();
        assert_eq!(file.status, 200, "{path}");
        asked.extend(named(&file.body).into_iter().filter(|path| !asked.contains(path)).collect::<Vec<_>>());
        at += 1;
    }
    assert!(asked.len() > 5, "{asked:?}");
}

/// The files that a page or a script names.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split(['"', '\'']).filter(|word| word.ends_with(".js") || word.ends_with(".css"));
    let mut named: Vec<String> = quoted.map(|word| word.replacen("./", "/ops/", 1)).collect();
    named.dedup();
    named
}
