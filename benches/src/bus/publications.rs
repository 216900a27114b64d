//! I/O: publications from one gateway's bus through Redis nodes to the subscribers of another one, with and without history.

use super::{clock, random_u64};
use crate::{
    redis::{Persistence, Redis},
    server::cpu_s,
};
use anyhow::{Context, ensure};
use gateway::{
    bus::{Post, redis::RedisBus, redis::scripts},
    hub::{Hub, broadcast::Wire, outbox::Outbox},
};
use protocol::{
    counting::{Ack, CounterType},
    message::StreamPosition,
    name::Channel,
    namespace::{Grant, Grants, Namespace},
};
use ring_coordinator::{
    document::{Document, Layout, Node},
    redis::{Access, Nodes, NodesConfig},
    view::View,
};
use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

/// Redis nodes, publications kept of each channel (0: none), and publications of a run.
const ROWS: [(usize, usize, usize); 6] =
    [(1, 0, 400_000), (3, 0, 400_000), (1, 100, 200_000), (3, 100, 200_000), (1, 1000, 200_000), (3, 1000, 200_000)];
/// A quick run does this share of the publications.
const QUICK_SHARE: usize = 10;
/// Channels, each with one subscriber at the other gateway.
const CHANNELS: usize = 1_000;
/// Publishers, each of whom waits for its answer.
const PUBLISHERS: usize = 512;
/// Bytes of a publication's data.
const PAYLOAD_BYTES: usize = 100;
/// How long the last deliveries may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What may wait for a subscriber until it is looked at.
const OUTBOX_BYTES: usize = 64 * 1024 * 1024;

/// What a run has cost.
struct Run {
    rate: f64,
    redis_us: f64,
    gateways_us: f64,
}

pub(super) async fn measure(runs: usize, quick: bool, text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "## Publications\n")?;
    writeln!(text, "Publications of {PAYLOAD_BYTES} bytes into {CHANNELS} channels, from one gateway's bus to one subscriber of each at")?;
    writeln!(text, "another one: {PUBLISHERS} publishers, each of whom waits for its answer; best of {runs} runs. Both gateways are in")?;
    writeln!(text, "one process, on the same machine as the nodes. Every publication arrived. CPU is that of one publication.\n")?;
    writeln!(text, "| Redis nodes | kept of a channel | publications/s | CPU of Redis | CPU of both gateways |")?;
    writeln!(text, "|---|---|---|---|---|")?;
    for (nodes, kept, publications) in ROWS {
        let publications = if quick { publications / QUICK_SHARE } else { publications };
        let mut best: Option<Run> = None;
        for _ in 0..runs {
            let run = publish(nodes, kept, publications).await?;
            eprintln!("{nodes} nodes, {kept} kept: {:.0}/s", run.rate);
            if best.as_ref().is_none_or(|best| best.rate < run.rate) {
                best = Some(run);
            }
        }
        let Run { rate, redis_us, gateways_us } = best.context("no run")?;
        writeln!(text, "| {nodes} | {kept} | {rate:.0} | {redis_us:.1} µs | {gateways_us:.1} µs |")?;
    }
    writeln!(text)?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // figures for people
