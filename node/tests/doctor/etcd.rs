//! etcd that lets nobody write, one without space, and one that is not there.

use crate::doctor;
use testkit::{EtcdOptions, EtcdServer};

/// Bytes that this etcd takes.
const QUOTA_BYTES: &str = "200000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_write_the_regions_keys_is_told_and_nothing_is_written() {
    let mut etcd = EtcdServer::start().await;
    etcd.auth_on("headcount", "wonder", "/headcount/eu/").await.unwrap();
    let (url, before) = (etcd.url(), etcd.revision().await.unwrap());
    let login = [("HEADCOUNT_ETCD__ENDPOINTS", url.as_str()), ("HEADCOUNT_ETCD__USERNAME", "headcount")];
    let of = |region, password| [login.as_slice(), &[("HEADCOUNT_NODE__REGION", region), ("HEADCOUNT_ETCD__PASSWORD", password)]].concat();

    let mine = doctor(&of("eu", "wonder")).await;
    assert!(mine.code == 0, "{}", mine.text);
    mine.assert("etcd-rights", "", "ok", "/headcount/eu/");
    mine.assert("etcd-reachable", &url, "ok", "leads");
    mine.assert("etcd-members", "", "warn", "1 in the cluster");
    mine.assert("ring-document", "", "warn", "none yet");

    let theirs = doctor(&of("us", "wonder")).await;
    theirs.assert("etcd-rights", "", "fail", "permission denied");
    assert_eq!(theirs.code, 1);

    let stranger = doctor(&of("eu", "blunder")).await;
    stranger.assert("etcd-reachable", &url, "fail", "etcd.password");
    assert!(!stranger.text.contains("blunder") && !mine.text.contains("wonder"), "{}", stranger.text);
    assert_eq!(etcd.revision().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_without_space_is_told_with_what_frees_it_and_an_endpoint_that_is_dead_is_only_a_warning() {
    let args = ["--quota-backend-bytes", QUOTA_BYTES].map(str::to_owned).to_vec();
    let etcd = EtcdServer::start_with(EtcdOptions { args, ..EtcdOptions::default() }).await;
    let value = "x".repeat(50_000);
    let mut writes = 0;
    while etcd.ctl(&["put", &format!("filler{writes}"), &value]).await.is_ok() {
        writes += 1;
        assert!(writes < 100, "it takes everything");
    }
    let endpoints = format!("{},http://127.0.0.1:9", etcd.url());
    let told = doctor(&[("HEADCOUNT_ETCD__ENDPOINTS", &endpoints)]).await;
    told.assert("etcd-alarms", "", "fail", "etcdctl alarm disarm");
    told.assert("etcd-rights", "", "skipped", "no space");
    told.assert("etcd-reachable", "http://127.0.0.1:9", "warn", "others answer");
    assert_eq!((told.code, told.failed()), (1, vec![("etcd-alarms", "")]), "{}", told.text);
}
