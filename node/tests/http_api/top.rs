//! The greatest counters as a live channel: at first as they are, then whenever they have changed.

use crate::client::{Api, PATIENCE, Stream, answer};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::eventually;
use tokio::time::Instant;

const NAMESPACES: &str =
    "[[namespace]]\nname = \"liked\"\ntype = \"unique\"\n[[namespace]]\nname = \"secret\"\ncounter_get = \"service\"\n";

async fn events(api: &mut Api, channel: &str) -> Stream {
    let response = api.send("GET", &format!("/v1/events?channel={channel}"), &[("accept", "text/event-stream")], None).await;
    assert_eq!(response.status(), 200, "{channel}");
    Stream::of(response)
}

async fn vote(api: &mut Api, key: &str, user: &str) {
    let (status, answer) = api.call("PUT", &format!("/v1/counters/{key}/voters/{user}"), Value::Null).await;
    assert_eq!(status, 200, "{answer}");
}

/// The event of these counters, the greatest first.
fn event(counters: &[(&str, i64)]) -> String {
    let counters: Vec<String> =
        counters.iter().map(|(key, value)| format!(r#"{{"key":"{key}","value":{value},"value_s":"{value}"}}"#)).collect();
    format!("event: top\ndata: {{\"namespace\":\"liked\",\"counters\":[{}]}}\n\n", counters.join(","))
}

/// The lists that were told.
fn told(stream: &Stream) -> Vec<Value> {
    stream.text.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn whoever_subscribes_is_told_the_list_and_then_only_what_has_changed_of_it() {
    let mut api = Api::start(NAMESPACES).await;
    vote(&mut api, "liked:a", "ann").await;
    let mut stream = events(&mut api, "top:liked").await;
    stream.until(&event(&[("liked:a", 1)])).await;
    for user in ["ann", "bob"] {
        vote(&mut api, "liked:b", user).await;
    }
    stream.until(&event(&[("liked:b", 2), ("liked:a", 1)])).await;
    // Who comes later begins with what the others were told.
    let mut late = events(&mut api, "top:liked").await;
    late.until(&event(&[("liked:b", 2), ("liked:a", 1)])).await;
    // A vote that was there already, and counters of others, change nothing; what does is told at the earliest after half a second, so
    // that whatever was told in error came before it.
    vote(&mut api, "liked:b", "bob").await;
    api.ok("/v1/counters/likes/add", json!({ "by": 7 })).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for user in ["bob", "eve"] {
        vote(&mut api, "liked:a", user).await;
    }
    stream.until(&event(&[("liked:a", 3), ("liked:b", 2)])).await;
    late.until(&event(&[("liked:a", 3), ("liked:b", 2)])).await;
    let lists = told(&stream);
    assert!(lists.windows(2).all(|pair| pair[0] != pair[1]), "told twice: {lists:?}");
    assert!(lists.len() <= 5 && told(&late).len() <= 3, "{lists:?} {:?}", told(&late));
    assert_eq!(lists.last(), Some(&api.get("/v1/top?namespace=liked").await), "as HTTP tells it");
}

#[tokio::test]
async fn of_many_changes_few_are_told_and_the_last_one_always() {
    let mut api = Api::start(NAMESPACES).await;
    let mut stream = events(&mut api, "top:liked").await;
    stream.until(&event(&[])).await;
    let begun = Instant::now();
    for voter in 0..200 {
        vote(&mut api, "liked:a", &format!("u{voter}")).await;
    }
    stream.until(&event(&[("liked:a", 200)])).await;
    let (told, took) = (told(&stream).len() as u128, begun.elapsed().as_millis());
    assert!(told <= 3 + took / 500, "{told} lists in {took} ms");
}

#[tokio::test]
async fn it_is_refused_without_the_right_to_read_the_counters_and_where_there_is_no_such_namespace() {
    let mut api = Api::start(NAMESPACES).await;
    for (channel, status, code) in [("top:secret", 403, "permission_denied"), ("top:nowhere", 404, "unknown_channel")] {
        let (found, refused) = answer(api.send("GET", &format!("/v1/events?channel={channel}"), &[], None).await).await;
        assert_eq!((found, &refused["error"]["code"]), (status, &json!(code)), "{channel}");
    }
    let (status, refused) = api.call("POST", "/v1/channels/top:liked/messages", json!({ "data": 1 })).await;
    assert_eq!(status, 400, "nobody publishes there: {refused}");
    // The default namespace has no name.
    api.ok("/v1/counters/plain/add", json!({ "by": 2 })).await;
    let api = tokio::sync::Mutex::new(api);
    eventually(PATIENCE, async || {
        let mut stream = events(&mut *api.lock().await, "top:").await;
        stream.until("\n\n").await;
        stream.until("event: top").await;
        stream.until("}\n\n").await;
        if stream.text.contains(r#""counters":[{"key":"plain","value":2,"value_s":"2"}]"#) { Ok(()) } else { Err(stream.text) }
    })
    .await;
}
