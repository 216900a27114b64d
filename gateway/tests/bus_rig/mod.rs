//! A bus with a hub, as a gateway has them, and subscribers that note what they get.

#![allow(dead_code)] // Each suite uses some of it.

use gateway::{
    bus::{Bus, EmbeddedBus, Post, redis::RedisBus, redis::scripts, stream::Recovery},
    hub::{
        Hub,
        broadcast::Wire,
        outbox::{Control, Item, Outbox},
        topic::ConnectionId,
    },
};
use protocol::{
    code::UnsubscribeCode,
    message::{Publication, Reply, StreamPosition},
    name::Channel,
    namespace::{Namespace, Namespaces},
    time::Now,
};
use ring_coordinator::{
    document::{Document, Layout, Node},
    redis::{Access, Nodes, NodesConfig},
    view::View,
};
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use testkit::RedisServer;
use tokio::task::JoinHandle;

pub const PATIENCE: Duration = Duration::from_secs(20);
const OUTBOX_BYTES: usize = 64 * 1024 * 1024;

#[allow(clippy::disallowed_methods)] // The tests' own clock.
pub fn now() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let mono_ms = 1_000_000 + u64::try_from(START.elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: 1_700_000_000_000 + mono_ms }
}

pub fn random_u64() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(CALLS.fetch_add(1, Ordering::Relaxed))
}

pub fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

/// A namespace that keeps so many publications for so long; 0 keeps nothing.
pub fn keeping(history_size: usize, history_ttl_ms: u64) -> Namespace {
    Namespace { history_size, history_ttl_ms, recover: history_size > 0, ..testkit::open_namespace("") }
}

/// A layout of these nodes.
pub fn layout(nodes: &[(&str, &RedisServer)]) -> Layout {
    let mut nodes: Vec<Node> = nodes
        .iter()
        .map(|(id, server)| Node { id: (*id).to_owned(), url: server.url(), weight: 1, state: Default::default(), incarnation: 1 })
        .collect();
    nodes.sort_by(|one, other| one.id.cmp(&other.id));
    Layout { nodes, ..Layout::default() }
}

/// A stable ring.
pub fn stable(epoch: u64, current: Layout) -> Document {
    Document { epoch, vnodes: 64, current, ..Document::default() }
}

/// One gateway's bus.
pub struct Rig {
    pub bus: Arc<Bus>,
    pub hub: Arc<Hub>,
    pub registry: prometheus::Registry,
    pub nodes: Option<Nodes>,
    running: Option<JoinHandle<()>>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// In one process.
pub fn embedded() -> Rig {
    let hub = Arc::new(Hub::new(Namespaces::new(keeping(0, 0), []), now));
    let bus = Arc::new(Bus::Embedded(EmbeddedBus::new(hub.clone(), random_u64)));
    Rig { bus, hub, registry: prometheus::Registry::new(), nodes: None, running: None }
}

/// Over Redis, without a ring yet.
pub fn gateway(name: &str) -> Rig {
    let (hub, registry) = (Arc::new(Hub::new(Namespaces::new(keeping(0, 0), []), now)), prometheus::Registry::new());
    let config = NodesConfig { gateway: name.to_owned(), access: Access::default(), scripts: scripts(), clock: now, random_u64 };
    let (nodes, hearing) = Nodes::new(config, &registry).unwrap();
    let bus = Arc::new(RedisBus::new(name, hub.clone(), nodes.clone(), now, random_u64, &registry).unwrap());
    let running = tokio::spawn({
        let bus = bus.clone();
        async move { bus.run(hearing, std::future::pending()).await }
    });
    Rig { bus: Arc::new(Bus::Redis(bus)), hub, registry, nodes: Some(nodes), running: Some(running) }
}

/// Over one Redis node.
pub async fn over_redis() -> (RedisServer, Rig) {
    let server = RedisServer::start(&[]).await;
    let rig = gateway("g1");
    rig.apply(&stable(1, layout(&[("redis-a", &server)])));
    (server, rig)
}

impl Rig {
    pub fn redis(&self) -> &Arc<RedisBus> {
        let Bus::Redis(bus) = &*self.bus else { panic!("the bus of one process has no ring") };
        bus
    }

