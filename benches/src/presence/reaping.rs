//! I/O: the rows of a dead gateway are taken away, as the gateway that does it sees each call, and as Redis does.

use super::{
    gateways::{RING_EPOCH, connect, member},
    usage::Usage,
};
use crate::latency::Latencies;
use anyhow::{Context, ensure};
use presence::{
    cluster::{CHANGE_EDGES_MAX, Edge, OwnerId, RoomId},
    redis::{Place, REAP_ROWS_MAX, Turn, forget_owner, owned_rooms, owned_slots, reap, register, retire, stats, write},
};
use ring_coordinator::redis::{CallError, Link};
use std::{collections::BTreeSet, fmt::Write, sync::Arc};
use testkit::{RedisServer, resp::Reply};
use tokio::time::Instant;

/// Rows of the dead owner; rooms among which they are spread.
const ROWS: [(usize, usize); 3] = [(15_000, 1), (15_000, 100), (100_000, 1)];
const QUICK_SHARE: usize = 10;
/// Gateways that die after each other, in a row of the table.
const DEATHS: u64 = 5;
const QUICK_DEATHS: u64 = 1;
/// Calls that take less than so many microseconds need not be in Redis's log of calls; those of other commands are left out there.
const LOG_FROM: &str = "slowlog-log-slower-than 0";
const LOG_MAX: &str = "slowlog-max-len 1000000";

/// What the deaths in one row have come to.
#[derive(Default)]
struct Found {
    rows: usize,
    seconds: f64,
    /// Of each call, as the caller sees it.
    calls_ms: Vec<f64>,
    /// The same, as Redis does.
    busy_ms: Vec<f64>,
    /// Of all scripts meanwhile: calls, and microseconds.
    scripts: (u64, u64),
}

pub(super) async fn measure(quick: bool, text: &mut String) -> anyhow::Result<()> {
    let (share, deaths) = if quick { (QUICK_SHARE, QUICK_DEATHS) } else { (1, DEATHS) };
    writeln!(text, "## The rows of a dead gateway\n")?;
    writeln!(
        text,
        "A dead owner's rows, with as many of a live one beside them, are looked for and taken away as a gateway does it, {deaths} deaths in \
         each row. Every call takes at most {REAP_ROWS_MAX} rows and publishes one change; Redis serves nobody else meanwhile. Calls are as the \
         caller sees them, and as `SLOWLOG` does; the mean is that of `INFO commandstats`, of the calls that fence slots, too. At the \
         end the live owner's rows are there, and no others.\n"
    )?;
    writeln!(
        text,
        "| rows | rooms | rows/s | calls | caller: p50 ms | max ms | Redis: p50 ms | p99 ms | max ms | mean ms |\n|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for (rows, rooms) in ROWS {
        let (rows, rooms) = (rows / share, rooms.div_ceil(share));
        eprintln!("{rows} rows of a dead gateway in {rooms} rooms …");
        let found = row(rows, rooms, deaths).await?;
        let (calls, busy) = (Latencies::of(found.calls_ms), Latencies::of(found.busy_ms));
        #[allow(clippy::cast_precision_loss)] // figures for people
        let (rate, mean_ms) = (found.rows as f64 / found.seconds, found.scripts.1 as f64 / found.scripts.0 as f64 / 1000.0);
        writeln!(
            text,
            "| {rows} | {rooms} | {rate:.0} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {mean_ms:.2} |",
            calls.count(),
            calls.at(0.5),
            calls.max(),
            busy.at(0.5),
            busy.at(0.99),
            busy.max()
        )?;
    }
    writeln!(text)?;
    Ok(())
}

