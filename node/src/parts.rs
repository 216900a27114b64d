//! I/O: how each part of a node follows from the configuration. `wiring.rs` says in which order they are made, and runs them.

use crate::{
    certificates::Certificates,
    clock,
    config::{self, Config},
    data_dir::DataDir,
    etcd,
    failure::Failure,
    readiness::{Check, Health},
    ring::{self, Ring},
};
use anyhow::Context;
use counter::{Counters, Engine, EngineConfig, Remote, RemoteConfig, engine::SNAPSHOT_LOG_BYTES};
use gateway::{
    admission::{Limits, pace::Rate},
    auth::{AuthConfig, JwksIssuer, Secret, Verifier},
    bus::Bus,
    gateway::{Gateway, Parts, Settings},
    hub::Hub,
    regions::{Regions, RegionsConfig},
    session::Rules,
    tls::Terminator,
    traces::Traces,
    webhooks::Webhooks,
};
use peering::{Certificate, Links, Party, PeerTls, Shown};
use prometheus::Registry;
use protocol::{
    audit::Sink,
    namespace::{Grant, Namespace, Right},
    peer::Hello,
};
use ring_coordinator::etcd::Etcd;
use sink::{Sinks, SinksConfig};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

/// What `/readyz` tells of the parts.
pub(crate) fn checks(
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
    if let Some(gateway) = gateway.cloned() {
        // Those that are connected go on; who comes now would wait for one of them to go.
        checks.push(("descriptors", Box::new(move || gateway.is_full().map_or(Health::Ok, |why| Health::Failed(why.to_owned())))));
    }
    checks
}

/// The counters of a gateway that has none itself.
pub(crate) fn remote(config: &Config, party: &Arc<Party>, registry: &Registry) -> Result<Remote, Failure> {
    let remote = RemoteConfig {
        party: Arc::clone(party),
        seeds: config.counter.seeds.clone(),
        default_ack: config.namespaces.default_namespace().ack,
        clock: clock::now,
        random_u64: rand::random,
    };
    Ok(Remote::new(remote, registry).context("registering metrics")?)
}

/// Who this node is to others of its cluster.
pub(crate) fn party(config: &Config, node: &str, tls: Option<PeerTls>) -> Party {
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

/// Who sees to TLS with clients, if there is a certificate for them, and what renews this node's certificates.
pub(crate) fn tls(
    config: &Config,
    client: Option<Certificate>,
    (peer, peer_address): (Option<PeerTls>, &str),
    registry: &Registry,
) -> Result<(Option<Terminator>, Certificates), Failure> {
    let mut certificates = Certificates::register(registry).context("registering metrics")?;
    if let (Some(tls), Some(peer)) = (&config.tls, peer) {
        let (shown, address) = (Arc::clone(peer.own()), peer_address.to_owned());
        let doubt = move |certificate: &Certificate| peer.doubt_of(certificate, &address, clock::now());
        certificates.watch("peer", tls.own().files(), &shown, Box::new(doubt));
    }
    let Some((tls, client)) = config.client_tls.as_ref().zip(client) else { return Ok((None, certificates)) };
    let shown = Shown::new(client);
    certificates.watch("client", tls.files(), &shown, Box::new(|_| None));
    Ok((Some(Terminator::new(shown, registry).context("preparing TLS for clients")?), certificates))
}

/// The counters of this node.
pub(crate) fn engine(config: &Config, data_dir: &DataDir, node: &str, registry: &Registry) -> Result<Engine, Failure> {
    let engine = EngineConfig {
        data_dir: data_dir.path().to_owned(),
        region: config.node.region.clone(),
        node: node.to_owned(),
        default_ack: config.namespaces.default_namespace().ack,
        clock: clock::now,
        epoch: rand::random(),
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        votes_memory_bytes: config.counter.votes_memory_bytes,
    };
    Ok(Engine::open(engine, registry)?)
}

/// What writes counters behind into databases; `None`: nothing is to be.
pub(crate) fn sinks(config: &Config, node: &str, engine: &Engine, registry: &Registry) -> Result<Option<Sinks>, Failure> {
    if config.sinks.is_empty() {
        return Ok(None);
    }
    let settings = |sink: &config::Sink| {
        let unreadable =
            |path: &PathBuf, error: std::io::Error| Failure::Usage(format!("sink {}: ca: {}: {error}", sink.name, path.display()));
        let ca = sink.ca.as_ref().map(|path| std::fs::read(path).map_err(|error| unreadable(path, error))).transpose()?;
        let config::Sink { name, target, table, namespaces, interval, batch, .. } = sink.clone();
        Ok(sink::Settings { name, target, ca, table, namespaces, interval, batch })
    };
    let settings = config.sinks.iter().map(settings).collect::<Result<_, Failure>>()?;
    let node = format!("{}/{node}", config.node.region);
    let sinks = SinksConfig { node, engine: engine.clone(), clock: clock::now, random_u64: rand::random };
    Ok(Some(Sinks::new(settings, &sinks, registry).context("preparing sinks")?))
}

/// The other regions of a gateway, and where the links go that they make.
pub(crate) fn regions(
    config: &Config,
    party: &Arc<Party>,
    hub: &Arc<Hub>,
    registry: &Registry,
) -> Result<(Regions, Option<Links>), Failure> {
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

/// Who is let in, and how fast. A bucket holds what comes back in so many seconds.
pub(crate) fn limits(limits: &config::Limits) -> Limits {
    let rate = |per_s: u32, burst_s: u32| Rate { per_s, burst: per_s.saturating_mul(burst_s) };
    Limits {
        connections: limits.connections,
        connections_per_user: limits.connections_per_user,
        outbox_bytes: limits.outbox_bytes,
        queued_bytes: limits.queued_bytes,
        newcomers: rate(limits.newcomers_per_s, 2),
        resumes: rate(limits.resumes_per_s, 2),
        of_address: rate(limits.address_per_s, 5),
        commands: rate(limits.commands_per_s, 5),
        requests: rate(limits.requests_per_s, 2),
        trusted_proxies: limits.trusted_proxies.clone(),
    }
}

/// The gateway of what it needs.
pub(crate) fn gateway(
    config: &Config,
    node: &str,
    (hub, bus, ring, regions): (Arc<Hub>, Bus, Option<&Ring>, Regions),
    counters: Counters,
    (audit, traces, registry): (Option<Sink>, Option<Traces>, &Registry),
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
            head_timeout: Duration::from_millis(limits.handshake_timeout_ms),
            body_timeout: Duration::from_millis(limits.body_timeout_ms),
            io_uring: config.node.io_uring,
            audit,
            traces,
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
        limits: self::limits(limits),
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
