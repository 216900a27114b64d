//! Ordinary faults of machines, with real processes: full, slow, failing and lost disks, processes that stand still, replicas
//! that come and go under load. Whatever happens, the sums are exact.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod clock;
mod crowd;
mod damaged;
mod full_disk;
mod handed_over;
mod lossy_links;
mod lost_disks;
mod members;
mod memory;
mod older_data;
mod restarts;
mod slow_disk;
mod stopped;

use std::time::Duration;
use testkit::{Cluster, Load, eventually, figure};
use tokio::time::Instant;

/// Waits until so many more additions were acknowledged.
async fn until_counted(load: &Load, more: u64) {
    let before = load.tally().acknowledged;
    eventually(testkit::cluster::PATIENCE, async || {
        let counted = load.tally().acknowledged - before;
        if counted >= more { Ok(()) } else { Err(format!("{counted} of {more} additions")) }
    })
    .await;
}

/// Ends the load and checks that all agree, which is noted in this row of the fault matrix, that the sums are right, and that nothing is left to do.
async fn settle(row: &str, cluster: &Cluster, load: Load) {
    let since = Instant::now();
    let tally = tokio::time::timeout(Duration::from_secs(60), load.end()).await.expect("every token is counted in the end");
    cluster.until_all_read(&tally).await;
    figure::time(row, "replicas equal after the end of it", since.elapsed());
    figure::count(row, "additions acknowledged, each counted once", tally.acknowledged);
    cluster.until_folded(&tally).await;
}

/// How often something is restarted by the tests for which there is time: `HEADCOUNT_ROUNDS`.
fn rounds() -> u64 {
    std::env::var("HEADCOUNT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}
