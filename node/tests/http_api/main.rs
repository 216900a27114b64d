//! The HTTP API through the public door: every route that the OpenAPI document names, and everything it refuses.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

mod client;
mod feed;
mod refusals;
mod top;

use client::{Api, PATIENCE, Stream, answer, documented, fits, includes, token};
use serde_json::{Value, json};
use testkit::eventually;

#[tokio::test]
#[rustfmt::skip] // a table
async fn every_documented_route_does_what_it_says() {
    let mut api = Api::start("[[namespace]]\nname = \"liked\"\ntype = \"unique\"\n[[namespace]]\nname = \"stock\"\ntype = \"bounded\"\n[[namespace]]\nname = \"views\"\ntype = \"windowed\"\n").await;
    let mut alice = api.connect("alice").await;
    let _bob = api.connect("bob").await;
    let position = json!({ "offset": 1, "epoch": "…" });
    let of_alice = json!({ "user": "alice", "client": "…", "num_clients": 1, "conn_info": { "name": "alice" } });
    let added = json!({ "key": "likes", "value": 1, "value_s": "1", "duplicate": false, "acked": "fsync", "session": "…" });
    let counter = json!({ "key": "likes", "value": 6, "value_s": "6", "as_of": { "local": "…" }, "lag_ms": 0, "complete": true });
    let liked = |value: i64, duplicate: bool| json!({ "key": "liked:1", "value": value, "value_s": value.to_string(), "duplicate": duplicate, "acked": "fsync", "session": "…" });
    let hour_ago_ms = (uuid::Uuid::now_v7().get_timestamp().unwrap().to_unix().0 - 3_600) * 1_000;
    let ok = |result: Value| json!({ "result": result });
    let table = [
        ("POST", "/v1/channels/room/messages", json!({ "data": { "n": 1.50 }, "tags": { "k": "v" } }), position.clone()),
        ("GET", "/v1/channels/room/messages", Value::Null, json!({ "messages": [{ "offset": 1, "data": { "n": 1.50 }, "time_ms": "…", "tags": { "k": "v" } }], "epoch": "…", "offset": 1 })),
        ("GET", "/v1/channels/room/presence?limit=1", Value::Null, json!({ "version": "…", "members": [of_alice], "next": "…", "num_clients": 2, "num_users": 2 })),
        ("GET", "/v1/channels/room/presence/stats", Value::Null, json!({ "num_clients": 2, "num_users": 2 })),
        ("GET", "/v1/presence/stats", Value::Null, json!({ "num_clients": 2, "num_users": 2, "regions": { "local": { "num_clients": 2, "num_users": 2, "as_of_ms": "…" } } })),
        ("GET", "/v1/presence/rooms?limit=1", Value::Null, json!({ "rooms": [{ "channel": "room", "num_clients": 2, "num_users": 2, "counted": "region" }], "complete": true })),
        ("POST", "/v1/presence/query", json!({ "users": ["zoe", "bob"] }), json!({ "users": [{ "user": "zoe", "online": false, "clients": 0 }, { "user": "bob", "online": true, "clients": 1 }] })),
        ("GET", "/v1/users/alice/presence", Value::Null, json!({ "user": "alice", "online": true, "clients": 1 })),
        ("PUT", "/v1/users/alice/contacts", json!({ "contacts": ["bob", "zoe"] }), json!({ "users": [{ "user": "bob", "online": true }] })),
        ("GET", "/v1/users/alice/contacts/online", Value::Null, json!({ "users": [{ "user": "bob", "online": true }] })),
        ("POST", "/v1/counters/likes/add", Value::Null, added.clone()),
        ("POST", "/v1/counters/likes/add", json!({ "by": 9, "ack": "memory", "token": token() }), json!({ "value": 10, "acked": "memory" })),
        ("POST", "/v1/counters/batch", json!({ "ops": [{ "key": "likes", "by": -4 }, { "key": "a b" }] }), json!({ "results": [{ "key": "likes", "value": 6, "acked": "fsync" }, { "key": "a b", "error": { "code": "bad_name" } }], "session": "…" })),
        ("GET", "/v1/counters/likes?detail=replicas", Value::Null, counter.clone()),
        ("GET", "/v1/counters?keys=likes,nobody", Value::Null, json!({ "counters": [counter, { "key": "nobody", "value": 0 }], "session": "…" })),
        ("POST", "/v1/counters/stock:1/add", json!({ "by": 3 }), json!({ "value": 3, "duplicate": false })),
        ("POST", "/v1/counters/stock:1/add", json!({ "by": -2 }), json!({ "value": 1 })),
        (
            "POST",
            "/v1/counters/batch",
            json!({ "ops": [{ "key": "stock:1", "by": -2 }, { "key": "stock:1", "by": -1 }] }),
            json!({ "results": [{ "key": "stock:1", "error": { "code": "insufficient", "here": 1, "elsewhere": 0 } }, { "value": 0 }] }),
        ),
        ("POST", "/v1/counters/views:1/add", json!({ "by": 3 }), json!({ "value": 3 })),
        ("POST", "/v1/counters/views:1/add", json!({ "by": 0, "at": hour_ago_ms }), json!({ "value": 3 })),
        ("POST", "/v1/counters/batch", json!({ "ops": [{ "key": "views:1", "at": 0 }, { "key": "views:1" }] }), json!({ "results": [{ "error": { "code": "bad_time", "server_time_ms": "…" } }, { "value": 4 }] })),
        ("GET", "/v1/counters/views:1/windows?by=day&last=2", Value::Null, json!({ "key": "views:1", "value": 4, "by": "day", "from": "…", "to": "…", "count": 3, "sum": 4, "average": 4.0 / 3.0, "buckets": [{ "from": "…", "count": "…" }, { "sum": "…" }], "as_of": "…", "complete": true, "session": "…" })),
        ("GET", "/v1/counters/views:1/windows?last=2", Value::Null, json!({ "by": "minute", "count": 2, "sum": 4, "average": 2.0 })),
        ("GET", "/v1/counters/views:nobody/windows?by=hour&last=1", Value::Null, json!({ "value": 0, "count": 0, "sum": 0, "average": null, "buckets": [{ "count": 0, "sum": 0 }] })),
        ("PUT", "/v1/counters/liked:1/voters/alice", Value::Null, liked(1, false)),
        ("PUT", "/v1/counters/liked:1/voters/alice?ack=memory", Value::Null, json!({ "value": 1, "duplicate": true, "acked": "memory" })),
        ("PUT", "/v1/counters/liked:1/voters/Zo%C3%AB%207", Value::Null, liked(2, false)),
        ("GET", "/v1/counters/liked:1/voters?limit=1", Value::Null, json!({ "key": "liked:1", "users": ["Zoë 7"], "next": "Zoë 7" })),
        ("GET", "/v1/counters/liked:1/voters?cursor=Zo%C3%AB%207", Value::Null, json!({ "users": ["alice"], "next": null })),
        ("GET", "/v1/counters/liked:1/voters/alice", Value::Null, json!({ "key": "liked:1", "user": "alice", "voted": true })),
        ("PUT", "/v1/counters/liked:2/voters/zoe", Value::Null, json!({ "value": 1 })),
        ("DELETE", "/v1/counters/liked:1/voters/alice", Value::Null, liked(1, false)),
        ("DELETE", "/v1/counters/liked:1/voters/alice", Value::Null, liked(1, true)),
        ("GET", "/v1/counters/liked:1/voters/alice", Value::Null, json!({ "voted": false })),
        ("GET", "/v1/counters/liked:1", Value::Null, json!({ "key": "liked:1", "value": 1 })),
        ("GET", "/v1/top?namespace=liked&limit=2", Value::Null, json!({ "namespace": "liked", "counters": [{ "key": "liked:1", "value": 1, "value_s": "1" }, { "key": "liked:2", "value": 1 }] })),
        ("GET", "/v1/feed?limit=1", Value::Null, json!({ "counters": [{ "key": "…", "value": "…", "value_s": "…", "seq": "…" }], "next": "…", "seq": "…", "walk": true, "more": true })),
        ("GET", "/v1/ring", Value::Null, json!({ "mode": "embedded", "epoch": 0, "phase": "stable", "slots": 16384, "nodes": [] })),
        ("GET", "/v1/regions", Value::Null, json!({ "regions": [{ "name": "local", "state": "live", "as_of_ms": "…" }] })),
        ("POST", "/api/publish", json!({ "channel": "room", "b64data": "aGk=", "unknown": 1 }), ok(json!({ "offset": 2, "epoch": "…" }))),
        ("POST", "/api/broadcast", json!({ "channels": ["room", "no:x"], "data": null }), ok(json!({ "responses": [{ "result": { "offset": 3 } }, { "error": { "code": 102, "message": "unknown channel" } }] }))),
        ("POST", "/api/history", json!({ "channel": "room", "limit": 1, "since": { "offset": 1 } }), ok(json!({ "publications": [{ "offset": 2, "data": { "b64": "aGk=" } }], "offset": 3, "epoch": "…" }))),
        ("POST", "/api/history", json!({ "channel": "room" }), ok(json!({ "publications": [], "offset": 3 }))),
        ("POST", "/api/presence_stats", json!({ "channel": "room" }), ok(json!({ "num_clients": 2, "num_users": 2 }))),
        ("POST", "/api/channels", json!({ "pattern": "ro*" }), ok(json!({ "channels": { "room": { "num_clients": 2 } } }))),
        ("POST", "/api/info", json!({}), ok(json!({ "nodes": [{ "uid": "…", "name": "…", "version": "…", "num_clients": 2, "num_users": 2, "num_subs": 2, "num_channels": 1, "uptime": "…" }] }))),
        ("POST", "/api/unsubscribe", json!({ "user": "alice", "channel": "room" }), ok(json!({}))),
        ("POST", "/api/disconnect", json!({ "user": "alice", "disconnect": { "code": 3011, "reason": "x" } }), ok(json!({}))),
    ];
    for (method, path, body, expected) in table {
        if path == "/api/disconnect" {
            alice.until("\"unsubscribe\":{\"code\":2000").await;
        } else if path == "/api/unsubscribe" {
            let presence = api.ok("/api/presence", json!({ "channel": "room" })).await;
            let clients: Vec<&Value> = presence["result"]["presence"].as_object().unwrap().values().collect();
            assert!(clients.len() == 2 && clients.iter().any(|info| info["user"] == "alice" && info["conn_info"]["name"] == "alice"));
        }
        let (status, answer) = api.call(method, path, body).await;
        assert!(status == 200 && includes(&answer, &expected), "{method} {path}: {status} {answer}\nexpected {expected}");
    }
    assert!(alice.end().await.contains("\"disconnect\":{\"code\":3011"));
    let replicas = api.get("/v1/counters/likes?detail=replicas").await["replicas"].clone();
    assert_eq!(replicas.as_object().unwrap().values().collect::<Vec<_>>(), [&json!({ "increments": 10, "decrements": 4 })]);
    let (status, reset) = api.call("DELETE", &format!("/v1/counters/likes?token={}", token()), Value::Null).await;
    assert!(status == 200 && includes(&reset, &json!({ "key": "likes", "value": 0, "duplicate": false })), "{reset}");
    // The log thread counts what was acknowledged right afterwards.
    let likes = json!({ "key": "likes", "additions": 3, "value": 0, "value_s": "0" });
    let liked = json!({ "key": "liked:1", "additions": 3, "value": 1 });
    let hot = json!({ "counters": [liked, likes], "additions": 12, "missed_max": 0, "window_ms": "…" });
    eventually(PATIENCE, async || match api.get("/v1/hot/counters?limit=2").await {
        found if includes(&found, &hot) => Ok(()),
        found => Err(found.to_string()),
    })
    .await;
    let (status, receipt) = api.call("DELETE", "/v1/users/zoe", Value::Null).await;
    assert_eq!((status, &receipt["watchers"], &receipt["votes"]), (200, &json!(["alice"]), &json!(1)));
    assert_eq!(api.get("/v1/counters/liked:2").await["value"], 0, "votes go along");
    let sse = ("accept", "text/event-stream");
    for (method, path) in [("GET", "/v1/events?channel=a&channel=b"), ("GET", "/v1/channels/a/events"), ("PUT", "/v1/channels/a/subscriptions")] {
        let response = api.send(method, path, &[sse], None).await;
        assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/event-stream".parse().unwrap()));
    }
    let zipped = api.send("GET", "/openapi.json", &[("accept-encoding", "gzip")], None).await;
    assert_eq!(zipped.status(), 200);
    let zipped = api.send("GET", "/v1/regions", &[("accept-encoding", "gzip")], None).await;
    assert_eq!(zipped.headers()["content-encoding"], "gzip");

    let document = api.get("/openapi.json").await;
    let is_called = |method: &str, template: &str| api.called.iter().any(|(called, path)| called == method && fits(template, path));
    let forgotten: Vec<_> = documented(&document).into_iter().filter(|(method, path, _)| !is_called(method, path)).collect();
    assert!(forgotten.is_empty(), "no test calls {forgotten:?}");
}

