//! I/O: a gateway dies, and all its clients come to the other one, as published SDKs do: after a pause that is drawn at random
//! and grows with every time that they are turned away.

use super::{neighbours::Neighbours, threads::Threads};
use crate::{
    clock::random_u64,
    latency::Latencies,
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
/// What comes later than this is no longer the first wave: the pauses after the first refusals are over.
const SECOND_WAVE_S: usize = 10;
/// A gateway's default.
pub(super) const RESUMES_PER_S: u32 = 250;
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

/// What came of one storm.
struct Storm {
    tries: Vec<Try>,
    /// How many were refused at the door, and how many by the lane for those who come back.
    refused: [f64; 2],
    /// When all were back.
    back_s: f64,
    /// What those had who were in: before, until all were back, and after.
    heard: [Latencies; 3],
    /// The longest that one of those took in each second.
    worst: Vec<f64>,
}

impl Storm {
    /// How many times that of before the p99 was until all were back.
    fn ratio(&self) -> f64 {
        self.heard[1].at(0.99) / self.heard[0].at(0.99)
    }

    /// When each was let in, the first one first.
    fn let_in(&self) -> Vec<f64> {
        let mut let_in: Vec<f64> = self.tries.iter().filter(|one| one.is_in).map(|one| one.at_s).collect();
        let_in.sort_by(f64::total_cmp);
        let_in
    }
}

/// Measures so many storms, adds to the report, and returns the charts of the last one; an error if somebody did not come back.
pub(super) async fn run(storms: usize, clients: usize, resumes_per_s: u32, text: &mut String) -> anyhow::Result<Vec<Chart>> {
    writeln!(
        text,
        "## A storm of clients that come back\n\n\
         A region of two gateways, one Redis node and etcd. {clients} clients, each a user with a token in a room of {ROOM}, are at one\n\
         gateway, {NEIGHBOURS} at the other, which hear 1,000 messages a second together. The first gateway is killed (SIGKILL). Its clients\n\
         come to the other one with the pauses of the JavaScript SDK ({} to {} ms, drawn at random, growing with each refusal) and\n\
         `recover`. The lane for those who come back lets in {resumes_per_s} a second, and twice as many at once; by default {RESUMES_PER_S}.\n",
        BACKOFF_MS.0, BACKOFF_MS.1,
    )?;
    let mut all = Vec::new();
    for number in 1..=storms {
        all.push(one(clients, resumes_per_s).await?);
        eprintln!("storm {number} of {storms}: p99 {:.2} times that of before", all[number - 1].ratio());
    }
    tell_return(&all, resumes_per_s, text)?;
    tell_neighbours(&all, text)?;
    Ok(all.last().map(charts).unwrap_or_default())
}

async fn one(clients: usize, resumes_per_s: u32) -> anyhow::Result<Storm> {
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
    let refused = async |reason: &str| survivor.metric(&format!("headcount_admission_refused_total{{reason=\"{reason}\"}}")).await;
    let others = [refused("newcomers").await, refused("memory").await];
    ensure!(others == [0.0; 2], "newcomers, or for want of memory: {others:?} were refused");
    let refused = [refused("arrivals").await, refused("resumes").await];
    let quiet = neighbours.between(died_ms - QUIET.as_secs_f64() * 1000.0, died_ms);
    let heard = [quiet, neighbours.between(died_ms, back_ms), neighbours.between(back_ms, f64::INFINITY)];
    let worst = neighbours.worst_of_each_second(died_ms);
    neighbours.end().await?;
    let tries = crowd.tries.lock().expect("nobody panics").clone();
    let storm = Storm { tries, refused, back_s, heard, worst };
    let most = most_of(&per_second(storm.let_in().into_iter()));
    ensure!(most <= 3 * resumes_per_s as usize, "{most} were let in within one second");
    Ok(storm)
}

/// When they were back, and how often they came.
fn tell_return(storms: &[Storm], resumes_per_s: u32, text: &mut String) -> anyhow::Result<()> {
    writeln!(
        text,
        "| back after, s: half | 90 % | 99 % | all | tries | refused at the door | by the lane | most let in within a second |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    for storm in storms {
        let let_in = storm.let_in();
        let share = |of: usize| let_in.get((let_in.len() * of / 100).saturating_sub(1)).copied().unwrap_or(f64::NAN);
        let [door, lane] = storm.refused;
        writeln!(
            text,
            "| {:.1} | {:.1} | {:.1} | {:.1} | {} | {door} | {lane} | {} |",
            share(50),
            share(90),
            share(99),
            storm.back_s,
            storm.tries.len(),
            most_of(&per_second(let_in.iter().copied())),
        )?;
    }
    let tries: Vec<Vec<usize>> = storms.iter().map(|storm| per_second(storm.tries.iter().map(|one| one.at_s))).collect();
    let first = tries.iter().map(|tries| most_of(&tries[..tries.len().min(3)])).min().unwrap_or(0);
    let later = tries.iter().map(|tries| most_of(tries.get(SECOND_WAVE_S..).unwrap_or_default())).max().unwrap_or(0);
    writeln!(
        text,
        "\nWithin one of the first three seconds {first} tries came at least, and later than {SECOND_WAVE_S} s {later} at most: {}. No second\n\
         may let in more than {}: twice {resumes_per_s} at once, and as many as come in it; one that did would have ended this run.\n",
        if later < first { "there is no second wave" } else { "**there is a second wave**" },
        3 * resumes_per_s,
    )?;
    Ok(())
}

/// What those felt who were in.
fn tell_neighbours(storms: &[Storm], text: &mut String) -> anyhow::Result<()> {
    writeln!(
        text,
        "| messages among those who were in | deliveries | p50 ms | p99 ms | p99.9 ms | max ms | p99 to that of before |\n|---|---|---|---|---|---|---|"
    )?;
    for storm in storms {
        let ratio = format!("{:.2}", storm.ratio());
        for (when, heard, ratio) in
            [("before", &storm.heard[0], ""), ("until all were back", &storm.heard[1], &ratio), ("after", &storm.heard[2], "")]
        {
            writeln!(text, "| {when} | {} | {} | {ratio} |", heard.count(), heard.cells())?;
        }
    }
    let mut ratios: Vec<f64> = storms.iter().map(Storm::ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
    writeln!(
        text,
        "\nTheir p99 while others come back is {median:.2} times that of before, the median of {}: {}. None was lost, and nobody of them closed.\n",
        storms.len(),
        if median <= 2.0 { "within 2" } else { "**over 2**" },
    )?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn charts(storm: &Storm) -> Vec<Chart> {
    let x = ("seconds since their gateway died", Scale::Linear);
    let line = |name: &str, at_s: &mut dyn Iterator<Item = f64>| Series {
        name: name.to_owned(),
        points: points(per_second(at_s).into_iter().map(|count| count as f64)),
    };
    let tries = line("tries", &mut storm.tries.iter().map(|one| one.at_s));
    vec![
        Chart {
            title: format!("{} clients come back", storm.let_in().len()),
            x,
            y: ("in each second", Scale::Linear),
            series: vec![tries, line("let in", &mut storm.let_in().into_iter())],
        },
        Chart {
            title: "What those feel who were in".to_owned(),
            x,
            y: ("longest delivery of each second, ms", Scale::Log),
            series: vec![Series { name: "longest".to_owned(), points: points(storm.worst.iter().copied()) }],
        },
    ]
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

fn most_of(counts: &[usize]) -> usize {
    counts.iter().copied().max().unwrap_or(0)
}

#[allow(clippy::cast_precision_loss)] // seconds of a run
fn points(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    values.enumerate().map(|(second, value)| (second as f64 + 0.5, value)).collect()
}
