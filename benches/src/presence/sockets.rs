//! I/O: joins into one room by sockets at one gateway, as watchers at another one see them.

use super::{joins::dotted, usage::Usage};
use crate::{client::Client, visible::Visible};
use anyhow::{Context, ensure};
use core::net::SocketAddr;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
    sync::Arc,
    time::Duration,
};
use testkit::{Region, RegionOptions, UNPACED};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

/// Connections opened at the same time.
pub(super) const CONNECTING: usize = 100;
/// Joins, and how long they take.
const JOINS: (usize, Duration) = (10_000, Duration::from_secs(10));
const QUICK_JOINS: (usize, Duration) = (500, Duration::from_secs(2));
const ROOM: &str = "crowd";

/// Two gateways at one Redis node, and etcd.
pub(super) async fn region() -> Region {
    Region::start(RegionOptions { redis_nodes: 1, gateways: 2, config_toml: UNPACED.to_owned(), ..RegionOptions::default() }).await
}

pub(super) async fn measure(quick: bool, text: &mut String) -> anyhow::Result<()> {
    let (count, over) = if quick { QUICK_JOINS } else { JOINS };
    let region = region().await;
    let (here, there) = (region.gateways[0].client, region.gateways[1].client);
    let redis = region.redis.values().next().context("no Redis node")?;
    eprintln!("{count} connections …");
    let clients: Vec<Client> = stream::iter(0..count).map(|_| Client::connect(here)).buffer_unordered(CONNECTING).try_collect().await?;
    let numbers: Arc<HashMap<String, usize>> = Arc::new(clients.iter().enumerate().map(|(at, client)| (client.id.clone(), at)).collect());

    // The one who asks for join and leave is a member, too; the subscriber of the roster is not.
    let (members, visible, named) = (count + 1, Arc::new(Visible::new(count)), Arc::new(Visible::new(count)));
    let (mut by_push, mut by_diff) = (Client::connect(there).await?, Client::connect(there).await?);
    by_push.ask(json!({ "subscribe": { "channel": ROOM, "join_leave": true } })).await?;
    by_diff.ask(json!({ "subscribe": { "channel": format!("presence:{ROOM}") } })).await?;
    let received_before = [by_push.received_bytes, by_diff.received_bytes];
    let (ended, is_ended) = watch::channel(false);
    let by_push = tokio::spawn(watch_pushes(by_push, numbers.clone(), visible.clone(), is_ended.clone()));
    let by_diff = tokio::spawn(watch_diffs(by_diff, numbers, named.clone(), is_ended));

    eprintln!("{count} joins in {over:?} …");
    let before = Usage::of(redis).await?;
    let (mut joining, begun) = (JoinSet::new(), Instant::now());
    for (at, mut client) in clients.into_iter().enumerate() {
        let (visible, named) = (visible.clone(), named.clone());
        #[allow(clippy::cast_precision_loss)] // a share
        let due = begun + over.mul_f64(at as f64 / count as f64);
        joining.spawn(async move {
            // Until then it answers pings.
            while let Ok(frame) = timeout_at(due, client.receive()).await {
                frame?;
            }
            visible.say(at);
            named.say(at);
            client.ask(json!({ "subscribe": { "channel": ROOM } })).await?;
            client.stay().await
        });
    }
    tokio::select! {
        all = visible.all() => all?,
        Some(ended) = joining.join_next() => ended?.context("one who joined")?,
    }
    let (usage, _) = Usage::since(&before, redis).await?;
    // The last diff of a big room comes a second after the one before it.
    sleep(Duration::from_millis(2 * presence::COUNT_MS)).await;
    ended.send_replace(true);
    let (by_push, Roster { client: by_diff, tellings, count: last }) = (by_push.await??, by_diff.await??);
    ensure!(last.is_none_or(|last| last == members), "the last diff counts {last:?} of {members}");
    for gateway in [here, there] {
        exact(gateway, members).await.with_context(|| format!("after {count} joins"))?;
    }

    let (said_s, told_s) = visible.span_s();
    #[allow(clippy::cast_precision_loss)] // figures for people
    let bytes = |client: &Client, before: u64| {
        let bytes = (client.received_bytes - before) as f64;
        format!("{:.0} KiB, {:.1} B a join", bytes / 1024.0, bytes / count as f64)
    };
    #[allow(clippy::cast_precision_loss)]
    let cpu_us = usage.cpu_s * 1e6 / count as f64;
    writeln!(text, "## {count} joins into one room by sockets\n")?;
    writeln!(
        text,
        "WebSocket clients in JSON, without infos, that are connected to one of two gateways and subscribe to a channel; the watchers \
         are at the other one. Both gateways count {members} clients and users at the end, that is with the watcher who \
         asks for `join_leave`, the pages of both name as many, and it was told of each join once. Milliseconds are from the command \
         to the frame, in one process with all clients.\n"
    )?;
    writeln!(text, "| figure | value |\n|---|---|")?;
    writeln!(text, "| joins said within | {said_s:.2} s |")?;
    writeln!(text, "| all of them told within | {told_s:.2} s |")?;
    writeln!(text, "| a join told, p50 · p99 · p99.9 · max | {} ms |", dotted(&visible.latencies().cells()))?;
    writeln!(text, "| its name in a diff ({} of them), the same | {} ms |", named.told(), dotted(&named.latencies().cells()))?;
    writeln!(text, "| Redis CPU | {:.2} s, {cpu_us:.1} µs a join |", usage.cpu_s)?;
    writeln!(text, "| a subscriber of `presence:{ROOM}` receives | {tellings} diffs, {} |", bytes(&by_diff, received_before[1]))?;
    writeln!(text, "| one with `join_leave` receives | {count} pushes, {} |\n", bytes(&by_push, received_before[0]))?;
    Ok(())
}

