//! I/O: publications through the client protocol, at a steady rate over many channels, and subscribers at every gateway that
//! check what comes of them: each acknowledged publication once, in order, or a word that something was lost.

mod client;
mod ledger;
mod subscriber;

pub use ledger::{Flow, Outcome};

use anyhow::{Result, anyhow};
use client::{Client, Doors};
use core::net::SocketAddr;
use futures_util::future::try_join_all;
use ledger::{Ledger, Seen};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use subscriber::Subscriber;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

/// How long one answer may take: longer than a publication is tried by a gateway that is stopped for a while.
const ANSWER: Duration = Duration::from_secs(40);
/// Channels of one subscriber's connection; fewer than a client may have.
const CHANNELS_PER_CLIENT: usize = 100;
/// What a channel without history has lost comes no more after so long a time in which nothing came at all.
const QUIET: Duration = Duration::from_secs(1);
/// Pause before a connection that has ended is tried again, and a subscription that was refused.
const AGAIN: Duration = Duration::from_millis(100);

/// What is published where.
#[derive(Clone, Debug)]
pub struct TrafficOptions {
    /// The channels. Each has one publisher.
    pub channels: Vec<String>,
    /// Publications per second, over all channels.
    pub rate: u32,
    /// Connections that publish; each waits for the answer to one publication before the next. With as many as there are
    /// channels, none is held up by another.
    pub publishers: usize,
}

/// Traffic under way.
pub struct Traffic {
    start: Start,
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<Result<()>>>,
    subscribers: Vec<JoinHandle<()>>,
    ledger: Arc<Mutex<Ledger>>,
    seen: Vec<Arc<Mutex<Seen>>>,
    /// Publications so far.
    pub published: Arc<AtomicU64>,
}

/// When it began.
#[derive(Clone, Copy)]
struct Start(Instant);

impl Start {
    fn ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Traffic {
    /// Subscribes to every channel at every gateway, then begins to publish at all of them in turn.
    pub async fn start(gateways: &[SocketAddr], options: &TrafficOptions) -> Result<Traffic> {
        Traffic::start_between(gateways, gateways, options).await
    }

    /// The same, with publishers at some gateways and subscribers at others.
    pub async fn start_between(publish_at: &[SocketAddr], hear_at: &[SocketAddr], options: &TrafficOptions) -> Result<Traffic> {
        let alone = |gateways: &[SocketAddr]| gateways.iter().map(|gateway| Doors::new([*gateway])).collect::<Vec<_>>();
        Traffic::begin(alone(publish_at), alone(hear_at), options).await
    }

    /// The same at all gateways of these groups, where whoever's connection ends turns to the next gateway of its group.
    pub async fn start_among(groups: &[Vec<SocketAddr>], options: &TrafficOptions) -> Result<Traffic> {
        let around = |group: &Vec<SocketAddr>, at| Doors::new(group.iter().copied().cycle().skip(at).take(group.len()));
        let doors: Vec<Doors> = groups.iter().flat_map(|group| (0..group.len()).map(move |at| around(group, at))).collect();
        Traffic::begin(doors.clone(), doors, options).await
    }

    async fn begin(publish_at: Vec<Doors>, hear_at: Vec<Doors>, options: &TrafficOptions) -> Result<Traffic> {
        let start = Start(Instant::now());
        let (stop, published, ledger) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::default());
        let beginning = hear_at.iter().flat_map(|doors| {
            options.channels.chunks(CHANNELS_PER_CLIENT).map(move |channels| async move {
                let mut subscriber = Subscriber::new(doors.clone(), doors.enter().await?, channels.to_vec(), start);
                subscriber.begin().await?;
                anyhow::Ok(subscriber)
            })
        });
        let begun = try_join_all(beginning).await?;
        let seen: Vec<_> = begun.iter().map(|subscriber| subscriber.seen.clone()).collect();
        let subscribers = begun.into_iter().map(|subscriber| tokio::spawn(subscriber.listen())).collect();
        let mut publishers = Vec::new();
        let each = options.channels.len().div_ceil(options.publishers);
        for (at, channels) in options.channels.chunks(each).enumerate() {
            let doors = publish_at[at % publish_at.len()].clone();
            let client = doors.enter().await?;
            let share = f64::from(options.rate) * channels.len() as f64 / options.channels.len() as f64;
            let publisher = Publisher {
                doors,
                client,
                channels: channels.to_vec(),
                pause: Duration::from_secs_f64(1.0 / share),
                start,
                ledger: Arc::clone(&ledger),
                published: Arc::clone(&published),
            };
            publishers.push(tokio::spawn(publisher.publish(stop.clone())));
        }
        Ok(Traffic { start, stop, publishers, subscribers, ledger, seen, published })
    }

