//! An etcd without a majority: it still answers, and must not be believed.

use crate::service::{Service, options, ring};
use std::time::Duration;
use testkit::{RegionOptions, figure};
use tokio::time::sleep;

/// Longer than a lease lives.
const AWAY: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute: cargo xtask faults"]
async fn a_member_of_etcd_that_is_left_alone_is_not_believed_and_clients_notice_nothing() {
    let mut service = Service::start(RegionOptions { three_etcds: true, ..options() }).await;
    let before = ring(&service.region).await;
    for member in &mut service.region.other_etcds {
        member.kill().await;
    }
    service.lookout.until_degraded("etcd", "etcd was heard last").await;
    sleep(AWAY).await;
    let refused = service.region.ring(&["drain", "redis-2", "--force"]).await;
    assert!(refused.is_err(), "a ring was made that no majority has agreed to: {refused:?}");
    let [first, second] = &mut service.region.other_etcds[..] else { panic!("three members") };
    tokio::join!(first.restart(), second.restart());
    service.lookout.until_well().await;
    assert_eq!(ring(&service.region).await["nodes"], before["nodes"]);
    figure::time("etcd-majority", "a change after the majority is back", service.change(&["drain", "redis-2"]).await);
    service.lookout.until_well().await;
    service.end_unharmed("etcd-majority").await;
}
