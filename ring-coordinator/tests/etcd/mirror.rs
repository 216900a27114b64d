//! The mirror shows what stands in etcd, whatever happened to the watch.

use crate::station::{PATIENCE, Station, json};
use ring_coordinator::etcd::record::{CounterNode, Gateway, Vote};
use testkit::{Direction, EtcdServer, Proxy, eventually, figure};

const RING: &str = "/headcount/eu/ring";

#[tokio::test]
async fn a_mirror_shows_all_that_stands_in_etcd_and_each_change() {
    let etcd = EtcdServer::start().await;
    etcd.ctl(&["put", RING, &json(1)]).await.unwrap();
    etcd.ctl(&["put", "/headcount/us/ring", &json(99)]).await.unwrap();
    let station = Station::start(etcd.url());
    station.sees_epoch(1).await;
    let gateway = r#"{"address":"h:1","version":"v","started_ms":1,"epoch":1,"acked":1}"#;
    etcd.ctl(&["put", "/headcount/eu/gw/g1", gateway]).await.unwrap();
    etcd.ctl(&["put", "/headcount/eu/votes/redis-a/g1", r#"{"vote":"down","since_ms":5,"reason":"silent"}"#]).await.unwrap();
    etcd.ctl(&["put", "/headcount/eu/counters/c1", r#"{"region":"eu","address":"h:2"}"#]).await.unwrap();
    etcd.ctl(&["put", "/headcount/eu/wanted", r#"{"any":"thing"}"#]).await.unwrap();
    etcd.ctl(&["put", "/headcount/eu/wanted/result", "{}"]).await.unwrap();
    let snapshot = station.sees(|snapshot| snapshot.wanted_result.is_some()).await;
    let expected = Gateway { address: "h:1".into(), version: "v".into(), started_ms: 1, epoch: 1, acked: 1, presence: 0 };
    assert_eq!(snapshot.gateways["g1"].value, expected);
    assert_eq!(snapshot.votes[&("redis-a".into(), "g1".into())].value.vote, Vote::Down);
    assert_eq!(snapshot.counters["c1"].value, CounterNode { region: "eu".into(), address: "h:2".into() });
    assert_eq!(snapshot.wanted.as_ref().unwrap().value, r#"{"any":"thing"}"#);
    etcd.ctl(&["del", "/headcount/eu/votes/", "--prefix"]).await.unwrap();
    station.sees(|snapshot| snapshot.votes.is_empty() && snapshot.gateways.len() == 1).await;
    assert!((station.metric("headcount_etcd_up", "") - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_left_out_and_the_rest_is_there() {
    let etcd = EtcdServer::start().await;
    etcd.ctl(&["put", RING, "{"]).await.unwrap();
    etcd.ctl(&["put", "/headcount/eu/hats", "1"]).await.unwrap();
    etcd.ctl(&["put", "/headcount/eu/counters/c1", r#"{"region":"eu","address":"h:2"}"#]).await.unwrap();
    let station = Station::start(etcd.url());
    let snapshot = station.sees(|snapshot| snapshot.counters.len() == 1).await;
    assert!(snapshot.document.is_none() && snapshot.ring_revision > 0);
    let skipped = |reason: &str| station.metric("headcount_etcd_entries_skipped_total", reason);
    assert!(skipped("undecodable") >= 1.0 && skipped("unknown") >= 1.0);
    etcd.ctl(&["put", RING, &json(2)]).await.unwrap();
    station.sees_epoch(2).await;
    etcd.ctl(&["put", "/headcount/eu/counters/c1", "nothing"]).await.unwrap();
    station.sees(|snapshot| snapshot.counters.is_empty() && snapshot.document.is_some()).await;
}

#[tokio::test]
async fn what_was_compacted_away_while_nothing_was_heard_is_read_all_the_same() {
    let etcd = EtcdServer::start().await;
    etcd.ctl(&["put", RING, &json(1)]).await.unwrap();
    let proxy = Proxy::start(etcd.client);
    let station = Station::start(format!("http://{}", proxy.address));
    station.sees_epoch(1).await;
    let first = station.etcd.mirror().freshness();
    let mut freshness = station.etcd.mirror().freshness_changes();
    proxy.cut();
    station.is_steady(false).await;
    for epoch in 2..=5 {
        etcd.ctl(&["put", RING, &json(epoch)]).await.unwrap();
    }
    etcd.compact().await.unwrap();
    assert_eq!(station.etcd.mirror().snapshot().document.as_ref().unwrap().value.epoch, 1, "the last ring stays");
    proxy.heal();
    // What is called steady again is what is there now, and who did not look meanwhile sees that there was a gap.
    tokio::time::timeout(PATIENCE, freshness.wait_for(|now| now.steady_since_ms > first.steady_since_ms)).await.unwrap().unwrap();
    assert_eq!(station.etcd.mirror().snapshot().document.as_ref().unwrap().value.epoch, 5);
    // And the watch is alive.
    etcd.ctl(&["put", RING, &json(6)]).await.unwrap();
    station.sees_epoch(6).await;
}

#[tokio::test]
async fn a_connection_that_loses_everything_without_a_word_is_noticed() {
    let etcd = EtcdServer::start().await;
    let proxy = Proxy::start(etcd.client);
    let station = Station::start(format!("http://{}", proxy.address));
    station.is_steady(true).await;
    proxy.black_hole(Direction::FromTarget);
    let since = tokio::time::Instant::now();
    station.is_steady(false).await;
    figure::time("etcd-silent", "noticed after", since.elapsed());
    proxy.heal();
    etcd.ctl(&["put", RING, &json(3)]).await.unwrap();
    station.sees_epoch(3).await;
}

#[tokio::test]
async fn an_older_copy_is_shown_as_what_it_is() {
    let mut etcd = EtcdServer::start().await;
    etcd.ctl(&["put", RING, &json(5)]).await.unwrap();
    let copy = etcd.save().await.unwrap();
    for epoch in 6..=9 {
        etcd.ctl(&["put", RING, &json(epoch)]).await.unwrap();
    }
    let station = Station::start(etcd.url());
    let newer = station.sees_epoch(9).await;
    etcd.restore(&copy).await.unwrap();
    let older = station.sees_epoch(5).await;
    assert!(older.revision < newer.revision, "{} and {}", older.revision, newer.revision);
    // Revisions that were seen once come again, with other changes.
    etcd.ctl(&["put", RING, &json(7)]).await.unwrap();
    station.sees_epoch(7).await;
}

#[tokio::test]
async fn a_mirror_waits_for_an_etcd_that_is_not_there_yet() {
    let mut etcd = EtcdServer::start().await;
    etcd.kill().await;
    let station = Station::start(etcd.url());
    eventually(PATIENCE, async || {
        let failed = station.metric("headcount_etcd_watch_restarts_total", "failed");
        if failed >= 2.0 { Ok(()) } else { Err(format!("tried {failed} times")) }
    })
    .await;
    assert!(!station.etcd.mirror().snapshot().is_known());
    assert_eq!(station.etcd.mirror().age_ms(1_000_000), None);
    etcd.restart().await;
    station.sees(|snapshot| snapshot.is_known()).await;
    station.has(|tenure| tenure.lease != 0).await;
}
