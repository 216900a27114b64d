//! I/O: the picture of the system. Everything that runs is made here, in the order in which it needs each other, and
//! ended here in the opposite order. A task and its metrics bear one name.

use crate::{
    admin::{self, Admin, NodeMetrics},
    clock,
    config::{self, Config, Listen},
    data_dir::DataDir,
    etcd,
    failure::Failure,
    listeners::{ListenError, Listeners},
    pulse::Pulse,
    readiness::{Check, Health, Phase, Readiness},
    ring::{self, Ring},
    signals::Signals,
    telemetry,
};
use anyhow::{Context, anyhow};
use counter::{
    Counters, Engine, EngineConfig, Remote, RemoteConfig,
    engine::SNAPSHOT_LOG_BYTES,
    peers::{self, PeersConfig},
    resp::{self, ApiKey, RespConfig},
};
use gateway::{
    auth::{AuthConfig, JwksIssuer, Secret, Verifier},
    bus::{Bus, EmbeddedBus},
    gateway::{Gateway, Parts, Settings},
    hub::Hub,
    regions::{Regions, RegionsConfig},
    server::{self, Serves},
    session::Rules,
    webhooks::Webhooks,
};
use peering::{Links, Party, PeerTls, accepting};
use prometheus::Registry;
use protocol::{
    namespace::{Grant, Namespace, Right},
    peer::Hello,
};
use ring_coordinator::etcd::Etcd;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// How long a gateway waits at its end for answers of counter nodes.
const SETTLE: Duration = Duration::from_secs(1);
/// How often a drain looks whether anybody is left.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Serves until a signal asks to end, on what `bind` gives of `listen`. Nothing is shared with other nodes of the same process.
pub async fn run(config: Config, bind: impl FnOnce(&Listen) -> Result<Listeners, ListenError>) -> Result<(), Failure> {
    let mut signals = Signals::catch().context("catching signals")?;

    // Whom peers believe, and this node them; how the Redis nodes are to be talked to.
    let peer_tls = config.tls.as_ref().map(|tls| tls.open(|path| std::fs::read(path))).transpose()?;
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
    if let Some(doubt) = peer_tls.filter(|_| addresses.peer.is_some()).and_then(|tls| tls.doubt(&peer_address, clock::now())) {
        // It goes on alone meanwhile, as without any peer.
        tracing::warn!(doubt, address = peer_address, "peer: others will refuse the certificate in tls.cert");
    }

    // The parts.
    let engine = config.node.roles.counter.then(|| engine(&config, &data_dir, &node, &registry)).transpose()?;
    let counters = match &engine {
        Some(engine) => Some(Counters::here(engine.clone())),
        None if config.node.roles.gateway => Some(Counters::Elsewhere(remote(&config, &party, &registry)?)),
        None => None,
    };
    let coordinator = match &etcd {
        Some(etcd) if config.node.roles.coordinator => Some(ring::coordinator(&config, &node, etcd, access.clone(), &data_dir, &registry)?),
        _ => None,
    };
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
            Some(gateway(&config, &node, (hub, bus, ring.as_ref(), regions), counters.clone(), &registry)?)
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
    if let Some(listener) = listeners.admin {
        let admin = Admin { registry, readiness: readiness.clone(), pulse, metrics, counters: engine.clone(), gateway: gateway.clone() };
        tasks.spawn(async move { ("admin", admin::serve(listener, admin).await.map_err(Into::into)) });
    }

    let (ending, ended) = watch::channel(false);
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
            tasks.spawn(named("peers", peers::serve(listener, engine.clone(), peers, until(ended.clone()))));
        }
        (Some(listener), None) => _ = tasks.spawn(named("peers", accepting::serve(listener, party, links, until(ended.clone())))),
        (None, _) => {}
    }
    if let Some(gateway) = &gateway {
        let served = match listeners.api {
            None => Serves::Everything,
            Some(listener) => {
                tasks.spawn(named("api", server::serve(listener, gateway.clone(), Serves::Services, until(ended.clone()))));
                Serves::Clients
            }
        };
        if let Some(listener) = listeners.client {
            tasks.spawn(named("client", server::serve(listener, gateway.clone(), served, until(ended.clone()))));
        }
    }
    if let (Some(listener), Some(engine)) = (listeners.resp, &engine) {
        let resp = RespConfig {
            namespaces: Arc::new(config.namespaces.clone()),
            api_keys: config.auth.api_keys.iter().map(|key| ApiKey::new(key.expose().to_owned())).collect(),
            clients_max: resp::CLIENTS_MAX,
            write_timeout_ms: resp::WRITE_TIMEOUT_MS,
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
    tokio::select! {
        () = drain(gateway.as_deref()) => tracing::info!("drained"),
        () = tokio::time::sleep(Duration::from_millis(config.shutdown.drain_ms)) => tracing::warn!("not drained within shutdown.drain_s"),
        signal = signals.next() => tracing::warn!(signal, "second signal: ending at once"),
        ended = tasks.join_next() => return Err(ended_early(ended).into()),
    }
    let _ = ending.send(true);
    // Redis clients and gateways get their last replies, and etcd its lease, in bounded time.
    let mut replying: Vec<&str> = [("resp", serves_resp), ("peers", serves_peers), ("etcd", etcd.is_some())]
        .into_iter()
        .filter(|(_, is)| *is)
        .map(|(task, _)| task)
        .collect();
    while !replying.is_empty()
        && let Some(ended) = tasks.join_next().await
    {
        replying.retain(|task| ended.as_ref().is_ok_and(|(ended, _)| ended != task));
    }
    if let Some(Counters::Elsewhere(remote)) = &counters {
        remote.shutdown(SETTLE).await;
    }
    tasks.shutdown().await;
    if let Some(engine) = &engine {
        engine.shutdown().await;
    }
    data_dir.remove_addresses();
    Ok(())
}

/// Sends the clients elsewhere in paced waves; returns once none is left, nor in grace.
async fn drain(gateway: Option<&Gateway>) {
    let Some(gateway) = gateway else { return };
    gateway.drain().await;
    // Whoever may still come back elsewhere must not be taken for gone.
    while gateway.registry.counts().0 > 0 || !gateway.presence.is_idle() {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

/// What `/readyz` tells of the parts.
fn checks(
    counters: Option<&Counters>,
    etcd: Option<&Etcd>,
    ring: Option<&Ring>,
    gateway: Option<&Arc<Gateway>>,
) -> Vec<(&'static str, Check)> {
    let mut checks: Vec<(&'static str, Check)> = Vec::new();
    if let Some(counters) = counters.cloned() {
        // Channels, presence and reads go on; other nodes are no better off, and clients are as welcome here as there.
        checks.push(("counters", Box::new(move || counters.trouble().map_or(Health::Ok, Health::Degraded))));
    }
    checks.extend(etcd.map(|etcd| ("etcd", etcd::check(etcd))));
    checks.extend(etcd.zip(ring).map(|(etcd, ring)| ("ring", ring.check(etcd))));
    if let Some(gateway) = gateway.filter(|gateway| gateway.webhooks.is_some()).cloned() {
        // What a service does not take is no reason to send clients elsewhere.
        let trouble = move || gateway.webhooks.as_ref().and_then(|webhooks| webhooks.trouble(clock::now()));
        checks.push(("webhooks", Box::new(move || trouble().map_or(Health::Ok, Health::Degraded))));
    }
    checks
}

fn remote(config: &Config, party: &Arc<Party>, registry: &Registry) -> Result<Remote, Failure> {
    let remote = RemoteConfig {
        party: Arc::clone(party),
        seeds: config.counter.seeds.clone(),
        default_ack: config.namespaces.default_namespace().ack,
        clock: clock::now,
        random_u64: rand::random,
    };
    Ok(Remote::new(remote, registry).context("registering metrics")?)
}

fn party(config: &Config, node: &str, tls: Option<PeerTls>) -> Party {
    let me = Hello {
        cluster: config.counter.cluster.clone(),
        region: config.node.region.clone(),
        node: node.to_owned(),
        producer: !config.node.roles.counter,
        ..Hello::default()
    };
    let key = config.counter.key.as_ref().map(|key| key.expose().as_bytes().to_vec()).unwrap_or_default();
    Party::new(me, key, tls, rand::random)
}

fn engine(config: &Config, data_dir: &DataDir, node: &str, registry: &Registry) -> Result<Engine, Failure> {
    let engine = EngineConfig {
        data_dir: data_dir.path().to_owned(),
        region: config.node.region.clone(),
        node: node.to_owned(),
        default_ack: config.namespaces.default_namespace().ack,
        clock: clock::now,
        epoch: rand::random(),
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
    };
    Ok(Engine::open(engine, registry)?)
}

/// The other regions of a gateway, and where the links go that they make.
fn regions(config: &Config, party: &Arc<Party>, hub: &Arc<Hub>, registry: &Registry) -> Result<(Regions, Option<Links>), Failure> {
    if !config.node.roles.gateway || config.regions.peers.is_empty() {
        return Ok((Regions::default(), None));
    }
    let mut peers: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
    for peer in &config.regions.peers {
        peers.entry(peer.region.as_str().into()).or_default().push(peer.address.clone());
    }
    let regions = RegionsConfig {
        peers,
        party: Arc::clone(party),
        stale_ms: config.regions.stale_ms,
        gone_ms: config.regions.gone_ms,
        region: config.node.region.as_str().into(),
        hub: Arc::clone(hub),
        clock: clock::now,
        random_u64: rand::random,
    };
    let (regions, links) = Regions::new(regions, registry).context("registering metrics")?;
    Ok((regions, Some(links)))
}

fn gateway(
    config: &Config,
    node: &str,
    (hub, bus, ring, regions): (Arc<Hub>, Bus, Option<&Ring>, Regions),
    counters: Counters,
    registry: &Registry,
) -> Result<Arc<Gateway>, Failure> {
    let Config { auth, limits, .. } = config;
    let secret = |secret: &config::secret::Secret| Secret::new(secret.expose().to_owned());
    let mut hmac_secrets: Vec<Secret> = auth.hmac_secrets.iter().map(secret).collect();
    if auth.development && hmac_secrets.is_empty() {
        // The demo page's identities: good until the process ends.
        hmac_secrets.push(Secret::new(format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>())));
    }
    let verifier = Verifier::new(AuthConfig {
        hmac_secrets,
        public_keys: auth.public_keys.clone(),
        jwks: auth.jwks.iter().map(|keys| JwksIssuer { issuer: keys.issuer.clone(), url: keys.url.clone() }).collect(),
        audience: auth.audience.clone(),
        issuer: auth.issuer.clone(),
    })
    .map_err(|error| Failure::Usage(error.to_string()))?;
    let webhooks = config.webhooks.clone().map(|settings| Webhooks::new(settings, registry)).transpose();
    let webhooks = webhooks.map_err(|error| Failure::Usage(error.to_string()))?;
    let anyone = |namespace: &Namespace| Right::ALL.iter().any(|right| namespace.grants.of(*right) == Grant::Anyone);
    let parts = Parts {
        bus,
        ring: ring.map(Ring::outlook),
        hub,
        settings: Settings {
            region: config.node.region.clone(),
            development: auth.development,
            origins: auth.origins.clone(),
            api_keys: auth.api_keys.iter().map(secret).collect(),
            message_bytes_max: limits.message_bytes,
            outbox_bytes_max: limits.outbox_bytes,
            connections_max: limits.connections,
            head_timeout: Duration::from_millis(limits.handshake_timeout_ms),
            io_uring: config.node.io_uring,
        },
        rules: Rules {
            // A client without a token is heard where there is something that anyone may do.
            anonymous: config.namespaces.iter().any(anyone),
            namespaces: config.namespaces.clone(),
            node: node.to_owned(),
            channels_max: limits.channels_per_client,
            ping_interval_ms: limits.ping_interval_ms,
            pong_timeout_ms: limits.pong_timeout_ms,
            stale_timeout_ms: limits.stale_timeout_ms,
            expired_grace_ms: limits.expired_grace_ms,
        },
        verifier,
        counters,
        presence_rules: ring::presence_rules(config),
        shared_presence: ring.map(|ring| ring.presence.clone()),
        webhooks,
        regions,
        clock: clock::now,
        random_u64: rand::random,
    };
    Ok(Gateway::new(parts, registry).context("registering metrics")?)
}

async fn named(task: &'static str, work: impl Future<Output = ()>) -> (&'static str, anyhow::Result<()>) {
    work.await;
    (task, Ok(()))
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
