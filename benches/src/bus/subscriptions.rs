//! I/O: gateways that lose their connection and subscribe anew, and what another client of the server feels meanwhile.

use super::{NODE, gateway};
use crate::{
    latency::Latencies,
    server::{cpu_s, waited_s},
};
use anyhow::{Context, anyhow, ensure};
use core::net::SocketAddr;
use ring_coordinator::redis::{Hearing, What};
use std::{
    fmt::Write,
    thread::{JoinHandle, spawn},
    time::Duration,
};
use testkit::{
    Disk, RedisServer,
    resp::{Reply, Resp},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// What ends the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Nothing: for comparison, what a PING takes on this machine now.
    Nothing,
    /// Redis is killed, and comes back.
    Restart,
    /// `CLIENT KILL`: Redis has to forget the subscriptions first.
    Kill,
}

/// Gateways of each row.
const ROWS: [(usize, Cause); 5] = [(0, Cause::Nothing), (1, Cause::Restart), (10, Cause::Restart), (1, Cause::Kill), (10, Cause::Kill)];
/// How long nothing happens.
const NOTHING: Duration = Duration::from_secs(5);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// After a restart, what the other client's PING may take, of each hundred all but the slowest, in milliseconds.
const PING_P99_MAX_MS: f64 = 10.0;

pub(super) async fn measure(channels: usize, text: &mut String) -> anyhow::Result<()> {
    writeln!(
        text,
        "## Subscriptions\n\nGateways that listen for {channels} channels each, the same ones, lose their connections at the same time, because Redis"
    )?;
    writeln!(
        text,
        "is killed and started again, or by `CLIENT KILL TYPE pubsub`. Seconds are from then, or from when Redis answers again, until"
    )?;
    writeln!(
        text,
        "every channel of every gateway is confirmed. Another client sends a PING every millisecond meanwhile; what these take is in"
    )?;
    writeln!(
        text,
        "milliseconds, and after a restart at most {PING_P99_MAX_MS} ms are allowed at p99. CPU is that of Redis for one subscription;"
    )?;
    writeln!(text, "waited is the share of the time in which Redis had something to do and no CPU to do it.\n")?;
    writeln!(text, "| gateways | cause | seconds | subscriptions/s | CPU | waited | PING p50 | p99 | p99.9 | max | |")?;
    writeln!(text, "|---|---|---|---|---|---|---|---|---|---|---|")?;
    for (gateways, cause) in ROWS {
        let mut redis = RedisServer::start(&[]).await;
        let mut all = Vec::new();
        for number in 0..gateways {
            let (nodes, hearing) = gateway(&format!("g{number}"), redis.address)?;
            for channel in 0..channels {
                nodes.wanted(NODE, &format!("hc:{{1}}:pub:{channel}").into(), false);
            }
            all.push((nodes, hearing));
        }
        confirmed(&mut all, channels, false).await?;

        if cause == Cause::Restart {
            redis.restart(Disk::Empty).await;
        }
        let pid = redis.pid().context("redis-server has ended")?;
        let (ended, is_ended) = watch::channel(false);
        let pings = pinging(redis.address, is_ended);
        let (begun, cpu_before, waited_before) = (Instant::now(), cpu_s(pid)?, waited_s(pid)?);
        if cause == Cause::Kill {
            let killed = redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
            ensure!(killed == Reply::Integer(i64::try_from(gateways)?), "killed {killed:?}");
        }
        match cause {
            Cause::Nothing => sleep(NOTHING).await,
            Cause::Restart | Cause::Kill => confirmed(&mut all, channels, true).await?,
        }
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_s(pid)? - cpu_before);
        let waited = (waited_s(pid)? - waited_before) / seconds * 100.0;
        ended.send_replace(true);
        let pings = Latencies::of(pings.join().map_err(|_| anyhow!("the other client has panicked"))??);
        #[allow(clippy::cast_precision_loss)] // figures for people
        let count = (gateways * channels) as f64;
        let verdict = match (cause, pings.at(0.99) <= PING_P99_MAX_MS) {
            (Cause::Kill | Cause::Nothing, _) => "–",
            (Cause::Restart, true) => "met",
            (Cause::Restart, false) => "**missed**",
        };
        let (name, rates) = match cause {
            Cause::Nothing => ("nothing", "– | –".to_owned()),
            Cause::Restart => ("restart", format!("{:.0} | {:.2} µs", count / seconds, cpu * 1e6 / count)),
            Cause::Kill => ("CLIENT KILL", format!("{:.0} | {:.2} µs", count / seconds, cpu * 1e6 / count)),
        };
        writeln!(text, "| {gateways} | {name} | {seconds:.2} | {rates} | {waited:.0} % | {} | {verdict} |", pings.cells())?;
        for (nodes, _) in all {
            nodes.shutdown().await;
        }
    }
    writeln!(text)?;
    Ok(())
}

type Gateways = Vec<(ring_coordinator::redis::Nodes, Hearing)>;

/// Waits until all channels of all gateways are confirmed, if need be after their connection has been lost.
async fn confirmed(all: &mut Gateways, channels: usize, after_down: bool) -> anyhow::Result<()> {
    let waiting = all.iter_mut().map(|(_, hearing)| async move {
        let (mut left, mut is_counting) = (channels, !after_down);
        while left > 0 {
            match hearing.next().await.context("the gateway has ended")?.what {
                What::Down { .. } => is_counting = true,
                What::Confirmed(_) if is_counting => left -= 1,
                _ => {}
            }
        }
        anyhow::Ok(())
    });
    timeout(PATIENCE, futures_util::future::try_join_all(waiting)).await.context("not all channels are confirmed")??;
    Ok(())
}

/// How often the other client asks, in milliseconds.
const PING_EVERY_MS: f64 = 1.0;

/// How long PINGs took, in milliseconds, until it has ended. One that took longer than the pause between two stands for those
/// that would have been sent meanwhile, too.
async fn ping(address: SocketAddr, is_ended: watch::Receiver<bool>) -> anyhow::Result<Vec<f64>> {
    let (mut resp, mut all) = (Resp::default(), Vec::new());
    while !*is_ended.borrow() {
        let begun = Instant::now();
        resp.command(address, &["PING"]).await?;
        let took_ms = begun.elapsed().as_secs_f64() * 1000.0;
        all.push(took_ms);
        let mut left_ms = took_ms - PING_EVERY_MS;
        while left_ms > 0.0 {
            all.push(left_ms);
            left_ms -= PING_EVERY_MS;
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(all)
}

/// The same on a thread of its own, where the gateways do not delay it.
fn pinging(address: SocketAddr, is_ended: watch::Receiver<bool>) -> JoinHandle<anyhow::Result<Vec<f64>>> {
    spawn(move || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(ping(address, is_ended)))
}