#[tokio::test]
async fn services_need_a_key_and_stay_off_the_client_listener_that_has_a_sister() {
    let mut api = Api::start("[auth]\napi_keys = [\"k-old\", \"k-new\"]").await;
    let document = api.get("/openapi.json").await;
    let services: Vec<_> = documented(&document).into_iter().filter(|(.., is_service)| *is_service).collect();
    assert!(services.len() > 20);
    for (method, path, _) in services {
        let path = path.replace("{channel}", "room").replace("{user}", "alice").replace("{key}", "likes");
        for headers in [&[][..], &[("x-api-key", "k-ol")], &[("authorization", "Bearer k-old")]] {
            assert_eq!(api.send(&method, &path, headers, Some("{".into())).await.status(), 401, "{method} {path} {headers:?}");
        }
    }
    for (headers, path) in [
        (&[("x-api-key", "k-old")][..], "/v1/ring"),
        (&[("x-api-key", "k-new")], "/v1/ring"),
        (&[("authorization", "apikey k-new")], "/v1/ring"),
        (&[], "/v1/ring?api_key=k-new"),
    ] {
        assert_eq!(api.send("GET", path, headers, None).await.status(), 200, "{headers:?} {path}");
    }
    assert_eq!(api.call("POST", "/v1/development/token", json!({ "user": "eve" })).await.0, 404);
    let publish = Some(r#"{"channel":"room","data":1}"#.to_owned());
    let lenient = api.send("POST", "/api/publish", &[("x-api-key", "k-new"), ("content-type", "text/plain")], publish).await;
    assert!(answer(lenient).await.1["result"]["offset"] == 1, "libraries need not say what they send");

    let mut closed = Api::start("[auth]\nhmac_secrets = [\"a secret of at least thirty-two bytes\"]").await;
    assert_eq!(closed.call("GET", "/v1/ring", Value::Null).await.0, 401, "without keys nobody is a service");

    let mut apart = Api::start("[auth]\napi_keys = [\"k\"]\n[listen]\napi = \"127.0.0.1:0\"").await;
    let key = [("x-api-key", "k")];
    assert_eq!(apart.send("GET", "/v1/ring", &key, None).await.status(), 404);
    apart.node.client = apart.node.api.unwrap();
    assert_eq!(apart.send("GET", "/v1/ring", &key, None).await.status(), 200);
    assert_eq!(apart.send("GET", "/openapi.json", &[], None).await.status(), 200);
    assert_eq!(apart.send("GET", "/v1/events?channel=a", &key, None).await.status(), 404);
}

#[tokio::test]
async fn a_namespace_says_how_safe_an_increment_must_be_unless_the_request_does() {
    let mut api = Api::start("[counter]\nack = \"memory\"\n[[namespace]]\nname = \"paid\"\nack = \"fsync\"").await;
    let reset = format!("/v1/counters/paid:x?token={}", token());
    for (method, path, body, level) in [
        ("POST", "/v1/counters/x/add", json!({}), "memory"),
        ("POST", "/v1/counters/paid:x/add", json!({}), "fsync"),
        ("POST", "/v1/counters/paid:x/add", json!({ "ack": "memory" }), "memory"),
        ("DELETE", &reset, Value::Null, "fsync"),
    ] {
        let (status, answer) = api.call(method, path, body).await;
        assert_eq!((status, &answer["acked"]), (200, &level.into()), "{method} {path}: {answer}");
    }
    let ops = json!({ "ops": [{ "key": "x" }, { "key": "paid:x" }] });
    let results = api.ok("/v1/counters/batch", ops).await["results"].clone();
    assert_eq!([&results[0]["acked"], &results[1]["acked"]], ["memory", "fsync"]);
}

#[tokio::test]
async fn messages_page_in_both_directions_and_a_retry_is_known_by_its_key() {
    let mut api = Api::start("").await;
    let path = "/v1/channels/$ns%23alice,bob/messages";
    for n in 1..=7 {
        let headers = [("content-type", "application/json"), ("idempotency-key", &*format!("key-{n}"))];
        for _retry in 0..2 {
            let (status, position) = answer(api.send("POST", path, &headers, Some(json!({ "data": n }).to_string())).await).await;
            assert_eq!((status, &position["offset"]), (200, &json!(n)));
        }
    }
    assert_eq!(api.ok(path, json!({ "data": 8, "skip_history": true })).await, json!({ "offset": 0, "epoch": "" }));
    for (reverse, expected) in [(false, vec![1, 2, 3, 4, 5, 6, 7]), (true, vec![7, 6, 5, 4, 3, 2, 1])] {
        let (mut seen, mut since) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("{path}?limit=3&reverse={reverse}{since}")).await;
            seen.extend(page["messages"].as_array().unwrap().iter().map(|message| message["data"].as_i64().unwrap()));
            assert_eq!(page["offset"], 7);
            let Some(next) = page["next"].as_str() else { break };
            since = format!("&since={next}");
        }
        assert_eq!(seen, expected);
    }
    let top = api.get(&format!("{path}?limit=0")).await;
    assert_eq!((&top["messages"], top.get("next"), &top["offset"]), (&json!([]), None, &json!(7)));
}

