//! I/O: one server with its subscribers and its publisher, and what a time has cost it.

use super::{
    publisher::{Published, Publisher},
    subscribers::{Clock, Subscribers},
    target::{Places, Running, Target},
};
use crate::server::{self, Cpu};
use std::time::Duration;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

/// How long a server is left alone after its start, and after its clients came: it has something to finish.
const SETTLING: Duration = Duration::from_secs(1);
/// How long it is watched doing nothing, which is taken from what it does.
const IDLING: Duration = Duration::from_secs(2);

/// A running server that is measured.
pub(super) struct Stand {
    pub(super) running: Running,
    pub(super) subscribers: Subscribers,
    clock: Clock,
}

/// CPU seconds beyond those of doing nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) server: Cpu,
    /// Of the load generator.
    pub(super) own_s: f64,
}

impl Stand {
    pub(super) async fn start(target: Target, places: &Places, is_events: bool) -> anyhow::Result<Stand> {
        let running = target.start(places, is_events).await?;
        sleep(SETTLING).await;
        let clock = Clock::start();
        let subscribers = Subscribers::of(running.address, running.dialect, clock);
        Ok(Stand { running, subscribers, clock })
    }

    /// Subscribes `count` clients to the channels, the same number to each. Returns the server's CPU seconds for that.
    pub(super) async fn subscribe(&mut self, channels: &[String], count: usize) -> anyhow::Result<f64> {
        let wishes = (0..count).map(|number| (channels[number % channels.len()].clone(), self.running.token(number)));
        let wishes: Vec<_> = wishes.collect();
        let before = self.running.cpu()?;
        self.subscribers.add(wishes).await?;
        sleep(SETTLING).await;
        Ok((self.running.cpu()? - before).total_s())
    }

    pub(super) async fn publisher(&self, channels: Vec<String>) -> anyhow::Result<Publisher> {
        let Running { address, dialect, .. } = self.running;
        Publisher::connect(address, dialect, &self.running.token(usize::MAX), self.clock, channels).await
    }

    /// Lets the publisher work in its thread, and waits until all that came of it is delivered, or lost. The time is how much later
    /// than its last message was due that was.
    pub(super) async fn deliver(
        &self,
        mut publisher: Publisher,
        each: u64,
        work: impl FnOnce(&mut Publisher) -> anyhow::Result<Published> + Send + 'static,
    ) -> anyhow::Result<(Publisher, Published, Duration)> {
        let work = spawn_blocking(move || work(&mut publisher).map(|published| (publisher, published)));
        let (publisher, published) = work.await??;
        let silent = self.subscribers.settle(published.messages * each).await;
        let late = Duration::from_nanos(self.clock.ns().saturating_sub(published.last_ns)).saturating_sub(silent);
        Ok((publisher, published, late))
    }
}

/// Watches what a server and the load generator spend.
pub(super) struct Meter {
    idle_server: Cpu,
    idle_own_s: f64,
    server: Cpu,
    own_s: f64,
    begun: Instant,
}

impl Meter {
    /// Watches them for a while doing nothing, then begins.
    pub(super) async fn start(stand: &Stand) -> anyhow::Result<Meter> {
        let (server, own_s) = now(stand)?;
        sleep(IDLING).await;
        let (idle_server, idle_own_s) = now(stand)?;
        Ok(Meter {
            idle_server: idle_server - server,
            idle_own_s: idle_own_s - own_s,
            server: idle_server,
            own_s: idle_own_s,
            begun: Instant::now(),
        })
    }

    /// What was spent since it began, without what doing nothing would have cost.
    pub(super) fn stop(&self, stand: &Stand) -> anyhow::Result<Cost> {
        let (server, own_s) = now(stand)?;
        let share = self.begun.elapsed().div_duration_f64(IDLING);
        let idle = Cpu { user_s: self.idle_server.user_s * share, system_s: self.idle_server.system_s * share };
        Ok(Cost { server: server - self.server - idle, own_s: own_s - self.own_s - self.idle_own_s * share })
    }
}

fn now(stand: &Stand) -> anyhow::Result<(Cpu, f64)> {
    Ok((stand.running.cpu()?, server::cpu_s(std::process::id())?))
}
