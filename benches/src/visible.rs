//! I/O: when each of many changes was due, and when a watcher was told of it.

use crate::latency::Latencies;
use anyhow::ensure;
use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// How long the last of them may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Changes by number. Times are microseconds since the beginning, 0 for not yet.
pub(crate) struct Visible {
    begun: Instant,
    said_us: Vec<AtomicU64>,
    told_us: Vec<AtomicU64>,
    told: AtomicUsize,
    doubled: AtomicUsize,
}

impl Visible {
    pub(crate) fn new(count: usize) -> Visible {
        let none = || (0..count).map(|_| AtomicU64::new(0)).collect();
        Visible { begun: Instant::now(), said_us: none(), told_us: none(), told: AtomicUsize::new(0), doubled: AtomicUsize::new(0) }
    }

    fn us(&self, at: Instant) -> u64 {
        u64::try_from((at - self.begun).as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// This one is being said now.
    pub(crate) fn say(&self, index: usize) {
        self.due(index, Instant::now());
    }

    /// This one is, or was, to be said then.
    pub(crate) fn due(&self, index: usize, at: Instant) {
        self.said_us[index].store(self.us(at), Ordering::Relaxed);
    }

    /// The watcher has been told of it. Numbers beyond all changes are somebody else's.
    pub(crate) fn tell(&self, index: usize) {
        let Some(told_us) = self.told_us.get(index) else { return };
        match told_us.swap(self.us(Instant::now()), Ordering::Relaxed) {
            0 => _ = self.told.fetch_add(1, Ordering::Relaxed),
            _ => _ = self.doubled.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// How many the watcher has been told of.
    pub(crate) fn told(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }

    /// Waits until it was told of all; an error if that takes too long, or it was told of one twice.
    pub(crate) async fn all(&self) -> anyhow::Result<()> {
        let all = async {
            while self.told() < self.told_us.len() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = timeout(PATIENCE, all).await.is_ok();
        ensure!(in_time, "a watcher was told of {} of {} changes within {PATIENCE:?}", self.told(), self.told_us.len());
        let doubled = self.doubled.load(Ordering::Relaxed);
        ensure!(doubled == 0, "a watcher was told of {doubled} changes twice");
        Ok(())
    }

    /// Milliseconds from the saying to the telling, of those that were told.
    #[allow(clippy::cast_precision_loss)] // figures for people
    pub(crate) fn latencies(&self) -> Latencies {
        let us = |times: &AtomicU64| times.load(Ordering::Relaxed);
        let pairs = self.said_us.iter().zip(&self.told_us).map(|(said, told)| (us(said), us(told))).filter(|(_, told)| *told > 0);
        Latencies::of(pairs.map(|(said, told)| told.saturating_sub(said) as f64 / 1000.0).collect())
    }

    /// Seconds from the first saying to the last, and to the last telling.
    #[allow(clippy::cast_precision_loss)] // figures for people
    pub(crate) fn span_s(&self) -> (f64, f64) {
        let of = |times: &[AtomicU64]| times.iter().map(|time| time.load(Ordering::Relaxed)).collect::<Vec<u64>>();
        let (said, told) = (of(&self.said_us), of(&self.told_us));
        let first = said.iter().copied().min().unwrap_or(0);
        let until = |times: &[u64]| (times.iter().copied().max().unwrap_or(0).saturating_sub(first)) as f64 / 1e6;
        (until(&said), until(&told))
    }
}
