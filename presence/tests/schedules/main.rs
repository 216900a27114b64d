//! Presence over Redis under everything that may go wrong: thousands of runs of three gateways with the real state machines,
//! virtual time and a virtual etcd, and the real scripts on real Redis servers. Gateways crash, stand still beyond their
//! lease and come back, lose etcd or Redis or boot without it; etcd stops; nodes lose their data, fail over without the last
//! writes, are taken in again; slots move; calls and answers get lost. At no time a member is told gone who is held, nobody
//! stays for long who is not there, and in the end Redis and every roster say what is true.
//!
//! `HEADCOUNT_SEEDS=10000` runs that many; `HEADCOUNT_SEED=n` repeats one and shows it.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, unreachable_pub, dead_code, reason = "all of this is a test")]

mod ending;
mod etcd;
mod following;
mod gateway;
#[path = "../redis/node.rs"]
mod node;
mod reaping;
#[path = "../redis/room.rs"]
mod room;
mod schedule;
mod servers;
mod telling;
mod truth;
mod world;
mod writing;

use futures_util::FutureExt;
use servers::Servers;
use std::{
    env,
    panic::AssertUnwindSafe,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use world::{Tally, World};

/// How many seeds are run when nothing is said, which are enough for all that [`HAPPENS`].
const SEEDS: u64 = 500;
/// After so many faults a thread stops looking for more.
const FAULTS_MAX: usize = 3;

/// What the runs are about.
const HAPPENS: [&str; 21] = [
    "a zombie is fenced",
    "an old ring is refused",
    "an owner finds its rows gone",
    "an owner is missing in a node's list",
    "a room is found to have begun anew",
    "an owner is called dead",
    "an owner is alive after all",
    "a clock went back",
    "a room is reaped",
    "a member left",
    "rows are retained",
    "a client says its status",
    "a room may be stale",
    "a room is not stale any more",
    "a slot is fenced and stays",
    "a node is settled",
    "a gateway is asked, and finds its rows gone",
    "a question is lost",
    "a slot is not settled after all",
    "services are told",
    "services are told of a loss",
];

/// Runs a seed; what was wrong, if anything was.
async fn fault(servers: &Servers, seed: u64, is_loud: bool, tally: &Mutex<Tally>) -> Option<String> {
    let mut world = World::new(servers, seed, is_loud).await;
    let run = AssertUnwindSafe(world.run(seed)).catch_unwind().await;
    world.tally.iter().for_each(|(what, count)| *tally.lock().unwrap().entry(what).or_default() += count);
    world.trace.iter().for_each(|line| println!("{line}"));
    match run {
        Ok(()) => world.wrong,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// One thread's runs, on servers of its own.
fn look(next: &AtomicU64, seeds: u64, tally: &Mutex<Tally>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (servers, mut faults) = (Servers::start().await, Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || faults.len() >= FAULTS_MAX {
                return faults;
            }
            faults.extend(fault(&servers, seed, false, tally).await.map(|fault| format!("HEADCOUNT_SEED={seed}: {fault}")));
        }
    })
}

#[test]
fn no_false_leave_no_ghost_and_in_the_end_the_truth() {
    if let Some(seed) = number("HEADCOUNT_SEED") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fault = runtime.block_on(async { fault(&Servers::start().await, seed, true, &Mutex::default()).await });
        assert_eq!(fault, None);
        return;
    }
    let (next, seeds) = (AtomicU64::new(number("HEADCOUNT_FIRST").unwrap_or(0)), number("HEADCOUNT_SEEDS").unwrap_or(SEEDS));
    let tally = Mutex::default();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
    let faults: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| look(&next, seeds, &tally))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let tally = tally.into_inner().unwrap();
    println!("{tally:#?}");
    // Whatever is to be survived has happened.
    if seeds >= SEEDS {
        let missing: Vec<_> = HAPPENS.iter().filter(|what| !tally.contains_key(*what)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
