//! A node is added under load, and every gateway learns of each step at another time: nothing is lost, doubled or out of
//! order, with and without history.

use crate::bus_rig::{PATIENCE, Rig, Subscriber, channel, gateway, keeping, layout, now, number, random_u64, stable};
use futures_util::future::join_all;
use protocol::{
    message::{Publication, StreamPosition},
    name::Channel,
    namespace::Namespace,
};
use ring_coordinator::{
    document::{Document, Phase},
    redis::{Access, Nodes, NodesConfig, fence, sweep},
    slot::Slot,
    view::View,
};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use testkit::RedisServer;

const HOUR_MS: u64 = 3_600_000;
struct Cluster {
    gateways: Vec<Rig>,
    /// The coordinator's own connections.
    nodes: Nodes,
    /// The most by which one gateway learns of a step later than another.
    skew_ms: u64,
}

impl Cluster {
    fn new(count: usize, skew_ms: u64, document: &Document) -> Cluster {
        let gateways = (0..count).map(|index| gateway(&format!("g{index}"))).collect();
        let config =
            NodesConfig { gateway: "coordinator".to_owned(), access: Access::default(), scripts: Vec::new(), clock: now, random_u64 };
        let (nodes, _) = Nodes::new(config, &prometheus::Registry::new()).unwrap();
        nodes.apply(document);
        let cluster = Cluster { gateways, nodes, skew_ms };
        cluster.gateways.iter().for_each(|gateway| gateway.apply(document));
        cluster
    }

    /// Tells every gateway of a step, each after a while of its own, and waits until all have finished it.
    async fn step(&self, document: &Document) {
        self.nodes.apply(document);
        join_all(self.gateways.iter().map(|gateway| async move {
            tokio::time::sleep(Duration::from_millis(random_u64() % self.skew_ms)).await;
            gateway.apply(document);
        }))
        .await;
        for gateway in &self.gateways {
            let mut acked = gateway.redis().acked();
            let acked = acked.wait_for(|epoch| *epoch >= document.epoch);
            tokio::time::timeout(PATIENCE, acked).await.expect("the step is finished in time").unwrap();
        }
    }

    async fn link(&self, node: &str) -> ring_coordinator::redis::Link {
        testkit::eventually(PATIENCE, async || self.nodes.link(node)).await
    }

    /// Goes from one layout to another, as the coordinator does.
    async fn change(&self, from: &Document, to: &Document) -> Document {
        let (current, next) = (from.current.clone(), to.current.clone());
        let prepare = Document { epoch: from.epoch + 1, phase: Phase::Prepare, next: Some(next.clone()), ..from.clone() };
        self.step(&prepare).await;
        let fencing = Document { epoch: prepare.epoch + 1, phase: Phase::Fence, ..prepare.clone() };
        self.step(&fencing).await;
        let view = View::new(fencing.clone());
        let mut losing: HashMap<String, Vec<Slot>> = HashMap::new();
        for (slot, from, _) in view.moved() {
            losing.entry(from.unwrap().to_string()).or_default().push(slot);
        }
        let epoch = fencing.epoch + 1;
        for (node, slots) in &losing {
            fence(&self.link(node).await, slots, epoch).await.unwrap();
        }
        let switch = Document { epoch, phase: Phase::Switch, current: next, next: None, prev: Some(current), ..fencing };
        self.step(&switch).await;
        let view = View::new(switch.clone());
        for node in losing.keys() {
            let to = |slot| view.previous(slot).filter(|from| ***from == **node).and_then(|_| self.nodes.link(view.owner(slot)?).ok());
            let swept = sweep(&self.link(node).await, to, epoch).await.unwrap();
            assert_eq!(swept.failed, 0);
        }
        let stable = Document { epoch: epoch + 1, phase: Phase::Stable, prev: None, ..switch };
        self.step(&stable).await;
        stable
    }
}

/// A channel with one publisher and a subscriber at each gateway.
struct Room {
    channel: Channel,
    namespace: Namespace,
    subscribers: Vec<Subscriber>,
}

async fn publish_until(stop: &AtomicBool, gateway: &Rig, room: &Room) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let position = gateway.publish(&room.channel, &room.namespace, number).await;
        assert!(room.namespace.history_size == 0 || position.offset == number, "offsets go on: {position:?} of {number}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    number
}

