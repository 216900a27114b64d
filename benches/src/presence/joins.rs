//! I/O: very many joins into one room through the stores of several gateways, without sockets, as a watcher at yet another
//! gateway sees them.

use super::{
    gateways::{Gateway, channel, index, member},
    pace::evenly,
    usage::Usage,
};
use crate::{clock::clock, visible::Visible};
use anyhow::ensure;
use gateway::hub::broadcast::{Broadcast, Wire};
use presence::{Diff, Event, Stats};
use protocol::message::ClientInfo;
use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use testkit::{RedisServer, eventually};

/// Gateways that clients come to, besides that of the watcher.
const GATEWAYS: usize = 4;
/// Joins, and how long they take.
const JOINS: (usize, Duration) = (100_000, Duration::from_secs(10));
const QUICK_JOINS: (usize, Duration) = (5_000, Duration::from_secs(2));
/// How long the last diff may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Members of a page that is read at the end.
const PAGE: usize = 1000;

pub(super) async fn measure(quick: bool, text: &mut String) -> anyhow::Result<()> {
    let (count, over) = if quick { QUICK_JOINS } else { JOINS };
    let redis = RedisServer::start(&[]).await;
    let room = channel("crowd")?;
    let visible = Arc::new(Visible::new(count));
    let named = Arc::new(Visible::new(count));
    let diffs: Arc<Mutex<Vec<Arc<Diff>>>> = Arc::default();
    let push_bytes = Arc::new(AtomicUsize::new(0));
    let watcher = Gateway::start("watcher", &redis, {
        let (visible, named, diffs, push_bytes) = (visible.clone(), named.clone(), diffs.clone(), push_bytes.clone());
        move |event| match event {
            Event::Joined { channel, member } => {
                index(&member.client).into_iter().for_each(|index| visible.tell(index));
                let info = ClientInfo {
                    user: member.user.as_ref().to_owned(),
                    client: member.client.as_ref().to_owned(),
                    conn_info: member.about().conn_info.clone(),
                    chan_info: member.about().chan_info.clone(),
                };
                push_bytes.fetch_add(Broadcast::join(channel, info).encoded(Wire::Json).len(), Ordering::Relaxed);
            }
            Event::Changed { diff, .. } => {
                diff.join.iter().filter_map(|entry| index(entry.client())).for_each(|index| named.tell(index));
                diffs.lock().unwrap_or_else(PoisonError::into_inner).push(diff);
            }
            _ => {}
        }
    })
    .await?;
    watcher.presence.follow(&room).await?;
    let mut gateways = Vec::new();
    for number in 0..GATEWAYS {
        gateways.push(Gateway::start(&format!("g{number}"), &redis, drop).await?);
    }
    eprintln!("{count} joins through {GATEWAYS} gateways in {over:?} …");
    let before = Usage::of(&redis).await?;
    evenly(count, over, |index| {
        visible.say(index);
        named.say(index);
        gateways[index % GATEWAYS].presence.join(&room, member(index), clock());
    })
    .await;
    visible.all().await?;
    let (usage, _) = Usage::since(&before, &redis).await?;

    let exact = Stats { clients: count, users: count };
    for gateway in gateways.iter().chain([&watcher]) {
        let stats = gateway.presence.stats(&room).await?.value;
        ensure!(stats == exact, "a gateway counts {stats:?} after {count} joins");
    }
    // Pages are as diffs have told, and the last diff of a big room comes a second after the one before it.
    let last = || diffs.lock().unwrap_or_else(PoisonError::into_inner).last().map_or(0, |diff| diff.count);
    eventually(PATIENCE, async || if last() == count { Ok(()) } else { Err(format!("the last diff counts {}", last())) }).await;
    let pages = pages(&watcher, &room).await?;
    ensure!(pages.len() == count, "the pages name {} members after {count} joins", pages.len());
    let told = std::mem::take(&mut *diffs.lock().unwrap_or_else(PoisonError::into_inner));
    let diff_bytes = told.iter().map(|diff| serde_json::to_vec(&**diff).map(|json| json.len())).sum::<Result<usize, _>>()?;

    let (said_s, told_s) = visible.span_s();
    let evalsha = usage.calls("evalsha");
    #[allow(clippy::cast_precision_loss)] // figures for people
    let per_join = |total: f64| total / count as f64;
    #[allow(clippy::cast_precision_loss)]
    let (calls, busy_s, diff_bytes, push_bytes) =
        (evalsha.count as f64, evalsha.us as f64 / 1e6, diff_bytes as f64, push_bytes.load(Ordering::Relaxed) as f64);
    writeln!(text, "## {count} joins into one room\n")?;
    writeln!(
        text,
        "Users with one client each, through the stores of {GATEWAYS} gateways in one process, at one Redis node, without \
         sockets; the watcher is at yet another gateway. Every gateway counts {count} clients and {count} users at the end, the \
         watcher's pages name every one, and it was told of each join once. Names are told in diffs up to 5,000 members, \
         and joins to who asked for them in rooms of any size. Milliseconds are from the join at its gateway to the telling.\n"
    )?;
    writeln!(text, "| figure | value |\n|---|---|")?;
    writeln!(text, "| joins said within | {said_s:.2} s |")?;
    writeln!(text, "| all of them told within | {told_s:.2} s |")?;
    writeln!(text, "| a join told, p50 · p99 · p99.9 · max | {} ms |", dotted(&visible.latencies().cells()))?;
    writeln!(text, "| its name in a diff ({} of them), the same | {} ms |", named.told(), dotted(&named.latencies().cells()))?;
    writeln!(text, "| Redis CPU | {:.2} s, {:.1} µs a join |", usage.cpu_s, per_join(usage.cpu_s * 1e6))?;
    writeln!(
        text,
        "| scripts called, joins in each, time of each | {calls:.0}, {:.1}, {:.0} µs |",
        1.0 / per_join(calls),
        busy_s * 1e6 / calls
    )?;
    writeln!(
        text,
        "| a subscriber of `presence:crowd` receives | {} diffs, {:.0} KiB, {:.1} B a join |",
        told.len(),
        diff_bytes / 1024.0,
        per_join(diff_bytes)
    )?;
    writeln!(
        text,
        "| one with `join_leave` receives | {count} pushes, {:.0} KiB, {:.1} B a join |\n",
        push_bytes / 1024.0,
        per_join(push_bytes)
    )?;
    Ok(())
}

/// Latencies in one cell.
pub(super) fn dotted(cells: &str) -> String {
    cells.replace(" | ", " · ")
}

async fn pages(gateway: &Gateway, room: &protocol::name::Channel) -> anyhow::Result<BTreeSet<Arc<str>>> {
    let (mut users, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = gateway.presence.page(room, cursor.as_deref(), PAGE).await?.value;
        users.extend(page.snapshot.into_iter().map(|entry| entry.user().clone()));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(users);
        }
    }
}
