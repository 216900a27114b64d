//! Whatever happens to etcd, clients notice nothing; gateways say what they miss, stay ready, and go by a ring whose epoch
//! never goes down.

use crate::{
    lookout::Lookout,
    service::{Service, change, options, ring, traffic, unharmed},
};
use std::time::Duration;
use testkit::{Node, Region, RegionOptions, Traffic, eventually, figure, region::PREFIX};
use tokio::time::{sleep, sleep_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than all leases.
const HUNG: Duration = Duration::from_secs(15);
/// What gateways say of it.
const UNHEARD: &str = "etcd was heard last";

/// The coordinator goes on within 5 s after etcd is back, because the nodes tell who listens; that it does is shown in virtual time
/// (`ring-coordinator/tests/coordination/patience.rs`). Here it is printed how long a whole change took.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_killed_and_comes_back_and_then_hangs_for_longer_than_leases_live() {
    let mut service = Service::start(options()).await;
    service.region.etcd.kill().await;
    service.lookout.until_degraded("etcd", UNHEARD).await;
    sleep(Duration::from_secs(2)).await;
    service.region.etcd.restart().await;
    figure::time("etcd-away", "a change after a kill", service.change(&["drain", "redis-2"]).await);
    service.lookout.until_well().await;

    let hung = tokio::time::Instant::now();
    service.region.etcd.stop().await;
    service.lookout.until_degraded("etcd", UNHEARD).await;
    service.lookout.until_degraded("ring", "does not stand in etcd").await;
    sleep_until(hung + HUNG).await;
    service.region.etcd.cont().await;
    figure::time("etcd-away", "a change after a hang of 15 s", service.change(&["undrain", "redis-2"]).await);
    service.lookout.until_well().await;
    service.end_unharmed("etcd-away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_compacted_while_the_ring_changes_and_its_leader_is_lost() {
    let mut service = Service::start(RegionOptions { three_etcds: true, ..options() }).await;
    let mut compacted = 0;
    {
        let changed = service.change(&["drain", "redis-2"]);
        tokio::pin!(changed);
        loop {
            tokio::select! {
                _ = &mut changed => break,
                () = sleep(Duration::from_millis(10)) => {}
            }
            // Each phase is one revision, so every one is compacted away soon. What is compacted already is refused.
            compacted += u32::from(service.region.etcd.compact().await.is_ok());
        }
    }
    assert!(compacted >= 3, "{compacted}");

    let mut lost = None;
    for member in service.region.etcds() {
        if member.leads().await {
            member.kill().await;
            lost = Some(member.client);
        }
    }
    assert!(lost.is_some(), "one of them leads");
    figure::time("etcd-leader", "a change after the loss", service.change(&["undrain", "redis-2"]).await);
    service.lookout.until_well().await;
    for member in service.region.etcds().filter(|member| Some(member.client) == lost) {
        member.restart().await;
    }
    service.end_unharmed("etcd-leader").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_from_an_older_backup_nothing_is_changed_until_the_ring_is_published() {
    let mut service = Service::start(options()).await;
    let backup = service.region.etcd.save().await.unwrap();
    let old = ring(&service.region).await;
    service.change(&["drain", "redis-2"]).await;
    let newest = ring(&service.region).await;
    service.region.etcd.restore(&backup).await.unwrap();
    assert_eq!(ring(&service.region).await, old);
    service.lookout.until_degraded("ring", "was etcd restored from an older copy?").await;

    let refused = service.region.ring(&["reweight", "redis-1", "3", "--force"]).await.unwrap_err().to_string();
    assert!(refused.contains("etcd holds an older ring than is known here"), "{refused}");
    assert_eq!(ring(&service.region).await, old);
    let asked = tokio::time::Instant::now();
    service.region.ring(&["publish"]).await.unwrap();
    figure::time("etcd-restored", "published again in", asked.elapsed());
    assert_eq!(ring(&service.region).await["nodes"], newest["nodes"]);
    service.lookout.until_well().await;
    println!("after a restore:");
    service.change(&["reweight", "redis-1", "3"]).await;
    service.end_unharmed("etcd-restored").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute, for etcd asks for rights with each new watch only: cargo xtask faults"]
async fn etcd_lets_nobody_in_who_has_no_password_and_then_does_again() {
    let mut service = Service::start(options()).await;
    service.region.etcd.auth_on("somebody", "else", PREFIX).await.unwrap();
    service.lookout.until_degraded("etcd", UNHEARD).await;
    service.region.etcd.auth_off().await.unwrap();
    println!("after passwords were asked for:");
    service.change(&["drain", "redis-2"]).await;
    service.lookout.until_well().await;
    service.end_unharmed("etcd-rights").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute, for etcd asks for rights with each new watch only: cargo xtask faults"]
async fn the_region_has_no_rights_in_etcd_any_more_and_then_has_them_again() {
    let service = Service::start(RegionOptions { etcd_login: true, ..options() }).await;
    service.region.etcd.revoke("headcount", PREFIX).await.unwrap();
    service.lookout.until_degraded("etcd", UNHEARD).await;
    service.region.etcd.grant("headcount", PREFIX).await.unwrap();
    println!("after rights were taken away:");
    service.change(&["drain", "redis-2"]).await;
    service.lookout.until_well().await;
    service.end_unharmed("etcd-rights").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_started_without_etcd_goes_by_the_newest_copy_and_one_without_any_says_so() {
    let mut region = Region::start(RegionOptions { coordinators: 1, ..options() }).await;
    // Its disk has an older ring than the Redis nodes.
    let copy = region.gateways[1].data_dir.join("ring");
    eventually(PATIENCE, async || if copy.exists() { Ok(()) } else { Err("the ring is not on the disk yet") }).await;
    region.gateways[1].kill9().await;
    change(&region, &["drain", "redis-2"]).await;
    let epoch = region.gateways[0].metric("headcount_ring_epoch").await;
    region.etcd.kill().await;
    region.gateways[1].restart().await;
    eventually(PATIENCE, async || match region.gateways[1].metric("headcount_ring_epoch").await {
        known if (known - epoch).abs() < 0.5 => Ok(()),
        known => Err(format!("epoch {known}, not {epoch}")),
    })
    .await;
    let gateways: Vec<_> = region.gateways.iter().map(|gateway| gateway.client).collect();
    let traffic = Traffic::start(&gateways, &traffic()).await.unwrap();
    let lookout = Lookout::start(&region.gateways[1..]);
    lookout.until_degraded("etcd", "etcd has not answered yet").await;

    let options = region.gateway_options();
    let stranger = Node::start_unready(options).await;
    let why = || async { stranger.readiness().await.unwrap() };
    eventually(PATIENCE, async || match why().await {
        (503, told) if told["checks"]["ring"]["why"] == "etcd does not answer, and there is no copy of the ring" => Ok(()),
        (status, told) => Err(format!("{status} {told}")),
    })
    .await;
    sleep(Duration::from_secs(3)).await;
    region.etcd.restart().await;
    lookout.until_well().await;
    eventually(PATIENCE, async || match why().await {
        (200, told) if told["status"] == "ready" => Ok(()),
        (status, told) => Err(format!("{status} {told}")),
    })
    .await;
    figure::time("etcd-absent", "a change after its return", change(&region, &["undrain", "redis-2"]).await);
    lookout.finish();
    unharmed(&traffic.finish(Duration::from_secs(15)).await.unwrap(), 2);
}
