//! I/O: the picture of the system. Everything that runs is made here, in the order in which it needs each other, and
//! ended here in the opposite order. A task and its metrics bear one name.

use crate::{
    admin::{self, Admin, NodeMetrics},
    audit::Audit,
    clock,
    config::{Config, Listen},
    data_dir::DataDir,
    etcd,
    failpoints::Failpoints,
    failure::Failure,
    listeners::{ListenError, Listeners},
    parts::{self, checks, engine, gateway, party, regions, remote},
    pulse::Pulse,
    readiness::{Phase, Readiness},
    reload::{Process, Reload},
    ring::{self, Ring},
    signals::Signals,
    telemetry,
    watchdog::Watchdog,
};
use anyhow::{Context, anyhow};
use counter::{
    Counters,
    peers::{self, PeersConfig},
    resp::{self, ApiKey, RespConfig},
};
use gateway::{
    bus::{Bus, EmbeddedBus},
    gateway::Gateway,
    hub::Hub,
    server::{self, Serves},
};
use peering::accepting;
use prometheus::Registry;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// How long a gateway waits at its end for answers of counter nodes, and until clients with TLS have heard the last.
const SETTLE: Duration = Duration::from_secs(1);
/// How often a drain looks whether anybody is left.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Serves until a signal asks to end, on what `bind` gives of `listen`. Nothing is shared with other nodes of the same process; a
/// node that has one to itself is given that.
pub async fn run(
    config: Config,
    mut process: Option<Process>,
    bind: impl FnOnce(&Listen) -> Result<Listeners, ListenError>,
) -> Result<(), Failure> {
    let mut signals = Signals::catch().context("catching signals")?;

    // Whom peers believe, and this node them; what clients are shown; how the Redis nodes are to be talked to.
    let peer_tls = config.tls.as_ref().map(|tls| tls.open(|path| std::fs::read(path))).transpose()?;
    let client_certificate = config.client_tls.as_ref().map(|tls| tls.open(|path| std::fs::read(path))).transpose()?;
    let access = config.redis.access(|path| std::fs::read(path))?;

    // Where the rest of the region is to be found.
    let registry = Registry::new();
    let etcd = etcd::open(&config, &registry)?;

    // What must be ours alone: the directory, then the addresses.
    let data_dir = DataDir::open(&config.node.data_dir)?;
    let node = data_dir.node_name(config.node.name.as_deref())?;
    let listeners = bind(&config.listen)?;
    let addresses = listeners.addresses().context("asking for bound addresses")?;

    // Who this node is to others of its cluster.
    let peer_address = config.counter.address.clone().or(addresses.peer.map(|address| address.to_string())).unwrap_or_default();
    let party = Arc::new(party(&config, &node, peer_tls.clone()));
    party.register(&registry).context("registering metrics")?;
    if let Some(doubt) = peer_tls.as_ref().filter(|_| addresses.peer.is_some()).and_then(|tls| tls.doubt(&peer_address, clock::now())) {
        // It goes on alone meanwhile, as without any peer.
        tracing::warn!(doubt, address = peer_address, "peer: others will refuse the certificate in tls.cert");
    }

    let (tls, certificates) = parts::tls(&config, client_certificate, (peer_tls, &peer_address), &registry)?;

    // The parts.
    let engine = config.node.roles.counter.then(|| engine(&config, &data_dir, &node, &registry)).transpose()?;
    let counters = match &engine {
        Some(engine) => Some(Counters::here(engine.clone())),
        None if config.node.roles.gateway => Some(Counters::Elsewhere(remote(&config, &party, &registry)?)),
        None => None,
    };
    let sinks = engine.as_ref().map(|engine| parts::sinks(&config, &node, engine, &registry)).transpose()?.flatten();
    let coordinator = match &etcd {
        Some(etcd) if config.node.roles.coordinator => Some(ring::coordinator(&config, &node, etcd, access.clone(), &data_dir, &registry)?),
        _ => None,
    };
    let audit = Audit::of(config.audit.path.as_ref(), config.audit.reads, &registry)?;
    let sink = audit.as_ref().map(Audit::sink);
    // What the process has of it alone: nodes of one process have no traces.
    let unsent = process.as_mut().and_then(|process| Some((process.traces.take()?, process.sample.traces())));
    let (unsent, begins) = unsent.unzip();
    let traces = unsent.map(|unsent| unsent.start(&node, &config.node.region, &registry)).transpose()?;
    let hub = Arc::new(Hub::new(config.namespaces.clone(), clock::now));
    let ring = match (&etcd, addresses.client) {
        (Some(etcd), Some(address)) => {
            let me = (node.as_str(), address.to_string());
            Some(Ring::open(&config, (me.0, &me.1), etcd, access, hub.clone(), &data_dir, &registry)?)
        }
        _ => None,
    };
    let bus = match &ring {
        Some(ring) => Bus::Redis(ring.bus.clone()),
        None => Bus::Embedded(EmbeddedBus::new(hub.clone(), rand::random)),
    };
    let (regions, links) = regions(&config, &party, &hub, &registry)?;
    let gateway = match &counters {
        Some(counters) if config.node.roles.gateway => {
            Some(gateway(&config, &node, (hub, bus, ring.as_ref(), regions), counters.clone(), (sink.clone(), begins, &registry))?)
        }
        _ => None,
    };
    let metrics = NodeMetrics::register(&registry).context("registering metrics")?;
    let pulse = Arc::new(Pulse::default());
    let readiness = Arc::new(Readiness::new(checks(counters.as_ref(), etcd.as_ref(), ring.as_ref(), gateway.as_ref())));

    // The tasks. None of them ends by itself: one that does takes the process with it, to be started anew.
    let mut tasks: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
    {
        let (pulse, lag) = (pulse.clone(), metrics.runtime_lag.clone());
        tasks.spawn(async move {
            pulse.beat(clock::now, &lag).await;
            ("pulse", Ok(()))
        });
    }
    let (mut watchdog, mut flood) = (None, None);
    let mut failpoints = Failpoints::default();
    if let Some(process) = process {
        watchdog = Some(Watchdog::start(config.node.watchdog_ms, pulse.clone(), readiness.clone(), &registry)?);
        failpoints = process.failpoints;
        process.flood.register(&registry).context("registering metrics")?;
        tasks.spawn(named("flood", process.flood.clone().run()));
        flood = Some(process.flood.clone());
        let reload = Reload::new(process, &config, gateway.clone(), audit.clone(), &registry).context("registering metrics")?;
        tasks.spawn(named("reload", reload.run()));
    }
    if let Some(listener) = listeners.admin {
        let (readiness, counters, gateway) = (readiness.clone(), engine.clone(), gateway.clone());
        let admin = Admin { registry, readiness, pulse, metrics, counters, gateway, failpoints, audit: sink.clone() };
        tasks.spawn(async move { ("admin", admin::serve(listener, admin).await.map_err(Into::into)) });
    }

    tasks.spawn(named("certificates", certificates.run()));

    let (ending, ended) = watch::channel(false);
    // Peers stay until nobody counts here any more.
    let (leaving, left) = watch::channel(false);
    if let Some(etcd) = &etcd {
        tasks.spawn(named("etcd", etcd.clone().run(until(ended.clone()))));
    }
    if let Some(coordinator) = coordinator {
        tasks.spawn(named("coordinator", coordinator.run(until(ended.clone()))));
    }
    if let Some(ring) = ring {
        tasks.spawn(named("ring", ring.run(until(ended.clone()))));
    }
    if let Some(gateway) = &gateway {
        tasks.spawn(named("gateway", Arc::clone(gateway).run(until(ended.clone()))));
    }
    if let Some(Counters::Elsewhere(remote)) = &counters {
        // To the very end, for what is under way.
        tasks.spawn(named("counter_nodes", remote.clone().run(std::future::pending())));
        if let Some(etcd) = &etcd {
            tasks.spawn(named("counter_nodes_known", etcd::learn_counters(etcd.clone(), remote.clone())));
        }
    }
    if let Some(sinks) = sinks {
        tasks.spawn(named("sinks", sinks.run(until(ended.clone()))));
    }
    let (serves_resp, serves_peers) = (listeners.resp.is_some(), listeners.peer.is_some());
    if let (Some(_), Some(_), Some(etcd)) = (addresses.peer, &engine, &etcd) {
        let (region, address) = (config.node.region.clone(), peer_address.clone());
        tasks.spawn(named("counter_place", etcd::register_counters(etcd.clone(), region, node.clone(), address)));
    }
    match (listeners.peer, &engine) {
        (Some(listener), Some(engine)) => {
            let peers = PeersConfig {
                party,
                seeds: config.counter.seeds.clone(),
                address: peer_address,
                producers: config.counter.producers.clone(),
                links,
                random_u64: rand::random,
            };
            tasks.spawn(named("peers", peers::serve(listener, engine.clone(), peers, until(left))));
        }
        (Some(listener), None) => _ = tasks.spawn(named("peers", accepting::serve(listener, party, links, until(left)))),
        (None, _) => {}
    }
    if let Some(gateway) = &gateway {
        let served = match listeners.api {
            None => Serves::Everything,
            Some(listener) => {
                tasks.spawn(named("api", server::serve(listener, tls.clone(), gateway.clone(), Serves::Services, until(ended.clone()))));
                Serves::Clients
            }
        };
        if let Some(listener) = listeners.client {
            tasks.spawn(named("client", server::serve(listener, tls.clone(), gateway.clone(), served, until(ended.clone()))));
        }
    }
    if let (Some(listener), Some(engine)) = (listeners.resp, &engine) {
        let resp = RespConfig {
            namespaces: Arc::new(config.namespaces.clone()),
            api_keys: config.auth.api_keys.iter().map(|key| ApiKey::new(key.expose().to_owned())).collect(),
            clients_max: resp::CLIENTS_MAX,
            write_timeout_ms: resp::WRITE_TIMEOUT_MS,
            audit: sink.map(|sink| (sink, clock::now as _)),
        };
        tasks.spawn(named("resp", resp::serve(listener, engine.clone(), resp, until(ended))));
    }

    // Open to the world.
    data_dir.write_addresses(&addresses)?;
    telemetry::announce(&config, &node, &addresses);
    readiness.set(Phase::Ready);
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "draining"),
        ended = tasks.join_next() => return Err(ended_early(ended).into()),
    }

    // The end: say so, send the clients elsewhere, then stop what served them.
    readiness.set(Phase::Draining);
    let mut at_once = false;
    tokio::select! {
        () = drain(gateway.as_deref(), config.shutdown.drain_ms) => tracing::info!("drained"),
        () = tokio::time::sleep(Duration::from_millis(config.shutdown.drain_ms)) => tracing::warn!("not drained within shutdown.drain_s"),
        signal = signals.next() => {
            at_once = true;
            tracing::warn!(signal, "second signal: ending at once");
        }
        ended = tasks.join_next() => return Err(ended_early(ended).into()),
    }
    let _ = ending.send(true);
    // In bounded time Redis clients get their last replies, and etcd its lease; then gateways theirs, and a peer what was counted here.
    let farewell = async {
        end_of(&mut tasks, &[("resp", serves_resp), ("etcd", etcd.is_some())]).await;
        let _ = leaving.send(true);
        end_of(&mut tasks, &[("peers", serves_peers && !at_once)]).await;
    };
    tokio::select! {
        () = farewell => {}
        signal = signals.next() => tracing::warn!(signal, "one more signal: ending at once"),
    }
    if let Some(Counters::Elsewhere(remote)) = &counters {
        remote.shutdown(SETTLE).await;
    }
    drop(watchdog);
    tasks.shutdown().await;
    if let Some(tls) = &tls {
        tls.settle(SETTLE).await;
    }
    if let Some(engine) = &engine {
        engine.shutdown().await;
    }
    if let Some(audit) = &audit {
        audit.finish().await;
    }
    if let Some(traces) = traces {
        traces.finish().await;
    }
    data_dir.remove_addresses();
    if let Some(flood) = flood {
        flood.tell(true);
    }
    Ok(())
}

