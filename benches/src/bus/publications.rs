//! I/O: publications from one gateway's bus through Redis nodes to the subscribers of another one, with and without history, in
//! turn with redis-benchmark at the same nodes.

use super::{
    clock, random_u64,
    runs::{Run, ratios, theirs},
};
use crate::redis::{CLIENTS, Persistence, Redis};
use anyhow::{Context, ensure};
use gateway::{
    bus::{Post, redis::RedisBus, redis::scripts},
    hub::{Hub, broadcast::Wire, outbox::Outbox},
};
use protocol::{
    message::StreamPosition,
    name::Channel,
    namespace::{Namespace, Namespaces},
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
use testkit::resp::{Reply, Resp};
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

/// Commands that each of redis-benchmark's clients has under way: one, and so many that each node has as much to do as with us alone.
const PIPELINES: [usize; 2] = [1, PUBLISHERS / CLIENTS];

pub(super) async fn measure(rounds: usize, quick: bool, text: &mut String) -> anyhow::Result<()> {
    let [one, many] = PIPELINES;
    writeln!(text, "## Publications\n")?;
    writeln!(text, "Publications of {PAYLOAD_BYTES} bytes into {CHANNELS} channels, from one gateway's bus to one subscriber of each at")?;
    writeln!(
        text,
        "another one: {PUBLISHERS} publishers, each of whom waits for its answer. Both gateways are in one process, on the same"
    )?;
    writeln!(
        text,
        "machine as the nodes. Every publication arrived. Beside that `redis-benchmark PUBLISH` at the same nodes, one for each at the"
    )?;
    writeln!(
        text,
        "same time, with {CLIENTS} connections and {one} or {many} commands in the pipeline of each: as many bytes, to nobody, with no"
    )?;
    writeln!(
        text,
        "history. Medians of {rounds} rounds, in each of which the three come in turn. CPU for one publication is that of all Redis nodes"
    )?;
    writeln!(
        text,
        "and that of both gateways, or of redis-benchmark; ratios are of the rates, with those of the lowest and highest round.\n"
    )?;
    let theirs = |pipeline| format!("redis-benchmark -P {pipeline}: publications/s (CPU) | ratio");
    writeln!(text, "| Redis nodes | kept of a channel | headcount: publications/s (CPU) | {} | {} |", theirs(one), theirs(many))?;
    writeln!(text, "|---|---|---|---|---|---|---|")?;
    for (nodes, kept, publications) in ROWS {
        let publications = if quick { publications / QUICK_SHARE } else { publications };
        let row = row(nodes, kept, publications, rounds).await?;
        writeln!(text, "| {nodes} | {kept} | {row} |")?;
    }
    writeln!(text)?;
    Ok(())
}

async fn row(nodes: usize, kept: usize, publications: usize, rounds: usize) -> anyhow::Result<String> {
    let mut servers = Vec::new();
    for _ in 0..nodes {
        servers.push(Redis::start(Persistence::None).await?);
    }
    let payload = "x".repeat(PAYLOAD_BYTES);
    let words = ["PUBLISH", "nobody", &payload];
    let (mut our_runs, mut their_runs) = (Vec::new(), [Vec::new(), Vec::new()]);
    for round in 1..=rounds {
        for (pipeline, runs) in PIPELINES.into_iter().zip(&mut their_runs) {
            runs.push(Run::timed(&servers, publications, theirs(&servers, pipeline, publications, &words)).await?);
        }
        let run = publish(&servers, kept, publications).await?;
        let [one, many] = their_runs.each_ref().map(|runs| runs.last().map_or(0.0, |run| run.rate));
        eprintln!("{nodes} nodes, {kept} kept, round {round}: {:.0}/s against {one:.0}/s and {many:.0}/s", run.rate);
        our_runs.push(run);
    }
    let mut cells = vec![Run::median(&our_runs).cells()];
    for runs in &their_runs {
        let (ratio, lowest, highest) = ratios(&our_runs, runs);
        cells.push(format!("{} | {ratio:.2} ({lowest:.2} to {highest:.2})", Run::median(runs).cells()));
    }
    Ok(cells.join(" | "))
}

/// One run of ours: gateways of its own, at nodes that have kept nothing.
async fn publish(servers: &[Redis], kept: usize, publications: usize) -> anyhow::Result<Run> {
    for server in servers {
        let answer = Resp::default().command(server.address, &["FLUSHALL"]).await?;
        ensure!(answer == Reply::Text("OK".to_owned()), "FLUSHALL: {answer:?}");
    }
    let ring = Arc::new(ring(servers));
    let mut tasks = JoinSet::new();
    let ((publisher, _), (listener, hub)) = (gateway("publisher", &ring, &mut tasks)?, gateway("listener", &ring, &mut tasks)?);
    let namespace = Arc::new(namespace(kept));
    let channels: Vec<Channel> =
        (0..CHANNELS).map(|index| Channel::parse(&format!("room{index}"))).collect::<Result<_, _>>().context("a name")?;
    let mut outboxes = Vec::new();
    for (connection, channel) in channels.iter().enumerate() {
        let outbox = Arc::new(Outbox::new(Wire::Json, OUTBOX_BYTES, None));
        hub.add(channel, connection as u64, &outbox, false);
        listener.join(channel, &namespace).await?;
        let top = if kept > 0 { listener.recover(channel, None).await?.top } else { StreamPosition::default() };
        hub.open(channel, connection as u64, top)?;
        outboxes.push(outbox);
    }
    tasks.spawn(async move { hub.run().await });
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

    let run = all_delivered(publisher, channels, namespace, &delivered, publications);
    Run::timed(servers, publications, run).await
}

/// Publishes, and waits until everything has arrived once; the publications per second.
#[allow(clippy::cast_precision_loss)] // figures for people
async fn all_delivered(
    publisher: Arc<RedisBus>,
    channels: Vec<Channel>,
    namespace: Arc<Namespace>,
    delivered: &AtomicUsize,
    publications: usize,
) -> anyhow::Result<f64> {
    let begun = Instant::now();
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
    Ok(publications as f64 / seconds)
}

/// A gateway's bus with its hub.
fn gateway(name: &str, ring: &Arc<View>, tasks: &mut JoinSet<()>) -> anyhow::Result<(Arc<RedisBus>, Arc<Hub>)> {
    let (hub, registry) = (Arc::new(Hub::new(Namespaces::new(namespace(0), []), clock)), prometheus::Registry::new());
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
    Namespace { history_size, history_ttl_ms: 3_600_000, recover: history_size > 0, ..testkit::open_namespace("") }
}
