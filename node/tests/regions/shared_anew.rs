//! A channel's stream begins anew in one region, because what was kept of it is gone.

use crate::shared::{PATIENCE, Pair, PairOptions};
use serde_json::{Value, json};
use testkit::{Guest, crowd::Wish, eventually, http, resp::Reply};

const CHANNEL: &str = "chat:anew";

async fn publish(pair: &Pair, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let answer = http::post(pair.sides[0].doors()[0], &format!("/v1/channels/{CHANNEL}/messages"), &json!({ "data": number })).await;
        assert_eq!(answer.unwrap().status, 200);
    }
}

/// Waits until the other region has these, in this order.
async fn until_there(pair: &Pair, numbers: std::ops::RangeInclusive<u64>) {
    for door in pair.sides[1].doors() {
        eventually(PATIENCE, async || {
            let messages = http::get(door, &format!("/v1/channels/{CHANNEL}/messages?limit=100")).await.unwrap().json();
            let there: Vec<Value> = messages["messages"].as_array().into_iter().flatten().map(|message| message["data"].clone()).collect();
            if there.iter().cloned().eq(numbers.clone().map(Value::from)) { Ok(()) } else { Err(format!("{there:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_begins_anew_with_small_offsets_goes_on_in_the_other_region() {
    let pair = Pair::start(PairOptions::default()).await;
    let mut guests = Vec::new();
    for door in pair.doors() {
        let wish = Wish { user: "ann".to_owned(), channels: vec![CHANNEL.to_owned()], gateway: door };
        guests.push(Guest::enter(wish).await.unwrap());
    }
    publish(&pair, 1..=5).await;
    until_there(&pair, 1..=5).await;
    let mut removed = 0;
    for node in pair.sides[0].region.redis.values() {
        let Reply::List(keys) = node.cli(&["KEYS", &format!("hc:*{CHANNEL}")]).await.unwrap() else { panic!("no list of keys") };
        for key in keys {
            let Reply::Text(key) = key else { continue };
            removed += 1;
            node.cli(&["DEL", &key]).await.unwrap();
        }
    }
    assert!(removed > 0, "nothing was kept");
    publish(&pair, 6..=10).await;
    until_there(&pair, 1..=10).await;
}
