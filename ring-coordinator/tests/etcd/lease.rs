//! A node's own keys: there while it is, and its own business who takes them away.

use crate::station::{Station, config, etcd as only_etcd};
use ring_coordinator::etcd::{
    EtcdConfig, Key,
    record::{Gateway, Opinion, Vote},
};
use std::time::Duration;
use testkit::{Direction, EtcdServer, Proxy};

const NAME: &str = "/headcount/eu/gw/g1";

fn g1() -> Key {
    Key::Gateway("g1".to_owned())
}

fn acked(acked: u64) -> Gateway {
    Gateway { acked, ..Gateway::default() }
}

#[tokio::test]
async fn keys_are_put_changed_and_taken_back_and_gone_at_once_when_the_node_leaves() {
    let etcd = EtcdServer::start().await;
    let (station, other) = (Station::start(etcd.url()), Station::start(etcd.url()));
    let vote = Key::Vote { node: "redis-a".into(), gateway: "g1".into() };
    station.etcd.lease().set(g1(), &acked(1)).unwrap();
    station.etcd.lease().set(vote.clone(), &Opinion { vote: Vote::Up, since_ms: 1, reason: String::new() }).unwrap();
    other.sees(|snapshot| snapshot.votes.len() == 1 && snapshot.gateways.contains_key("g1")).await;
    station.etcd.lease().set(g1(), &acked(2)).unwrap();
    station.etcd.lease().remove(&vote);
    other.sees(|snapshot| snapshot.votes.is_empty() && snapshot.gateways["g1"].value.acked == 2).await;
    let lease = station.has(|tenure| tenure.is_settled).await.lease;
    station.shutdown().await;
    // Not when the lease has run out, but now.
    assert_eq!(etcd.ctl(&["get", NAME]).await.unwrap(), "");
    assert!(!etcd.ctl(&["lease", "list"]).await.unwrap().contains(&format!("{lease:x}")));
}

#[tokio::test]
async fn the_keys_of_a_node_that_dies_run_out() {
    let etcd = EtcdServer::start().await;
    let (station, other) = (Station::start(etcd.url()), Station::start(etcd.url()));
    station.etcd.lease().set(g1(), &acked(1)).unwrap();
    other.sees(|snapshot| snapshot.gateways.contains_key("g1")).await;
    drop(station);
    other.sees(|snapshot| snapshot.gateways.is_empty()).await;
}

#[tokio::test]
async fn a_lease_lives_as_long_as_is_wanted_and_a_short_one_is_held() {
    let etcd = EtcdServer::start().await;
    for lease_ttl_ms in [2_000, 7_000] {
        let station = Station::start_with(EtcdConfig { lease_ttl_ms, ..config(vec![etcd.url()]) });
        station.etcd.lease().set(g1(), &acked(1)).unwrap();
        let first = station.has(|tenure| tenure.is_settled && tenure.lease != 0).await;
        let granted = etcd.ctl(&["lease", "timetolive", &format!("{:x}", first.lease)]).await.unwrap();
        assert!(granted.contains(&format!("granted with TTL({}s)", lease_ttl_ms / 1_000)), "{granted}");
        // Renewed again and again, so that it is the first one still.
        let later = station.has(|tenure| tenure.until_ms >= first.until_ms + 2 * lease_ttl_ms || tenure.terms > 1).await;
        assert_eq!((later.lease, later.terms), (first.lease, 1));
        station.shutdown().await;
    }
}

