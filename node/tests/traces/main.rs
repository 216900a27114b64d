//! Traces of the real binary, at a collector: whose requests have spans, what those tell and what they never tell, and that nobody
//! waits for a collector.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod collector;

use anyhow::{Result, ensure};
use collector::{Collector, Seen};
use core::net::SocketAddr;
use gateway::auth::{Secret, sign_hs256};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Node, NodeOptions, Visitor, eventually, http};

const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "Wq83nRtLp5-key-of-a-service";
const SECRET: &str = "Vb27kMzXs9-signing-secret-of-thirty-two-bytes";
/// The caller's span.
const CALLER: &str = "00f067aa0ba902b7";

async fn node(endpoint: &str, more: &str) -> Node {
    let auth = format!("[auth]\napi_keys = [{KEY:?}]\nhmac_secrets = [{SECRET:?}]\n[node]\nname = \"n1\"\nregion = \"eu\"\n");
    let config_toml = format!("{auth}[shutdown]\ndrain_s = 0\n[traces]\nendpoint = {endpoint:?}\n{more}");
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

/// The header of a caller's trace, which has this digit all over.
fn traceparent(digit: char, flags: &str) -> String {
    format!("traceparent: 00-{}-{CALLER}-{flags}\r\n", trace(digit))
}

fn trace(digit: char) -> String {
    digit.to_string().repeat(32)
}

async fn call(address: SocketAddr, path: &str, headers: &str, body: &Value) -> http::Answer {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    http::ask(address, &format!("{head}{headers}\r\n{body}")).await.unwrap()
}

/// The same of a service with its key, which is not refused.
async fn ask(node: &Node, path: &str, headers: &str, body: &Value) {
    let answer = call(node.client, path, &format!("X-API-Key: {KEY}\r\n{headers}"), body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
}

/// The spans of a trace, once it has this many.
async fn spans(collector: &Collector, trace: &str, count: usize) -> Vec<Seen> {
    eventually(PATIENCE, async || -> Result<Vec<Seen>> {
        let all = collector.spans();
        let spans: Vec<Seen> = all.iter().filter(|span| span.trace == trace).cloned().collect();
        ensure!(spans.len() == count, "{count} spans of {trace} wanted: {all:#?}");
        Ok(spans)
    })
    .await
}

fn named<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

fn attributes(span: &Seen) -> Value {
    json!(span.attributes)
}

#[tokio::test]
async fn a_callers_trace_goes_on_in_our_spans_which_tell_nothing_of_what_was_said() {
    let collector = Collector::start(true).await;
    let node = node(&collector.url, "sample = 0\n").await;
    let (message, token) = (json!({ "data": { "text": "Zk64-the-message" } }), uuid::Uuid::now_v7().to_string());
    let addition = json!({ "by": 3, "token": token });

    // Nobody's trace, one that its caller does not record, and one of somebody who may not call: before all others, so that their
    // spans would have come before theirs.
    ask(&node, "/v1/channels/secret-room/messages", "", &message).await;
    ask(&node, "/v1/channels/secret-room/messages", &traceparent('a', "00"), &message).await;
    assert_eq!(call(node.client, "/v1/channels/secret-room/messages", &traceparent('b', "01"), &message).await.status, 401);

    let headers = format!("Idempotency-Key: Yj53-only-once\r\n{}", traceparent('1', "01"));
    ask(&node, "/v1/channels/secret-room/messages", &headers, &message).await;
    ask(&node, "/v1/counters/secret-likes/add", &traceparent('2', "01"), &addition).await;
    ask(&node, "/api/publish", &traceparent('3', "01"), &json!({ "channel": "secret-room", "data": "Zk64-the-message" })).await;
    let ops = json!({ "ops": [{ "key": "secret-likes", "by": 1 }, { "key": "secret-views", "by": 1 }] });
    ask(&node, "/v1/counters/batch", &traceparent('4', "01"), &ops).await;
    let headers = format!("X-API-Key: {KEY}\r\n{}", traceparent('5', "01"));
    assert_eq!(call(node.client, "/v1/channels/unknown:room/messages", &headers, &message).await.status, 404);

    let published = spans(&collector, &trace('1'), 2).await;
    let request = named(&published, "POST /v1/channels/{channel}/messages");
    assert_eq!(request.parent, CALLER);
    let expected =
        json!({ "http.request.method": "POST", "http.route": "/v1/channels/{channel}/messages", "http.response.status_code": "200" });
    assert_eq!(attributes(request), expected);
    let resource = json!({ "service.name": "headcount", "service.version": env!("CARGO_PKG_VERSION"), "service.instance.id": "n1", "headcount.region": "eu" });
    assert_eq!(json!(request.resource), resource);
    let append = named(&published, "append");
    assert_eq!((&append.parent, attributes(append)), (&request.id, json!({ "store": "embedded" })));

    let added = spans(&collector, &trace('2'), 3).await;
    let (request, count, commit) = (named(&added, "POST /v1/counters/{key}/add"), named(&added, "count"), named(&added, "commit"));
    assert_eq!([&request.parent, &count.parent, &commit.parent], [CALLER, &request.id, &count.id]);
    assert_eq!((attributes(count), attributes(commit)), (json!({ "place": "here" }), json!({})));

    let published = spans(&collector, &trace('3'), 2).await;
    assert_eq!(named(&published, "append").parent, named(&published, "POST /api/publish").id);
    let added = spans(&collector, &trace('4'), 2).await;
    assert_eq!(attributes(named(&added, "count")), json!({ "place": "here", "ops": "2" }));
    let refused = spans(&collector, &trace('5'), 1).await;
    assert_eq!(
        (&refused[0].attributes["http.response.status_code"][..], &refused[0].attributes["error.type"][..]),
        ("404", "unknown_channel")
    );

    let mut traces: Vec<String> = collector.spans().into_iter().map(|span| span.trace).collect();
    traces.sort();
    traces.dedup();
    assert_eq!(traces, ['1', '2', '3', '4', '5'].map(trace));
    let raw = collector.raw();
    for secret in [KEY, SECRET, "Zk64", "Yj53", "secret-", token.as_str()] {
        assert!(!raw.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret} was sent");
    }
    // The collector has them before the node has its answer.
    eventually(PATIENCE, async || match node.metric("headcount_trace_spans_total{result=\"sent\"}").await {
        10.0 => Ok(()),
        sent => Err(sent),
    })
    .await;
}

#[tokio::test]
async fn clients_commands_are_sampled_with_names_if_those_are_wanted_until_a_sighup_changes_it() {
    let collector = Collector::start(true).await;
    let node = node(&collector.url, "sample = 1\nnames = true\n").await;
    let user_token = sign_hs256(&Secret::new(SECRET), &json!({ "sub": "Tg31-ann" }));
    let connect = json!({ "id": 1, "connect": { "token": user_token } }).to_string();
    let mut ann = Visitor::begin(node.client, None, None, &connect).await.unwrap().visitor();
    for command in [
        json!({ "id": 2, "subscribe": { "channel": "room" } }),
        json!({ "id": 3, "publish": { "channel": "room", "data": "Sf20-hello" } }),
        json!({ "id": 4, "rpc": { "method": "counter.add", "data": { "key": "likes", "by": 1 } } }),
    ] {
        let answer = ann.ask(&command.to_string()).await.unwrap();
        assert_eq!(answer.get("error"), None, "{answer}");
    }
    let seen = eventually(PATIENCE, async || -> Result<Vec<Seen>> {
        let seen = collector.spans();
        ensure!(seen.len() == 7, "{seen:#?}");
        Ok(seen)
    })
    .await;
    let connection = &named(&seen, "connect").attributes["connection"];
    for name in ["connect", "subscribe", "publish", "counter.add"] {
        let span = named(&seen, name);
        assert_eq!((&span.parent[..], attributes(span)), ("", json!({ "connection": connection })), "{name}");
    }
    let (append, count) = (named(&seen, "append"), named(&seen, "count"));
    assert_eq!((&append.parent, &append.trace), (&named(&seen, "publish").id, &named(&seen, "publish").trace));
    assert_eq!((&append.attributes["channel"][..], &count.attributes["counter"][..]), ("room", "likes"));
    let raw = collector.raw();
    for secret in ["Sf20", "Tg31", user_token.as_str()] {
        assert!(!raw.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret} was sent");
    }

    let before = node.metric("headcount_config_reloads_total{result=\"ok\"}").await;
    let config = format!("[auth]\napi_keys = [{KEY:?}]\nhmac_secrets = [{SECRET:?}]\n[traces]\nsample = 0\n[log]\nlevel = \"debug\"\n");
    node.configure(&config);
    node.signal_hangup().await;
    eventually(PATIENCE, async || {
        let reloads = node.metric("headcount_config_reloads_total{result=\"ok\"}").await;
        if reloads > before { Ok(()) } else { Err("not read again yet") }
    })
    .await;
    ask(&node, "/v1/counters/likes/add", "", &json!({})).await;
    ask(&node, "/v1/counters/likes/add", &traceparent('9', "01"), &json!({})).await;
    spans(&collector, &trace('9'), 3).await;
    assert_eq!(collector.spans().len(), 10, "{:#?}", collector.spans());
    // A line of a request has its trace, also one that is not recorded.
    let headers = format!("X-API-Key: {KEY}\r\n{}", traceparent('7', "00"));
    assert_eq!(call(node.client, "/v1/counters/unknown:likes/add", &headers, &json!({})).await.status, 404);
    let line = eventually(PATIENCE, async || {
        let log = node.log();
        let line = log.lines().find(|line| line.contains("a request was refused")).map(str::to_owned);
        line.ok_or("no such line yet")
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["span"]["trace_id"], &line["error"]), (&json!(trace('7')), &json!("unknown_channel")), "{line}");
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_away_or_hangs_and_what_is_lost_is_counted() {
    let hanging = Collector::start(false).await;
    let (mut away, mut waiting) = tokio::join!(node("http://127.0.0.1:9", ""), node(&hanging.url, ""));
    for (node, reason) in [(&away, "unreachable"), (&waiting, "timeout")] {
        for _ in 0..20 {
            ask(node, "/v1/counters/likes/add", &traceparent('1', "01"), &json!({})).await;
        }
        let failures = format!("headcount_trace_export_failures_total{{reason=\"{reason}\"}}");
        eventually(PATIENCE, async || {
            let (failures, lost) = (node.metric(&failures).await, node.metric("headcount_trace_spans_total{result=\"failed\"}").await);
            ensure!(failures >= 1.0 && lost >= 3.0, "{failures} failures, {lost} spans lost");
            ensure!(node.log().contains("spans are not taken by traces.endpoint"), "{}", node.log());
            Ok(())
        })
        .await;
        assert_eq!(node.metric("headcount_trace_spans_total{result=\"sent\"}").await, 0.0);
    }
    assert!(away.terminate().await.success());
    // An export that is under way when the node ends is given up.
    let received = hanging.raw().len();
    ask(&waiting, "/v1/counters/likes/add", &traceparent('1', "01"), &json!({})).await;
    eventually(PATIENCE, async || if hanging.raw().len() > received { Ok(()) } else { Err("nothing is under way yet") }).await;
    assert!(waiting.terminate().await.success());
    assert!(waiting.log().contains("the last spans were not sent"), "{}", waiting.log());
}