    /// Milliseconds since it began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.start.ms()
    }

    /// How it flows, and has flowed since then.
    #[must_use]
    pub fn flow(&self, since_ms: u64) -> Flow {
        let ledger = self.ledger.lock().expect("no publisher panics");
        let seen: Vec<_> = self.seen.iter().map(|seen| seen.lock().expect("no subscriber panics")).collect();
        ledger::flow(&ledger, seen.iter().map(|seen| &**seen), since_ms, self.start.ms())
    }

    /// Stops publishing, waits until everything has arrived or `patience` is over, and says what became of it.
    pub async fn finish(mut self, patience: Duration) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        for publisher in std::mem::take(&mut self.publishers) {
            publisher.await??;
        }
        let deadline = Instant::now() + patience;
        let (mut last, mut since) = (self.outcome(), Instant::now());
        while Instant::now() < deadline && last.lost > 0 && (last.lost_kept() > 0 || since.elapsed() < QUIET) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = self.outcome();
            if now.delivered > last.delivered {
                since = Instant::now();
            }
            last = now;
        }
        // What comes doubled comes late.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(self.outcome())
    }

    fn outcome(&self) -> Outcome {
        let ledger = self.ledger.lock().expect("no publisher panics");
        let seen: Vec<_> = self.seen.iter().map(|seen| seen.lock().expect("no subscriber panics")).collect();
        ledger::outcome(&ledger, seen.iter().map(|seen| &**seen))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.publishers.iter().for_each(JoinHandle::abort);
        self.subscribers.iter().for_each(JoinHandle::abort);
    }
}

struct Publisher {
    doors: Doors,
    client: Client,
    channels: Vec<String>,
    pause: Duration,
    start: Start,
    ledger: Arc<Mutex<Ledger>>,
    published: Arc<AtomicU64>,
}

impl Publisher {
    async fn publish(mut self, stop: Arc<AtomicBool>) -> Result<()> {
        let mut numbers: BTreeMap<usize, u64> = BTreeMap::new();
        let mut ticks = interval(self.pause);
        // What a slow answer held up is made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for at in (0..self.channels.len()).cycle() {
            ticks.tick().await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let number = numbers.entry(at).or_default();
            *number += 1;
            let (channel, sent_ms) = (&self.channels[at], self.start.ms());
            let answer = self.client.ask(json!({ "publish": { "channel": channel, "data": { "n": *number } } })).await;
            let Ok(answer) = answer else {
                self.ledger.lock().map_err(|_| anyhow!("another publisher panicked"))?.cut_off += 1;
                match self.doors.enter_again(&stop).await {
                    Some(client) => self.client = client,
                    None => break,
                }
                continue;
            };
            let mut ledger = self.ledger.lock().map_err(|_| anyhow!("another publisher panicked"))?;
            ledger.slowest_answer_ms = ledger.slowest_answer_ms.max(self.start.ms() - sent_ms);
            ledger.answered_ms.insert(channel.clone(), self.start.ms());
            match answer.get("error") {
                None => ledger.acknowledged.entry(channel.clone()).or_default().push((*number, sent_ms)),
                Some(error) => *ledger.refused.entry(error.to_string()).or_default() += 1,
            }
            self.published.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
