//! I/O: additions in one region, as a reader and a subscriber in the other one see them.

use super::{Load, Shown, scene::Scene};
use crate::{client::Client, resp::Connection, visible::Visible};
use anyhow::{Context, ensure};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep_until},
};

/// Each with a client that adds.
pub(super) const KEYS: usize = 20;
/// Between two questions of the reader.
pub(super) const POLL: Duration = Duration::from_millis(2);

type Watching = JoinHandle<anyhow::Result<()>>;

pub(super) struct Counters {
    adding: Vec<Connection>,
    read: Arc<Visible>,
    told: Arc<Visible>,
    watching: [Watching; 2],
}

/// How far a watcher is with each counter.
struct Progress {
    seen: [usize; KEYS],
    visible: Arc<Visible>,
}

/// Connects everybody.
pub(super) async fn prepare(scene: &Scene, load: Load) -> anyhow::Result<Counters> {
    let (read, told) = (Arc::new(Visible::new(load.changes())), Arc::new(Visible::new(load.changes())));
    let mut adding = Vec::new();
    let mut subscriber = Client::connect(scene.there().client).await?;
    for key in 0..KEYS {
        adding.push(Connection::open(scene.here().resp.context("no counters")?).await?);
        subscriber.ask(json!({ "subscribe": { "channel": format!("counter:{}", name(key)) } })).await?;
    }
    let reader = Connection::open(scene.there().resp.context("no counters")?).await?;
    let watching = [tokio::spawn(ask(reader, Progress::new(&read))), tokio::spawn(listen(subscriber, Progress::new(&told)))];
    Ok(Counters { adding, read, told, watching })
}

async fn ask(mut reader: Connection, mut progress: Progress) -> anyhow::Result<()> {
    let names: Vec<String> = (0..KEYS).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (key, value) in reader.values(&names).await?.into_iter().enumerate() {
            progress.is_at(key, usize::try_from(value)?);
        }
    }
}

async fn listen(mut subscriber: Client, mut progress: Progress) -> anyhow::Result<()> {
    loop {
        for message in subscriber.receive().await? {
            let data = &message["push"]["pub"]["data"];
            if let (Some(key), Some(value)) = (data["key"].as_str().and_then(number), data["value"].as_u64()) {
                progress.is_at(key, usize::try_from(value)?);
            }
        }
    }
}

impl Progress {
    fn new(visible: &Arc<Visible>) -> Progress {
        Progress { seen: [0; KEYS], visible: visible.clone() }
    }

    fn is_at(&mut self, key: usize, value: usize) {
        (self.seen[key]..value).for_each(|nth| self.visible.tell(nth * KEYS + key));
        self.seen[key] = value.max(self.seen[key]);
    }
}

impl Counters {
    pub(super) async fn run(mut self, load: Load) -> anyhow::Result<Vec<Shown>> {
        let mut adding = JoinSet::new();
        for (key, mut connection) in self.adding.into_iter().enumerate() {
            let (read, told) = (self.read.clone(), self.told.clone());
            adding.spawn(async move {
                for (nth, index) in (key..load.changes()).step_by(KEYS).enumerate() {
                    sleep_until(load.due(index)).await;
                    read.due(index, load.due(index));
                    told.due(index, load.due(index));
                    let value = connection.number(&["INCR", &name(key)]).await?;
                    ensure!(usize::try_from(value)? == nth + 1, "{} is {value} after {} additions", name(key), nth + 1);
                }
                anyhow::Ok(())
            });
        }
        while let Some(added) = adding.join_next().await {
            added?.context("who adds")?;
        }
        let [reading, listening] = &mut self.watching;
        let all = async { tokio::try_join!(self.read.all(), self.told.all()).map(drop) };
        tokio::select! {
            all = all => all.context("counters")?,
            ended = reading => ended?.context("the reader")?,
            ended = listening => ended?.context("the subscriber")?,
        }
        self.watching.iter().for_each(JoinHandle::abort);
        let ways = [("counters, read", self.read), ("counters, `counter:<key>`", self.told)];
        Ok(ways.into_iter().map(|(way, visible)| Shown { way, latencies: visible.latencies() }).collect())
    }
}

fn name(key: usize) -> String {
    format!("likes_{key}")
}

fn number(key: &str) -> Option<usize> {
    key.strip_prefix("likes_")?.parse().ok()
}
