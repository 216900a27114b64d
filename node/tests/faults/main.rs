//! Ordinary faults of machines, with real processes: full, slow, failing and lost disks, processes that stand still, replicas
//! that come and go under load. Whatever happens, the sums are exact.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod crowd;
mod full_disk;
mod lost_disks;
mod members;
mod slow_disk;
mod stopped;

use std::time::Duration;
use testkit::{Cluster, Load, eventually};

/// Waits until so many more additions were acknowledged.
async fn until_counted(load: &Load, more: u64) {
    let before = load.tally().acknowledged;
    eventually(testkit::cluster::PATIENCE, async || {
        let counted = load.tally().acknowledged - before;
        if counted >= more { Ok(()) } else { Err(format!("{counted} of {more} additions")) }
    })
    .await;
}

/// Ends the load and checks that all agree, that the sums are right, and that nothing is left to do.
async fn settle(cluster: &Cluster, load: Load) {
    let tally = tokio::time::timeout(Duration::from_secs(60), load.end()).await.expect("every token is counted in the end");
    cluster.until_all_read(&tally).await;
    cluster.until_folded(&tally).await;
}