async fn row(rows: usize, rooms: usize, deaths: u64) -> anyhow::Result<Found> {
    let redis = RedisServer::start(&[LOG_FROM, LOG_MAX]).await;
    let (nodes, link) = connect("reaper", &redis).await?;
    let rooms = (0..rooms).map(|room| RoomId::parse(&format!("room{room}")).context("a room")).collect::<Result<Vec<_>, _>>()?;
    let live = OwnerId { gateway: "live".into(), incarnation: 1 };
    fill(&link, &rooms, &live, 0..rows).await?;
    let mut found = Found::default();
    for death in 1..=deaths {
        let dead = OwnerId { gateway: "dead".into(), incarnation: death };
        fill(&link, &rooms, &dead, rows..2 * rows).await?;
        redis.cli(&["SLOWLOG", "RESET"]).await?;
        let before = Usage::of(&redis).await?;
        take_away(&link, &dead, &mut found).await.with_context(|| format!("{dead}"))?;
        let (usage, _) = Usage::since(&before, &redis).await?;
        let scripts = usage.calls("evalsha");
        found.scripts = (found.scripts.0 + scripts.count, found.scripts.1 + scripts.us);
        found.busy_ms.extend(busy_ms(&redis).await?);
        let mut left = 0;
        for room in &rooms {
            left += stats(Place { link: &link, room, ring_epoch: RING_EPOCH }).await?.1.clients;
        }
        ensure!(left == rows, "{left} rows are left, {rows} of them of the live owner");
    }
    let expected = usize::try_from(deaths)? * rows;
    ensure!(found.rows == expected, "{} of {expected} rows were taken away", found.rows);
    nodes.shutdown().await;
    Ok(found)
}

/// As `presence/src/shared/reaping.rs` does it, with the calls timed.
async fn take_away(link: &Link, dead: &OwnerId, found: &mut Found) -> anyhow::Result<()> {
    let begun = Instant::now();
    let slots = owned_slots(link, dead).await?;
    for slot in slots.iter().copied() {
        retire(link, slot, RING_EPOCH, dead).await?;
        for room in owned_rooms(link, slot, dead).await? {
            loop {
                let called = Instant::now();
                let reaped = reap(Place { link, room: &room, ring_epoch: RING_EPOCH }, dead, 1).await?;
                found.calls_ms.push(called.elapsed().as_secs_f64() * 1000.0);
                found.rows += reaped.rows;
                if !reaped.more {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    forget_owner(link, dead, &slots).await?;
    found.seconds += begun.elapsed().as_secs_f64();
    Ok(())
}

/// An owner's rows, in rooms in turn.
async fn fill(link: &Link, rooms: &[RoomId], owner: &OwnerId, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
    let mut slots = BTreeSet::new();
    for (at, room) in rooms.iter().enumerate() {
        if slots.insert(room.slot()) {
            register(link, owner, room.slot()).await.map_err(|error: CallError| anyhow::anyhow!("{error}"))?;
        }
        let edges: Vec<Edge> = numbers.clone().skip(at).step_by(rooms.len()).map(|number| Edge::Put(Arc::new(member(number)))).collect();
        for edges in edges.chunks(CHANGE_EDGES_MAX) {
            write(Place { link, room, ring_epoch: RING_EPOCH }, owner, Turn::default(), edges).await?;
        }
    }
    Ok(())
}

/// How long each call that took rows away has kept Redis busy since its log was emptied, in milliseconds.
async fn busy_ms(redis: &RedisServer) -> anyhow::Result<Vec<f64>> {
    let Reply::List(log) = redis.cli(&["SLOWLOG", "GET", "-1"]).await? else { anyhow::bail!("SLOWLOG says something else") };
    let of_reap = |entry: &Reply| {
        let Reply::List(entry) = entry else { return None };
        let [_, _, Reply::Integer(us), Reply::List(words), ..] = &entry[..] else { return None };
        let is_word = |at: usize, word: &str| matches!(words.get(at), Some(Reply::Text(found)) if found.eq_ignore_ascii_case(word));
        // The last argument is the most rows; no other script has such a one at its end.
        #[allow(clippy::cast_precision_loss)] // figures for people
        (is_word(0, "evalsha") && is_word(words.len() - 1, &REAP_ROWS_MAX.to_string())).then_some(*us as f64 / 1000.0)
    };
    Ok(log.iter().filter_map(of_reap).collect())
}