    pub fn apply(&self, document: &Document) {
        self.redis().apply(&Arc::new(View::new(document.clone())));
    }

    pub async fn publish(&self, channel: &Channel, namespace: &Namespace, number: u64) -> StreamPosition {
        let post = Post { data: number.to_string().into(), ..Post::default() };
        self.bus.publish(channel, namespace, post, now()).await.unwrap()
    }

    /// The numbers that history keeps.
    pub async fn kept(&self, channel: &Channel) -> Vec<u64> {
        let range = gateway::bus::stream::Range { limit: 1000, ..Default::default() };
        let (publications, _) = self.bus.history(channel, range, "", now()).await.unwrap().unwrap();
        publications.iter().map(number).collect()
    }

    /// Subscribes as a connection does.
    pub async fn subscribe(&self, channel: &Channel, namespace: &Namespace, since: Option<&StreamPosition>) -> Subscriber {
        let subscriber = Subscriber::begin(self, channel);
        self.bus.join(channel, namespace).await.unwrap();
        let recovery = match namespace.history_size {
            0 => Recovery { recovered: false, publications: Vec::new(), top: StreamPosition::default() },
            _ => self.bus.recover(channel, since, now()).await.unwrap(),
        };
        self.hub.open(channel, subscriber.connection, recovery.top.clone()).unwrap();
        Subscriber { recovery, ..subscriber }
    }

    pub fn unsubscribe(&self, subscriber: &Subscriber) {
        self.hub.remove(&subscriber.channel, subscriber.connection);
        self.bus.leave(&subscriber.channel);
    }
}

pub fn number(publication: &Publication) -> u64 {
    std::str::from_utf8(&publication.data).unwrap().parse().unwrap()
}

/// One client's subscription.
pub struct Subscriber {
    pub channel: Channel,
    pub connection: ConnectionId,
    pub recovery: Recovery,
    hub: Arc<Hub>,
    outbox: Arc<Outbox>,
}

impl Subscriber {
    fn begin(rig: &Rig, channel: &Channel) -> Subscriber {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
        let (connection, outbox) = (CONNECTIONS.fetch_add(1, Ordering::Relaxed), Arc::new(Outbox::new(Wire::Json, OUTBOX_BYTES, None)));
        rig.hub.add(channel, connection, &outbox, false);
        let recovery = Recovery { recovered: false, publications: Vec::new(), top: StreamPosition::default() };
        Subscriber { channel: channel.clone(), connection, recovery, hub: rig.hub.clone(), outbox }
    }

    /// What has come since the last look, and what the connection was asked for.
    pub fn look(&self) -> (Vec<Publication>, Vec<Control>) {
        self.hub.flush();
        let mut batch = Vec::new();
        let controls = self.outbox.take(&mut batch, usize::MAX);
        let publication = |item: &Item| {
            let reply = serde_json::from_slice::<Reply>(item.bytes(Wire::Json).unwrap()).unwrap();
            reply.push.unwrap().r#pub.unwrap()
        };
        (batch.iter().map(publication).collect(), controls)
    }

    /// Waits until `count` publications have come, and fails if something else happens.
    pub async fn numbers(&self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        testkit::eventually(PATIENCE, async || {
            let (publications, controls) = self.look();
            assert_eq!(controls, []);
            numbers.extend(publications.iter().map(number));
            if numbers.len() >= count { Ok(()) } else { Err(format!("{} of {count}: {numbers:?}", numbers.len())) }
        })
        .await;
        numbers
    }
}

/// Waits until a subscriber is told of a loss; returns what came before.
pub async fn told(subscriber: &Subscriber) -> Vec<u64> {
    let mut numbers = Vec::new();
    testkit::eventually(PATIENCE, async || {
        let (publications, controls) = subscriber.look();
        numbers.extend(publications.iter().map(number));
        match &controls[..] {
            [Control::Unsubscribe(channel, UnsubscribeCode::InsufficientState)] if *channel == subscriber.channel => Ok(()),
            _ => Err(format!("{controls:?} {numbers:?}")),
        }
    })
    .await;
    numbers
}