#[tokio::test]
async fn whose_key_is_taken_away_is_told_and_comes_back_as_new() {
    let etcd = EtcdServer::start().await;
    let station = Station::start(etcd.url());
    station.etcd.lease().set(g1(), &acked(1)).unwrap();
    station.etcd.lease().set(Key::Counter("c1".into()), &acked(0)).unwrap();
    let first = station.sees(|snapshot| snapshot.gateways.contains_key("g1")).await;
    station.has(|tenure| tenure.is_settled).await;
    etcd.ctl(&["del", NAME]).await.unwrap();
    let tenure = station.has(|tenure| tenure.expelled.contains(&g1())).await;
    assert_eq!((tenure.expelled.len(), tenure.terms), (1, 1), "the lease is held, and the other key is there");
    assert_eq!(etcd.ctl(&["get", NAME]).await.unwrap(), "", "it is not put again by itself");
    station.etcd.lease().set(g1(), &acked(1)).unwrap();
    let second = station.sees(|snapshot| snapshot.gateways.contains_key("g1")).await;
    assert!(second.gateways["g1"].create_revision > first.gateways["g1"].create_revision);
    station.has(|tenure| tenure.expelled.is_empty() && tenure.is_settled).await;
}

#[tokio::test]
async fn of_two_nodes_of_one_name_the_first_is_told_that_the_second_has_taken_its_key() {
    let etcd = EtcdServer::start().await;
    let first = Station::start(etcd.url());
    first.etcd.lease().set(g1(), &acked(1)).unwrap();
    first.has(|tenure| tenure.is_settled && tenure.lease != 0).await;
    let second = Station::start(etcd.url());
    second.etcd.lease().set(g1(), &acked(2)).unwrap();
    first.has(|tenure| tenure.expelled.contains(&g1())).await;
    // What the first does with its wish is not the second's trouble.
    first.etcd.lease().remove(&g1());
    first.has(|tenure| tenure.expelled.is_empty()).await;
    let tenure = second.has(|tenure| tenure.is_settled).await;
    second.sees(|snapshot| snapshot.gateways.get("g1").is_some_and(|held| held.lease == tenure.lease)).await;
}

/// A key that another one has taken over is not taken away from it by the first one's wish, which comes too late.
#[tokio::test]
async fn who_is_not_heard_for_a_while_does_not_take_away_what_another_one_has_put() {
    let etcd = EtcdServer::start().await;
    let proxy = Proxy::start(etcd.client);
    let (first, second) = (Station::start(format!("http://{}", proxy.address)), Station::start(etcd.url()));
    first.etcd.lease().set(g1(), &acked(1)).unwrap();
    first.has(|tenure| tenure.is_settled && tenure.lease != 0).await;
    proxy.stall(Direction::Both);
    second.etcd.lease().set(g1(), &acked(2)).unwrap();
    let tenure = second.has(|tenure| tenure.is_settled && tenure.lease != 0).await;
    first.etcd.lease().remove(&g1());
    // Long enough for it to be on its way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.heal();
    first.has(|tenure| tenure.is_settled).await;
    first.is_steady(true).await;
    second.sees(|snapshot| snapshot.gateways.get("g1").is_some_and(|held| held.lease == tenure.lease)).await;
    assert!(etcd.ctl(&["get", NAME]).await.unwrap().contains("\"acked\":2"));
}

#[tokio::test]
async fn a_lease_that_is_revoked_is_had_anew_with_all_keys() {
    let etcd = EtcdServer::start().await;
    let station = Station::start(etcd.url());
    station.etcd.lease().set(g1(), &acked(1)).unwrap();
    let first = station.has(|tenure| tenure.is_settled && tenure.lease != 0).await;
    etcd.ctl(&["lease", "revoke", &format!("{:x}", first.lease)]).await.unwrap();
    let second = station.has(|tenure| tenure.terms == 2 && tenure.is_settled).await;
    assert_ne!(first.lease, second.lease);
    assert!(etcd.ctl(&["get", NAME]).await.unwrap().contains("acked"));
}

#[tokio::test]
async fn a_key_that_was_set_before_etcd_was_there_is_put_when_it_comes() {
    let mut server = EtcdServer::start().await;
    server.kill().await;
    let station = Station::start(server.url());
    station.etcd.lease().set(g1(), &acked(1)).unwrap();
    server.restart().await;
    station.sees(|snapshot| snapshot.gateways.contains_key("g1")).await;
    assert_eq!(only_etcd(server.url()).store().read().await.unwrap().gateways.len(), 1);
}
