//! Every corpus over every listener, while clients go on as if nothing were.

use crate::{
    attackers::{Targets, attack},
    raw::{PATIENCE, metric, node},
};
use serde_json::json;
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use testkit::{Node, Traffic, TrafficOptions, crowd, eventually, figure, http};

const MIB: f64 = 1024.0 * 1024.0;
const KEY: &str = "the key of this cluster";
/// What memory may be after the attacks: so many times as much as after the first of them, and so much more. Some inputs are good ones,
/// so that counters and channels come into being.
const MEMORY_FACTOR: f64 = 1.5;
const MEMORY_MORE: f64 = 64.0 * MIB;
/// Descriptors that may be open beside as many as before, for what comes and goes by itself.
const DESCRIPTORS_MORE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_traffic_on_every_listener_costs_nobody_anything() {
    hold_for(Duration::from_secs(5), 1).await;
}

#[ignore = "a minute; `cargo xtask faults` runs it"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_of_malformed_traffic_on_every_listener_costs_nobody_anything() {
    hold_for(Duration::from_secs(60), 2).await;
}

async fn hold_for(time: Duration, seed: u64) {
    let node = node(&format!(
        "{}[node]\nname = \"n1\"\n[listen]\napi = \"127.0.0.1:0\"\n[regions]\npeers = [\"us=127.0.0.1:9\"]\n[counter]\nkey = \"{KEY}\"\nseeds = [\"127.0.0.1:9\"]\n",
        crowd::auth_toml()
    ))
    .await;
    let targets = Targets::of(&node, KEY).await;
    let wish = |number| crowd::Wish { user: format!("guest-{number}"), channels: vec!["the-lobby".to_owned()], gateway: node.client };
    let guests = crowd::enter_all((0..10).map(wish)).await;
    let channels = (0..4).map(|at| format!("the-news-{at}")).collect();
    let traffic = Traffic::start(&[node.client], &TrafficOptions { channels, rate: 100, publishers: 4 }).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let counting = tokio::spawn(count(node.api.unwrap(), stop.clone()));

    // What is made once, such as threads and pools, is there after this.
    attack(&targets, seed + 100, Duration::from_secs(1)).await;
    let (memory, descriptors) = (node.resident_bytes(), until_quiet(&node).await);
    let attacks = attack(&targets, seed, time).await;

    stop.store(true, Ordering::Relaxed);
    let counted = counting.await.unwrap();
    assert!(counted > 0);
    assert_eq!(value_of(&node, "the-exact-count").await, counted, "an addition was lost, or another one counted");
    for guest in &guests {
        assert_eq!(guest.ended(), None, "{} was cut off", guest.wish.user);
    }
    let outcome = traffic.finish(PATIENCE).await.unwrap();
    assert!(outcome.acknowledged > 0);
    let told = (outcome.lost, outcome.doubled, outcome.out_of_order, outcome.told, outcome.cut_off, outcome.refused.len());
    assert_eq!(told, (0, 0, 0, 0, 0, 0), "{outcome:?}");

    let (refused, poison) = (refusals(&node).await, metric(&node, "headcount_peer_poison_total").await);
    let strangers = metric(&node, "headcount_counter_refused_peers_total").await;
    let peers = format!("{poison} neighbours with the key and {strangers} without");
    figure::count("malformed", "attacks", attacks);
    figure("malformed", "refused inputs and commands of clients", refused, "");
    figure("malformed", "refused neighbours, with the key and without", poison + strangers, "");
    assert!(refused > 0.0 && poison > 0.0 && strangers > 0.0, "{refused} inputs, {peers}");
    eventually(PATIENCE, async || match open_descriptors(&node) {
        now if now <= descriptors + DESCRIPTORS_MORE => Ok(()),
        now => Err(format!("{descriptors} descriptors became {now}")),
    })
    .await;
    let (after, most) = (node.resident_bytes() as f64, memory as f64 * MEMORY_FACTOR + MEMORY_MORE);
    figure("malformed", "memory before", memory as f64 / MIB, "MiB");
    figure("malformed", "memory after", after / MIB, "MiB");
    assert!(after <= most, "{memory} bytes of memory became {after}");
}

/// Adds to a counter as a service does, until it is told to stop; how much.
async fn count(api: std::net::SocketAddr, stop: Arc<AtomicBool>) -> i64 {
    let mut counted = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = http::post(api, "/v1/counters/the-exact-count/add", &json!({ "by": 1 })).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        counted += 1;
        assert_eq!(answer.json()["value"], counted);
    }
    counted
}

async fn value_of(node: &Node, key: &str) -> i64 {
    let answer = http::get(node.api.unwrap(), &format!("/v1/counters/{key}")).await.unwrap();
    answer.json()["value"].as_i64().unwrap()
}

/// Waits until the attackers' connections are gone; how many descriptors are open then.
async fn until_quiet(node: &Node) -> usize {
    let mut last = usize::MAX;
    eventually(PATIENCE, async || {
        let before = std::mem::replace(&mut last, open_descriptors(node));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = open_descriptors(node);
        if now >= before.min(last) && now == last { Ok(now) } else { Err("it still falls") }
    })
    .await
}

fn open_descriptors(node: &Node) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.pid().unwrap())).unwrap().count()
}

/// Everything of clients that was refused by its form, and the errors of commands.
async fn refusals(node: &Node) -> f64 {
    let body = http::get(node.admin, "/metrics").await.unwrap().body;
    let of = |name: &str| -> f64 {
        let lines = body.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    of("headcount_refused_inputs_total{") + of("headcount_errors_total{")
}
