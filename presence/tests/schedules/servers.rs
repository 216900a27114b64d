//! The Redis servers of all runs: for each node of the ring some processes, of which one at a time is the node.

use presence::redis::scripts;
use protocol::time::Now;
use redis::Cmd;
use ring_coordinator::{
    document::{Document, Layout, Node as Listed},
    redis::{Access, Link, Nodes, NodesConfig, Reply},
};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};
use testkit::{RedisServer, eventually};

/// The ring's nodes.
pub const SITES: [&str; 2] = ["a", "b"];
/// What can be a node, one after the other, in one run: so often a node can fail over.
pub const PROCESSES: usize = 3;
/// So often a node can be taken in.
pub const INCARNATIONS: u64 = 3;

/// The connections' clock; the world has one of its own.
#[allow(clippy::disallowed_methods)]
fn now() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let mono_ms = 1_000_000 + u64::try_from(START.elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: mono_ms }
}

/// What a process holds.
pub type Copy = Vec<(Vec<u8>, Vec<u8>)>;

pub struct Servers {
    _servers: Vec<RedisServer>,
    /// By incarnation: connections to all processes.
    nodes: Vec<Nodes>,
}

fn id(site: usize, process: usize) -> String {
    format!("{}{process}", SITES[site])
}

impl Servers {
    pub async fn start() -> Servers {
        let (mut servers, mut listed) = (Vec::new(), Vec::new());
        for site in 0..SITES.len() {
            for process in 0..PROCESSES {
                let server = RedisServer::start(&[]).await;
                listed.push((id(site, process), server.url()));
                servers.push(server);
            }
        }
        let connect = |incarnation| {
            let config = NodesConfig {
                gateway: format!("g{incarnation}"),
                access: Access::default(),
                scripts: scripts(),
                clock: now,
                random_u64: || 7,
            };
            let (nodes, _) = Nodes::new(config, &prometheus::Registry::new()).unwrap();
            let node = |(id, url): &(String, String)| Listed {
                id: id.clone(),
                url: url.clone(),
                weight: 1,
                state: Default::default(),
                incarnation,
            };
            let current = Layout { nodes: listed.iter().map(node).collect(), ..Layout::default() };
            nodes.apply(&Document { epoch: 1, current, ..Document::default() });
            nodes
        };
        let nodes = (1..=INCARNATIONS).map(connect).collect();
        let servers = Servers { _servers: servers, nodes };
        for (site, process) in all() {
            for incarnation in 1..=INCARNATIONS {
                servers.link(site, process, incarnation).await;
            }
        }
        servers
    }

    /// The connection to one life of a node.
    pub async fn link(&self, site: usize, process: usize, incarnation: u64) -> Link {
        let nodes = &self.nodes[usize::try_from(incarnation - 1).unwrap()];
        if let Ok(link) = nodes.link(&id(site, process)) {
            return link;
        }
        eventually(Duration::from_secs(30), async || nodes.link(&id(site, process))).await
    }

    /// Nobody has written anything yet.
    pub async fn clear(&self) {
        for (site, process) in all() {
            self.flush(site, process).await;
        }
    }

    pub async fn flush(&self, site: usize, process: usize) {
        self.command(site, process, &redis::cmd("FLUSHALL")).await;
    }

    /// What it holds now.
    pub async fn copy(&self, site: usize, process: usize) -> Copy {
        let keys = self.command(site, process, redis::cmd("KEYS").arg("*")).await;
        let mut copy = Copy::new();
        for key in keys.array().unwrap() {
            let key = key.bytes().unwrap().to_vec();
            let data = self.command(site, process, redis::cmd("DUMP").arg(&key[..])).await;
            copy.push((key, data.bytes().unwrap().to_vec()));
        }
        copy
    }

    /// Holds what another one held, and nothing else.
    pub async fn restore(&self, site: usize, process: usize, copy: &Copy) {
        self.flush(site, process).await;
        for (key, data) in copy {
            self.command(site, process, redis::cmd("RESTORE").arg(&key[..]).arg(0).arg(&data[..])).await;
        }
    }

    async fn command(&self, site: usize, process: usize, command: &Cmd) -> Reply {
        self.link(site, process, 1).await.command(command).await.unwrap()
    }
}

fn all() -> impl Iterator<Item = (usize, usize)> {
    (0..SITES.len()).flat_map(|site| (0..PROCESSES).map(move |process| (site, process)))
}
