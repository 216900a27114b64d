//! I/O: a subscriber of many channels, which behaves as an SDK does: it comes back when its connection ends, and subscribes
//! again from where it was when a subscription ends or is refused.

use super::{
    AGAIN, ANSWER, Start,
    client::{Client, Doors},
    ledger::Seen,
};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::AtomicBool},
};
use tokio::time::{Instant, timeout, timeout_at};

/// Subscribers listen until they are dropped.
static NEVER: AtomicBool = AtomicBool::new(false);

pub(super) struct Subscriber {
    pub(super) doors: Doors,
    pub(super) client: Client,
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) channels: Vec<String>,
    pub(super) start: Start,
    /// Asked for and not answered, by the id of the command: the channel, and whether it recovers.
    asked: HashMap<u64, (String, bool)>,
    /// To be subscribed to at this time.
    again: Option<(Instant, Vec<String>)>,
}

impl Subscriber {
    pub(super) fn new(doors: Doors, client: Client, channels: Vec<String>, start: Start) -> Subscriber {
        let again = Some((Instant::now(), channels.clone()));
        Subscriber { doors, client, seen: Arc::default(), channels, start, asked: HashMap::new(), again }
    }

    /// Waits until it is subscribed to everything.
    pub(super) async fn begin(&mut self) -> Result<()> {
        let begun = async {
            while self.again.is_some() || !self.asked.is_empty() {
                self.hear().await?;
            }
            Ok(())
        };
        match timeout(ANSWER, begun).await {
            Ok(begun) => begun,
            Err(_) => bail!("not subscribed within {ANSWER:?}"),
        }
    }

    /// Listens for ever.
    pub(super) async fn listen(mut self) {
        loop {
            if self.hear().await.is_ok() {
                continue;
            }
            let Some(client) = self.doors.enter_again(&NEVER).await else { return };
            self.client = client;
            self.asked.clear();
            self.again = Some((Instant::now(), self.channels.clone()));
        }
    }

    /// Takes what comes next; an error ends the connection.
    async fn hear(&mut self) -> Result<()> {
        if let Some((_, channels)) = self.again.take_if(|(at, _)| *at <= Instant::now()) {
            for channel in channels {
                self.subscribe(channel).await?;
            }
        }
        let reply = match &self.again {
            Some((at, _)) => match timeout_at(*at, self.client.next()).await {
                Ok(reply) => reply?,
                Err(_) => return Ok(()),
            },
            None => self.client.next().await?,
        };
        let asked = reply.get("id").and_then(Value::as_u64).and_then(|id| self.asked.remove(&id));
        match asked {
            Some((channel, recovers)) => match reply.get("subscribe") {
                Some(subscribed) => self.subscribed(&channel, recovers, subscribed),
                None => self.try_again(channel),
            },
            None => {
                if let Some(ended) = self.note(&reply) {
                    self.try_again(ended);
                }
            }
        }
        Ok(())
    }

    fn try_again(&mut self, channel: String) {
        self.again.get_or_insert_with(|| (Instant::now() + AGAIN, Vec::new())).1.push(channel);
    }

    /// From the place that was reached.
    async fn subscribe(&mut self, channel: String) -> Result<()> {
        let place = self.seen.lock().expect("nobody panics").channels.get(&channel).map(|seen| seen.place.clone());
        let place = place.filter(|(_, epoch)| !epoch.is_empty());
        let mut subscribe = json!({ "channel": channel });
        if let Some((offset, epoch)) = &place {
            (subscribe["recover"], subscribe["offset"], subscribe["epoch"]) = (json!(true), json!(offset), json!(epoch));
        }
        let id = self.client.send(json!({ "subscribe": subscribe })).await?;
        self.asked.insert(id, (channel, place.is_some()));
        Ok(())
    }

    fn subscribed(&self, channel: &str, recovers: bool, subscribed: &Value) {
        let now_ms = self.start.ms();
        let mut seen = self.seen.lock().expect("nobody panics");
        let seen = seen.channels.entry(channel.to_owned()).or_default();
        if recovers && !subscribed["recovered"].as_bool().unwrap_or(false) {
            seen.gaps.push((seen.deliveries.len(), now_ms));
        }
        let publications = subscribed["publications"].as_array().into_iter().flatten();
        seen.deliveries.extend(publications.filter_map(|publication| Some((publication["data"]["n"].as_u64()?, now_ms))));
        seen.place = (subscribed["offset"].as_u64().unwrap_or(0), subscribed["epoch"].as_str().unwrap_or_default().to_owned());
    }

    /// Notes a push; the channel whose subscription it ends, if it does.
    fn note(&self, reply: &Value) -> Option<String> {
        let push = reply.get("push")?;
        let channel = push["channel"].as_str()?.to_owned();
        if push.get("unsubscribe").is_some() {
            return Some(channel);
        }
        let number = push["pub"]["data"]["n"].as_u64()?;
        let mut seen = self.seen.lock().expect("nobody panics");
        let seen = seen.channels.entry(channel).or_default();
        seen.deliveries.push((number, self.start.ms()));
        if let Some(offset) = push["pub"]["offset"].as_u64() {
            seen.place.0 = offset;
        }
        None
    }
}