/// Follows joins until it is ended.
async fn watch_pushes(
    mut client: Client,
    numbers: Arc<HashMap<String, usize>>,
    visible: Arc<Visible>,
    mut is_ended: watch::Receiver<bool>,
) -> anyhow::Result<Client> {
    while let Some(frame) = next(&mut client, &mut is_ended).await.context("the watcher of joins")? {
        for message in frame {
            let joined = message["push"]["join"]["info"]["client"].as_str();
            joined.and_then(|client| numbers.get(client)).into_iter().for_each(|at| visible.tell(*at));
        }
    }
    Ok(client)
}

/// What a subscriber of a roster was told.
struct Roster {
    client: Client,
    /// Diffs, and snapshots instead of diffs that were overtaken before they were sent.
    tellings: usize,
    /// Members by the last of them; a snapshot has only its first page.
    count: Option<usize>,
}

/// Follows a roster until it is ended.
async fn watch_diffs(
    client: Client,
    numbers: Arc<HashMap<String, usize>>,
    named: Arc<Visible>,
    mut is_ended: watch::Receiver<bool>,
) -> anyhow::Result<Roster> {
    let mut roster = Roster { client, tellings: 0, count: None };
    while let Some(frame) = next(&mut roster.client, &mut is_ended).await.context("the watcher of the roster")? {
        for message in frame {
            let told = &message["push"]["pub"]["data"];
            let Some(entries) = told["join"].as_array().or(told["snapshot"].as_array()) else { continue };
            let names = entries.iter().filter_map(|entry| entry["client"].as_str());
            names.filter_map(|client| numbers.get(client)).for_each(|at| named.tell(*at));
            roster.tellings += 1;
            roster.count = told["count"].as_u64().map(usize::try_from).transpose()?;
        }
    }
    Ok(roster)
}

/// The next frame; `None` at the end.
async fn next(client: &mut Client, is_ended: &mut watch::Receiver<bool>) -> anyhow::Result<Option<Vec<Value>>> {
    tokio::select! {
        frame = client.receive() => frame.map(Some),
        _ = is_ended.wait_for(|is_ended| *is_ended) => Ok(None),
    }
}

/// An error unless a gateway counts so many clients and users, and its pages name as many.
async fn exact(gateway: SocketAddr, members: usize) -> anyhow::Result<()> {
    let mut client = Client::connect(gateway).await?;
    let reply = client.ask(json!({ "presence_stats": { "channel": ROOM } })).await?;
    let stats = &reply["presence_stats"];
    ensure!(stats["num_clients"] == members && stats["num_users"] == members, "{gateway} counts {stats}");
    let (mut names, mut cursor) = (BTreeSet::new(), Value::Null);
    loop {
        let data = json!({ "channel": ROOM, "cursor": cursor });
        let reply = client.ask(json!({ "rpc": { "method": "presence.page", "data": data } })).await?;
        let page = &reply["rpc"]["data"];
        names.extend(page["snapshot"].as_array().into_iter().flatten().filter_map(|entry| entry["client"].as_str().map(str::to_owned)));
        cursor = page["next"].clone();
        if cursor.is_null() {
            break;
        }
    }
    ensure!(names.len() == members, "the pages of {gateway} name {} of {members}", names.len());
    Ok(())
}
