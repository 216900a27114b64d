//! A region's etcd and Redis nodes with a coordinator, all of them real.

use prometheus::Registry;
use protocol::time::Now;
use ring_coordinator::{
    coordinator::{
        driver::{Driver, DriverConfig},
        timing::Timing,
    },
    document::Document,
    etcd::{Access, Etcd, EtcdConfig, lease::LEASE_TTL_MS},
    redis,
};
use std::{sync::OnceLock, time::Duration};
use testkit::{EtcdServer, RedisServer};
use tokio::{task::JoinHandle, time::Instant};

/// The time in which a change that no gateway takes part in is over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let mono_ms = u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: 1_800_000_000_000 + mono_ms }
}

/// Dropping it ends all of it.
pub(crate) struct Region {
    pub(crate) server: EtcdServer,
    pub(crate) nodes: Vec<RedisServer>,
    etcd: Etcd,
    tasks: Vec<JoinHandle<()>>,
}

impl Region {
    /// With so many Redis nodes, none of which is in a ring, and no coordinator.
    pub(crate) async fn start(nodes: usize) -> Region {
        let server = EtcdServer::start().await;
        let mut redis = Vec::new();
        for _ in 0..nodes {
            redis.push(RedisServer::start(&[]).await);
        }
        let access = Access { endpoints: vec![server.url()], ..Access::default() };
        let config = EtcdConfig { access, region: "eu".to_owned(), clock: now, random_u64: rand::random, lease_ttl_ms: LEASE_TTL_MS };
        let etcd = Etcd::new(config, &Registry::new()).unwrap();
        let tasks = vec![tokio::spawn(etcd.clone().run(std::future::pending()))];
        Region { server, nodes: redis, etcd, tasks }
    }

    /// Lets a coordinator lead that waits less than usual.
    pub(crate) fn coordinate(&mut self) {
        let timing = Timing { lease_ttl_ms: 1_000, margin_ms: 200, drain_ms: 200, again_ms: 500, ..Timing::default() };
        let access = redis::Access::default();
        let config = DriverConfig { name: "c".to_owned(), access, timing, known: None, clock: now, random_u64: rand::random };
        let (driver, _desk) = Driver::new(&self.etcd, config, &Registry::new()).unwrap();
        self.tasks.push(tokio::spawn(driver.run(std::future::pending())));
    }

    /// Where the node of this number is.
    pub(crate) fn url(&self, node: usize) -> String {
        self.nodes[node].url()
    }

    pub(crate) async fn document(&self) -> Document {
        self.etcd.store().read().await.unwrap().document.unwrap().value.clone()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
