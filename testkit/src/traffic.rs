//! I/O: publications through the client protocol, at a steady rate over many channels, and subscribers at every gateway that
//! check what comes of them: each acknowledged publication once, in order, or a word that something was lost.

use anyhow::{Context, Result, anyhow, bail};
use core::net::SocketAddr;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// How long one answer may take: longer than a publication is tried by a gateway that is stopped for a while.
const ANSWER: Duration = Duration::from_secs(40);
/// Channels of one subscriber's connection; fewer than a client may have.
const CHANNELS_PER_CLIENT: usize = 100;
/// Losses that an outcome names.
const LOSSES_NAMED: usize = 20;

/// What is published where.
#[derive(Clone, Debug)]
pub struct TrafficOptions {
    /// The channels. Each has one publisher.
    pub channels: Vec<String>,
    /// Publications per second, over all channels.
    pub rate: u32,
    /// Connections that publish; each waits for the answer to one publication before the next.
    pub publishers: usize,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Publications that were acknowledged.
    pub acknowledged: u64,
    /// Publications that were refused, so that nobody knows whether they were delivered, with the reasons.
    pub refused: BTreeMap<String, u64>,
    /// Deliveries to subscribers.
    pub delivered: u64,
    /// Acknowledged publications that a subscriber did not get, and was not told so.
    pub lost: u64,
    /// The first of them: channel and number.
    pub losses: Vec<String>,
    /// The same, where the subscriber was told that it lost something.
    pub lost_and_told: u64,
    /// Publications that a subscriber got twice.
    pub doubled: u64,
    /// Publications that came behind a later one.
    pub out_of_order: u64,
    /// Subscriptions that ended or began anew without having recovered everything.
    pub told: u64,
    /// The longest time from a publication's acknowledgement to its delivery, or from the last delivery to the next in a
    /// channel, whichever a subscriber saw: how long the flow stood still, in milliseconds.
    pub longest_pause_ms: u64,
}

/// Traffic under way.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<Result<()>>>,
    subscribers: Vec<JoinHandle<()>>,
    ledger: Arc<Mutex<Ledger>>,
    seen: Vec<Arc<Mutex<Seen>>>,
    /// Publications so far.
    pub published: Arc<AtomicU64>,
}

/// What was acknowledged, by channel: the numbers, in order.
#[derive(Debug, Default)]
struct Ledger {
    acknowledged: BTreeMap<String, Vec<u64>>,
    refused: BTreeMap<String, u64>,
}

/// What one subscriber's connection saw, by channel.
#[derive(Debug, Default)]
struct Seen {
    channels: BTreeMap<String, SeenChannel>,
    told: u64,
    longest_pause: Duration,
}

#[derive(Debug, Default)]
struct SeenChannel {
    numbers: Vec<u64>,
    /// Before which of them something may be missing, as the subscriber was told.
    gaps: Vec<usize>,
    last: Option<Instant>,
    /// Where the stream was left, for recovery.
    place: (u64, String),
}

impl Traffic {
    /// Subscribes to every channel at every gateway, then begins to publish at all of them in turn.
    pub async fn start(gateways: &[SocketAddr], options: &TrafficOptions) -> Result<Traffic> {
        Traffic::start_between(gateways, gateways, options).await
    }

    /// The same, with publishers at some gateways and subscribers at others.
    pub async fn start_between(publish_at: &[SocketAddr], hear_at: &[SocketAddr], options: &TrafficOptions) -> Result<Traffic> {
        let (stop, published, ledger) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::default());
        let (mut subscribers, mut seen) = (Vec::new(), Vec::new());
        for gateway in hear_at {
            for channels in options.channels.chunks(CHANNELS_PER_CLIENT) {
                let mine = Arc::new(Mutex::new(Seen::default()));
                let client = Client::connect(*gateway).await?;
                let mut subscriber = Subscriber { gateway: *gateway, client, seen: mine.clone(), channels: channels.to_vec() };
                subscriber.subscribe(channels.iter().map(|channel| (channel.clone(), None)).collect()).await?;
                subscribers.push(tokio::spawn(subscriber.listen(stop.clone())));
                seen.push(mine);
            }
        }
        let mut publishers = Vec::new();
        let each = options.channels.len().div_ceil(options.publishers);
        for (at, channels) in options.channels.chunks(each).enumerate() {
            let client = Client::connect(publish_at[at % publish_at.len()]).await?;
            let share = f64::from(options.rate) * channels.len() as f64 / options.channels.len() as f64;
            let publisher = Publisher {
                client,
                channels: channels.to_vec(),
                pause: Duration::from_secs_f64(1.0 / share),
                ledger: Arc::clone(&ledger),
                published: Arc::clone(&published),
            };
            publishers.push(tokio::spawn(publisher.publish(stop.clone())));
        }
        Ok(Traffic { stop, publishers, subscribers, ledger, seen, published })
    }

    /// Stops publishing, waits until everything has arrived or `patience` is over, and says what became of it.
    pub async fn finish(self, patience: Duration) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            publisher.await??;
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && outcome(&self.ledger, &self.seen).lost > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What comes doubled comes late.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.subscribers.iter().for_each(JoinHandle::abort);
        Ok(outcome(&self.ledger, &self.seen))
    }
}

