//! What the other tests rely on: that etcd is what they were promised.

use std::sync::Arc;
use testkit::{Authority, EtcdCluster, EtcdOptions, EtcdServer};

#[tokio::test]
async fn a_server_keeps_its_data_over_a_kill_and_goes_back_to_an_older_copy() {
    let mut etcd = EtcdServer::start().await;
    etcd.ctl(&["put", "k", "old"]).await.unwrap();
    let copy = etcd.save().await.unwrap();
    etcd.ctl(&["put", "k", "new"]).await.unwrap();
    let newer = etcd.revision().await.unwrap();
    etcd.kill().await;
    assert!(etcd.ctl(&["--dial-timeout", "1s", "--command-timeout", "1s", "get", "k"]).await.is_err());
    etcd.restart().await;
    assert_eq!(etcd.ctl(&["get", "k"]).await.unwrap(), "k\nnew\n");
    etcd.compact().await.unwrap();
    let old = etcd.ctl(&["get", "k", "--rev", "1"]).await.unwrap_err();
    assert!(old.to_string().contains("compacted"), "{old}");
    etcd.restore(&copy).await.unwrap();
    assert_eq!(etcd.ctl(&["get", "k"]).await.unwrap(), "k\nold\n");
    assert!(etcd.revision().await.unwrap() < newer);
}

#[tokio::test]
async fn a_server_asks_for_passwords_and_certificates_when_it_is_told_to() {
    let authority = Arc::new(Authority::new("tests"));
    let mut etcd = EtcdServer::start_with(EtcdOptions { tls: Some(authority), ..EtcdOptions::default() }).await;
    assert!(etcd.url().starts_with("https://"));
    etcd.ctl(&["put", "/a/k", "v"]).await.unwrap();
    etcd.auth_on("alice", "wonder", "/a/").await.unwrap();
    assert_eq!(etcd.ctl(&["get", "/a/k"]).await.unwrap(), "/a/k\nv\n");
    etcd.revoke("alice", "/a/").await.unwrap();
    etcd.auth_off().await.unwrap();
    assert_eq!(etcd.ctl(&["get", "/a/k"]).await.unwrap(), "/a/k\nv\n");
}

#[tokio::test]
async fn a_cluster_of_three_has_another_leader_when_one_is_lost() {
    let mut etcd = EtcdCluster::start().await;
    let first = etcd.leader().await;
    etcd.members[first].kill().await;
    let second = etcd.leader().await;
    assert_ne!(first, second);
    etcd.members[second].ctl(&["put", "k", "v"]).await.unwrap();
}
