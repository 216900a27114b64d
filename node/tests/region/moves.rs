//! Planned changes of the ring under traffic: nothing is lost, doubled or out of order.

use crate::service::{CONFIG, channels};
use std::time::Duration;
use testkit::{Outcome, Region, RegionOptions, Traffic, TrafficOptions};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_added_drained_reweighted_and_removed_and_nothing_is_lost_doubled_or_out_of_order() {
    let options = RegionOptions { redis_nodes: 2, gateways: 2, config_toml: CONFIG.to_owned(), ..RegionOptions::default() };
    let mut region = Region::start(options).await;
    let gateways: Vec<_> = region.gateways.iter().map(|gateway| gateway.client).collect();
    let traffic = TrafficOptions { channels: channels(200), rate: 1_000, publishers: 16 };
    let traffic = Traffic::start(&gateways, &traffic).await.unwrap();

    region.start_redis("redis-2").await;
    let url = region.redis["redis-2"].url();
    for change in [
        &["add", "redis-2", url.as_str()][..],
        &["drain", "redis-0"],
        &["undrain", "redis-0"],
        &["reweight", "redis-1", "3"],
        &["remove", "redis-2"],
    ] {
        let told = region.ring(&[change, &["--force"]].concat()).await.unwrap();
        println!("{told}");
    }
    let outcome = traffic.finish(Duration::from_secs(10)).await.unwrap();
    println!("{outcome:?}");
    let Outcome { acknowledged, delivered, .. } = outcome;
    let expected = Outcome { acknowledged, delivered, longest_pause_ms: outcome.longest_pause_ms, ..Outcome::default() };
    assert_eq!(outcome, expected);
    assert_eq!(delivered, acknowledged * 2, "at both gateways");
    assert!(acknowledged > 5_000, "{acknowledged}");
}
