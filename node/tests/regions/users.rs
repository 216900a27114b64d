//! Users who are online in several regions, and what is said of them in each.

use crate::{enter, scene::Scene};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Node, eventually, http};

const PATIENCE: Duration = Duration::from_secs(60);

async fn read(node: &Node, path: &str) -> Value {
    http::get(node.client, path).await.unwrap().json()
}

/// Waits until each node says this of a user; returns what the first says.
async fn until_known(scene: &Scene, user: &str, wanted: Value) -> Value {
    let mut said = Value::Null;
    for node in scene.nodes.iter().rev() {
        said = eventually(PATIENCE, async || {
            let known = read(node, &format!("/v1/users/{user}/presence")).await;
            let seen = json!([known["online"], known["clients"], known["regions"]]);
            if seen == wanted { Ok(known) } else { Err(known.to_string()) }
        })
        .await;
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_online_in_any_region_is_so_in_all_and_is_one() {
    let scene = Scene::start(3, 10).await;
    until_known(&scene, "ann", json!([false, 0, []])).await;
    let ann = enter(&scene, 0, "ann").await;
    let too = enter(&scene, 2, "ann").await;
    let _ben = enter(&scene, 1, "ben").await;
    let known = until_known(&scene, "ann", json!([true, 2, ["r0", "r2"]])).await;
    assert_eq!(known.get("silent"), None, "{known}");
    until_known(&scene, "ben", json!([true, 1, ["r1"]])).await;
    // Several, and the contacts of somebody, of whom this region alone knows.
    let asked = json!({ "users": ["ben", "ann", "nobody"] });
    let known = http::post(scene.nodes[2].client, "/v1/presence/query", &asked).await.unwrap().json();
    let of =
        |known: &Value| known["users"].as_array().unwrap().iter().map(|user| json!([user["user"], user["clients"]])).collect::<Value>();
    assert_eq!(of(&known), json!([["ben", 1], ["ann", 2], ["nobody", 0]]));
    let contacts =
        http::put(scene.nodes[0].client, "/v1/users/zoe/contacts", &json!({ "contacts": ["ben", "ann", "nobody"] })).await.unwrap();
    assert_eq!(of(&contacts.json()), json!([["ann", 2], ["ben", 1]]));
    assert_eq!(of(&read(&scene.nodes[0], "/v1/users/zoe/contacts/online").await), json!([["ann", 2], ["ben", 1]]));
    let rpc = ann.ask(json!({ "rpc": { "method": "presence.online", "data": { "users": ["ben"] } } })).await.unwrap();
    assert_eq!(rpc["rpc"]["data"]["users"][0]["regions"], json!(["r1"]), "{rpc}");
    // Seen last is when the last of all connections ended.
    ann.leave().await;
    until_known(&scene, "ann", json!([true, 1, ["r2"]])).await;
    too.leave().await;
    let known = until_known(&scene, "ann", json!([false, 0, []])).await;
    let there = read(&scene.nodes[2], "/v1/users/ann/presence").await;
    assert!(known["last_seen_ms"].as_u64() > Some(0) && known["last_seen_ms"] == there["last_seen_ms"], "{known} {there}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_does_not_answer_is_named_and_the_others_are_told_of() {
    let scene = Scene::start(2, 10).await;
    let _ann = enter(&scene, 0, "ann").await;
    let _too = enter(&scene, 1, "ann").await;
    until_known(&scene, "ann", json!([true, 2, ["r0", "r1"]])).await;
    // Without a word, at first: the link is there, and no answer comes.
    scene.proxies[&(0, 1)].black_hole(testkit::Direction::FromTarget);
    let known = read(&scene.nodes[0], "/v1/users/ann/presence").await;
    assert_eq!(known, json!({ "user": "ann", "online": true, "clients": 1, "regions": ["r0"], "silent": ["r1"] }));
    scene.proxies[&(0, 1)].cut();
    let known = read(&scene.nodes[0], "/v1/users/ann/presence").await;
    assert_eq!(known["silent"], json!(["r1"]), "{known}");
    scene.proxies[&(0, 1)].heal();
    until_known(&scene, "ann", json!([true, 2, ["r0", "r1"]])).await;
}