/// Comes, leaves, and comes back elsewhere where it was; returns where it is at the end.
async fn wander(stop: &AtomicBool, gateways: &[Rig], room: &Room) -> u64 {
    let mut at = 0;
    let mut last: Option<StreamPosition> = None;
    while !stop.load(Ordering::Relaxed) {
        at += 1;
        let gateway = &gateways[at % gateways.len()];
        let subscriber = gateway.subscribe(&room.channel, &room.namespace, last.as_ref()).await;
        let recovery = &subscriber.recovery;
        let mut seen = recovery.top.offset - recovery.publications.len() as u64;
        if let Some(last) = &last {
            assert!(recovery.recovered && seen == last.offset, "{} at {last:?}: {recovery:?}", room.channel);
        }
        let mut follows = |publication: &Publication| {
            seen += 1;
            assert_eq!((publication.offset, number(publication)), (seen, seen), "{}", room.channel);
        };
        recovery.publications.iter().for_each(&mut follows);
        tokio::time::sleep(Duration::from_millis(random_u64() % 30)).await;
        gateway.unsubscribe(&subscriber);
        let (publications, controls) = subscriber.look();
        assert_eq!(controls, []);
        publications.iter().for_each(follows);
        last = Some(StreamPosition { offset: seen, epoch: recovery.top.epoch.clone() });
    }
    last.unwrap_or_default().offset
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_added_and_taken_away_under_load() {
    move_under_load(60, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute; at the pace at which naive ways lose thousands of messages"]
async fn a_node_is_added_and_taken_away_under_heavy_load_and_great_skew() {
    move_under_load(1000, 1000).await;
}

async fn move_under_load(count: usize, skew_ms: u64) {
    let servers = join_all((0..3).map(|_| RedisServer::start(&[]))).await;
    let two = stable(1, layout(&[("redis-a", &servers[0]), ("redis-b", &servers[1])]));
    let three = stable(0, layout(&[("redis-a", &servers[0]), ("redis-b", &servers[1]), ("redis-c", &servers[2])]));
    let cluster = Cluster::new(3, skew_ms, &two);
    let mut rooms = Vec::new();
    for index in 0..count {
        let namespace = if index % 2 == 0 { keeping(100_000, HOUR_MS) } else { keeping(0, 0) };
        let channel = channel(&format!("room{index}"));
        let subscribers = join_all(cluster.gateways.iter().map(|gateway| gateway.subscribe(&channel, &namespace, None))).await;
        rooms.push(Room { channel, namespace, subscribers });
    }
    // Nobody touches this one while slots move: the sweep takes it along.
    let (idle, kept) = ((0..50).map(|index| channel(&format!("idle{index}"))).collect::<Vec<_>>(), keeping(10, HOUR_MS));
    let mut idle_tops = Vec::new();
    for channel in &idle {
        idle_tops.push(cluster.gateways[0].publish(channel, &kept, 7).await);
    }
    let moved: usize = {
        let prepare = Document { phase: Phase::Prepare, next: Some(three.current.clone()), ..two.clone() };
        let slots: Vec<Slot> = View::new(prepare).moved().map(|(slot, ..)| slot).collect();
        rooms.iter().filter(|room| slots.contains(&Slot::of(&room.channel))).count()
    };
    assert!(moved > 5, "{moved} rooms move");

    let stop = AtomicBool::new(false);
    let publishing = join_all(rooms.iter().enumerate().map(|(index, room)| {
        let gateway = &cluster.gateways[index % cluster.gateways.len()];
        publish_until(&stop, gateway, room)
    }));
    let changing = async {
        let added = cluster.change(&two, &three).await;
        cluster.change(&added, &two).await;
        stop.store(true, Ordering::Relaxed);
    };
    let recoverable = rooms.iter().filter(|room| room.namespace.history_size > 0);
    let wandering = join_all(recoverable.map(|room| wander(&stop, &cluster.gateways, room)));
    let (published, wandered, ()) = tokio::join!(publishing, wandering, changing);
    assert!(wandered.iter().all(|last| *last > 10));

    println!("{} publications", published.iter().sum::<u64>());
    for (room, last) in rooms.iter().zip(published) {
        assert!(last > 10);
        for subscriber in &room.subscribers {
            let numbers = subscriber.numbers(usize::try_from(last).unwrap()).await;
            assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "{}", room.channel);
        }
        if room.namespace.history_size > 0 {
            let kept = cluster.gateways[0].bus.recover(&room.channel, Some(&Default::default()), now()).await.unwrap();
            assert_eq!(kept.top.offset, last);
        }
    }
    for subscriber in rooms.iter().flat_map(|room| &room.subscribers) {
        assert_eq!(subscriber.look().0, [], "nothing came twice");
    }
    for (channel, top) in idle.iter().zip(idle_tops) {
        let (publications, now_top) = cluster.gateways[1].bus.history(channel, whole(), "", now()).await.unwrap().unwrap();
        assert_eq!((publications.iter().map(number).collect::<Vec<_>>(), now_top), (vec![7], top));
    }
}

fn whole() -> gateway::bus::stream::Range {
    gateway::bus::stream::Range { limit: 100, ..Default::default() }
}

#[tokio::test]
async fn a_step_is_acknowledged_when_it_is_done_and_not_before() {
    let servers = join_all((0..2).map(|_| RedisServer::start(&[]))).await;
    let (old, new) = (layout(&[("redis-a", &servers[0])]), layout(&[("redis-b", &servers[1])]));
    let rig = gateway("g1");
    rig.apply(&stable(1, old.clone()));
    let (a, namespace) = (channel("a"), keeping(10, HOUR_MS));
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    let acked = rig.redis().acked();
    let finished =
        async |epoch| testkit::eventually(PATIENCE, async || if *acked.borrow() == epoch { Ok(()) } else { Err("not yet") }).await;
    finished(1).await;
    servers[1].freeze().await;
    let prepare = Document { phase: Phase::Prepare, next: Some(new.clone()), ..stable(2, old.clone()) };
    rig.apply(&prepare);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(*acked.borrow(), 1, "the new owner is not listened to yet");
    servers[1].thaw().await;
    finished(2).await;
    rig.apply(&Document { epoch: 3, phase: Phase::Fence, ..prepare.clone() });
    finished(3).await;
    // A publication is under way to the old owner when the ring switches.
    servers[0].freeze().await;
    let publishing = rig.publish(&a, &namespace, 1);
    let switching = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.apply(&Document { phase: Phase::Switch, prev: Some(old.clone()), ..stable(4, new.clone()) });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(*acked.borrow(), 3, "something is under way");
        finished(4).await;
        servers[0].thaw().await;
    };
    tokio::join!(publishing, switching);
    assert_eq!(subscriber.numbers(1).await, [1]);
}

#[tokio::test]
async fn whoever_is_behind_the_ring_publishes_and_reads_only_when_it_has_caught_up() {
    let servers = join_all((0..2).map(|_| RedisServer::start(&[]))).await;
    let (old, new) = (layout(&[("redis-a", &servers[0])]), layout(&[("redis-b", &servers[1])]));
    let cluster = Cluster::new(2, 1, &stable(1, old.clone()));
    let (kept, plain, a) = (keeping(10, HOUR_MS), keeping(0, 0), channel("a"));
    let subscribers = [
        cluster.gateways[0].subscribe(&channel("b"), &plain, None).await,
        cluster.gateways[1].subscribe(&channel("b"), &plain, None).await,
    ];
    cluster.gateways[0].publish(&a, &kept, 1).await;
    let switch = Document { phase: Phase::Switch, prev: Some(old), ..stable(4, new) };
    fence(&cluster.link("redis-a").await, &[Slot::of(&a), Slot::of(&channel("b"))], 4).await.unwrap();
    let (ahead, behind) = (&cluster.gateways[0], &cluster.gateways[1]);
    ahead.apply(&switch);
    let caught_up = AtomicBool::new(false);
    let catching_up = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        caught_up.store(true, Ordering::Relaxed);
        behind.apply(&switch);
    };
    let b = channel("b");
    let publishing = async {
        ahead.publish(&a, &kept, 2).await;
        let offset = behind.publish(&a, &kept, 3).await.offset;
        assert_eq!(offset, 3);
        assert!(caught_up.load(Ordering::Relaxed));
    };
    let plain_publishing = async {
        behind.publish(&b, &plain, 1).await;
        assert!(caught_up.load(Ordering::Relaxed));
    };
    let reading = async {
        assert_eq!(behind.kept(&a).await[..2], [1, 2]);
        assert!(caught_up.load(Ordering::Relaxed));
    };
    tokio::join!(catching_up, publishing, plain_publishing, reading);
    for subscriber in &subscribers {
        assert_eq!(subscriber.numbers(1).await, [1]);
    }
    assert_eq!(behind.kept(&a).await, [1, 2, 3]);
}
