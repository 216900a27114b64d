//! A counter node that loses its disk again and again.

use crate::{
    stage::{Seen, Stage},
    table::Scene,
};
use futures_util::future::join_all;
use serde_json::json;
use std::{fs, time::Duration};
use testkit::{Node, NodeOptions, eventually, http};

const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "the key of this cluster";
/// Nodes that lose their disks at the same time.
const LOSERS: usize = 6;
/// More lives than the rule allows within a day, and how often each node may lose its disk until there are so many.
const LIVES: f64 = 201.0;
const LOSSES_MAX: usize = 60;

pub(crate) async fn play(seen: Seen) {
    let keeper = node("keeper", "127.0.0.1:9").await;
    let address = keeper.peer.unwrap().to_string();
    let mut losers = join_all((0..LOSERS).map(|at| node_of(at, &address))).await;
    let stage = Stage::start(Scene::Lives, &seen, &[("counters", keeper.admin)]).await;
    let lost = stage.fault(&["HeadcountCounterLivesMany"]).await;
    let lives = async || keeper.metric("headcount_counter_lives").await;
    let before = lives().await;
    for _ in 0..LOSSES_MAX {
        if lives().await - before >= LIVES {
            break;
        }
        join_all(losers.iter_mut().map(lose)).await;
    }
    println!("{} lives begun", lives().await - before);
    // The window is a day, which is longer than the run however it is shortened: it is not waited for that it ends.
    lost.fires().await;
}

async fn node_of(at: usize, keeper: &str) -> Node {
    node(&format!("loser{at}"), keeper).await
}

async fn node(name: &str, seed: &str) -> Node {
    let config_toml = format!("[node]\nname = \"{name}\"\n[counter]\nkey = \"{KEY}\"\nseeds = [\"{seed}\"]\n");
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

/// Counts something that another one has on its disk, too, and loses the disk.
async fn lose(node: &mut Node) {
    eventually(PATIENCE, async || {
        let add = json!({ "by": 1, "ack": "replicated" });
        let answer = http::post(node.client, "/v1/counters/likes/add", &add).await.map_err(|error| error.to_string())?;
        if answer.json()["acked"] == "replicated" { Ok(()) } else { Err(answer.body) }
    })
    .await;
    node.kill9().await;
    fs::remove_dir_all(node.data_dir.join("counter")).unwrap();
    node.restart().await;
}
