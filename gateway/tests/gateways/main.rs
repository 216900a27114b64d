//! Two gateways over one Redis node, as clients and services see them.

#![allow(clippy::unwrap_used, unreachable_pub)] // All of this is a test, also what stands outside of #[test] functions.

#[path = "../bus_rig/mod.rs"]
mod bus_rig;
mod served;

use bus_rig::{PATIENCE, layout, stable};
use serde_json::{Value, json};
use served::{Served, Socket, Stream};
use testkit::{RedisServer, http};

async fn two() -> (RedisServer, [Served; 2]) {
    let server = RedisServer::start(&[]).await;
    let gateways = [Served::start("g1").await, Served::start("g2").await];
    for gateway in &gateways {
        gateway.rig.apply(&stable(1, layout(&[("redis-a", &server)])));
    }
    // They hear each other.
    testkit::eventually(PATIENCE, async || match server.cli(&["PUBSUB", "NUMSUB", "hc:ctl"]).await.unwrap() {
        testkit::resp::Reply::List(parts) if parts[1] == testkit::resp::Reply::Integer(2) => Ok(()),
        reply => Err(format!("{reply:?}")),
    })
    .await;
    (server, gateways)
}

async fn api(at: &Served, method: &str, body: Value) -> Value {
    let answer = http::post(at.address, &format!("/api/{method}"), &body).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_message_crosses_from_http_to_a_socket_and_is_recovered_elsewhere() {
    let (_server, [one, two]) = two().await;
    let mut socket = Socket::connect(&one, "ann").await;
    socket.send(json!({ "id": 2, "subscribe": { "channel": "room" } })).await;
    let subscribed = socket.until(|reply| reply["id"] == 2).await;
    let epoch = subscribed["subscribe"]["epoch"].clone();
    assert_eq!(epoch.as_str().unwrap().len(), 8, "{subscribed}");
    for number in 1..=3 {
        let answer = http::post(two.address, "/v1/channels/room/messages", &json!({ "data": number })).await.unwrap();
        assert_eq!(answer.json(), json!({ "offset": number, "epoch": epoch }));
        let push = socket.until(|reply| reply["push"]["pub"].is_object()).await;
        assert_eq!((&push["push"]["pub"]["data"], &push["push"]["pub"]["offset"]), (&json!(number), &json!(number)));
    }
    let mut socket = Socket::connect(&two, "ann").await;
    socket.send(json!({ "id": 2, "subscribe": { "channel": "room", "recover": true, "epoch": epoch, "offset": 1 } })).await;
    let recovered = socket.until(|reply| reply["id"] == 2).await;
    assert_eq!(recovered["subscribe"]["recovered"], true, "{recovered}");
    let data: Vec<&Value> = recovered["subscribe"]["publications"].as_array().unwrap().iter().map(|message| &message["data"]).collect();
    assert_eq!(data, [&json!(2), &json!(3)]);
}

#[tokio::test]
async fn a_service_reaches_connections_of_another_gateway() {
    let (_server, [one, two]) = two().await;
    let (mut ann, mut bob) = (Socket::connect(&one, "ann").await, Socket::connect(&one, "bob").await);
    for socket in [&mut ann, &mut bob] {
        socket.send(json!({ "id": 2, "subscribe": { "channel": "room" } })).await;
        socket.until(|reply| reply["id"] == 2).await;
    }
    assert_eq!(api(&two, "unsubscribe", json!({ "user": "ann", "channel": "room" })).await, json!({ "result": {} }));
    let push = ann.until(|reply| reply["push"].is_object()).await;
    assert_eq!(push["push"]["unsubscribe"]["code"], 2000);
    assert_eq!(api(&two, "disconnect", json!({ "user": "ann" })).await, json!({ "result": {} }));
    assert_eq!(ann.closed().await, 3503);
    assert_eq!(api(&two, "disconnect", json!({ "user": "" })).await["error"]["code"], 107);
    http::post(two.address, "/v1/channels/room/messages", &json!({ "data": "for bob" })).await.unwrap();
    let push = bob.until(|reply| reply["push"].is_object()).await;
    assert_eq!(push["push"]["pub"]["data"], "for bob", "nobody else was touched");
}

#[tokio::test]
async fn a_frame_of_an_emulated_connection_may_arrive_at_another_gateway() {
    let (_server, [one, two]) = two().await;
    let mut stream = Stream::open(&one, "ann").await;
    let connected = stream.until(|reply| reply["connect"].is_object()).await;
    let (node, session) = (connected["connect"]["node"].clone(), connected["connect"]["session"].clone());
    assert_eq!(node, "g1");
    let command = json!({ "id": 2, "subscribe": { "channel": "room" } }).to_string();
    let emulation = |node: &Value| json!({ "node": node, "session": session, "data": command });
    let answer = http::post(two.address, "/emulation", &emulation(&node)).await.unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    stream.until(|reply| reply["id"] == 2 && reply["subscribe"].is_object()).await;
    let answer = http::post(two.address, "/emulation", &emulation(&json!("g3"))).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (404, "unknown node\n"));
}

#[tokio::test]
async fn without_redis_a_client_is_told_to_come_again_and_a_service_gets_503() {
    let (mut server, [one, _two]) = two().await;
    let mut socket = Socket::connect(&one, "ann").await;
    server.kill().await;
    socket.send(json!({ "id": 2, "subscribe": { "channel": "room" } })).await;
    let publishing = async { http::post(one.address, "/v1/channels/room/messages", &json!({ "data": 1 })).await.unwrap() };
    let (refused, answer) = tokio::join!(socket.until(|reply| reply["id"] == 2), publishing);
    assert_eq!((&refused["error"]["code"], &refused["error"]["temporary"]), (&json!(401), &json!(true)));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &json!("storage_unavailable")));
    socket.send(json!({ "id": 3, "rpc": { "method": "presence.page", "data": { "channel": "room" } } })).await;
    socket.until(|reply| reply["id"] == 3).await;
}

#[tokio::test]
async fn an_event_source_is_told_of_a_gap_and_a_socket_subscribes_again() {
    let (server, [one, two]) = two().await;
    let mut socket = Socket::connect(&one, "ann").await;
    socket.send(json!({ "id": 2, "subscribe": { "channel": "short:room" } })).await;
    socket.until(|reply| reply["id"] == 2).await;
    let mut events = Stream::events(&one, "short:room").await;
    http::post(two.address, "/v1/channels/short:room/messages", &json!({ "data": 1 })).await.unwrap();
    events.until_text("event: message").await;
    server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    for number in 2..=9 {
        http::post(two.address, "/v1/channels/short:room/messages", &json!({ "data": number })).await.unwrap();
    }
    let push = socket.until(|reply| reply["push"]["unsubscribe"].is_object()).await;
    assert_eq!(push["push"]["unsubscribe"]["code"], 2500);
    events.until_text("event: gap").await;
    http::post(two.address, "/v1/channels/short:room/messages", &json!({ "data": "after" })).await.unwrap();
    events.until_text("\"after\"").await;
}
