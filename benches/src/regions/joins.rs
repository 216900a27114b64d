//! I/O: clients who enter rooms in one region, as watchers in the other one are told.

use super::{Load, Shown, scene::Scene};
use crate::{client::Client, visible::Visible};
use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout_at,
};

/// So many that each is small enough for every change to be told at once.
pub(super) const ROOMS: usize = 100;
/// Connections opened at the same time.
const CONNECTING: usize = 100;

type Watching = JoinHandle<anyhow::Result<()>>;

pub(super) struct Joins {
    clients: Vec<Client>,
    named: Arc<Visible>,
    pushed: Arc<Visible>,
    watching: [Watching; 2],
    resident: Watching,
}

/// Connects everybody.
pub(super) async fn prepare(scene: &Scene, load: Load) -> anyhow::Result<Joins> {
    let clients: Vec<Client> =
        stream::iter(0..load.changes()).map(|_| Client::connect(scene.here().client)).buffer_unordered(CONNECTING).try_collect().await?;
    let numbers: HashMap<String, usize> = clients.iter().enumerate().map(|(at, client)| (client.id.clone(), at)).collect();
    let numbers = Arc::new(numbers);
    let (named, pushed) = (Arc::new(Visible::new(load.changes())), Arc::new(Visible::new(load.changes())));
    // The first to enter waits until the channel is as far as in the other region: a way there and back.
    let mut resident = Client::connect(scene.here().client).await?;
    for room in 0..ROOMS {
        resident.ask(json!({ "subscribe": { "channel": name(room) } })).await?;
    }
    let resident = tokio::spawn(resident.stay());
    let (mut by_diff, mut by_push) = (Client::connect(scene.there().client).await?, Client::connect(scene.there().client).await?);
    for room in 0..ROOMS {
        by_diff.ask(json!({ "subscribe": { "channel": format!("presence:{}", name(room)) } })).await?;
        by_push.ask(json!({ "subscribe": { "channel": name(room), "join_leave": true } })).await?;
    }
    let watching = [
        watch(by_diff, numbers.clone(), named.clone(), |message| {
            let told = &message["push"]["pub"]["data"];
            let entries = told["join"].as_array().or(told["snapshot"].as_array());
            entries.into_iter().flatten().filter_map(|entry| entry["client"].as_str()).collect()
        }),
        watch(by_push, numbers, pushed.clone(), |message| message["push"]["join"]["info"]["client"].as_str().into_iter().collect()),
    ];
    Ok(Joins { clients, named, pushed, watching, resident })
}

/// Notes whom the watcher is told of.
fn watch(mut watcher: Client, numbers: Arc<HashMap<String, usize>>, seen: Arc<Visible>, clients: fn(&Value) -> Vec<&str>) -> Watching {
    tokio::spawn(async move {
        loop {
            for message in watcher.receive().await? {
                clients(&message).into_iter().filter_map(|client| numbers.get(client)).for_each(|at| seen.tell(*at));
            }
        }
    })
}

impl Joins {
    pub(super) async fn run(mut self, load: Load) -> anyhow::Result<Vec<Shown>> {
        let mut joining = JoinSet::new();
        for (index, mut client) in self.clients.into_iter().enumerate() {
            let (named, pushed, due) = (self.named.clone(), self.pushed.clone(), load.due(index));
            joining.spawn(async move {
                // Until then it answers pings.
                while let Ok(frame) = timeout_at(due, client.receive()).await {
                    frame?;
                }
                named.due(index, due);
                pushed.due(index, due);
                client.ask(json!({ "subscribe": { "channel": name(index % ROOMS) } })).await?;
                client.stay().await
            });
        }
        let [by_diff, by_push] = &mut self.watching;
        let all = async { tokio::try_join!(self.named.all(), self.pushed.all()).map(drop) };
        tokio::select! {
            all = all => all.context("joins")?,
            Some(ended) = joining.join_next() => ended?.context("one who joined")?,
            ended = by_diff => ended?.context("the watcher of rosters")?,
            ended = by_push => ended?.context("the watcher of joins")?,
            ended = &mut self.resident => ended?.context("who was there already")?,
        }
        self.watching.iter().chain([&self.resident]).for_each(JoinHandle::abort);
        let ways = [("joins, `join_leave`", self.pushed), ("joins, `presence:<room>`", self.named)];
        Ok(ways.into_iter().map(|(way, visible)| Shown { way, latencies: visible.latencies() }).collect())
    }
}

fn name(room: usize) -> String {
    format!("chat:room-{room}")
}
