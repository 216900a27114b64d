//! A ring's node, and what callers hold of it.

use presence::{
    About, Member,
    cluster::{Edge, OwnerId},
    redis::scripts,
};
use protocol::time::Now;
use ring_coordinator::{
    document::{Document, Layout, Node as Listed},
    redis::{Access, Hearing, Link, Nodes, NodesConfig, Reply},
};
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use testkit::{RedisServer, eventually};

pub const PATIENCE: Duration = Duration::from_secs(20);

#[allow(clippy::disallowed_methods)] // The tests' own clock.
fn now() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let mono_ms = 1_000_000 + u64::try_from(START.elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: 1_700_000_000_000 + mono_ms }
}

pub struct Node {
    pub server: RedisServer,
    pub nodes: Nodes,
    pub hearing: Hearing,
}

/// The connections of one gateway.
pub fn connections() -> (Nodes, Hearing) {
    let config = NodesConfig { gateway: "g1".to_owned(), access: Access::default(), scripts: scripts(), clock: now, random_u64: || 7 };
    Nodes::new(config, &prometheus::Registry::new()).unwrap()
}

impl Node {
    pub async fn start(options: &[&str]) -> Node {
        let server = RedisServer::start(options).await;
        let (nodes, hearing) = connections();
        let node = Node { server, nodes, hearing };
        node.take_in(1);
        node
    }

    /// As the document does: each time is another life.
    pub fn take_in(&self, incarnation: u64) {
        self.nodes.apply(&self.document(incarnation));
    }

    pub fn document(&self, incarnation: u64) -> Document {
        let listed = Listed { id: "redis-a".to_owned(), url: self.server.url(), weight: 1, state: Default::default(), incarnation };
        let current = Layout { nodes: vec![listed], ..Layout::default() };
        Document { epoch: incarnation, current, ..Document::default() }
    }

    pub async fn link(&self) -> Link {
        eventually(PATIENCE, async || self.nodes.link("redis-a")).await
    }

    /// The link once it is of another life.
    pub async fn link_after(&self, before: &Link) -> Link {
        eventually(PATIENCE, async || self.nodes.link("redis-a").ok().filter(|link| link.life() != before.life()).ok_or("the same")).await
    }

    pub async fn flush(&self) {
        self.server.cli(&["FLUSHALL"]).await.unwrap();
    }
}

/// What a command answers.
pub async fn ask(link: &Link, words: &[&str]) -> Reply {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| _ = command.arg(*word));
    link.command(&command).await.unwrap()
}

/// The same, of a command that answers with a list.
pub async fn list(link: &Link, words: &[&str]) -> Vec<bytes::Bytes> {
    ask(link, words).await.array().unwrap().iter().map(|part| part.bytes().unwrap().clone()).collect()
}

pub fn owner(gateway: &str, incarnation: u64) -> OwnerId {
    OwnerId { gateway: gateway.into(), incarnation }
}

pub fn member(user: &str, client: &str) -> Arc<Member> {
    with_info(user, client, b"")
}

pub fn with_info(user: &str, client: &str, info: &[u8]) -> Arc<Member> {
    let info = bytes::Bytes::copy_from_slice(info);
    let about = About { conn_info: info.clone(), chan_info: info.clone(), status: info };
    Arc::new(Member::new(client.into(), user.into(), about))
}

pub fn put(user: &str, client: &str) -> Edge {
    Edge::Put(member(user, client))
}

/// What is left of the grace of who breaks off.
pub const GRACE_MS: u64 = 600_000;

pub fn drop(client: &str) -> Edge {
    Edge::Drop { client: client.into(), grace_ms: GRACE_MS }
}

pub fn gone(client: &str) -> Edge {
    Edge::Gone { client: client.into(), seen_ms: None }
}

pub fn gone_at(client: &str, seen_ms: u64) -> Edge {
    Edge::Gone { client: client.into(), seen_ms: Some(seen_ms) }
}
