//! I/O: etcd, what the region keeps there, and the Redis nodes of its ring.

use super::sockets;
use crate::{
    config::Config,
    doctor::{
        etcd::{self, Server},
        finding::Finding,
        redis,
    },
    etcd as way,
};
use prometheus::Registry;
use protocol::time::Clock;
use ring_coordinator::{
    disk::RingFile,
    document::Document,
    etcd::{Access, Snapshot, inspect},
    redis as nodes,
};
use std::{sync::Arc, time::Duration};
use tokio::{net::lookup_host, task::JoinSet, time::timeout};

/// How long the region's keys may take to be read.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found, and whether a Redis node of the ring is on this host.
pub(in crate::doctor) async fn look(config: &Config, clock: Clock) -> (Vec<Finding>, bool) {
    let Some(access) = &config.etcd else { return (Vec::new(), false) };
    let region = &config.node.region;
    let (servers, snapshot) = tokio::join!(servers(access, region), snapshot(config));
    let mut findings = etcd::judge(&servers, region);
    findings.extend(snapshot.as_ref().map(etcd::judge_region).unwrap_or_default());
    let document = match snapshot {
        Some(snapshot) => snapshot.document.as_ref().map(|held| held.value.clone()),
        None => copy(config),
    };
    let Some(document) = document else { return (findings, false) };
    let (redis, is_here) = redis_nodes(config, &document, clock).await;
    findings.extend(redis);
    (findings, is_here)
}

async fn servers(access: &Access, region: &str) -> Vec<Server> {
    let mut looks = JoinSet::new();
    for (at, endpoint) in access.endpoints.iter().cloned().enumerate() {
        let (access, region) = (access.clone(), region.to_owned());
        looks.spawn(async move {
            let looked = inspect::inspect(&access, &endpoint, &region).await.map_err(|error| error.to_string());
            (at, (endpoint, looked))
        });
    }
    let mut servers = looks.join_all().await;
    servers.sort_by_key(|(at, _)| *at);
    servers.into_iter().map(|(_, server)| server).collect()
}

async fn snapshot(config: &Config) -> Option<Snapshot> {
    let etcd = way::open(config, &Registry::new()).ok()??;
    timeout(PATIENCE, etcd.store().read()).await.ok()?.ok()
}

/// The ring that a node has kept here, while etcd does not tell.
fn copy(config: &Config) -> Option<Document> {
    RingFile::new(&config.node.data_dir).load().ok()?
}

async fn redis_nodes(config: &Config, document: &Document, clock: Clock) -> (Vec<Finding>, bool) {
    let access = match config.redis.access(|path| std::fs::read(path)) {
        Ok(access) => Arc::new(access),
        Err(bad) => {
            return (vec![Finding::fail("redis-tls", "", bad.to_string(), "correct the section [redis] of the configuration")], false);
        }
    };
    let mut looks = JoinSet::new();
    for node in document.nodes().cloned() {
        let access = Arc::clone(&access);
        looks.spawn(async move {
            let (looked, is_here) = tokio::join!(nodes::inspect::inspect(&access, &node.url, clock), is_here(&access, &node.url));
            (node, looked, is_here)
        });
    }
    let mut looked = looks.join_all().await;
    looked.sort_by(|(a, ..), (b, ..)| a.id.cmp(&b.id));
    let is_here = looked.iter().any(|(.., is_here)| *is_here);
    (looked.iter().flat_map(|(node, looked, _)| redis::judge(&node.id, &node.url, looked)).collect(), is_here)
}

async fn is_here(access: &nodes::Access, url: &str) -> bool {
    let Ok(address) = access.address(url) else { return false };
    let Ok(Ok(addresses)) = timeout(PATIENCE, lookup_host((address.host.as_str(), address.port))).await else { return false };
    for address in addresses {
        if sockets::is_here(address.ip()).await {
            return true;
        }
    }
    false
}
