//! What a gateway has of the ring: its nodes, and everything heard.

use protocol::time::Now;
use ring_coordinator::{
    document::{Document, Layout, Node},
    redis::{Access, Hearing, Link, Nodes, NodesConfig, Script, Vote, What},
};
use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use testkit::{RedisServer, eventually};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// The clock of these tests.
#[allow(clippy::disallowed_methods)] // The tests' own clock.
pub fn now() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // Not 0, which could hide a bug.
    let mono_ms = 1_000_000 + u64::try_from(START.elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: 1_700_000_000_000 + mono_ms }
}

fn random_u64() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(1);
    // Steele, Lea, Flood: splitmix64.
    let mut state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

pub struct Gateway {
    pub nodes: Nodes,
    pub hearing: Hearing,
    registry: prometheus::Registry,
}

impl Gateway {
    pub fn new(access: Access, scripts: &[&Script]) -> Gateway {
        let scripts = scripts.iter().map(|&script| script.clone()).collect();
        let config = NodesConfig { gateway: "g1".to_owned(), access, scripts, clock: now, random_u64 };
        let registry = prometheus::Registry::new();
        let (nodes, hearing) = Nodes::new(config, &registry).unwrap();
        Gateway { nodes, hearing, registry }
    }

    /// A gateway with one node, `redis-a`.
    pub fn at(server: &RedisServer) -> Gateway {
        let gateway = Gateway::new(Access::default(), &[]);
        gateway.nodes.apply(&document(&[("redis-a", &server.url(), 1)]));
        gateway
    }

    /// The connection for commands to `redis-a`, once it stands.
    pub async fn link(&self) -> Link {
        eventually(PATIENCE, async || self.nodes.link("redis-a")).await
    }

    /// Waits for a vote about `redis-a`; returns its reason.
    pub async fn vote(&self, vote: Vote) -> String {
        let found = eventually(PATIENCE, async || {
            let health = self.nodes.health("redis-a").unwrap();
            health.opinion.clone().filter(|opinion| opinion.vote == vote).ok_or(format!("{health:?}"))
        });
        found.await.reason
    }

    /// What a gauge shows of the only node.
    pub fn gauge(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("there is no metric {name}"));
        family.get_metric()[0].get_gauge().get_value()
    }

    /// The next thing that is heard.
    pub async fn next(&mut self) -> What {
        tokio::time::timeout(PATIENCE, self.hearing.next()).await.expect("something is heard").unwrap().what
    }
}

pub fn document(nodes: &[(&str, &str, u64)]) -> Document {
    let node = |&(id, url, incarnation): &(&str, &str, u64)| Node {
        id: id.to_owned(),
        url: url.to_owned(),
        weight: 1,
        state: Default::default(),
        incarnation,
    };
    let current = Layout { nodes: nodes.iter().map(node).collect(), ..Layout::default() };
    Document { epoch: 1, current, ..Document::default() }
}
