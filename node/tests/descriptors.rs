//! A gateway whose file descriptors run out: who is there stays, who comes waits, and everybody can see why.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};
use testkit::{
    Guest, Node, NodeOptions,
    crowd::{self, Wish},
    eventually, figure, http,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// The soft bound that the node is started with.
const GRANTED: usize = 200;
const GUESTS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_nobody_is_accepted_which_is_told_and_those_who_are_here_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("headcount");
    let started = format!("#!/bin/sh\nulimit -S -n {GRANTED}\nexec {} \"$@\"\n", testkit::node::binary().unwrap().display());
    fs::write(&binary, started).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    // Those who say nothing are not sent away meanwhile.
    let config_toml = crowd::auth_toml() + "[limits]\nhandshake_timeout_s = 60\nstale_timeout_s = 60\n";
    let node = Node::start(NodeOptions { binary: Some(binary), config_toml, ..NodeOptions::default() }).await;
    let wish = |number: usize| Wish { user: format!("guest{number}"), channels: vec!["hall".to_owned()], gateway: node.client };
    let guests = crowd::enter_all((0..GUESTS).map(wish)).await;

    let mut idle = Vec::new();
    for _ in 0..GRANTED {
        idle.push(TcpStream::connect(node.client).await.unwrap());
    }
    let since = Instant::now();
    let told = eventually(PATIENCE, async || match node.readiness().await {
        Ok((503, told)) => Ok(told),
        other => Err(format!("{other:?}")),
    });
    let told = told.await;
    figure::time("descriptors", "told by /readyz after", since.elapsed());
    assert!(told["checks"]["descriptors"]["why"].as_str().unwrap().contains("file descriptors"), "{told}");
    let newcomer = Guest::enter(wish(GUESTS));
    assert!(timeout(Duration::from_secs(1), newcomer).await.is_err(), "somebody was let in");
    // Who is here is served as ever.
    for guest in &guests {
        let answer = timeout(PATIENCE, guest.ask(json!({ "publish": { "channel": "hall", "data": 1 } }))).await.unwrap().unwrap();
        assert!(answer.get("publish").is_some(), "{answer}");
        assert_eq!(guest.ended(), None);
    }

    drop(idle);
    let since = Instant::now();
    let late = eventually(PATIENCE, async || Guest::enter(wish(GUESTS)).await).await;
    eventually(PATIENCE, async || match node.readiness().await {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    figure::time("descriptors", "accepts again after some are gone", since.elapsed());
    figure::count("descriptors", "connections lost", guests.iter().filter(|guest| guest.ended().is_some()).count() as u64);
    let stats = http::get(node.client, "/v1/channels/hall/presence/stats").await.unwrap().json();
    assert_eq!(stats["num_users"], GUESTS + 1, "{stats} with {}", late.wish.user);
    assert!(guests.iter().all(|guest| guest.ended().is_none()));
}
