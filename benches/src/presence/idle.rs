//! I/O: connected clients in channels with presence who do nothing: what Redis is asked meanwhile.

use super::{
    sockets::{CONNECTING, region},
    usage::Usage,
};
use crate::client::Client;
use anyhow::Context;
use futures_util::{StreamExt, stream};
use std::{collections::BTreeSet, fmt::Write, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Clients.
const ROWS: [usize; 3] = [0, 1_000, 15_000];
const QUICK_SHARE: usize = 10;
/// How long each row is looked at.
const TIME: Duration = Duration::from_secs(60);
const QUICK_TIME: Duration = Duration::from_secs(3);
/// After the last one has come, until what followed from that is over.
const PAUSE: Duration = Duration::from_secs(3);
/// Clients of a channel.
const PER_ROOM: usize = 100;

pub(super) async fn measure(quick: bool, text: &mut String) -> anyhow::Result<()> {
    let (share, time) = if quick { (QUICK_SHARE, QUICK_TIME) } else { (1, TIME) };
    let region = region().await;
    let gateways: Vec<_> = region.gateways.iter().map(|gateway| gateway.client).collect();
    let redis = region.redis.values().next().context("no Redis node")?;
    let (mut staying, mut count, mut rows) = (JoinSet::new(), 0, Vec::new());
    for clients in ROWS.map(|clients| clients / share) {
        eprintln!("{clients} idle clients …");
        let channel = |at: usize| format!("room{}", at / PER_ROOM);
        let gateway = |at: usize| gateways[at % gateways.len()];
        let connecting = stream::iter(count..clients).map(async |at| Client::subscribe(gateway(at), &channel(at)).await);
        let mut connected = connecting.buffer_unordered(CONNECTING);
        while let Some(client) = connected.next().await {
            // From now on it answers pings.
            staying.spawn(client?.stay());
        }
        count = clients;
        sleep(PAUSE).await;
        let before = Usage::of(redis).await?;
        tokio::select! {
            () = sleep(time) => {}
            Some(ended) = staying.join_next() => ended?.context("a client who did nothing")?,
        }
        rows.push((clients, Usage::since(&before, redis).await?));
    }

    writeln!(text, "## Nobody does anything\n")?;
    writeln!(
        text,
        "WebSocket clients at two gateways, in channels of {PER_ROOM} with presence, who answer pings and do nothing else, for {} s each. \
         What Redis is asked each second, by `INFO commandstats`: what gateways and the coordinator do as long as they live. `evalsha` \
         is one look each 100 ms of each gateway with clients at the generation of one of its slots, and `get` and `hmget` \
         are inside that.\n",
        time.as_secs()
    )?;
    let names: BTreeSet<&String> = rows.iter().flat_map(|(_, (usage, _))| usage.commands.keys()).collect();
    let columns: Vec<String> = names.iter().map(|name| format!(" {} |", name.replace('|', " "))).collect();
    writeln!(text, "| clients | commands/s | CPU s/min |{}\n|---|---|---|{}", columns.concat(), "---|".repeat(names.len()))?;
    for (clients, (usage, seconds)) in &rows {
        #[allow(clippy::cast_precision_loss)] // figures for people
        let per_s = |count: u64| count as f64 / seconds;
        write!(text, "| {clients} | {:.1} | {:.3} |", per_s(usage.count()), usage.cpu_s / seconds * 60.0)?;
        names.iter().try_for_each(|name| write!(text, " {:.1} |", per_s(usage.calls(name).count)))?;
        writeln!(text)?;
    }
    writeln!(text)?;
    Ok(())
}
