//! I/O: gateways' presence without gateways: each the product's own store with connections of its own, all in this process,
//! at one Redis node. Nobody asks etcd, so that nobody is taken for dead.

use crate::clock::{clock, random_u64};
use anyhow::Context;
use bytes::Bytes;
use presence::{About, Event, Member, Presence, Rules, Shared, SharedConfig, Tiers};
use protocol::name::Channel;
use ring_coordinator::{
    document::{Document, Layout, Node},
    etcd::{self, Etcd, EtcdConfig, lease::LEASE_TTL_MS},
    redis::{Access, Link, Nodes, NodesConfig},
    view::View,
};
use std::{future::pending, sync::Arc, time::Duration};
use testkit::{RedisServer, eventually};
use tokio::task::JoinSet;

/// The one node.
const NODE: &str = "redis-a";
/// How long connecting to it may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// As in the default configuration.
const GRACE_MS: u64 = 15_000;

/// What one gateway has of presence. Dropping it ends its connections.
pub(super) struct Gateway {
    pub(super) presence: Presence,
    pub(super) nodes: Nodes,
    _tasks: JoinSet<()>,
}

impl Gateway {
    /// Starts one that tells `sink` of the rooms that it follows, and goes on following them.
    pub(super) async fn start(name: &str, redis: &RedisServer, sink: impl Fn(Event) + Send + Sync + 'static) -> anyhow::Result<Gateway> {
        let registry = prometheus::Registry::new();
        let config = NodesConfig { gateway: name.to_owned(), access: Access::default(), scripts: presence::scripts(), clock, random_u64 };
        let (nodes, mut hearing) = Nodes::new(config, &registry)?;
        // Nothing is sent there.
        let access = etcd::Access { endpoints: vec!["http://127.0.0.1:9".to_owned()], ..etcd::Access::default() };
        let etcd = Etcd::new(EtcdConfig { access, region: "local".to_owned(), clock, random_u64, lease_ttl_ms: LEASE_TTL_MS }, &registry)?;
        let rules = Rules { region: "local".into(), grace_ms: GRACE_MS, tiers: Tiers::default() };
        let mirror = etcd.mirror().clone();
        let lease_ttl_ms = LEASE_TTL_MS;
        let config =
            SharedConfig { gateway: name.into(), rules, nodes: nodes.clone(), mirror, lease_ttl_ms, clock, random_u64, hooks: false };
        let shared = Arc::new(Shared::new(config, &registry)?);
        shared.tell(Arc::new(sink), Arc::new(|_| true));
        let document = document(redis);
        nodes.apply(&document);
        shared.apply(&Arc::new(View::new(document)));
        let mut tasks = JoinSet::new();
        tasks.spawn(shared.clone().run(pending()));
        let hearer = shared.clone();
        tasks.spawn(async move {
            while let Some(heard) = hearing.next().await {
                hearer.hear(&heard);
            }
        });
        let gateway = Gateway { presence: Presence::Shared(shared), nodes, _tasks: tasks };
        gateway.link().await;
        Ok(gateway)
    }

    /// Waits until everything that was said here so far can be read by everybody.
    pub(super) async fn settled(&self, channels: &[Channel]) {
        for channel in channels {
            self.presence.settled(channel).await;
        }
    }

    /// The connection for commands; waits until it is there.
    pub(super) async fn link(&self) -> Link {
        link(&self.nodes).await
    }
}

/// Connections to the node and nothing else.
pub(super) async fn connect(name: &str, redis: &RedisServer) -> anyhow::Result<(Nodes, Link)> {
    let config = NodesConfig { gateway: name.to_owned(), access: Access::default(), scripts: presence::scripts(), clock, random_u64 };
    let (nodes, mut hearing) = Nodes::new(config, &prometheus::Registry::new())?;
    nodes.apply(&document(redis));
    // It ends with the connections.
    tokio::spawn(async move { while hearing.next().await.is_some() {} });
    let link = link(&nodes).await;
    Ok((nodes, link))
}

async fn link(nodes: &Nodes) -> Link {
    eventually(PATIENCE, async || nodes.link(NODE)).await
}

/// The ring's epoch.
pub(super) const RING_EPOCH: u64 = 1;

fn document(redis: &RedisServer) -> Document {
    let node = Node { id: NODE.to_owned(), url: redis.url(), weight: 1, state: Default::default(), incarnation: 1 };
    let current = Layout { nodes: vec![node], ..Layout::default() };
    Document { epoch: RING_EPOCH, vnodes: 512, current, ..Document::default() }
}

/// What each client says of itself: a name and a picture.
pub(super) const INFO: &str = r#"{"name":"Somebody","avatar":"a/172.png"}"#;

/// One of many clients, each of a user of its own.
pub(super) fn member(index: usize) -> Member {
    let about = About { conn_info: Bytes::from_static(INFO.as_bytes()), ..About::default() };
    Member::new(client(index).into(), format!("user-{index}").into(), about)
}

/// Its name, as long as a gateway's.
pub(super) fn client(index: usize) -> String {
    format!("6f1c2d6e-8f0a-4c39-9d0e-{index:012}")
}

/// The number of a client.
pub(super) fn index(client: &str) -> Option<usize> {
    client.rsplit('-').next()?.parse().ok()
}

pub(super) fn channel(name: &str) -> anyhow::Result<Channel> {
    Channel::parse(name).context("a channel's name")
}