fn outcome(ledger: &Mutex<Ledger>, seen: &[Arc<Mutex<Seen>>]) -> Outcome {
    let ledger = ledger.lock().expect("no publisher panics");
    let mut outcome = Outcome {
        acknowledged: ledger.acknowledged.values().map(|numbers| numbers.len() as u64).sum(),
        refused: ledger.refused.clone(),
        ..Outcome::default()
    };
    for seen in seen {
        let seen = seen.lock().expect("no subscriber panics");
        outcome.told += seen.told;
        outcome.longest_pause_ms = outcome.longest_pause_ms.max(u64::try_from(seen.longest_pause.as_millis()).unwrap_or(u64::MAX));
        for (channel, SeenChannel { numbers, gaps, .. }) in &seen.channels {
            outcome.delivered += numbers.len() as u64;
            outcome.out_of_order += numbers.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            sorted.dedup();
            outcome.doubled += (numbers.len() - sorted.len()) as u64;
            let acknowledged = ledger.acknowledged.get(channel).map(Vec::as_slice).unwrap_or_default();
            for number in acknowledged.iter().filter(|number| sorted.binary_search(number).is_err()) {
                // A gap stands where the next number that was seen comes after it.
                let at = numbers.iter().position(|seen| seen > number).unwrap_or(numbers.len());
                if gaps.contains(&at) {
                    outcome.lost_and_told += 1;
                    continue;
                }
                outcome.lost += 1;
                if outcome.losses.len() < LOSSES_NAMED {
                    outcome.losses.push(format!("{channel} {number}"));
                }
            }
        }
    }
    outcome
}

struct Publisher {
    client: Client,
    channels: Vec<String>,
    pause: Duration,
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
            let channel = &self.channels[at];
            let answer = self.client.ask(json!({ "publish": { "channel": channel, "data": { "n": *number } } })).await?;
            let mut ledger = self.ledger.lock().map_err(|_| anyhow!("another publisher panicked"))?;
            match answer.get("error") {
                None => ledger.acknowledged.entry(channel.clone()).or_default().push(*number),
                Some(error) => *ledger.refused.entry(error.to_string()).or_default() += 1,
            }
            self.published.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct Subscriber {
    gateway: SocketAddr,
    client: Client,
    seen: Arc<Mutex<Seen>>,
    channels: Vec<String>,
}

impl Subscriber {
    /// Each with the place from which it recovers.
    async fn subscribe(&mut self, channels: Vec<(String, Option<(u64, String)>)>) -> Result<()> {
        let mut wanted = Vec::new();
        for (channel, since) in channels {
            let mut subscribe = json!({ "channel": channel });
            if let Some((offset, epoch)) = &since {
                (subscribe["recover"], subscribe["offset"], subscribe["epoch"]) = (json!(true), json!(offset), json!(epoch));
            }
            wanted.push((channel, since.is_some(), self.client.send(json!({ "subscribe": subscribe })).await?));
        }
        for (channel, recovers, id) in wanted {
            let answer = timeout(ANSWER, self.answer_to(id)).await.context("no answer to a subscribe")??;
            let Some(subscribed) = answer.get("subscribe") else { bail!("{channel}: {answer}") };
            let place = (subscribed["offset"].as_u64().unwrap_or(0), subscribed["epoch"].as_str().unwrap_or_default().to_owned());
            let publications: Vec<u64> = subscribed["publications"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|publication| publication["data"]["n"].as_u64())
                .collect();
            let recovered = subscribed["recovered"].as_bool().unwrap_or(false);
            let mut seen = self.seen.lock().map_err(|_| anyhow!("poisoned"))?;
            // A subscription without a place to recover from that began anew has a gap too.
            let has_gap = !recovered && (recovers || seen.channels.contains_key(&channel));
            seen.told += u64::from(has_gap);
            let seen = seen.channels.entry(channel).or_default();
            if has_gap {
                seen.gaps.push(seen.numbers.len());
            }
            seen.numbers.extend(publications);
            seen.place = place;
        }
        Ok(())
    }