#[tokio::test]
async fn a_counter_write_with_a_token_counts_once_and_its_session_can_be_asked_for() {
    let mut api = Api::start("").await;
    let (add, token) = ("/v1/counters/%62atch/add", token());
    let first = api.ok(add, json!({ "by": 5, "token": token })).await;
    let retry = api.ok(add, json!({ "by": 5, "token": token })).await;
    assert_eq!((&first["value"], &first["duplicate"]), (&json!(5), &json!(false)));
    assert_eq!((&retry["value"], &retry["duplicate"]), (&json!(5), &json!(true)));
    let batched = api.ok("/v1/counters/batch", json!({ "ops": [{ "key": "batch", "by": 5, "token": token }, { "key": "batch" }] })).await;
    assert!(includes(&batched["results"], &json!([{ "value": 5, "duplicate": true }, { "value": 6, "duplicate": false }])), "{batched}");
    let read = api.get(&format!("/v1/counters/%62atch?max_staleness_ms=0&min={}", batched["session"].as_str().unwrap())).await;
    assert_eq!((&read["value"], &read["value_s"]), (&json!(6), &json!("6")));
    let big = api.ok("/v1/counters/big/add", json!({ "by": i64::MIN })).await;
    assert_eq!((&big["value"], &big["value_s"]), (&json!(i64::MIN), &json!("-9223372036854775808")));
}