/// Sends the clients elsewhere in paced waves; returns once none is left, nor in grace.
async fn drain(gateway: Option<&Gateway>, drain_ms: u64) {
    let Some(gateway) = gateway else { return };
    // Half of the time is for those who may still come back elsewhere.
    gateway.drain(Duration::from_millis(drain_ms / 2)).await;
    // Whoever may still come back elsewhere must not be taken for gone.
    while gateway.registry.counts().0 > 0 || !gateway.presence.is_idle() {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

async fn named(task: &'static str, work: impl Future<Output = ()>) -> (&'static str, anyhow::Result<()>) {
    work.await;
    (task, Ok(()))
}

/// Returns when those of these tasks have ended that run.
async fn end_of(tasks: &mut JoinSet<(&'static str, anyhow::Result<()>)>, these: &[(&str, bool)]) {
    let mut running: Vec<&str> = these.iter().filter(|(_, runs)| *runs).map(|(task, _)| *task).collect();
    while !running.is_empty()
        && let Some(ended) = tasks.join_next().await
    {
        running.retain(|task| ended.as_ref().is_ok_and(|(ended, _)| ended != task));
    }
}

/// Completes when the end was announced.
async fn until(mut ended: watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

fn ended_early(ended: Option<Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok((task, Ok(())))) => anyhow!("task {task} ended by itself"),
        Some(Ok((task, Err(error)))) => error.context(format!("task {task} failed")),
        Some(Err(error)) => anyhow!(error).context("a task panicked"),
        None => anyhow!("no task runs"),
    }
}
