//! The change feed: page by page, and as a stream that goes on where it was.

use crate::client::{Api, PATIENCE, Stream, answer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::eventually;

/// Reads pages from `after` on to the end; what was told last of each counter, and the cursor behind it.
async fn to_the_end(api: &mut Api, mut after: String, limit: usize) -> (BTreeMap<String, i64>, String, bool) {
    let (mut known, mut seq, mut walked) = (BTreeMap::new(), 0, false);
    loop {
        let page = api.get(&format!("/v1/feed?after={after}&limit={limit}")).await;
        assert!(page["seq"].as_u64().unwrap() > seq, "{page}");
        seq = page["seq"].as_u64().unwrap();
        let counters = page["counters"].as_array().unwrap();
        assert!(counters.len() <= limit && counters.iter().all(|counter| counter["seq"] == seq), "{page}");
        for counter in counters {
            assert_eq!(counter["value_s"], counter["value"].to_string());
            known.insert(counter["key"].as_str().unwrap().to_owned(), counter["value"].as_i64().unwrap());
        }
        (after, walked) = (page["next"].as_str().unwrap().to_owned(), walked || page["walk"] == true);
        if page["more"] == false {
            return (known, after, walked);
        }
    }
}

async fn add(api: &mut Api, ops: Value) {
    let results = api.ok("/v1/counters/batch", json!({ "ops": ops })).await["results"].clone();
    assert!(results.as_array().unwrap().iter().all(|result| result.get("error").is_none()), "{results}");
}

#[tokio::test]
async fn pages_walk_over_all_counters_and_then_tell_what_changed_also_over_a_restart() {
    let mut api = Api::start("[[namespace]]\nname = \"liked\"\ntype = \"unique\"\n").await;
    let ops: Vec<Value> = (1..=40).map(|number| json!({ "key": format!("c{number}"), "by": number })).collect();
    add(&mut api, ops.into()).await;
    api.call("PUT", "/v1/counters/liked:1/voters/ann", Value::Null).await;
    let (known, after, walked) = to_the_end(&mut api, String::new(), 7).await;
    assert!(walked && known.len() == 41 && known["c17"] == 17 && known["liked:1"] == 1, "{known:?}");
    add(&mut api, json!([{ "key": "c1", "by": 4 }, { "key": "c2", "by": -9 }, { "key": "c1", "by": 5 }])).await;
    let (known, after, walked) = to_the_end(&mut api, after, 7).await;
    assert_eq!((known, walked), ([("c1".to_owned(), 10), ("c2".to_owned(), -7)].into(), false));
    assert_eq!(to_the_end(&mut api, after.clone(), 7).await, (BTreeMap::new(), after.clone(), false));
    api.node.restart().await;
    let (known, _, walked) = to_the_end(&mut api, after, 5000).await;
    assert!(walked && known.len() == 41 && known["c1"] == 10, "{known:?}");
}

#[tokio::test]
async fn a_stream_goes_on_from_its_last_event_and_needs_the_key_of_a_service() {
    let mut api = Api::start("[auth]\napi_keys = [\"k\"]").await;
    let key = ("x-api-key", "k");
    let sse = ("accept", "text/event-stream");
    let add = async |api: &mut Api, name: &str| {
        assert_eq!(answer(api.send("POST", &format!("/v1/counters/{name}/add"), &[key], None).await).await.0, 200);
    };
    assert_eq!(api.send("GET", "/v1/feed", &[sse], None).await.status(), 401);
    assert_eq!(api.send("GET", "/v1/feed?after=x", &[sse, key], None).await.status(), 400);
    add(&mut api, "a").await;
    let response = api.send("GET", "/v1/feed", &[sse, key, ("accept-encoding", "gzip")], None).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/event-stream".parse().unwrap()));
    let mut stream = Stream::of(response);
    stream.until("\"key\":\"a\",\"value\":1").await;
    add(&mut api, "b").await;
    stream.until("\"key\":\"b\",\"value\":1").await;
    stream.until("}\n\n").await;
    let id = stream.text.rsplit("id: ").next().unwrap().split('\n').next().unwrap().to_owned();
    assert!(stream.text.starts_with("retry: 1000\n\n") && stream.text.contains("event: changes\ndata: {"), "{}", stream.text);
    drop(stream);
    add(&mut api, "c").await;
    let mut again = Stream::of(api.send("GET", "/v1/feed?after=1.0.0", &[sse, key, ("last-event-id", &id)], None).await);
    again.until("\"key\":\"c\"").await;
    assert!(!again.text.contains("\"key\":\"b\"") && !again.text.contains("\"walk\":true"), "{}", again.text);
}

#[tokio::test]
async fn streams_are_bounded_and_one_that_is_closed_makes_room() {
    let mut api = Api::start("").await;
    let sse = [("accept", "text/event-stream")];
    let mut streams = Vec::new();
    for _ in 0..32 {
        let mut stream = Stream::of(api.send("GET", "/v1/feed", &sse, None).await);
        stream.until("retry: 1000").await;
        streams.push(stream);
    }
    let (status, refused) = answer(api.send("GET", "/v1/feed", &sse, None).await).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("unavailable")));
    assert_eq!(api.call("GET", "/v1/feed", Value::Null).await.0, 200, "pages go on");
    streams.pop();
    let api = tokio::sync::Mutex::new(api);
    eventually(PATIENCE, async || match api.lock().await.send("GET", "/v1/feed", &sse, None).await.status().as_u16() {
        200 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
}
