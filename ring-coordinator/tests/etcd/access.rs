//! Passwords, rights and certificates.

use crate::station::{PATIENCE, Station, config, json};
use prometheus::Registry;
use ring_coordinator::etcd::{CallError, Etcd, EtcdConfig, Key, record::Gateway};
use std::sync::Arc;
use testkit::{Authority, EtcdOptions, EtcdServer, Identity, eventually};

const RING: &str = "/headcount/eu/ring";
const PREFIX: &str = "/headcount/eu/";

fn as_alice(etcd: &EtcdServer, password: &str) -> EtcdConfig {
    EtcdConfig { username: Some("alice".into()), password: Some(password.into()), ..config(vec![etcd.url()]) }
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
    let with = |ca: &Authority, identity: Option<Identity>| {
        let (cert, key) = identity.map_or((None, None), |identity| (Some(identity.cert), Some(identity.key)));
        EtcdConfig { ca: Some(ca.ca().to_owned()), cert, key, ..config(vec![etcd.url()]) }
    };
    let station = Station::start_with(with(&authority, Some(authority.signs("g1"))));
    station.sees(|snapshot| snapshot.is_known()).await;

    for (config, why) in [
        (with(&authority, Some(stranger.signs("g1"))), "certificate"),
        (with(&authority, None), "certificate"),
        (with(&stranger, Some(authority.signs("g1"))), "certificate"),
        (EtcdConfig { domain: Some("elsewhere".into()), ..with(&authority, Some(authority.signs("g1"))) }, "elsewhere"),
    ] {
        let error = read(config).await.unwrap_err();
        assert!(error.text.to_lowercase().contains(why), "{error}");
        assert_eq!(error.code, "transport", "{error}");
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_the_key_and_the_reason() {
    let plain = || config(vec!["http://a:1".into()]);
    let authority = Authority::new("ours");
    let tls = || EtcdConfig { ca: Some(authority.ca().to_owned()), ..config(vec!["https://a:1".into()]) };
    for (config, expected) in [
        (config(Vec::new()), "etcd.endpoints is empty"),
        (config(vec!["a:1".into()]), "all begin with http://"),
        (config(vec!["http://a:1".into(), "https://a:2".into()]), "all begin with http://"),
        (EtcdConfig { username: Some("a".into()), ..plain() }, "etcd.username and etcd.password go together"),
        (EtcdConfig { ca: Some("ca.pem".into()), ..plain() }, "go with endpoints that begin with https://"),
        (EtcdConfig { ca: None, ..tls() }, "etcd.ca is missing"),
        (EtcdConfig { ca: Some("gone.pem".into()), ..tls() }, "etcd.ca = \"gone.pem\" cannot be read"),
        (EtcdConfig { cert: Some("cert.pem".into()), ..tls() }, "etcd.cert and etcd.key go together"),
    ] {
        let error = Etcd::new(config, &Registry::new()).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(!format!("{:?}", EtcdConfig { password: Some("secret".into()), ..plain() }).contains("secret"));
}

async fn read(config: EtcdConfig) -> Result<(), CallError> {
    Etcd::new(config, &Registry::new()).unwrap().store().read().await.map(drop)
}
