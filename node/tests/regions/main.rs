//! Regions through the real binary: what is published in one reaches the clients of all, whatever becomes of the links between them.
//! Here they are of one process each; in `shared` they have Redis, etcd and several nodes of each kind.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod likes;
mod scene;
mod shared;
mod shared_anew;
mod shared_bytes;
mod shared_gateways;
mod shared_lost;
mod shared_partition;
mod shared_rolling;
mod users;

use scene::{Scene, history, roster};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{
    Direction, Outcome, Traffic, TrafficOptions,
    crowd::{Guest, Watcher, Wish},
    eventually, http,
};
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(60);

fn traffic() -> TrafficOptions {
    let channels = (0..40).map(|number| format!("chat:{number}")).collect();
    TrafficOptions { channels, rate: 400, publishers: 8 }
}

fn assert_faultless(outcome: &Outcome) {
    assert!(outcome.acknowledged > 0, "{outcome:?}");
    let Outcome { acknowledged, delivered, longest_pause_ms, .. } = *outcome;
    assert_eq!(*outcome, Outcome { acknowledged, delivered, longest_pause_ms, ..Outcome::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_in_any_region_arrives_in_all_once_and_in_order() {
    let scene = Scene::start(3, 1000).await;
    let traffic = Traffic::start(&scene.gateways(), &traffic()).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_faultless(&traffic.finish(PATIENCE).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_during_a_cut_arrives_after_it() {
    let scene = Scene::start(2, 100_000).await;
    let traffic = Traffic::start(&scene.gateways(), &traffic()).await.unwrap();
    for round in 0..6 {
        sleep(Duration::from_millis(700)).await;
        match round % 3 {
            0 => scene.proxies.iter().for_each(|(_, proxy)| proxy.cut()),
            1 => scene.proxies[&(0, 1)].black_hole(Direction::Both),
            _ => scene.proxies[&(1, 0)].black_hole(Direction::FromTarget),
        }
        // Longer than a silent link is believed in.
        sleep(Duration::from_millis(2_500)).await;
        scene.proxies.values().for_each(testkit::Proxy::heal);
    }
    assert_faultless(&traffic.finish(PATIENCE).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_kept_until_a_cut_is_over_is_told_to_be_lost() {
    // Each channel gets ten a second.
    let scene = Scene::start(2, 5).await;
    let traffic = Traffic::start(&scene.gateways(), &traffic()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    scene.proxies.values().for_each(testkit::Proxy::cut);
    sleep(Duration::from_secs(4)).await;
    scene.proxies.values().for_each(testkit::Proxy::heal);
    sleep(Duration::from_secs(2)).await;
    let outcome = traffic.finish(PATIENCE).await.unwrap();
    assert!(outcome.lost_and_told > 0 && outcome.told > 0, "{outcome:?}");
    assert_eq!((outcome.lost, outcome.doubled, outcome.out_of_order), (0, 0, 0), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_first_in_a_region_finds_what_others_have_kept_and_nothing_goes_where_it_is_not_global() {
    let scene = Scene::start(2, 1000).await;
    // More than are read at once.
    for number in 1..=120 {
        let body = json!({ "data": number });
        for channel in ["chat:history", "local:history"] {
            let path = format!("/v1/channels/{channel}/messages");
            assert_eq!(http::post(scene.nodes[0].client, &path, &body).await.unwrap().status, 200);
        }
    }
    let all = |region: serde_json::Value| (1..=120).map(|number| json!([number, region])).collect::<serde_json::Value>();
    assert_eq!(history(&scene.nodes[1], "chat:history").await, all(json!("r0")));
    assert_eq!(history(&scene.nodes[0], "chat:history").await, all(json!(null)));
    assert_eq!(history(&scene.nodes[1], "local:history").await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_says_how_it_knows_the_others_and_goes_on_without_them() {
    let scene = Scene::start(2, 1000).await;
    let states = async || {
        let regions = http::get(scene.nodes[0].client, "/v1/regions").await.unwrap().json();
        let states = regions["regions"].as_array().unwrap().iter().map(|region| json!([region["name"], region["state"]])).collect();
        (serde_json::Value::Array(states), regions["regions"][1]["trouble"].as_str().map(str::to_owned))
    };
    assert_eq!(states().await, (json!([["r0", "live"], ["r1", "live"]]), None));
    scene.proxies[&(0, 1)].cut();
    eventually(PATIENCE, async || match states().await {
        (_, Some(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // Nobody waits for a region that is not there.
    let answer = http::post(scene.nodes[0].client, "/v1/channels/chat:alone/messages", &json!({ "data": 1 })).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(history(&scene.nodes[0], "chat:alone").await, json!([[1, null]]));
    scene.proxies[&(0, 1)].heal();
    eventually(PATIENCE, async || if states().await.1.is_none() { Ok(()) } else { Err("still cut") }).await;
}

pub(crate) async fn enter(scene: &Scene, at: usize, user: &str) -> Guest {
    let (user, channels, gateway) = (user.to_owned(), vec!["chat:room".to_owned()], scene.nodes[at].client);
    Guest::enter(Wish { user, channels, gateway }).await.unwrap()
}

async fn until_all_see(scene: &Scene, members: Value, counts: Value) {
    for node in &scene.nodes {
        eventually(PATIENCE, async || {
            let seen = roster(node, "chat:room").await;
            if seen == (members.clone(), counts.clone()) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_in_a_room_of_any_region_is_in_the_roster_of_all_once() {
    let scene = Scene::start(2, 10).await;
    let ann = enter(&scene, 0, "ann").await;
    let ben = enter(&scene, 1, "ben").await;
    until_all_see(&scene, json!([["ann", 1, ["r0"]], ["ben", 1, ["r1"]]]), json!([2, 2, null])).await;
    let watchers = [0, 1].map(|at| Watcher::start(scene.nodes[at].client, "zoe", "chat:room"));
    let watchers = futures_util::future::try_join_all(watchers).await.unwrap();
    let zoe = |clients: u64| json!(["zoe", clients, ["r0", "r1"]]);
    until_all_see(&scene, json!([["ann", 1, ["r0"]], ["ben", 1, ["r1"]], zoe(2)]), json!([3, 4, null])).await;
    let too = enter(&scene, 1, "ann").await;
    until_all_see(&scene, json!([["ann", 2, ["r0", "r1"]], ["ben", 1, ["r1"]], zoe(2)]), json!([3, 5, null])).await;
    ann.leave().await;
    until_all_see(&scene, json!([["ann", 1, ["r1"]], ["ben", 1, ["r1"]], zoe(2)]), json!([3, 4, null])).await;
    too.leave().await;
    ben.leave().await;
    until_all_see(&scene, json!([zoe(2)]), json!([1, 2, null])).await;
    for watcher in &watchers {
        eventually(PATIENCE, async || {
            let noted = watcher.noted();
            let told: Vec<_> =
                noted.told.iter().filter(|told| told.member != "zoe").map(|told| (told.member.clone(), told.is_join)).collect();
            let gone = [("ann".to_owned(), false), ("ben".to_owned(), false)];
            if noted.roster.len() == 1 && gone.iter().all(|gone| told.contains(gone)) && told.len() == 2 {
                Ok(())
            } else {
                Err(format!("{noted:?}"))
            }
        })
        .await;
        assert_eq!(watcher.noted().wrong, [""; 0]);
    }
}

/// A question costs a way there and back for whoever enters, and bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roster_that_is_followed_is_not_asked_for_again() {
    let scene = Scene::start(2, 10).await;
    let watcher = Watcher::start(scene.nodes[0].client, "zoe", "chat:room").await.unwrap();
    let asked = || scene.proxies[&(0, 1)].traffic(Direction::ToTarget).delivered;
    let (mut guests, mut before) = (Vec::new(), 0);
    for number in 0..40 {
        guests.push(enter(&scene, 1, &format!("guest-{number}")).await);
        eventually(PATIENCE, async || if watcher.noted().roster.len() == guests.len() + 1 { Ok(()) } else { Err("not told") }).await;
        // The first one may have come before the answer.
        before = if number == 0 { asked() } else { before };
    }
    // To say twice a second that it lives takes 10 bytes; 39 questions would be a thousand more.
    let bytes = asked() - before;
    assert!(bytes < 600, "{bytes} bytes of questions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_cut_off_is_stale_then_gone_without_leaves_and_then_exact() {
    let scene = Scene::start(2, 10).await;
    let _ann = enter(&scene, 0, "ann").await;
    let ben = enter(&scene, 1, "ben").await;
    let watcher = Watcher::start(scene.nodes[0].client, "zoe", "chat:room").await.unwrap();
    let (ann, zoe) = (json!(["ann", 1, ["r0"]]), json!(["zoe", 1, ["r0"]]));
    until_all_see(&scene, json!([ann, ["ben", 1, ["r1"]], zoe]), json!([3, 3, null])).await;
    scene.proxies.values().for_each(testkit::Proxy::cut);
    let seen = async |members: Value, stale: bool| {
        eventually(PATIENCE, async || {
            let (seen, counts) = roster(&scene.nodes[0], "chat:room").await;
            if seen == members && counts[2] == json!(stale) { Ok(()) } else { Err(format!("{seen} {counts}")) }
        })
        .await;
    };
    seen(json!([ann, ["ben", 1, ["r1"]], zoe]), true).await;
    let cat = enter(&scene, 1, "cat").await;
    ben.leave().await;
    seen(json!([ann, zoe]), true).await;
    assert!(watcher.noted().told.iter().all(|told| told.is_join), "nobody was told to leave: {:?}", watcher.noted());
    scene.proxies.values().for_each(testkit::Proxy::heal);
    until_all_see(&scene, json!([ann, ["cat", 1, ["r1"]], zoe]), json!([3, 3, null])).await;
    cat.leave().await;
    until_all_see(&scene, json!([ann, zoe]), json!([2, 2, null])).await;
}

/// By region: clients, users, and whether they may be old.
async fn totals(node: &testkit::Node) -> Value {
    let totals = http::get(node.client, "/v1/presence/stats").await.unwrap().json();
    let regions = totals["regions"].as_object().cloned().unwrap_or_default();
    let told = regions.into_iter().map(|(region, told)| (region, json!([told["num_clients"], told["num_users"], told["stale"]])));
    told.collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_region_knows_how_many_are_online_in_the_others_and_when_it_does_not() {
    let scene = Scene::start(2, 10).await;
    let until = async |at: usize, expected: Value| {
        eventually(PATIENCE, async || {
            let found = totals(&scene.nodes[at]).await;
            if found == expected { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
    };
    let _guests = [enter(&scene, 0, "ann").await, enter(&scene, 0, "ann").await, enter(&scene, 0, "ben").await];
    for at in 0..2 {
        until(at, json!({ "r0": [3, 2, null], "r1": [0, 0, null] })).await;
    }
    scene.proxies.values().for_each(testkit::Proxy::cut);
    let _cat = enter(&scene, 1, "cat").await;
    until(0, json!({ "r0": [3, 2, null], "r1": [0, 0, true] })).await;
    until(1, json!({ "r0": [3, 2, true], "r1": [1, 1, null] })).await;
    // Of a region that is gone nothing is said.
    until(0, json!({ "r0": [3, 2, null] })).await;
    scene.proxies.values().for_each(testkit::Proxy::heal);
    for at in 0..2 {
        until(at, json!({ "r0": [3, 2, null], "r1": [1, 1, null] })).await;
    }
}
