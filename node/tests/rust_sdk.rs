//! The published SDK for Rust, which nobody here wrote, over each transport in each form of the protocol.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use centrifuge::{Client, ClientBuilder, Error, HistoryOptions, Protocol, ServerError, StreamPosition, Subscription, TransportEndpoint};
use gateway::auth::{Secret, sign_hs256};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use testkit::{Node, NodeOptions, eventually};
use tokio::sync::mpsc;

const SECRET: &str = "a secret of at least thirty-two bytes";
const WAIT: Duration = Duration::from_secs(10);
const CONFIG: &str = r#"
    [auth]
    hmac_secrets = ["a secret of at least thirty-two bytes"]
    api_keys = ["a-service"]
    [[namespace]]
    name = "read"
    publish = "service"
"#;

fn token(claims: &Value) -> String {
    sign_hs256(&Secret::new(SECRET.to_owned()), claims)
}

#[allow(clippy::disallowed_methods)] // tokens are judged by the node's real clock
fn seconds_from_now(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds
}

/// Builders of a client for each transport and form.
fn each(node: &Node) -> Vec<(&'static str, ClientBuilder)> {
    let websocket = || TransportEndpoint::websocket(format!("ws://{}/connection/websocket", node.client));
    let http_stream = || TransportEndpoint::http_stream(format!("http://{}/connection/http_stream", node.client));
    let build = |endpoint, protocol| Client::builder_with_transports([endpoint]).protocol(protocol);
    vec![
        ("WebSocket, Protobuf", build(websocket(), Protocol::Protobuf)),
        ("WebSocket, JSON", build(websocket(), Protocol::Json)),
        ("http_stream, Protobuf", build(http_stream(), Protocol::Protobuf)),
        ("http_stream, JSON", build(http_stream(), Protocol::Json)),
    ]
}

async fn connected(builder: ClientBuilder, user: &str) -> Client {
    let client = builder.token(token(&json!({ "sub": user, "info": { "name": user } }))).build().unwrap();
    client.connect().unwrap();
    client.ready(Some(WAIT)).await.unwrap();
    client
}

async fn subscribed(subscription: &Subscription) {
    subscription.subscribe();
    subscription.ready(Some(WAIT)).await.unwrap();
}

fn code<T>(result: Result<T, Error>) -> u32 {
    match result {
        Err(Error::Server(ServerError { code, .. })) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("was accepted"),
    }
}

async fn service(node: &Node, path: &str, body: &Value) -> Value {
    let url = format!("http://{}{path}", node.client);
    let request = reqwest::Client::new().post(url).header("X-API-Key", "a-service").json(body);
    request.send().await.unwrap().json().await.unwrap()
}

