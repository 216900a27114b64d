//! What is measured does not grow with what people call things.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::{Node, NodeOptions, Visitor, http};

/// Names of each kind: far more than any label may have values.
const NAMES: u32 = 2_000;
/// Additions in one request.
const BATCH: u32 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn names_of_channels_counters_users_and_paths_make_no_series() {
    let config_toml = testkit::UNPACED.to_owned();
    let node = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
    let mut client = Visitor::begin(node.client, None, None, r#"{"id":1,"connect":{}}"#).await.unwrap().visitor();
    // What has labels of a closed set may have its first series by the first of each kind.
    use_names(&node, &mut client, 0..BATCH).await;
    let before = series(&node).await;
    use_names(&node, &mut client, BATCH..NAMES).await;
    let after = series(&node).await;
    assert!(before.len() > 100, "{} series", before.len());
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(!after.iter().any(|name| name.contains("name-")), "a name that somebody chose");
}

async fn use_names(node: &Node, client: &mut Visitor, numbers: std::ops::Range<u32>) {
    let ops: Vec<Value> = numbers.clone().map(|number| json!({ "key": format!("name-{number}"), "by": 1 })).collect();
    for ops in ops.chunks(BATCH as usize) {
        let answer = http::post(node.client, "/v1/counters/batch", &json!({ "ops": ops })).await.unwrap();
        assert_eq!((answer.status, answer.json()["results"].as_array().unwrap().len()), (200, ops.len()), "{}", answer.body);
    }
    for number in numbers {
        let channel = format!("name-{number}");
        for ask in [
            json!({ "id": 2, "subscribe": { "channel": channel } }),
            json!({ "id": 3, "publish": { "channel": channel, "data": number } }),
            json!({ "id": 4, "unsubscribe": { "channel": channel } }),
        ] {
            let answer = client.ask(&ask.to_string()).await.unwrap();
            assert!(answer.get("error").is_none(), "{ask}: {answer}");
        }
        if number % 20 == 0 {
            assert_eq!(http::get(node.client, &format!("/name-{number}")).await.unwrap().status, 404);
            assert_eq!(http::get(node.client, &format!("/v1/users/{channel}/presence")).await.unwrap().status, 200);
            let answer = http::post(node.client, "/api/publish", &json!({ "channel": format!("{channel}:x"), "data": 1 })).await.unwrap();
            assert!(answer.body.contains("unknown channel"), "{}", answer.body);
        }
    }
}

/// Every series by its name and labels.
async fn series(node: &Node) -> BTreeSet<String> {
    let page = http::get(node.admin, "/metrics").await.unwrap().body;
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}
