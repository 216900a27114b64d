//! I/O: what of the store no door leads to, with a real node.

use super::{Shared, SharedConfig};
use crate::{
    About, Member, Rules, Tiers,
    cluster::{Edge, OwnerId, RoomId},
    redis::{Place, Turn, owners, register, scripts, write},
};
use prometheus::Registry;
use protocol::time::Now;
use ring_coordinator::{
    document::{Document, Layout, Node},
    etcd::{self, Etcd, EtcdConfig},
    redis::{Access, Nodes, NodesConfig, fence},
    view::View,
};
use std::{sync::Arc, time::Duration};
use testkit::{RedisServer, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

#[allow(clippy::disallowed_methods)] // The tests' own clock.
fn now() -> Now {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    let mono_ms = 1_000_000 + u64::try_from(START.elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: mono_ms }
}

fn ring(server: &RedisServer, epoch: u64) -> Document {
    let node = Node { id: "redis-a".to_owned(), url: server.url(), weight: 1, state: Default::default(), incarnation: 1 };
    let current = Layout { nodes: vec![node], ..Layout::default() };
    Document { epoch, current, ..Document::default() }
}

/// A store by a ring of one node, the first epoch of it.
fn shared(server: &RedisServer) -> Arc<Shared> {
    let (registry, access) = (Registry::new(), Access::default());
    let nodes_config = NodesConfig { gateway: "g1".to_owned(), access, scripts: scripts(), clock: now, random_u64: || 7 };
    let (nodes, _) = Nodes::new(nodes_config, &registry).unwrap();
    nodes.apply(&ring(server, 1));
    let access = etcd::Access { endpoints: vec!["http://127.0.0.1:1".to_owned()], ..etcd::Access::default() };
    let etcd = Etcd::new(EtcdConfig { access, region: "local".to_owned(), clock: now, random_u64: || 7, lease_ttl_ms: 10_000 }, &registry)
        .unwrap();
    let rules = Rules { region: "local".into(), grace_ms: 0, tiers: Tiers::default() };
    let mirror = etcd.mirror().clone();
    let config =
        SharedConfig { gateway: "g1".into(), rules, nodes, mirror, clock: now, random_u64: || 7, hooks: false, lease_ttl_ms: 10_000 };
    let shared = Arc::new(Shared::new(config, &registry).unwrap());
    shared.apply(&Arc::new(View::new(ring(server, 1))));
    shared
}

#[tokio::test]
async fn who_goes_by_an_older_ring_than_a_slots_fence_takes_nothing_away_and_does_not_say_so() {
    let server = RedisServer::start(&[]).await;
    let (shared, room) = (shared(&server), RoomId::parse("chat:a").unwrap());
    let (_, link, ring_epoch) = eventually(PATIENCE, async || shared.link(room.slot())).await;
    let dead = OwnerId { gateway: "g9".into(), incarnation: 7 };
    let member = Member::new("c".into(), "u".into(), About::default());
    register(&link, &dead, room.slot()).await.unwrap();
    write(Place { link: &link, room: &room, ring_epoch }, &dead, Turn::default(), &[Edge::Put(Arc::new(member))]).await.unwrap();
    fence(&link, &[room.slot()], 5).await.unwrap();
    let take_away = async || shared.take_away(&"redis-a".into(), &dead, 5).await;
    let refused = take_away().await.unwrap_err();
    assert!(refused.contains("epoch 5"), "{refused}");
    assert_eq!(owners(&link).await.unwrap(), std::slice::from_ref(&dead), "who is to be reaped by somebody who knows the ring");
    shared.apply(&Arc::new(View::new(ring(&server, 5))));
    assert_eq!(take_away().await, Ok(0), "rows of before the fence are nobody's");
    assert_eq!(owners(&link).await.unwrap(), []);
}