async fn node() -> Node {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Node::start(NodeOptions { config_toml: CONFIG.into(), ..NodeOptions::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_publishes_in_order_sees_members_pages_history_calls_methods_and_hears_refusals() {
    let node = node().await;
    for (index, (how, builder)) in each(&node).into_iter().enumerate() {
        let room = format!("room-{index}");
        let ann = connected(builder, "ann").await;
        let (heard, mut messages) = mpsc::channel(100);
        let (told, mut members) = mpsc::channel(100);
        let left = told.clone();
        let subscription = ann
            .new_subscription(room.as_str())
            .recoverable(true)
            .join_leave(true)
            .on_publication(move |_, message| heard.try_send((message.offset, message.json::<u64>().unwrap())).unwrap())
            .on_join(move |_, join| told.try_send(format!("+{}", join.info.user)).unwrap())
            .on_leave(move |_, leave| left.try_send(format!("-{}", leave.info.user)).unwrap())
            .build()
            .unwrap();
        subscribed(&subscription).await;
        assert_eq!(members.recv().await.unwrap(), "+ann", "{how}");

        for number in 1..=20_u64 {
            subscription.publish_json(&number).await.unwrap();
        }
        for number in 1..=20_u64 {
            assert_eq!(messages.recv().await.unwrap(), (number, number), "{how}");
        }
        let bob = connected(Client::builder(format!("ws://{}/connection/websocket", node.client)), "bob").await;
        let his = bob.new_subscription(room.as_str()).build().unwrap();
        subscribed(&his).await;
        assert_eq!(members.recv().await.unwrap(), "+bob", "{how}");
        let stats = subscription.presence_stats().await.unwrap();
        assert_eq!((stats.num_clients, stats.num_users), (2, 2), "{how}");
        assert_eq!(subscription.presence().await.unwrap().clients.len(), 2, "{how}");
        his.unsubscribe();
        assert_eq!(members.recv().await.unwrap(), "-bob", "{how}");

        let history = subscription.history(HistoryOptions::default().limit(3).reverse(true)).await.unwrap();
        assert_eq!(history.publications.iter().map(|p| p.offset).collect::<Vec<_>>(), [20, 19, 18], "{how}");
        let position = StreamPosition::new(18, history.epoch.clone());
        let history = subscription.history(HistoryOptions::default().all().since(position)).await.unwrap();
        assert_eq!(history.publications.iter().map(|p| p.offset).collect::<Vec<_>>(), [19, 20], "{how}");

        let like: Value = ann.rpc_json("counter.add", &json!({ "key": room, "by": 2 })).await.unwrap();
        assert_eq!(like["value"], 2, "{how}");
        assert_eq!(code(ann.rpc("no.such", "{}").await), 104, "{how}");
        assert_eq!(code(ann.publish("read:news", "1").await), 103, "{how}");
        assert_eq!(code(ann.publish("nowhere:news", "1").await), 102, "{how}");
        assert_eq!(code(ann.publish("a room", "1").await), 107, "{how}");
        ann.close().await;
        bob.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_recovers_what_it_missed_and_is_told_when_that_is_lost() {
    let mut node = node().await;
    for (index, (how, builder)) in each(&node).into_iter().enumerate() {
        let (room, user) = (format!("missed-{index}"), format!("away-{index}"));
        let client = connected(builder.min_reconnect_delay(Duration::from_millis(300)), &user).await;
        let (heard, mut messages) = mpsc::channel(100);
        let (again, mut resumed) = mpsc::channel(10);
        let subscription = client
            .new_subscription(room.as_str())
            .recoverable(true)
            .on_publication(move |_, message| heard.try_send(message.json::<u64>().unwrap()).unwrap())
            .on_subscribed(move |_, event| again.try_send((event.was_recovering, event.recovered)).unwrap())
            .build()
            .unwrap();
        subscribed(&subscription).await;
        assert_eq!(resumed.recv().await.unwrap(), (false, false), "{how}");
        // 3011 sends it away and invites it back; what is published meanwhile is what it missed.
        let answer =
            service(&node, "/api/disconnect", &json!({ "user": user, "disconnect": { "code": 3011, "reason": "force reconnect" } })).await;
        assert!(answer.get("error").is_none(), "{how}: {answer}");
        for number in 1..=5 {
            service(&node, "/api/publish", &json!({ "channel": room, "data": number })).await;
        }
        for number in 1..=5 {
            assert_eq!(messages.recv().await.unwrap(), number, "{how}");
        }
        if index == 0 {
            assert_eq!(resumed.recv().await.unwrap(), (true, true), "{how}");
            node.kill9().await;
            node.restart().await;
            assert_eq!(resumed.recv().await.unwrap(), (true, false), "{how}: the history went with the process");
        }
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_refreshes_tokens_and_ends_for_good_where_it_should() {
    let node = node().await;
    for (how, builder) in each(&node) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let client = builder
            .token(token(&json!({ "sub": "ann", "exp": seconds_from_now(2) })))
            .get_token(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                async { Ok(Some(token(&json!({ "sub": "ann", "exp": seconds_from_now(600) })))) }
            })
            .build()
            .unwrap();
        client.connect().unwrap();
        client.ready(Some(WAIT)).await.unwrap();
        eventually(WAIT, async || if calls.load(Ordering::SeqCst) == 1 { Ok(()) } else { Err("no new token was asked for") }).await;
        assert_eq!(client.state(), centrifuge::State::Connected, "{how}");
        client.close().await;
    }
    for (how, builder) in each(&node) {
        let (ended, mut end) = mpsc::channel(1);
        let client = builder.token("not.a.token").on_disconnected(move |_, event| ended.try_send(event.code).unwrap()).build().unwrap();
        client.connect().unwrap();
        assert_eq!(end.recv().await, Some(3500), "{how}");
        client.close().await;
    }
}

#[tokio::test]
async fn the_example_does_what_it_says() {
    let node = Node::start(NodeOptions::default()).await;
    // Tests are in target/<profile>/deps/, examples beside it.
    let example = std::env::current_exe().unwrap().with_file_name("../examples/lobby");
    let run = tokio::process::Command::new(example).env("HEADCOUNT_URL", format!("ws://{}", node.client)).output();
    let said =
        run.await.expect("`cargo test` builds the example, `cargo test --test` does not: `cargo build -p headcount-node --examples`");
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{out}{err}");
    for line in ["connected as client ", "message 1: ", "after my like: \"1\"", "disconnected: "] {
        assert!(out.contains(line), "{line:?} in {out}");
    }
}
