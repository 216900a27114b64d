//! What services and operators do leaves its line in the audit log, and no more than that.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};
use testkit::{Node, NodeOptions, SmallDisk, eventually, http, resp::Resp};

const PATIENCE: Duration = Duration::from_secs(60);
/// The key of the service, and the beginning of its SHA-256.
const KEY: &str = "a key of the service";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn node(path: &Path) -> Node {
    let config_toml = format!(
        "[auth]\napi_keys = [\"{KEY}\"]\nhmac_secrets = [\"a secret of thirty-two bytes or so\"]\n[audit]\npath = {:?}\n",
        path.display().to_string()
    );
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

async fn call(node: &Node, request: &str, headers: &str, body: &Value) -> u16 {
    let (address, body) = (node.client, body.to_string());
    let head = format!("{request} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    http::ask(address, &format!("{head}{headers}\r\n{body}")).await.unwrap().status
}

fn with_key(more: &str) -> String {
    format!("X-API-Key: {KEY}\r\n{more}")
}

/// Waits until there are so many lines.
async fn lines(path: &Path, count: usize) -> Vec<Value> {
    eventually(PATIENCE, async || -> Result<Vec<Value>> {
        let text = fs::read_to_string(path)?;
        ensure!(text.lines().count() == count && text.ends_with('\n'), "{count} lines wanted:\n{text}");
        Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    })
    .await
}

/// A line without what is another one each time, which must be there.
fn stable(mut line: Value) -> Value {
    let fields = line.as_object_mut().unwrap();
    assert!(fields.remove("time_ms").and_then(|time| time.as_u64()).unwrap() > 1_700_000_000_000);
    assert!(fields.remove("remote").unwrap().as_str().unwrap().starts_with("127.0.0.1:"));
    line
}

#[tokio::test]
#[rustfmt::skip] // a table
async fn every_kind_of_call_leaves_its_line_and_reads_leave_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let node = node(&path).await;
    let key = protocol::audit::fingerprint(KEY);
    let trace = format!("Idempotency-Key: once\r\nTraceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\nX-Forwarded-For: 203.0.113.9\r\n");
    let http = |method: &str, route: &str, more: Value| {
        let mut line = json!({ "door": "http", "api_key": key, "method": method, "route": route, "status": 200 });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let token = "0190163d-8694-739b-aea5-966c26f8ad91";
    let mut expected = Vec::new();

    assert_eq!(call(&node, "POST /v1/channels/room/messages", &with_key(&trace), &json!({ "data": { "body": "of a message" } })).await, 200);
    expected.push(http("POST", "/v1/channels/{channel}/messages", json!({ "channels": ["room"], "tokens": ["once"], "trace_id": TRACE, "forwarded_for": "203.0.113.9" })));
    assert_eq!(call(&node, "POST /v1/counters/likes/add", &with_key(""), &json!({ "by": 2 })).await, 200);
    expected.push(http("POST", "/v1/counters/{key}/add", json!({ "counters": ["likes"] })));
    assert_eq!(call(&node, "POST /v1/counters/likes/add", &with_key(""), &json!({ "by": 1, "token": token })).await, 410);
    expected.push(http("POST", "/v1/counters/{key}/add", json!({ "counters": ["likes"], "tokens": [token], "status": 410, "error": "token_expired" })));
    assert_eq!(call(&node, "POST /v1/counters/batch", &with_key(""), &json!({ "ops": [{ "key": "a" }, { "key": "b" }] })).await, 200);
    expected.push(http("POST", "/v1/counters/batch", json!({ "counters": ["a", "b"] })));
    assert_eq!(call(&node, "POST /api/broadcast", &with_key(""), &json!({ "channels": ["x", "y"], "data": 1 })).await, 200);
    expected.push(http("POST", "/api/broadcast", json!({ "channels": ["x", "y"] })));
    assert_eq!(call(&node, "POST /api/publish", &with_key(""), &json!({ "channel": "nowhere:x", "data": 1 })).await, 200);
    expected.push(http("POST", "/api/publish", json!({ "channels": ["nowhere:x"], "error": "unknown_channel" })));
    assert_eq!(call(&node, "DELETE /v1/users/alice", &with_key(""), &json!({})).await, 200);
    expected.push(http("DELETE", "/v1/users/{user}", json!({ "users": ["alice"] })));
    // Reads leave none, but for one with a key that nobody has.
    assert_eq!(call(&node, "GET /v1/counters/likes", &with_key(""), &json!({})).await, 200);
    assert_eq!(call(&node, "POST /api/history", &with_key(""), &json!({ "channel": "room" })).await, 200);
    assert_eq!(call(&node, "GET /v1/counters/likes", "X-API-Key: a wrong one\r\n", &json!({})).await, 401);
    expected.push(json!({ "door": "http", "method": "GET", "route": "/v1/counters/{key}", "counters": ["likes"], "status": 401, "error": "unauthorized" }));
    // Redis clients: additions leave none.
    let mut redis = Resp::default();
    let address = node.resp.unwrap();
    redis.command(address, &["AUTH", "a wrong one"]).await.unwrap();
    expected.push(json!({ "door": "resp", "method": "AUTH", "error": "WRONGPASS" }));
    redis.command(address, &["AUTH", KEY]).await.unwrap();
    redis.command(address, &["INCR", "likes"]).await.unwrap();
    redis.command(address, &["DEL", "likes", "nothing"]).await.unwrap();
    expected.push(json!({ "door": "resp", "api_key": key, "method": "DEL", "counters": ["likes", "nothing"] }));
    assert_eq!(http::post(node.admin, "/counters/forget/eu/c9", &json!({})).await.unwrap().status, 404);
    expected.push(json!({ "door": "admin", "method": "POST", "route": "/counters/forget/{region}/{node}", "members": ["eu/c9"], "status": 404, "error": "not_found" }));

    let found: Vec<Value> = lines(&path, expected.len()).await.into_iter().map(stable).collect();
    assert_eq!(found, expected);
    let text = fs::read_to_string(&path).unwrap();
    for secret in [KEY, "a wrong one", "of a message"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn sighup_goes_on_in_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("audit.jsonl"), directory.path().join("audit.jsonl.1"));
    let node = node(&path).await;
    assert_eq!(call(&node, "POST /v1/counters/one/add", &with_key(""), &json!({})).await, 200);
    lines(&path, 1).await;
    fs::rename(&path, &moved).unwrap();
    node.signal_hangup().await;
    eventually(PATIENCE, async || fs::metadata(&path)).await;
    assert_eq!(call(&node, "POST /v1/counters/two/add", &with_key(""), &json!({})).await, 200);
    assert_eq!(lines(&path, 1).await[0]["counters"], json!(["two"]));
    assert_eq!(lines(&moved, 1).await[0]["counters"], json!(["one"]));
}

#[tokio::test]
async fn a_full_disk_stops_no_call_and_the_log_says_how_much_is_missing() {
    let disk = SmallDisk::mount(1 << 20).await.unwrap();
    let path = disk.seen_from_outside().join("audit.jsonl");
    let node = node(&path).await;
    disk.fill().unwrap();
    for _ in 0..3 {
        assert_eq!(call(&node, "POST /v1/counters/likes/add", &with_key(""), &json!({})).await, 200);
    }
    let failed = "headcount_audit_entries_total{result=\"failed\"}";
    eventually(PATIENCE, async || -> Result<()> {
        let metric = node.metric(failed).await;
        ensure!(metric == 3.0, "{metric} failed");
        Ok(())
    })
    .await;
    assert_eq!(node.log().matches("the audit log cannot be written").count(), 1);
    disk.free().unwrap();
    assert_eq!(call(&node, "POST /v1/counters/likes/add", &with_key(""), &json!({})).await, 200);
    let text = eventually(PATIENCE, async || -> Result<String> {
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains("{\"lost\":3,") && text.contains("\"status\":200"), "{text:?}");
        Ok(text)
    })
    .await;
    assert_eq!(text.matches("\"lost\":").count(), 1);
}
