//! Wall clocks that jump. Only times that are shown, and the age of tokens, go by them.

use crate::{settle, until_counted};
use testkit::{Cluster, ClusterOptions, Load, LoadOptions};

const HOUR_S: i64 = 3_600;
const CLOCKS: ClusterOptions = ClusterOptions { disk_bytes: None, faulty_disks: false, skewed_clocks: true };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_by_an_hour_loses_and_doubles_nothing() {
    let mut cluster = Cluster::start(3, CLOCKS).await.unwrap();
    let others = cluster.targets().into_iter().filter(|target| target.at != 1).collect();
    let load = Load::start(others, LoadOptions::default());
    // By its clock the tokens of clients are too old or not yet made: they turn to the others until it is right again.
    for offset_s in [HOUR_S, -HOUR_S, 0] {
        cluster.clocks[1].as_ref().unwrap().set(offset_s).unwrap();
        until_counted(&load, 200).await;
        cluster.nodes[1].kill9().await;
        cluster.nodes[1].restart().await;
        until_counted(&load, 200).await;
    }
    load.retarget(cluster.targets());
    until_counted(&load, 200).await;
    settle("clock-jumps", &cluster, load).await;
}
