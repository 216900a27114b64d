//! etcd is gone for a while, or hangs: the last ring stays, and everything is there again afterwards.

use crate::station::{PATIENCE, Station, config, json, now};
use ring_coordinator::etcd::{Key, record::Gateway};
use testkit::{EtcdCluster, EtcdServer, eventually};

const RING: &str = "/headcount/eu/ring";

fn g1() -> Key {
    Key::Gateway("g1".to_owned())
}

#[tokio::test]
async fn after_a_kill_and_a_restart_the_mirror_goes_on_and_the_keys_are_there() {
    let mut etcd = EtcdServer::start().await;
    etcd.ctl(&["put", RING, &json(1)]).await.unwrap();
    let station = Station::start(etcd.url());
    station.etcd.lease().set(g1(), &Gateway::default()).unwrap();
    station.sees(|snapshot| snapshot.document.is_some() && snapshot.gateways.contains_key("g1")).await;
    etcd.kill().await;
    station.is_steady(false).await;
    assert!(station.metric("headcount_etcd_up", "").abs() < 0.1);
    assert!(station.etcd.mirror().snapshot().document.is_some(), "the last ring stays");
    etcd.restart().await;
    etcd.ctl(&["put", RING, &json(2)]).await.unwrap();
    station.sees_epoch(2).await;
    station.has(|tenure| tenure.is_settled && tenure.until_ms > now().mono_ms).await;
    assert!(station.sees(|snapshot| snapshot.gateways.contains_key("g1")).await.is_known());
}

/// A server that hangs tells nobody; leases run out while it does.
#[tokio::test]
async fn after_a_hang_the_lease_is_had_anew_and_all_keys_are_put_again() {
    let etcd = EtcdServer::start().await;
    let station = Station::start(etcd.url());
    station.etcd.lease().set(g1(), &Gateway::default()).unwrap();
    let before = station.sees(|snapshot| snapshot.gateways.contains_key("g1")).await;
    let first = station.has(|tenure| tenure.is_settled).await;
    assert_eq!(first.terms, 1);
    etcd.stop().await;
    station.is_steady(false).await;
    let after = station.has(|tenure| tenure.until_ms == 0).await;
    assert_eq!(after.lease, 0, "a lease that may be over is not held");
    // The server counts from the last time that it was heard, which is a little later.
    eventually(PATIENCE, async || if now().mono_ms > first.until_ms + 5_000 { Ok(()) } else { Err("not yet") }).await;
    etcd.cont().await;
    let second = station.has(|tenure| tenure.is_settled && tenure.until_ms > 0).await;
    assert_eq!(second.terms, 2);
    let again = station.sees(|snapshot| snapshot.gateways.get("g1").is_some_and(|held| held.lease == second.lease)).await;
    assert!(again.gateways["g1"].create_revision > before.gateways["g1"].create_revision, "others can see that it was gone");
    assert!(second.expelled.is_empty(), "nobody has taken it away");
}

#[tokio::test]
async fn when_the_leader_of_three_is_lost_nothing_is() {
    let mut etcd = EtcdCluster::start().await;
    etcd.members[0].ctl(&["put", RING, &json(1)]).await.unwrap();
    let station = Station::start_with(config(etcd.urls()));
    station.etcd.lease().set(g1(), &Gateway::default()).unwrap();
    station.sees(|snapshot| snapshot.document.is_some() && snapshot.gateways.contains_key("g1")).await;
    let leader = etcd.leader().await;
    etcd.members[leader].kill().await;
    let next = etcd.leader().await;
    etcd.members[next].ctl(&["put", RING, &json(2)]).await.unwrap();
    station.sees_epoch(2).await;
    let held_ms = now().mono_ms + 12_000;
    let tenure = station.has(|tenure| tenure.until_ms > held_ms - 4_000).await;
    assert_eq!((tenure.terms, tenure.is_settled), (1, true), "the lease was held throughout");
}

/// A member that has lost the others has nothing new to tell, and says so.
#[tokio::test]
async fn a_member_without_a_majority_is_not_believed_to_be_up_to_date() {
    let mut etcd = EtcdCluster::start().await;
    let station = Station::start(etcd.members[0].url());
    station.is_steady(true).await;
    etcd.members[1].kill().await;
    etcd.members[2].kill().await;
    station.is_steady(false).await;
    let ended = station.metric("headcount_etcd_watch_restarts_total", "eof");
    assert!(ended > 0.5, "the watch itself ended, and not only the next reading failed");
    etcd.members[1].restart().await;
    station.is_steady(true).await;
}

/// What goes to a member that hangs is not answered by the others.
#[tokio::test]
async fn when_one_of_three_hangs_the_lease_is_held_and_news_come_through() {
    let etcd = EtcdCluster::start().await;
    let station = Station::start_with(config(etcd.urls()));
    station.etcd.lease().set(g1(), &Gateway::default()).unwrap();
    station.has(|tenure| tenure.is_settled).await;
    let leader = etcd.leader().await;
    etcd.members[leader].stop().await;
    let well = (leader + 1) % 3;
    let hung_ms = now().mono_ms;
    for epoch in 1..=4 {
        eventually(PATIENCE, async || etcd.members[well].ctl(&["put", RING, &json(epoch)]).await).await;
        station.sees_epoch(epoch).await;
    }
    // Renewed long after the last contact with the member that hangs.
    let tenure = station.has(|tenure| tenure.until_ms > hung_ms + 25_000).await;
    assert_eq!((tenure.terms, tenure.is_settled), (1, true));
}
