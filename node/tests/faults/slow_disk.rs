//! Disks that stand still, are slow, or fail once.

use crate::{crowd::Crowd, settle, until_counted};
use std::sync::atomic::Ordering;
use testkit::{Cluster, ClusterOptions, Load, LoadOptions, cluster::PATIENCE, eventually, figure};

/// Counters, and the bytes of their keys: together many times what may wait for a disk (`PENDING_BYTES_MAX`, 2 MiB).
const KEYS: usize = 100_000;
const KEY_BYTES: usize = 200;
/// By how much a node may grow whose disk stands still: what waits for the disk, what is on its way there, and both in the
/// table of counters, with some air; a third of what it would take in otherwise.
const GROWTH_BYTES_MAX: u64 = 20 << 20;

const FAULTY: ClusterOptions = ClusterOptions { disk_bytes: None, faulty_disks: true, skewed_clocks: false };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_disk_stands_still_takes_in_no_more_than_its_bound_and_catches_up() {
    let cluster = Cluster::start(2, FAULTY).await.unwrap();
    let load = Load::start(cluster.targets(), LoadOptions::default());
    until_counted(&load, 200).await;
    let before = cluster.nodes[1].resident_bytes();
    cluster.faulty_disks[1].as_ref().unwrap().stall().unwrap();
    let crowd = Crowd::start(cluster.nodes[0].resp.unwrap(), KEYS, KEY_BYTES);
    crowd.until_counted(KEYS as u64).await;
    // What it can take in, it has.
    let client = cluster.nodes[1].client;
    let mut shown = 0;
    eventually(PATIENCE, async || {
        let now = crowd.shown_at(client).await;
        let is_still = now > 0 && now == std::mem::replace(&mut shown, now);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if is_still { Ok(()) } else { Err("it still takes in") }
    })
    .await;
    let growth = cluster.nodes[1].resident_bytes().saturating_sub(before);
    println!("{shown} of 1000 taken in, {growth} bytes more");
    assert!(shown < 500, "it has taken in {shown} of 1000 counters, however much that is");
    figure::count("counter-disk-stalls", "KiB by which it grew", growth / 1_024);
    assert!(growth < GROWTH_BYTES_MAX, "it grew by {growth} bytes");
    cluster.faulty_disks[1].as_ref().unwrap().heal().unwrap();
    crowd.end(&cluster).await;
    until_counted(&load, 200).await;
    settle("counter-disk-stalls", &cluster, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_acknowledges_nothing_and_the_log_goes_on_in_another_segment_without_a_restart() {
    let mut cluster = Cluster::start(2, FAULTY).await.unwrap();
    let load = Load::start(cluster.targets(), LoadOptions::default());
    for round in 0..3 {
        until_counted(&load, 200).await;
        let segments = segments(&cluster, 0);
        let disk = cluster.faulty_disks[0].as_ref().unwrap();
        let refused = load.tally().refused;
        disk.fail_once().unwrap();
        eventually(PATIENCE, async || if disk.has_failed() { Ok(()) } else { Err("nothing failed yet") }).await;
        // Without a restart; and those that waited were told.
        until_counted(&load, 400).await;
        eventually(PATIENCE, async || if load.tally().refused > refused { Ok(()) } else { Err("nobody was told") }).await;
        eventually(PATIENCE, async || {
            let now = self::segments(&cluster, 0);
            if now.iter().all(|segment| !segments.contains(segment)) { Ok(()) } else { Err(format!("{segments:?}, {now:?}")) }
        })
        .await;
        if round == 1 {
            cluster.nodes[0].kill9().await;
            cluster.nodes[0].restart().await;
        }
    }
    cluster.nodes[0].kill9().await;
    cluster.nodes[0].restart().await;
    settle("counter-disk-fails", &cluster, load).await;
}

/// The files of the log.
fn segments(cluster: &Cluster, at: usize) -> Vec<String> {
    let entries = std::fs::read_dir(cluster.nodes[at].data_dir.join("counter")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".log")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn additions_wait_for_a_slow_disk_and_other_replicas_do_not() {
    let cluster = Cluster::start(2, FAULTY).await.unwrap();
    let load = Load::start(cluster.targets(), LoadOptions::default());
    cluster.faulty_disks[1].as_ref().unwrap().slow_down().unwrap();
    let crowd = Crowd::start(cluster.nodes[0].resp.unwrap(), 5_000, 20);
    crowd.until_counted(50_000).await;
    until_counted(&load, 200).await;
    assert!(crowd.counted.load(Ordering::Relaxed) >= 50_000);
    cluster.faulty_disks[1].as_ref().unwrap().heal().unwrap();
    crowd.end(&cluster).await;
    settle("counter-disk-stalls", &cluster, load).await;
}