    /// The answer; pushes that come before it are noted.
    async fn answer_to(&mut self, id: u64) -> Result<Value> {
        loop {
            let reply = self.client.next().await?;
            if reply.get("id").and_then(Value::as_u64) == Some(id) {
                return Ok(reply);
            }
            self.note(&reply);
        }
    }

    async fn listen(mut self, stop: Arc<AtomicBool>) {
        loop {
            let Err(_) = self.hear().await else { continue };
            // The connection ended: as an SDK does, it comes back from where it was.
            if stop.load(Ordering::Relaxed) {
                // Until the end of the check, too.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let Ok(client) = Client::connect(self.gateway).await else { continue };
                self.client = client;
                let places = self.places(&self.channels.clone());
                if self.subscribe(places).await.is_ok() {
                    break;
                }
            }
        }
    }

    async fn hear(&mut self) -> Result<()> {
        let reply = self.client.next().await?;
        if let Some(ended) = self.note(&reply) {
            // "Insufficient state": subscribe again, from the place that was reached.
            let places = self.places(&[ended]);
            self.subscribe(places).await?;
        }
        Ok(())
    }

    fn places(&self, channels: &[String]) -> Vec<(String, Option<(u64, String)>)> {
        let seen = self.seen.lock().expect("no subscriber panics");
        let place = |channel: &String| seen.channels.get(channel).map(|seen| seen.place.clone()).filter(|(_, epoch)| !epoch.is_empty());
        channels.iter().map(|channel| (channel.clone(), place(channel))).collect()
    }

    /// Notes a push; the channel whose subscription it ends, if it does.
    fn note(&mut self, reply: &Value) -> Option<String> {
        let push = reply.get("push")?;
        let channel = push["channel"].as_str()?.to_owned();
        if push.get("unsubscribe").is_some() {
            return Some(channel);
        }
        let number = push["pub"]["data"]["n"].as_u64()?;
        let mut seen = self.seen.lock().expect("no subscriber panics");
        let now = Instant::now();
        let of_channel = seen.channels.entry(channel).or_default();
        let pause = of_channel.last.replace(now).map(|last| now - last).unwrap_or_default();
        of_channel.numbers.push(number);
        if let Some(offset) = push["pub"]["offset"].as_u64() {
            of_channel.place.0 = offset;
        }
        seen.longest_pause = seen.longest_pause.max(pause);
        None
    }
}

/// One connection of the client protocol, in JSON.
struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Replies of one frame that were not looked at yet, last first.
    waiting: Vec<Value>,
    last_id: u64,
}

impl Client {
    async fn connect(gateway: SocketAddr) -> Result<Client> {
        let (socket, _) = connect_async(format!("ws://{gateway}/connection/websocket")).await?;
        let mut client = Client { socket, waiting: Vec::new(), last_id: 0 };
        let connected = client.ask(json!({ "connect": {} })).await?;
        if connected.get("connect").is_none() {
            bail!("{connected}");
        }
        Ok(client)
    }

    async fn send(&mut self, mut command: Value) -> Result<u64> {
        self.last_id += 1;
        command["id"] = json!(self.last_id);
        self.socket.send(Message::text(command.to_string())).await?;
        Ok(self.last_id)
    }

    /// Asks, and passes over pushes.
    async fn ask(&mut self, command: Value) -> Result<Value> {
        let id = self.send(command).await?;
        let answer = async {
            loop {
                let reply = self.next().await?;
                if reply.get("id").and_then(Value::as_u64) == Some(id) {
                    return Ok(reply);
                }
            }
        };
        timeout(ANSWER, answer).await.context("no answer")?
    }

    /// The next reply; pings are answered.
    async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(reply) = self.waiting.pop() {
                if reply.as_object().is_some_and(serde_json::Map::is_empty) {
                    self.socket.send(Message::text("{}")).await?;
                    continue;
                }
                return Ok(reply);
            }
            match self.socket.next().await.context("the connection ended")?? {
                Message::Text(text) => {
                    let replies: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
                    self.waiting = replies?;
                    self.waiting.reverse();
                }
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }
}
