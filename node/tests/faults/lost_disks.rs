//! Disks that are lost, or replaced by what they were before, under load.

use crate::{settle, until_counted};
use testkit::{Cluster, ClusterOptions, Load, LoadOptions, cluster::PATIENCE, eventually};

const SAFELY: LoadOptions = LoadOptions { clients: 8, pause: std::time::Duration::from_millis(5), on_two_disks: true, seed: 1 };

/// Waits until what this one has acknowledged is held elsewhere, and takes its disk away.
async fn lose_disk(cluster: &mut Cluster, load: &Load, at: usize, older: Option<&std::path::Path>) {
    eventually(PATIENCE, async || {
        load.tally().mark(at);
        if cluster.is_held_elsewhere(at).await { Ok(()) } else { Err("it alone has something") }
    })
    .await;
    cluster.nodes[at].kill9().await;
    load.tally().lost(at);
    cluster.replace_disk(at, older).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_lost_one_after_the_other_lose_nothing_that_was_on_two() {
    let mut cluster = Cluster::start(3, ClusterOptions::default()).await.unwrap();
    let load = Load::start(cluster.targets(), SAFELY);
    for round in 0..6 {
        until_counted(&load, 100).await;
        lose_disk(&mut cluster, &load, round % 3, None).await;
    }
    settle("counter-disk-lost", &cluster, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_disk_hides_nothing_that_was_counted_since() {
    let mut cluster = Cluster::start(3, ClusterOptions::default()).await.unwrap();
    let load = Load::start(cluster.targets(), SAFELY);
    let backup = tempfile::tempdir().unwrap();
    for at in [1, 0] {
        until_counted(&load, 100).await;
        cluster.back_up(at, &backup.path().join("counter")).await.unwrap();
        until_counted(&load, 200).await;
        lose_disk(&mut cluster, &load, at, Some(&backup.path().join("counter"))).await;
    }
    settle("counter-disk-older", &cluster, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heir_of_a_retired_replica_may_lose_its_disk_too() {
    let mut cluster = Cluster::start(4, ClusterOptions::default()).await.unwrap();
    let load = Load::start(cluster.targets(), SAFELY);
    until_counted(&load, 200).await;
    load.retarget(cluster.targets().into_iter().filter(|target| target.at != 3).collect());
    eventually(PATIENCE, async || {
        load.tally().mark(3);
        if cluster.is_held_elsewhere(3).await { Ok(()) } else { Err("it alone has something") }
    })
    .await;
    cluster.retire(3).await;
    load.tally().lost(3);
    cluster.forget(0, 3).await.unwrap();
    // Before it has taken over anything, and again in its next life.
    for _ in 0..2 {
        lose_disk(&mut cluster, &load, 0, None).await;
        until_counted(&load, 100).await;
    }
    settle("counter-disk-lost", &cluster, load).await;
}
