//! A process that is everything at once is restarted under load.

use crate::until_counted;
use std::time::Duration;
use testkit::{
    Guest, Load, LoadOptions, Node, NodeOptions,
    crowd::{self, Wish},
    eventually, figure, http,
    load::Target,
};
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const GUESTS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_everything_is_restarted() {
    is_restarted(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask faults"]
async fn a_process_that_is_everything_is_restarted_again_and_again() {
    is_restarted(crate::rounds()).await;
}

async fn is_restarted(rounds: u64) {
    let config_toml = crowd::auth_toml() + "[presence]\ngrace_s = 1\n";
    let mut node = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
    let load = Load::start(vec![Target { at: 0, client: node.client, resp: node.resp.unwrap() }], LoadOptions::default());
    let wishes = (0..GUESTS).map(|number| Wish { user: format!("guest{number}"), channels: vec!["hall".to_owned()], gateway: node.client });
    let wishes: Vec<Wish> = wishes.collect();
    let mut guests = crowd::enter_all(wishes.clone()).await;
    for _ in 0..rounds {
        until_counted(&load, 200).await;
        let since = Instant::now();
        node.signal_terminate().await;
        for guest in &guests {
            let ended = || guest.ended().ok_or_else(|| format!("{} is not sent away", guest.wish.user));
            let ended = eventually(PATIENCE, async || ended()).await;
            assert!(ended.contains("3001"), "{}: {ended}", guest.wish.user);
        }
        assert_eq!(node.wait().await.code(), Some(0));
        node.restart().await;
        guests = crowd::enter_all(wishes.clone()).await;
        figure::time("restart-alone", "everybody is back after", since.elapsed());
        assert_roster(&node, &guests).await;
    }
    figure::count("restart-alone", "restarts", rounds);
    until_counted(&load, 200).await;
    let tally = timeout(PATIENCE, load.end()).await.expect("every token is counted in the end");
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
    for (key, expected) in &tally.counters {
        let value = http::get(node.client, &format!("/v1/counters/{key}")).await.unwrap().json()["value"].as_i64().unwrap();
        assert!(expected.admits(value), "{key} is {value}, and must be {expected:?}");
    }
    figure::count("restart-alone", "additions acknowledged, each counted once", tally.acknowledged);
}

async fn assert_roster(node: &Node, guests: &[Guest]) {
    let stats = http::get(node.client, "/v1/channels/hall/presence/stats").await.unwrap().json();
    assert_eq!(
        (stats["num_clients"].as_u64(), stats["num_users"].as_u64()),
        (Some(guests.len() as u64), Some(guests.len() as u64)),
        "{stats}"
    );
}
