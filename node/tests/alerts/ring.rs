//! What may befall the ring itself and those who change it: an uneven layout, etcd lost in the middle of a change, two etcds; and somebody
//! who writes into Redis what only a gateway may.

use crate::{
    people,
    stage::{Seen, Stage},
    table::Scene,
};
use presence::{
    cluster::{Edge, OwnerId, RoomId},
    redis::{Place, Turn, write},
    scripts,
};
use prometheus::Registry;
use protocol::{name::Channel, time::Now};
use ring_coordinator::{
    document::Document,
    redis::{Access, Nodes, NodesConfig},
    view::View,
};
use serde_json::json;
use std::{
    fs,
    sync::LazyLock,
    time::{Duration, Instant},
};
use testkit::{EtcdServer, Guest, Region, RegionOptions, Watcher, crowd, eventually, resp::Reply};
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(60);
/// Slots that may be pinned.
const PINS: usize = 1024;

pub(crate) async fn play(seen: Seen) {
    let options =
        RegionOptions { redis_nodes: 3, gateways: 2, etcd_by_proxy: true, config_toml: crowd::auth_toml(), ..RegionOptions::default() };
    let mut region = Region::start(options).await;
    let guests = people::guests(1, region.gateways[0].client, "ann").await;
    let targets = [0, 1].map(|at| ("local", region.gateways[at].admin));
    let stage = Stage::start(Scene::Ring, &seen, &targets).await;

    // Who is told gone is known where somebody wants to be told.
    let _watcher = Watcher::start(region.gateways[0].client, "watcher", &guests[0].wish.channels[0]).await.unwrap();
    let forged = stage.fault(&["HeadcountFalseLeaves"]).await;
    forge_a_leave(&region, &guests[0]).await;
    forged.fires().await;
    forged.ends().await;

    let uneven = stage.fault(&["HeadcountRingUneven"]).await;
    // A light node, and as many slots as can be given to it by hand: by its weight it would have fewer.
    apply(&region, 1, 12, PINS).await;
    uneven.fires().await;
    apply(&region, 1, 1, 0).await;
    uneven.ends().await;

    let interrupted = stage.fault(&["HeadcountNoLeader", "HeadcountRingNotStable"]).await;
    region.start_redis("redis-new").await;
    // A change waits for the other gateway.
    let leader = region.leader().await;
    region.gateways[1 - leader].freeze().await;
    let url = region.redis["redis-new"].url();
    region.ring(&["add", "redis-new", &url, "--force", "--wait", "0"]).await.unwrap();
    eventually(PATIENCE, async || match region.gateways[leader].metric("headcount_ring_phase{phase=\"prepare\"}").await {
        1.0 => Ok(()),
        other => Err(other),
    })
    .await;
    region.etcd.kill().await;
    region.gateways[1 - leader].thaw().await;
    interrupted.fires().await;
    region.etcd.restart().await;
    interrupted.ends().await;

    let two = stage.fault(&["HeadcountTwoLeaders"]).await;
    let follower = 1 - region.leader().await;
    let copy = region.etcd.save().await.unwrap();
    let mut other = EtcdServer::start().await;
    other.restore(&copy).await.unwrap();
    lead_to(&region, follower, &other).await;
    two.fires().await;
    lead_to(&region, follower, &region.etcd).await;
    two.ends().await;
}

/// From now on the gateway's way to etcd ends there.
async fn lead_to(region: &Region, gateway: usize, etcd: &EtcdServer) {
    let way = &region.ways[gateway];
    way.cut();
    way.retarget(etcd.client);
    // Long enough that it is seen by whoever is connected.
    sleep(Duration::from_millis(200)).await;
    way.heal();
}

/// Applies a layout in which the first node has one weight and the others another, with so many slots pinned to the first.
async fn apply(region: &Region, light: u32, heavy: u32, pins: usize) {
    let weight = |name: &str| if name == "redis-0" { light } else { heavy };
    let nodes = region.redis.iter().map(|(name, server)| json!({ "id": name, "url": server.url(), "weight": weight(name) }));
    let pins: serde_json::Map<_, _> = (0..pins).map(|slot| (slot.to_string(), json!("redis-0"))).collect();
    let layout = json!({ "nodes": nodes.collect::<Vec<_>>(), "pins": pins });
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("layout.json");
    fs::write(&file, layout.to_string()).unwrap();
    region.ring(&["apply", &file.to_string_lossy(), "--force"]).await.unwrap();
}

/// Says under a gateway's name that a guest there has left, as nobody but that gateway may.
async fn forge_a_leave(region: &Region, guest: &Guest) {
    let document: Document =
        serde_json::from_str(&region.etcd.ctl(&["get", "--print-value-only", "/headcount/local/ring"]).await.unwrap()).unwrap();
    let config = NodesConfig { gateway: "nobody".to_owned(), access: Access::default(), scripts: scripts(), clock: now, random_u64: || 7 };
    let (nodes, _hearing) = Nodes::new(config, &Registry::new()).unwrap();
    nodes.apply(&document);
    let room = RoomId::channel(&Channel::parse(&guest.wish.channels[0]).unwrap());
    let at = View::new(document.clone()).owner(room.slot()).unwrap().to_owned();
    let link = eventually(PATIENCE, async || nodes.link(&at).map_err(|error| error.to_string())).await;
    let Reply::List(owners) = region.redis[&*at].cli(&["SMEMBERS", "hc:owners"]).await.unwrap() else { panic!("no owners") };
    let owner = owners.iter().find_map(|owner| match owner {
        Reply::Text(owner) => owner.strip_prefix("g0.")?.parse().ok(),
        _ => None,
    });
    let owner = OwnerId { gateway: "g0".into(), incarnation: owner.expect("the gateway has rows there") };
    let gone = Edge::Gone { client: guest.client.as_str().into(), seen_ms: None };
    let place = Place { link: &link, room: &room, ring_epoch: document.epoch };
    write(place, &owner, Turn::default(), &[gone]).await.unwrap();
}

#[allow(clippy::disallowed_methods)] // The test's own clock.
fn now() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let mono_ms = 1_000_000 + u64::try_from(START.elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: 1_700_000_000_000 + mono_ms }
}
