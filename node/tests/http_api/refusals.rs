//! What the HTTP API refuses.

use crate::client::{Api, answer, token};
use serde_json::json;

/// A namespace that keeps nothing, and one whose counters count votes.
const NAMESPACES: &str = "[[namespace]]\nname = \"bare\"\nhistory_size = 0\npresence = false\n[[namespace]]\nname = \"liked\"\ntype = \"unique\"\n\
     [[namespace]]\nname = \"stock\"\ntype = \"bounded\"\n\
     [[namespace]]\nname = \"views\"\ntype = \"windowed\"\nwindows_hours = 0\n";

#[tokio::test]
#[rustfmt::skip] // a table
async fn bad_input_gets_its_code_and_changes_nothing() {
    let mut api = Api::start(NAMESPACES).await;
    let _alice = api.connect("alice").await;
    api.ok("/v1/channels/room/messages", json!({ "data": 1 })).await;
    api.ok("/v1/counters/full/add", json!({ "by": i64::MAX })).await;
    api.call("PUT", "/v1/users/alice/contacts", json!({ "contacts": ["alice"] })).await;
    let used = token();
    api.ok("/v1/counters/likes/add", json!({ "by": 1, "token": used })).await;
    let before = api.state().await;

    let old = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_600_000_000, 0)).to_string();
    let long = "x".repeat(256);
    let many = |count: usize, item: &str| format!("[{}]", vec![item; count].join(","));
    let (add, messages) = ("/v1/counters/likes/add", "/v1/channels/room/messages");
    let table: Vec<(&str, String, String, u16, &str)> = vec![
        ("GET", "/v1/nothing".into(), String::new(), 404, "not_found"),
        ("GET", "/v1/channels//presence".into(), String::new(), 400, "bad_name"),
        ("PATCH", "/v1/ring".into(), String::new(), 405, "method_not_allowed"),
        ("GET", "/api/publish".into(), String::new(), 405, "method_not_allowed"),
        ("POST", messages.into(), "{".into(), 400, "bad_request"),
        ("POST", messages.into(), "[1]".into(), 400, "bad_request"),
        ("POST", messages.into(), "{}".into(), 400, "bad_request"),
        ("POST", messages.into(), r#"{"data":1,"tag":{}}"#.into(), 400, "bad_request"),
        ("POST", messages.into(), r#"{"data":1,"tags":{"a":1}}"#.into(), 400, "bad_request"),
        ("POST", messages.into(), format!(r#"{{"data":"{}"}}"#, "x".repeat(70_000)), 413, "too_large"),
        ("POST", messages.into(), format!(r#"{{"data":"{}"}}"#, "x".repeat(2 << 20)), 413, "too_large"),
        ("POST", "/v1/channels/a%20b/messages".into(), r#"{"data":1}"#.into(), 400, "bad_name"),
        ("POST", format!("/v1/channels/{long}/messages"), r#"{"data":1}"#.into(), 400, "bad_name"),
        ("POST", "/v1/channels/%ff/messages".into(), r#"{"data":1}"#.into(), 400, "bad_request"),
        ("POST", "/v1/channels/no:x/messages".into(), r#"{"data":1}"#.into(), 404, "unknown_channel"),
        ("POST", "/v1/channels/counter:likes/messages".into(), r#"{"data":1}"#.into(), 400, "not_available"),
        ("GET", "/v1/channels/presence:room/messages".into(), String::new(), 400, "not_available"),
        ("GET", "/v1/channels/bare:x/messages".into(), String::new(), 400, "not_available"),
        ("GET", format!("{messages}?limit=-1"), String::new(), 400, "bad_request"),
        ("GET", format!("{messages}?reverse=maybe"), String::new(), 400, "bad_request"),
        ("GET", format!("{messages}?since=x.y"), String::new(), 400, "bad_request"),
        ("GET", format!("{messages}?since=other.1"), String::new(), 416, "unrecoverable_position"),
        ("GET", "/v1/channels/bare:x/presence".into(), String::new(), 400, "not_available"),
        ("GET", "/v1/channels/bare:x/presence/stats".into(), String::new(), 400, "not_available"),
        ("GET", "/v1/channels/contacts:a/presence".into(), String::new(), 400, "not_available"),
        ("GET", "/v1/channels/room/presence?cursor=!".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/events".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/channels/a*/events".into(), String::new(), 400, "bad_name"),
        ("GET", "/v1/channels/no:x/events".into(), String::new(), 404, "unknown_channel"),
        ("GET", "/v1/channels/a/events?token=x".into(), String::new(), 401, "unauthorized"),
        ("PUT", "/v1/channels/a/subscriptions".into(), String::new(), 406, "not_acceptable"),
        ("POST", "/v1/presence/query".into(), format!(r#"{{"users":{}}}"#, many(501, "\"u\"")), 413, "too_large"),
        ("POST", "/v1/presence/query".into(), r#"{"users":[""]}"#.into(), 400, "bad_request"),
        ("GET", format!("/v1/users/{long}/presence"), String::new(), 400, "bad_request"),
        ("PUT", "/v1/users/alice/contacts".into(), format!(r#"{{"contacts":{}}}"#, many(501, "\"u\"")), 413, "too_large"),
        ("PUT", "/v1/users/alice/contacts".into(), r#"{"contacts":["b",""]}"#.into(), 400, "bad_request"),
        ("PUT", "/v1/users/alice/contacts".into(), r#"{"users":["b"]}"#.into(), 400, "bad_request"),
        ("PUT", format!("/v1/users/{long}/contacts"), r#"{"contacts":["b"]}"#.into(), 400, "bad_request"),
        ("DELETE", format!("/v1/users/{long}"), String::new(), 400, "bad_request"),
        ("POST", add.into(), r#"{"by":1.5}"#.into(), 400, "bad_request"),
        ("POST", add.into(), r#"{"by":9223372036854775808}"#.into(), 400, "bad_request"),
        ("POST", add.into(), r#"{"amount":1}"#.into(), 400, "bad_request"),
        ("POST", add.into(), r#"{"ack":"disk"}"#.into(), 400, "bad_request"),
        ("POST", add.into(), r#"{"token":"x"}"#.into(), 400, "token_invalid"),
        ("POST", add.into(), format!(r#"{{"token":"{old}"}}"#), 410, "token_expired"),
        ("POST", add.into(), format!(r#"{{"by":2,"token":"{used}"}}"#), 409, "conflict"),
        ("POST", "/v1/counters/full/add".into(), "{}".into(), 422, "counter_overflow"),
        ("POST", "/v1/counters/a%7Bb/add".into(), "{}".into(), 400, "bad_name"),
        ("POST", "/v1/counters/no:a/add".into(), "{}".into(), 404, "unknown_channel"),
        ("GET", "/v1/counters/a%20b".into(), String::new(), 400, "bad_name"),
        ("GET", "/v1/counters/likes?detail=x".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/counters/likes?min=x".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/counters/likes?min=1.ff-1".into(), String::new(), 412, "precondition_failed"),
        ("GET", "/v1/counters".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/top?namespace=none".into(), String::new(), 404, "unknown_channel"),
        ("GET", "/v1/top?limit=x".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/feed?after=1.7".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/feed?after=yesterday".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/feed?limit=-1".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/counters?keys=likes,".into(), String::new(), 400, "bad_name"),
        ("GET", format!("/v1/counters?keys={}", vec!["a"; 1001].join(",")), String::new(), 413, "too_large"),
        ("GET", "/v1/counters/batch".into(), String::new(), 405, "method_not_allowed"),
        ("POST", "/v1/counters/batch".into(), format!(r#"{{"ops":{}}}"#, many(10_001, r#"{"key":"likes"}"#)), 413, "too_large"),
        ("POST", "/v1/counters/batch".into(), r#"{"ops":[{"key":"likes"}],"ack":"x"}"#.into(), 400, "bad_request"),
        ("POST", "/v1/counters/batch".into(), r#"{"ops":[{"key":"likes"},{"by":1}]}"#.into(), 400, "bad_request"),
        ("POST", "/v1/counters/batch".into(), r#"{"ops":[["likes",1]]}"#.into(), 400, "bad_request"),
        ("PUT", "/v1/counters/likes/voters/ann".into(), String::new(), 409, "wrong_type"),
        ("DELETE", "/v1/counters/likes/voters/ann".into(), String::new(), 409, "wrong_type"),
        ("PUT", "/v1/counters/no:a/voters/ann".into(), String::new(), 404, "unknown_channel"),
        ("PUT", "/v1/counters/liked:a/voters/a%0Ab".into(), String::new(), 400, "bad_request"),
        ("PUT", format!("/v1/counters/liked:a/voters/{}", "x".repeat(250)), String::new(), 400, "bad_request"),
        ("PUT", "/v1/counters/liked:a/voters/ann?ack=disk".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/counters/liked:a/voters?cursor=nobody".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/counters/liked:a/voters?limit=x".into(), String::new(), 400, "bad_request"),
        ("POST", "/v1/counters/liked:a/add".into(), "{}".into(), 409, "wrong_type"),
        ("DELETE", format!("/v1/counters/liked:a?token={used}"), String::new(), 409, "wrong_type"),
        ("POST", "/v1/counters/stock:a/add".into(), r#"{"by":-1}"#.into(), 409, "insufficient"),
        ("POST", format!("/v1/counters/stock:{}/add", "x".repeat(231)), "{}".into(), 400, "bad_request"),
        ("DELETE", format!("/v1/counters/stock:a?token={used}"), String::new(), 409, "wrong_type"),
        ("PUT", "/v1/counters/stock:a/voters/ann".into(), String::new(), 409, "wrong_type"),
        ("GET", "/v1/counters/likes/windows".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/counters/views:a/windows?by=hour".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/counters/views:a/windows?from=2&to=1".into(), String::new(), 400, "bad_request"),
        ("GET", "/v1/counters/no:a/windows".into(), String::new(), 404, "unknown_channel"),
        ("POST", "/v1/counters/views:a/add".into(), r#"{"at":1}"#.into(), 400, "bad_time"),
        ("POST", "/v1/counters/views:a/add".into(), r#"{"at":9999999999999}"#.into(), 400, "bad_time"),
        ("POST", "/v1/counters/likes/add".into(), r#"{"at":1}"#.into(), 400, "bad_request"),
        ("POST", format!("/v1/counters/views:{}/add", "x".repeat(238)), "{}".into(), 400, "bad_request"),
        ("DELETE", format!("/v1/counters/views:a?token={used}"), String::new(), 409, "wrong_type"),
        ("DELETE", "/v1/counters/full".into(), String::new(), 400, "token_required"),
        ("DELETE", "/v1/counters/full?token=x".into(), String::new(), 400, "token_invalid"),
        ("DELETE", format!("/v1/counters/full?token={used}"), String::new(), 409, "conflict"),
        ("DELETE", "/v1/counters/full".into(), format!(r#"{{"token":"{old}"}}"#), 410, "token_expired"),
        ("POST", "/v1/development/token".into(), r#"{"user":""}"#.into(), 400, "bad_request"),
        ("POST", "/v1/development/token".into(), format!(r#"{{"user":"a","info":"{}"}}"#, "x".repeat(5000)), 413, "too_large"),
        ("POST", "/api/publish".into(), "{".into(), 400, "bad_request"),
        ("POST", "/api/publish".into(), r#"["room",[],1]"#.into(), 400, "bad_request"),
        ("POST", "/api/publish".into(), r#"{"channel":1}"#.into(), 400, "bad_request"),
        ("POST", "/api/publish".into(), r#"{"channel":"room"}"#.into(), 200, "107"),
        ("POST", "/api/publish".into(), r#"{"data":1}"#.into(), 200, "107"),
        ("POST", "/api/publish".into(), r#"{"channel":"room","b64data":"%"}"#.into(), 200, "107"),
        ("POST", "/api/publish".into(), format!(r#"{{"channel":"room","data":1,"idempotency_key":"{long}"}}"#), 200, "107"),
        ("POST", "/api/publish".into(), r#"{"channel":"no:x","data":1}"#.into(), 200, "102"),
        ("POST", "/api/publish".into(), r#"{"channel":"counter:likes","data":1}"#.into(), 200, "108"),
        ("POST", "/api/publish".into(), format!(r#"{{"channel":"room","data":"{}"}}"#, "x".repeat(70_000)), 200, "106"),
        ("POST", "/api/broadcast".into(), r#"{"data":1}"#.into(), 200, "107"),
        ("POST", "/api/presence".into(), r#"{"channel":"bare:x"}"#.into(), 200, "108"),
        ("POST", "/api/presence_stats".into(), r#"{"channel":"bare:x"}"#.into(), 200, "108"),
        ("POST", "/api/history".into(), r#"{"channel":"bare:x"}"#.into(), 200, "108"),
        ("POST", "/api/history".into(), r#"{"channel":"room","since":{"offset":1,"epoch":"x"}}"#.into(), 200, "112"),
        ("POST", "/api/disconnect".into(), r#"{"client":"x"}"#.into(), 200, "107"),
        ("POST", "/api/disconnect".into(), r#"{"user":"alice","code":4000}"#.into(), 200, "107"),
        ("POST", "/api/unsubscribe".into(), r#"{"user":"alice","channel":""}"#.into(), 200, "107"),
        ("POST", "/api/unsubscribe".into(), r#"{"channel":"room"}"#.into(), 200, "107"),
    ];
    for (method, path, body, status, code) in table {
        let shown = format!("{method} {path:.80} {body:.80}");
        let body = (!body.is_empty()).then_some(body);
        let (got, answer) = answer(api.send(method, &path, &[("content-type", "application/json")], body).await).await;
        let error = &answer["error"];
        let said = error["code"].as_str().map_or_else(|| error["code"].to_string(), str::to_owned);
        assert_eq!((got, said.as_str()), (status, code), "{shown}: {answer}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{shown}");
        assert_eq!(error.get("server_time_ms").is_some(), matches!(code, "token_expired" | "bad_time"), "{shown}");
    }
    let json = ("content-type", "application/json");
    for (path, headers, status, code) in [
        (messages, &[("content-type", "text/plain")][..], 415, "unsupported_media_type"),
        (messages, &[], 415, "unsupported_media_type"),
        ("/api/publish", &[], 415, "unsupported_media_type"),
        (messages, &[json, ("origin", "http://evil.example")], 403, "permission_denied"),
        (messages, &[json, ("host", "evil.example")], 403, "permission_denied"),
        (messages, &[json, ("idempotency-key", "")], 400, "bad_request"),
        (messages, &[json, ("idempotency-key", &long)], 400, "bad_request"),
    ] {
        let (got, answer) = answer(api.send("POST", path, headers, Some(r#"{"data":1}"#.into())).await).await;
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{path} {headers:.40?}");
    }
    let transport = [json, ("x-centrifugo-error-mode", "transport")];
    for (path, body, status, code) in [("publish", "{}", 400, 107), ("publish", r#"{"channel":"no:x","data":1}"#, 404, 102), ("history", r#"{"channel":"room","since":{"offset":1,"epoch":"x"}}"#, 416, 112)] {
        let (got, answer) = answer(api.send("POST", &format!("/api/{path}"), &transport, Some(body.into())).await).await;
        assert_eq!((got, &answer["code"]), (status, &json!(code)), "{body}");
    }
    assert_eq!(api.state().await, before);
}
