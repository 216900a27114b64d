//! Replicas that come and go under load.

use crate::{settle, until_counted};
use testkit::{Cluster, ClusterOptions, Load, LoadOptions, cluster::PATIENCE, eventually};

/// Kills a replica for good, once what it has acknowledged is held elsewhere.
async fn retire(cluster: &mut Cluster, load: &Load, gone: usize) {
    let stay: Vec<_> = cluster.targets().into_iter().filter(|target| target.at != gone).collect();
    load.retarget(stay);
    eventually(PATIENCE, async || {
        load.tally().mark(gone);
        if cluster.is_held_elsewhere(gone).await { Ok(()) } else { Err("it alone has something") }
    })
    .await;
    cluster.retire(gone).await;
    load.tally().lost(gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_added_and_retired_while_clients_count_through_all_of_them() {
    let mut cluster = Cluster::start(2, ClusterOptions::default()).await.unwrap();
    let load = Load::start(cluster.targets(), LoadOptions { on_two_disks: true, ..LoadOptions::default() });
    for _ in 0..2 {
        until_counted(&load, 100).await;
        cluster.join().await.unwrap();
        load.retarget(cluster.targets());
    }
    until_counted(&load, 200).await;
    // One of the first, which the others knew from the start, and one that came later; each told to another one.
    for (gone, by) in [(0, 1), (3, 2)] {
        retire(&mut cluster, &load, gone).await;
        until_counted(&load, 50).await;
        cluster.forget(by, gone).await.unwrap();
    }
    let last = cluster.join().await.unwrap();
    load.retarget(cluster.targets());
    until_counted(&load, 200).await;
    assert_eq!(cluster.live(), [1, 2, last]);
    settle("counter-members", &cluster, load).await;
}