async fn publish(nodes: usize, kept: usize, publications: usize) -> anyhow::Result<Run> {
    let mut servers = Vec::new();
    for _ in 0..nodes {
        servers.push(Redis::start(Persistence::None).await?);
    }
    let ring = Arc::new(ring(&servers));
    let mut tasks = JoinSet::new();
    let ((publisher, _), (listener, hub)) = (gateway("publisher", &ring, &mut tasks)?, gateway("listener", &ring, &mut tasks)?);
    let namespace = Arc::new(namespace(kept));
    let channels: Vec<Channel> =
        (0..CHANNELS).map(|index| Channel::parse(&format!("room{index}"))).collect::<Result<_, _>>().context("a name")?;
    let mut outboxes = Vec::new();
    for (connection, channel) in channels.iter().enumerate() {
        let outbox = Arc::new(Outbox::new(Wire::Json, OUTBOX_BYTES));
        hub.add(channel, connection as u64, outbox.clone(), false);
        listener.join(channel, &namespace).await?;
        let top = if kept > 0 { listener.recover(channel, None).await?.top } else { StreamPosition::default() };
        hub.open(channel, connection as u64, top)?;
        outboxes.push(outbox);
    }
    let delivered = Arc::new(AtomicUsize::new(0));
    tasks.spawn({
        let delivered = delivered.clone();
        async move {
            let mut batch = Vec::new();
            loop {
                for outbox in &outboxes {
                    outbox.take(&mut batch, usize::MAX);
                    delivered.fetch_add(batch.len(), Ordering::Relaxed);
                    batch.clear();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });

    let own = std::process::id();
    let redis_cpu = || servers.iter().map(|server| cpu_s(server.pid)).sum::<anyhow::Result<f64>>();
    let (redis_before, own_before, begun) = (redis_cpu()?, cpu_s(own)?, Instant::now());
    let channels = Arc::new(channels);
    let (next, mut publishing) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..PUBLISHERS {
        let (publisher, channels, namespace, next) = (publisher.clone(), channels.clone(), namespace.clone(), next.clone());
        publishing.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= publications {
                    return anyhow::Ok(());
                }
                let post = Post { data: "x".repeat(PAYLOAD_BYTES).into(), ..Post::default() };
                publisher.publish(&channels[number % CHANNELS], &namespace, post, clock()).await?;
            }
        });
    }
    while let Some(published) = publishing.join_next().await {
        published??;
    }
    let all = async {
        while delivered.load(Ordering::Relaxed) < publications {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, all).await.context("not every publication was delivered")?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(delivered.load(Ordering::Relaxed) == publications, "some publications were delivered twice");
    let each_us = |cpu_s: f64| cpu_s * 1e6 / publications as f64;
    Ok(Run {
        rate: publications as f64 / seconds,
        redis_us: each_us(redis_cpu()? - redis_before),
        gateways_us: each_us(cpu_s(own)? - own_before),
    })
}

/// A gateway's bus with its hub.
fn gateway(name: &str, ring: &Arc<View>, tasks: &mut JoinSet<()>) -> anyhow::Result<(Arc<RedisBus>, Arc<Hub>)> {
    let (hub, registry) = (Arc::new(Hub::default()), prometheus::Registry::new());
    let config = NodesConfig { gateway: name.to_owned(), access: Access::default(), scripts: scripts(), clock, random_u64 };
    let (nodes, hearing) = Nodes::new(config, &registry)?;
    let bus = Arc::new(RedisBus::new(name, hub.clone(), nodes, clock, random_u64, &registry)?);
    bus.apply(ring);
    tasks.spawn({
        let bus = bus.clone();
        async move { bus.run(hearing, std::future::pending()).await }
    });
    Ok((bus, hub))
}

fn ring(servers: &[Redis]) -> View {
    let node = |(index, server): (usize, &Redis)| Node {
        id: format!("redis-{index}"),
        url: format!("redis://{}", server.address),
        weight: 1,
        state: Default::default(),
        incarnation: 1,
    };
    let current = Layout { nodes: servers.iter().enumerate().map(node).collect(), ..Layout::default() };
    View::new(Document { epoch: 1, vnodes: 512, current, ..Document::default() })
}

fn namespace(history_size: usize) -> Namespace {
    Namespace {
        name: String::new(),
        presence: false,
        join_leave: false,
        history_size,
        history_ttl_ms: 3_600_000,
        recover: history_size > 0,
        global: false,
        flush_ms: 0,
        counter_type: CounterType::default(),
        ack: Ack::Fsync,
        grants: Grants::all(Grant::Anyone),
    }
}
