//! I/O: clients that are in already: what is published among them, and how soon they have it.

use super::threads::Threads;
use crate::{client::Client, latency::Latencies};
use anyhow::{Context, ensure};
use core::net::SocketAddr;
use serde_json::json;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// Listeners of one channel.
const LISTENERS: usize = 10;
/// Publications in a second, over all channels.
const RATE: u32 = 100;
const PUBLISHERS: u32 = 10;
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One delivery: when it was due, in milliseconds since the beginning, and how much later it was there.
#[derive(Clone, Copy)]
struct Heard {
    due_ms: f64,
    took_ms: f64,
}

/// What all of them share.
struct Shared {
    begun: Instant,
    ends: AtomicBool,
    said: AtomicU64,
    heard: Mutex<Vec<Heard>>,
}

type Tasks = JoinSet<anyhow::Result<()>>;

/// They have a thread of their own.
pub(super) struct Neighbours {
    shared: Arc<Shared>,
    _threads: Threads,
    publishing: Tasks,
    listening: Tasks,
}

impl Neighbours {
    /// Connects so many listeners, a multiple of ten, and begins to publish.
    pub(super) async fn start(gateway: SocketAddr, count: usize) -> anyhow::Result<Neighbours> {
        let (ends, said, heard) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { begun: Instant::now(), ends, said, heard });
        let threads = Threads::of_those_who_are_timed()?;
        let (publishing, listening) = threads.run(begin(gateway, count, shared.clone())).await??;
        Ok(Neighbours { shared, _threads: threads, publishing, listening })
    }

    /// Now, as [`Neighbours::between`] counts.
    pub(super) fn now_ms(&self) -> f64 {
        self.shared.begun.elapsed().as_secs_f64() * 1000.0
    }

    /// How soon was there what was due then.
    pub(super) fn between(&self, from_ms: f64, to_ms: f64) -> Latencies {
        let heard = self.shared.heard.lock().expect("nobody panics");
        Latencies::of(heard.iter().filter(|heard| (from_ms..to_ms).contains(&heard.due_ms)).map(|heard| heard.took_ms).collect())
    }

    /// The longest that one took, of what was due in each second from then on.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // seconds of a run
    pub(super) fn worst_of_each_second(&self, from_ms: f64) -> Vec<f64> {
        let mut worst: Vec<f64> = Vec::new();
        for heard in self.shared.heard.lock().expect("nobody panics").iter().filter(|heard| heard.due_ms >= from_ms) {
            let second = ((heard.due_ms - from_ms) / 1000.0) as usize;
            worst.resize(worst.len().max(second + 1), 0.0);
            worst[second] = worst[second].max(heard.took_ms);
        }
        worst
    }

    /// Ends; an error if somebody did not hear all, or was closed.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        self.shared.ends.store(true, Ordering::Relaxed);
        while let Some(published) = self.publishing.join_next().await {
            published?.context("a publisher among the neighbours")?;
        }
        let expected = self.shared.said.load(Ordering::Relaxed) * LISTENERS as u64;
        let begun = Instant::now();
        let heard = || self.shared.heard.lock().expect("nobody panics").len() as u64;
        while heard() < expected && begun.elapsed() < PATIENCE {
            sleep(Duration::from_millis(10)).await;
        }
        ensure!(heard() == expected, "neighbours have heard {} of {expected}", heard());
        if let Some(ended) = self.listening.try_join_next() {
            ended?.context("a listener among the neighbours")?;
        }
        Ok(())
    }
}

async fn begin(gateway: SocketAddr, count: usize, shared: Arc<Shared>) -> anyhow::Result<(Tasks, Tasks)> {
    let (mut publishing, mut listening) = (JoinSet::new(), JoinSet::new());
    let channels = (count / LISTENERS).max(1);
    for number in 0..channels * LISTENERS {
        let client = Client::subscribe(gateway, &channel(number % channels)).await?;
        listening.spawn(listen(client, shared.clone()));
    }
    let begin = Instant::now();
    for number in 0..PUBLISHERS {
        let client = Client::connect(gateway).await?;
        publishing.spawn(publish(client, number, channels, begin, shared.clone()));
    }
    Ok((publishing, listening))
}

fn channel(number: usize) -> String {
    format!("neighbours-{number}")
}

async fn publish(mut client: Client, number: u32, channels: usize, begin: Instant, shared: Arc<Shared>) -> anyhow::Result<()> {
    let each = Duration::from_secs(1) * PUBLISHERS / RATE;
    let mut due = begin + each * number / PUBLISHERS;
    let mut turn = number as usize;
    while !shared.ends.load(Ordering::Relaxed) {
        sleep_until(due).await;
        let due_ms = (due - shared.begun).as_secs_f64() * 1000.0;
        client.ask(json!({ "publish": { "channel": channel(turn % channels), "data": { "due_ms": due_ms } } })).await?;
        shared.said.fetch_add(1, Ordering::Relaxed);
        turn += PUBLISHERS as usize;
        due += each;
    }
    Ok(())
}

async fn listen(mut client: Client, shared: Arc<Shared>) -> anyhow::Result<()> {
    loop {
        for message in client.receive().await? {
            if let Some(due_ms) = message["push"]["pub"]["data"]["due_ms"].as_f64() {
                let took_ms = shared.begun.elapsed().as_secs_f64() * 1000.0 - due_ms;
                shared.heard.lock().expect("nobody panics").push(Heard { due_ms, took_ms });
            }
        }
    }
}
