//! Random runs of presence with real processes and short leases: guests come and go, with several devices and at several
//! gateways, while gateways are killed, stand still or lose etcd, and etcd and Redis nodes fail. When all is mended everybody
//! knows who is here, and what watchers were told meanwhile is what was so.
//!
//! `HEADCOUNT_RUNS=50 HEADCOUNT_SEED=1 cargo test --release -p headcount-node --test region presence_random -- --ignored
//! --nocapture` prints one line for each run; with `HEADCOUNT_RUNS=1` a seed is run again.

use crate::{
    lobby::Lobby,
    random_plan::{GATEWAYS, Plan, REDIS_NODES, ROOMS},
    random_stage::{Outcome, Stage},
    random_truth::{GRACE_MS, LEASE_MS},
};
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, time::Duration};
use tokio::time::{Instant, sleep};

/// How many there are, and the first seed, if nothing is said.
const RUNS: u64 = 50;
const SEED: u64 = 1;
/// One that has a bit of everything.
const SHORT_SEED: u64 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_in_a_random_run_is_told_as_it_was() {
    runs(SHORT_SEED, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes twenty minutes: cargo xtask faults"]
async fn whatever_fails_in_fifty_random_runs_is_told_as_it_was() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    runs(number("HEADCOUNT_SEED").unwrap_or(SEED), number("HEADCOUNT_RUNS").unwrap_or(RUNS)).await;
}

async fn runs(first: u64, count: u64) {
    println!(
        "| seed | actions | what was broken | guests | joins | leaves | ghost, s | of a calm end, s | after the mending, s | exact, s | run, s | |"
    );
    println!("|{}", "---|".repeat(12));
    let (mut standing, mut failed) = (None, Vec::new());
    for seed in first..first + count {
        let mut lobby = match standing.take() {
            Some(lobby) => lobby,
            None => region().await,
        };
        let (plan, began) = (Plan::new(seed), Instant::now());
        let mut stage = Stage::new(&mut lobby, format!("s{seed}")).await;
        let run = AssertUnwindSafe(stage.run(&plan)).catch_unwind().await;
        let truth = std::mem::take(&mut stage.truth);
        drop(stage);
        let (shown, wrongs) = match run {
            Ok(outcome) => {
                let (shown, wrongs) = (outcome.to_string(), outcome.verdict.wrongs);
                if !wrongs.is_empty() {
                    keep_logs(seed, &lobby);
                }
                standing = Some(lobby).filter(|_| outcome.is_whole && wrongs.is_empty());
                (shown, wrongs)
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                keep_logs(seed, &lobby);
                ("- | - | - | - | - | -".to_owned(), vec![text.unwrap_or_else(|| "a panic".to_owned())])
            }
        };
        let (Plan { actions, faults, guests, .. }, word) = (&plan, if wrongs.is_empty() { "ok" } else { "WRONG" });
        println!("| {seed} | {actions} | {} | {guests} | {shown} | {:.1} | {word} |", faults.join(", "), began.elapsed().as_secs_f64());
        if !wrongs.is_empty() {
            println!("{plan}{truth:#?}");
            failed.push(format!("HEADCOUNT_SEED={seed}: {wrongs:#?}"));
        }
    }
    assert!(failed.is_empty(), "{} of {count} runs are wrong: {}", failed.len(), failed.join("\n"));
}

/// Gateways whose clients are told gone soon; all of them judge.
async fn region() -> Lobby {
    let presence = format!("[presence]\nlease_ttl_s = {}\ngrace_s = {}\n", LEASE_MS / 1_000, GRACE_MS / 1_000);
    let lobby = Lobby::start_by_proxies(GATEWAYS, REDIS_NODES, ROOMS, &presence).await;
    for gateway in &lobby.region.gateways {
        let left_s = gateway.metric("headcount_etcd_lease_remaining_seconds").await;
        assert!(left_s <= LEASE_MS as f64 / 1_000.0, "a lease lasts for {left_s} s");
    }
    sleep(Duration::from_millis(LEASE_MS + 2_000)).await;
    lobby
}

/// Keeps what the gateways of a region have to say, which is not used any more.
fn keep_logs(seed: u64, lobby: &Lobby) {
    for (at, gateway) in lobby.region.gateways.iter().enumerate() {
        let file = std::env::temp_dir().join(format!("presence-random-{seed}-g{at}.log"));
        std::fs::write(&file, gateway.log()).unwrap();
        println!("what g{at} logged is in {}", file.display());
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { verdict, joins, leaves, exact, .. } = self;
        let seconds = |ms: u64| if ms == 0 { "-".to_owned() } else { format!("{:.1}", ms as f64 / 1_000.0) };
        let [ghost, calm, mended] = [verdict.ghost_ms, verdict.calm_ghost_ms, verdict.mended_ghost_ms].map(seconds);
        write!(f, "{joins} | {leaves} | {ghost} | {calm} | {mended} | {:.1}", exact.as_secs_f64())
    }
}