#[tokio::test]
async fn an_erased_user_is_sent_away_for_good_and_leaves_nothing() {
    let mut api = Api::start("").await;
    let (phone, laptop, _bob) = (api.connect("alice").await, api.connect("alice").await, api.connect("bob").await);
    api.call("PUT", "/v1/users/alice/contacts", json!({ "contacts": ["bob"] })).await;
    api.call("PUT", "/v1/users/bob/contacts", json!({ "contacts": ["alice"] })).await;
    let (status, receipt) = api.call("DELETE", "/v1/users/alice", Value::Null).await;
    assert_eq!(
        (status, &receipt["connections"], &receipt["contacts"], &receipt["watchers"]),
        (200, &json!(2), &json!(["bob"]), &json!(["bob"]))
    );
    assert!(receipt["last_seen_ms"].is_u64(), "{receipt}");
    for stream in [phone, laptop] {
        assert!(stream.end().await.contains("\"disconnect\":{\"code\":3503,\"reason\":\"force disconnect\""));
    }
    assert_eq!(api.get("/v1/users/alice/presence").await, json!({ "user": "alice", "online": false, "clients": 0 }));
    assert_eq!(api.get("/v1/users/bob/contacts/online").await, json!({ "users": [] }));
    assert_eq!(api.get("/v1/channels/room/presence/stats").await, json!({ "num_clients": 1, "num_users": 1 }));
}

#[tokio::test]
async fn a_disconnect_reaches_the_named_client_only() {
    let mut api = Api::start("").await;
    let (mut phone, mut laptop) = (api.connect("alice").await, api.connect("alice").await);
    let client = |stream: &Stream| {
        let connect: Value = stream.text.lines().find_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).unwrap();
        connect["connect"]["client"].clone()
    };
    let (of_phone, of_laptop) = (client(&phone), client(&laptop));
    api.ok("/api/unsubscribe", json!({ "user": "alice", "channel": "room", "client": of_laptop })).await;
    laptop.until("\"unsubscribe\":{\"code\":2000").await;
    api.ok("/api/disconnect", json!({ "user": "alice", "whitelist": [of_laptop] })).await;
    assert!(phone.text.contains(of_phone.as_str().unwrap()));
    phone.until("\"disconnect\":{\"code\":3503").await;
    api.ok("/api/disconnect", json!({ "user": "alice", "client": of_phone })).await;
    eventually(PATIENCE, async || match api.get("/v1/users/alice/presence").await {
        alice if alice["clients"] == 1 => Ok(()),
        alice => Err(alice),
    })
    .await;
    assert!(!laptop.text.contains("disconnect"));
}
