//! Every shipped alert in a real fault run: real nodes with ordinary and broken dependencies, a real Prometheus that goes by the shipped
//! rules, a fault for each of them.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod clients;
mod counters;
mod cut_off;
mod disks;
mod lives;
mod memory;
mod people;
mod processes;
mod prometheus;
mod redis;
mod report;
mod ring;
mod rules;
mod stage;
mod table;

use futures_util::{StreamExt, stream};
use stage::Seen;
use std::{path::Path, time::Duration};
use table::{Scene, TABLE};
use tokio::runtime::Handle;

const RULES: &str = include_str!("../../../deploy/prometheus/headcount.rules.yml");
/// By how much every `for:` and every range window is shorter here.
const FACTOR: u32 = 60;
/// At least four scrapes fall into each.
const WINDOW_LEAST: Duration = Duration::from_secs(5);
/// Scenes that are played at the same time: most of the time they wait for something.
const SCENES_AT_ONCE: usize = 3;
/// Names scenes by comma; then the report is not written.
const SOME: &str = "HEADCOUNT_SCENES";

async fn play(scene: Scene, seen: Seen) {
    match scene {
        Scene::Clients => clients::play(seen).await,
        Scene::Counters => counters::play(seen).await,
        Scene::CutOff => cut_off::play(seen).await,
        Scene::Disks => disks::play(seen).await,
        Scene::Lives => lives::play(seen).await,
        Scene::Processes => processes::play(seen).await,
        Scene::Redis => redis::play(seen).await,
        Scene::Ring => ring::play(seen).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour, and root: cargo xtask faults --alerts"]
async fn every_alert_fires_when_its_fault_is_there_and_ends_when_it_is_over() {
    let some = std::env::var(SOME).ok();
    let is_played = |scene: Scene| some.as_ref().is_none_or(|some| some.split(',').any(|name| name == format!("{scene:?}")));
    let seen = Seen::default();
    let scenes = Scene::ALL.into_iter().filter(|scene| is_played(*scene));
    // A scene that cannot go on leaves its further alerts out, and the others go on.
    let on_a_thread = |scene| {
        let (runtime, seen) = (Handle::current(), Seen::clone(&seen));
        tokio::task::spawn_blocking(move || runtime.block_on(Box::pin(play(scene, seen))))
    };
    let ended = stream::iter(scenes).map(on_a_thread);
    let failed: Vec<_> = ended.buffer_unordered(SCENES_AT_ONCE).filter_map(async |ended| ended.err()).collect().await;
    let seen = seen.lock().unwrap().clone();
    if some.is_none() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/reports/alerts.md");
        std::fs::write(file, report::page(&seen)).unwrap();
    }
    let missing = report::missing(&seen, TABLE.iter().filter(|row| is_played(row.scene)));
    assert!(failed.is_empty() && missing.is_empty(), "scenes: {failed:?}\nnot as they should be: {missing:#?}");
}
