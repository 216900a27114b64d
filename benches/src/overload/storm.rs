//! I/O: a gateway dies, and all its clients come to the other one, as published SDKs do: after a pause that is drawn at random
//! and grows with every time that they are turned away.

use super::{neighbours::Neighbours, threads::Threads};
use crate::{
    clock::random_u64,
    plot::{Chart, Scale, Series},
};
use anyhow::{bail, ensure};
use core::net::SocketAddr;
use std::{
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use testkit::{Begun, Region, RegionOptions, Visitor, crowd};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

/// The pauses of the JavaScript SDK: at least the first, at most the second, in milliseconds.
const BACKOFF_MS: (u64, u64) = (500, 20_000);
/// Clients that are at the other gateway all the time.
const NEIGHBOURS: usize = 1_000;
/// How long they are watched before, and after.
const QUIET: Duration = Duration::from_secs(15);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Members of one room.
const ROOM: usize = 100;

/// One try to come in: when, in seconds since the gateway died, and whether it was let in.
#[derive(Clone, Copy)]
struct Try {
    at_s: f64,
    is_in: bool,
}

/// What all clients share.
struct Crowd {
    doors: [SocketAddr; 2],
    /// When the first gateway died.
    died: watch::Receiver<Option<Instant>>,
    inside: AtomicUsize,
    back: AtomicUsize,
    tries: Mutex<Vec<Try>>,
}

/// Measures it, adds to the report, and returns the charts; an error if somebody did not come back.
#[allow(clippy::cast_precision_loss)] // figures for people
pub(super) async fn run(clients: usize, resumes_per_s: u32, text: &mut String) -> anyhow::Result<Vec<Chart>> {
    let config_toml = format!("{}[limits]\nresumes_per_s = {resumes_per_s}\n", crowd::auth_toml());
    let mut region = Region::start(RegionOptions { redis_nodes: 1, gateways: 2, config_toml, ..RegionOptions::default() }).await;
    let doors = [region.gateways[0].client, region.gateways[1].client];
    let (dies, died) = watch::channel(None);
    let (inside, back) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let crowd = Arc::new(Crowd { doors, died, inside, back, tries: Mutex::default() });
    let mut neighbours = Neighbours::start(doors[1], NEIGHBOURS).await?;
    let (threads, mut living) = (Threads::of_a_crowd()?, JoinSet::new());
    for number in 0..clients {
        living.spawn_on(live(number, crowd.clone()), threads.handle());
    }
    until("all are in", &mut living, || crowd.inside.load(Ordering::Relaxed) == clients).await?;
    eprintln!("{clients} clients are in");
    sleep(QUIET).await;

    let died = Instant::now();
    let died_ms = neighbours.now_ms();
    dies.send_replace(Some(died));
    region.gateways[0].kill9().await;
    until("all are back", &mut living, || crowd.back.load(Ordering::Relaxed) == clients).await?;
    let (back_s, back_ms) = (died.elapsed().as_secs_f64(), neighbours.now_ms());
    eprintln!("all are back after {back_s:.1} s");
    sleep(QUIET).await;
    let survivor = &region.gateways[1];
    let mut reasons = Vec::new();
    for reason in ["arrivals", "resumes", "newcomers", "memory"] {
        let count = survivor.metric(&format!("headcount_admission_refused_total{{reason=\"{reason}\"}}")).await;
        reasons.push(format!("{reason} {count}"));
    }
    let quiet = neighbours.between(died_ms - QUIET.as_secs_f64() * 1000.0, died_ms);
    let storm = neighbours.between(died_ms, back_ms);
    let after = neighbours.between(back_ms, f64::INFINITY);
    let worst = neighbours.worst_of_each_second(died_ms);
    neighbours.end().await?;

    let tries = crowd.tries.lock().expect("nobody panics").clone();
    let let_in: Vec<f64> = tries.iter().filter(|one| one.is_in).map(|one| one.at_s).collect();
    let (all, in_each) = (per_second(tries.iter().map(|one| one.at_s)), per_second(let_in.iter().copied()));
    let most = in_each.iter().copied().max().unwrap_or(0);
    ensure!(most <= 3 * resumes_per_s as usize, "{most} were let in within one second");
    let later = all.iter().skip(3).copied().max().unwrap_or(0);
    let mut let_in = let_in;
    let_in.sort_by(f64::total_cmp);
    let share = |of: usize| let_in.get((let_in.len() * of / 100).saturating_sub(1)).copied().unwrap_or(f64::NAN);
    writeln!(
        text,
        "## A storm of clients that come back\n\n\
         A region of two gateways, one Redis node and etcd. {clients} clients, each a user with a token in a room of {ROOM}, are at one\n\
         gateway, {NEIGHBOURS} at the other, which hear 1,000 messages a second together. The first gateway is killed (SIGKILL). Its clients\n\
         come to the other one with the pauses of the JavaScript SDK ({} to {} ms, drawn at random, growing with each refusal) and\n\
         `recover`. The lane for those who come back lets in {resumes_per_s} a second, and twice as many at once; by default 1,000.\n\n\
         | back after | half | 90 % | 99 % | all |\n|---|---|---|---|---|\n| seconds | {:.1} | {:.1} | {:.1} | {back_s:.1} |\n\n\
         {} tries in all; refused: {}. At most {most} were let in within a second; after the first three seconds at most {later} tries\n\
         came within one, where the first had {}: there is no second wave.\n",
        BACKOFF_MS.0,
        BACKOFF_MS.1,
        share(50),
        share(90),
        share(99),
        tries.len(),
        reasons.join(", "),
        all.iter().take(3).copied().max().unwrap_or(0),
    )?;
    let ratio = storm.at(0.99) / quiet.at(0.99);
    writeln!(
        text,
        "| messages among those who were in | deliveries | p50 ms | p99 ms | p99.9 ms | max ms |\n|---|---|---|---|---|---|\n\
         | {QUIET:?} before | {} | {} |\n| until all were back | {} | {} |\n| {QUIET:?} after | {} | {} |\n\n\
         Their p99 while others come back is {ratio:.2} times that of before: {}. None was lost, and nobody of them closed.\n",
        quiet.count(),
        quiet.cells(),
        storm.count(),
        storm.cells(),
        after.count(),
        after.cells(),
        if ratio <= 2.0 { "within 2" } else { "**over 2**" },
    )?;
    let x = ("seconds since their gateway died", Scale::Linear);
    let line = |name: &str, counts: &[usize]| Series { name: name.to_owned(), points: points(counts.iter().map(|count| *count as f64)) };
    Ok(vec![
        Chart {
            title: format!("{clients} clients come back"),
            x,
            y: ("in each second", Scale::Linear),
            series: vec![line("tries", &all), line("let in", &in_each)],
        },
        Chart {
            title: "What those feel who were in".to_owned(),
            x,
            y: ("longest delivery of each second, ms", Scale::Log),
            series: vec![Series { name: "longest".to_owned(), points: points(worst.into_iter()) }],
        },
    ])
}

/// A client's life: in, and in again wherever there is a gateway.
async fn live(number: usize, crowd: Arc<Crowd>) -> anyhow::Result<()> {
    let token = crowd::token(&format!("user-{number}"));
    let (mut attempt, mut is_back) = (0_u32, false);
    let from = SocketAddr::from(([127, 0, 0, u8::try_from(2 + number % 20)?], 0));
    loop {
        let died = *crowd.died.borrow();
        let recover = if died.is_some() { ",\"recover\":true,\"epoch\":\"\",\"offset\":0" } else { "" };
        let room = number / ROOM;
        let frame = format!(
            "{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"room-{room}\"{recover}}}}}"
        );
        let begun = Visitor::begin(crowd.doors[usize::from(died.is_some())], Some(from), None, &frame).await;
        let is_in = matches!(begun, Ok(Begun::In(_)));
        if let Some(died) = died {
            crowd.tries.lock().expect("nobody panics").push(Try { at_s: died.elapsed().as_secs_f64(), is_in });
        }
        if let Ok(Begun::In(mut visitor)) = begun {
            attempt = 0;
            crowd.inside.fetch_add(1, Ordering::Relaxed);
            if died.is_some() && !std::mem::replace(&mut is_back, true) {
                crowd.back.fetch_add(1, Ordering::Relaxed);
            }
            while let Ok(Ok(_)) = visitor.hear().await {}
            ensure!(crowd.died.borrow().is_some(), "a client was closed while nothing had happened");
        }
        let spread = (BACKOFF_MS.0 << attempt.min(16)).min(BACKOFF_MS.1);
        sleep(Duration::from_millis((BACKOFF_MS.0 + random_u64() % (spread + 1)).min(BACKOFF_MS.1))).await;
        attempt += 1;
    }
}

/// Waits until it is so; an error if that takes too long, or a client gives up.
async fn until(what: &str, living: &mut JoinSet<anyhow::Result<()>>, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so() {
        ensure!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        if let Some(ended) = living.try_join_next() {
            ended??;
            bail!("a client ended");
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// How many there are in each second.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // seconds of a run
fn per_second(at_s: impl Iterator<Item = f64>) -> Vec<usize> {
    let mut counts = Vec::new();
    for at_s in at_s {
        let second = at_s as usize;
        if counts.len() <= second {
            counts.resize(second + 1, 0);
        }
        counts[second] += 1;
    }
    counts
}

#[allow(clippy::cast_precision_loss)] // seconds of a run
fn points(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    values.enumerate().map(|(second, value)| (second as f64 + 0.5, value)).collect()
}
