//! Passwords, rights and certificates.

use crate::station::{PATIENCE, Running, Station, config, elected, json, ring, with};
use prometheus::Registry;
use ring_coordinator::etcd::{Access, CallError, Etcd, EtcdConfig, Key, record::Gateway};
use std::sync::Arc;
use testkit::{Authority, EtcdOptions, EtcdServer, Identity, eventually};

const RING: &str = "/headcount/eu/ring";
const PREFIX: &str = "/headcount/eu/";

fn as_alice(etcd: &EtcdServer, password: &str) -> EtcdConfig {
    let (username, password) = (Some("alice".into()), Some(password.into()));
    with(Access { endpoints: vec![etcd.url()], username, password, ..Access::default() })
}

async fn counts(station: &Station, code: &str) {
    eventually(PATIENCE, async || {
        let errors = station.metric("headcount_etcd_errors_total", code);
        if errors >= 1.0 { Ok(()) } else { Err(format!("{code}: {errors}")) }
    })
    .await;
}

#[tokio::test]
async fn rights_that_are_taken_away_are_missed_and_given_again_are_enough() {
    let mut etcd = EtcdServer::start().await;
    etcd.ctl(&["put", RING, &json(1)]).await.unwrap();
    etcd.auth_on("alice", "wonder", PREFIX).await.unwrap();
    let station = Station::start_with(as_alice(&etcd, "wonder"));
    station.etcd.lease().set(Key::Gateway("g1".into()), &Gateway::default()).unwrap();
    station.sees(|snapshot| snapshot.document.is_some() && snapshot.gateways.contains_key("g1")).await;
    etcd.revoke("alice", PREFIX).await.unwrap();
    // The server forgets its tokens too, and the watch ends.
    etcd.restart().await;
    counts(&station, "permission_denied").await;
    station.is_steady(false).await;
    assert!(station.etcd.mirror().snapshot().document.is_some(), "the last ring stays");
    etcd.grant("alice", PREFIX).await.unwrap();
    etcd.ctl(&["put", RING, &json(2)]).await.unwrap();
    station.sees_epoch(2).await;
    station.has(|tenure| tenure.is_settled && tenure.lease != 0).await;
}

#[tokio::test]
async fn with_a_password_and_rights_on_the_region_alone_everything_can_be_done() {
    let mut etcd = EtcdServer::start().await;
    etcd.auth_on("alice", "wonder", PREFIX).await.unwrap();
    let station = Station::start_with(as_alice(&etcd, "wonder"));
    let g1 = Key::Gateway("g1".into());
    station.etcd.lease().set(g1.clone(), &Gateway::default()).unwrap();
    let (election, store) = (station.etcd.election("g1"), station.etcd.store());
    let running = Running::start(|stopped| election.clone().run(async { _ = stopped.await }));
    let leadership = elected(&election).await;
    let written = store.write(&ring(1), 0, &leadership).await.unwrap();
    store.ask(b"{}").await.unwrap();
    station.sees(|snapshot| snapshot.ring_revision == written && snapshot.wanted.is_some()).await;
    // The server forgets its tokens.
    etcd.restart().await;
    let leadership = elected(&election).await;
    eventually(PATIENCE, async || store.expel("g1", &leadership).await).await;
    station.has(|tenure| tenure.expelled.contains(&g1)).await;
    running.shutdown().await;
    station.shutdown().await;
    assert_eq!(etcd.ctl(&["get", "/headcount/eu/leader/", "--prefix"]).await.unwrap(), "");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_tried_until_it_is_right() {
    let mut etcd = EtcdServer::start().await;
    etcd.auth_on("alice", "wonder", PREFIX).await.unwrap();
    let error = read(as_alice(&etcd, "wander")).await.unwrap_err();
    assert!(error.code == "invalid_argument" && error.text.contains("authentication failed"), "{error}");
    let nobody = read(config(vec![etcd.url()])).await.unwrap_err();
    assert!(nobody.text.contains("user name is empty"), "{nobody}");

    let station = Station::start_with(as_alice(&etcd, "wander"));
    counts(&station, "invalid_argument").await;
    etcd.ctl(&["user", "delete", "alice"]).await.unwrap();
    etcd.ctl(&["user", "add", "alice:wander"]).await.unwrap();
    etcd.ctl(&["user", "grant-role", "alice", "alice"]).await.unwrap();
    station.sees(|snapshot| snapshot.is_known()).await;
}

#[tokio::test]
async fn a_certificate_of_the_right_authority_is_let_in_and_no_other() {
    let (authority, stranger) = (Arc::new(Authority::new("ours")), Authority::new("stranger"));
    let etcd = EtcdServer::start_with(EtcdOptions { tls: Some(Arc::clone(&authority)), ..EtcdOptions::default() }).await;
    let showing = |ca: &Authority, identity: Option<Identity>| {
        let (cert, key) = identity.map_or((None, None), |identity| (Some(identity.cert), Some(identity.key)));
        Access { endpoints: vec![etcd.url()], ca: Some(ca.ca().to_owned()), cert, key, ..Access::default() }
    };
    let station = Station::start_with(with(showing(&authority, Some(authority.signs("g1")))));
    station.sees(|snapshot| snapshot.is_known()).await;

    for (access, why) in [
        // Either the reason came back, or the connection was gone before.
        (showing(&authority, Some(stranger.signs("g1"))), "connection"),
        (showing(&authority, None), "connection"),
        (showing(&stranger, Some(authority.signs("g1"))), "unknownissuer"),
        (Access { domain: Some("elsewhere".into()), ..showing(&authority, Some(authority.signs("g1"))) }, "elsewhere"),
    ] {
        let error = read(with(access)).await.unwrap_err();
        assert!(error.text.to_lowercase().contains(why), "{error}");
        assert_eq!(error.code, "transport", "{error}");
        assert!(error.text.to_lowercase().contains("certificate"), "{error}");
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_before_anything_is_tried() {
    let refused = |access| Etcd::new(with(access), &Registry::new()).err().unwrap().to_string();
    let endpoints = vec!["https://127.0.0.1:9".to_owned()];
    assert!(refused(Access { endpoints: endpoints.clone(), ..Access::default() }).starts_with("etcd.ca: must be set"));
    let unreadable = refused(Access { endpoints, ca: Some("gone.pem".into()), ..Access::default() });
    assert!(unreadable.starts_with("etcd.ca = \"gone.pem\" cannot be read"), "{unreadable}");
}

async fn read(config: EtcdConfig) -> Result<(), CallError> {
    Etcd::new(config, &Registry::new()).unwrap().store().read().await.map(drop)
}
