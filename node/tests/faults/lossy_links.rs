//! Links as bad as they get. Connections are TCP's, so what is lost comes late; what breaks is said again from the place that the
//! other side had.

use crate::{settle, until_counted};
use std::time::Duration;
use testkit::{Cluster, ClusterOptions, Load, LoadOptions};

const PERCENT: u8 = 20;
const DELAYS_MS: [u64; 3] = [20, 50, 80];
const PAIRS: [(usize, usize); 3] = [(0, 1), (1, 2), (0, 2)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_links_that_lose_delay_and_break_every_addition_counts_once() {
    let cluster = Cluster::start(3, ClusterOptions::default()).await.unwrap();
    let load = Load::start(cluster.targets(), LoadOptions::default());
    let worsen = |(one, other): (usize, usize), delay_ms| {
        cluster.lose(one, other, PERCENT, rand::random);
        cluster.slow_down(one, other, Duration::from_millis(delay_ms));
    };
    for round in 0..6 {
        for (pair, delay_ms) in PAIRS.into_iter().zip(DELAYS_MS) {
            worsen(pair, delay_ms);
        }
        until_counted(&load, 100).await;
        let (one, other) = PAIRS[round % PAIRS.len()];
        cluster.cut(one, other);
        until_counted(&load, 50).await;
        cluster.mend(one, other);
    }
    // As bad as before until the end, but whole.
    for (pair, delay_ms) in PAIRS.into_iter().zip(DELAYS_MS) {
        worsen(pair, delay_ms);
    }
    settle("counter-lossy-links", &cluster, load).await;
}
