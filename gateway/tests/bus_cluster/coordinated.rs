//! The whole of a planned change: coordinators elected in a real etcd, gateways that follow the ring by it, publications
//! under way all the time, and the leader killed in the middle of each change; and a node that dies.

use crate::bus_rig::{PATIENCE, Rig, Subscriber, channel, gateway, keeping, layout, now, random_u64};
use futures_util::future::join_all;
use prometheus::Registry;
use protocol::{name::Channel, namespace::Namespace};
use ring_coordinator::{
    coordinator::{
        driver::{Driver, DriverConfig},
        timing::Timing,
    },
    document::{Document, Layout, NodeState, Phase},
    etcd::{self, Etcd, EtcdConfig, lease::LEASE_TTL_MS},
    member::{Member, MemberConfig, Progress},
    redis::Access,
    slot::Slot,
    view::View,
    wanted::{Answer, Outcome, Wanted, Wish},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use testkit::{EtcdServer, RedisServer, eventually};
use tokio::{sync::watch, task::JoinSet};

const HOUR_MS: u64 = 3_600_000;
/// A leader that dies is followed by another one within its lease, and that one first looks around.
const CHANGE: Duration = Duration::from_secs(90);

/// One process: its way to etcd, and what runs in it. Dropped, it ends as by a power cut.
struct Process {
    etcd: Etcd,
    tasks: JoinSet<()>,
}

impl Process {
    fn start(server: &EtcdServer) -> Process {
        let access = etcd::Access { endpoints: vec![server.url()], ..etcd::Access::default() };
        let config = EtcdConfig { access, region: "eu".to_owned(), clock: now, random_u64, lease_ttl_ms: LEASE_TTL_MS };
        let etcd = Etcd::new(config, &Registry::new()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(etcd.clone().run(std::future::pending()));
        Process { etcd, tasks }
    }

    fn coordinator(server: &EtcdServer, name: &str) -> Process {
        let mut process = Process::start(server);
        // Nobody loses his lease here.
        let timing = Timing { lease_ttl_ms: 1_000, margin_ms: 200, drain_ms: 500, ..Timing::default() };
        let config = DriverConfig { name: name.to_owned(), access: Access::default(), timing, known: None, clock: now, random_u64 };
        let (driver, _) = Driver::new(&process.etcd, config, &Registry::new()).unwrap();
        process.tasks.spawn(driver.run(std::future::pending()));
        process
    }

    /// With a bus that goes by what its member learns.
    fn gateway(server: &EtcdServer, name: &str) -> (Process, Rig) {
        let (mut process, rig) = (Process::start(server), gateway(name));
        let (address, version) = (String::new(), String::new());
        let config = MemberConfig { gateway: name.to_owned(), address, version, may_be_stale: true, clock: now };
        let nodes = rig.nodes.clone().unwrap();
        let (acked, presence) = (rig.redis().acked(), watch::channel(0).1);
        let progress = Progress { acked, presence, news: rig.redis().ring_news(), opinions: nodes.opinions() };
        let member = Member::new(config, process.etcd.clone(), nodes, None, &Registry::new()).unwrap();
        let (bus, mut riding) = (rig.redis().clone(), member.riding());
        process.tasks.spawn(member.run(progress, std::future::pending()));
        process.tasks.spawn(async move {
            while riding.changed().await.is_ok() {
                let view = riding.borrow_and_update().view.clone();
                view.into_iter().for_each(|view| bus.apply(&view));
            }
        });
        (process, rig)
    }

    fn ring(&self) -> Document {
        self.etcd.mirror().snapshot().document.as_ref().map_or_else(Document::default, |held| held.value.clone())
    }

    /// Asks for a layout; returns the revision of the question.
    async fn ask(&self, layout: Layout) -> i64 {
        let wish = Wish::Become { layout, epoch: self.ring().epoch };
        let wanted = Wanted { wish, by: "test".to_owned(), asked_ms: now().wall_ms, instead_of: None };
        self.etcd.store().ask(&serde_json::to_vec(&wanted).unwrap()).await.unwrap()
    }

    async fn is_done(&self, asked: i64) {
        eventually(CHANGE, async || {
            let snapshot = self.etcd.mirror().snapshot();
            match &snapshot.wanted_result {
                Some(result) if snapshot.revision > asked && snapshot.wanted.is_none() => {
                    let answer: Answer = serde_json::from_slice(&result.value).unwrap();
                    assert_eq!((answer.outcome, answer.reason.as_str()), (Outcome::Done, ""));
                    Ok(())
                }
                _ => Err(format!("{:?}", snapshot.document.as_ref().map(|held| (held.value.epoch, held.value.phase)))),
            }
        })
        .await;
    }
}

struct Room {
    channel: Channel,
    namespace: Namespace,
    subscribers: Vec<Subscriber>,
}

/// Ends whichever coordinator leads.
async fn kill_leader(server: &EtcdServer, coordinators: &mut Vec<(String, Process)>) {
    let words = ["get", "--prefix", "/headcount/eu/leader/", "--sort-by=CREATE", "--order=ASCEND", "--limit=1", "--print-value-only"];
    let leader = server.ctl(&words).await.unwrap();
    coordinators.retain(|(name, _)| name != leader.trim());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_grows_and_shrinks_under_load_while_its_leaders_die_and_nothing_is_lost_doubled_or_reordered() {
    let server = EtcdServer::start().await;
    let redis = join_all((0..3).map(|_| RedisServer::start(&[]))).await;
    let mut coordinators: Vec<(String, Process)> =
        (0..4).map(|number| format!("c{number}")).map(|name| (name.clone(), Process::coordinator(&server, &name))).collect();
    let gateways: Vec<(Process, Rig)> = (0..3).map(|number| Process::gateway(&server, &format!("g{number}"))).collect();
    let two = layout(&[("redis-a", &redis[0]), ("redis-b", &redis[1])]);
    let three = layout(&[("redis-a", &redis[0]), ("redis-b", &redis[1]), ("redis-c", &redis[2])]);
    let other_two = layout(&[("redis-b", &redis[1]), ("redis-c", &redis[2])]);
    let operator = &gateways[0].0;
    // A leader has to be there before anybody is asked.
    operator.is_done(operator.ask(two).await).await;

    let mut rooms = Vec::new();
    for index in 0..40 {
        let namespace = if index % 2 == 0 { keeping(100_000, HOUR_MS) } else { keeping(0, 0) };
        let channel = channel(&format!("room{index}"));
        let subscribers = join_all(gateways.iter().map(|(_, rig)| rig.subscribe(&channel, &namespace, None))).await;
        rooms.push(Room { channel, namespace, subscribers });
    }
    let stop = AtomicBool::new(false);
    let publishing = join_all(rooms.iter().enumerate().map(|(index, room)| {
        let (stop, (_, rig)) = (&stop, &gateways[index % gateways.len()]);
        async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let position = rig.publish(&room.channel, &room.namespace, number).await;
                assert!(room.namespace.history_size == 0 || position.offset == number, "offsets go on: {position:?} of {number}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            number
        }
    }));
    let changing = async {
        for (wanted, deadly) in [(three, Phase::Prepare), (other_two, Phase::Fence), (layout(&[("redis-b", &redis[1])]), Phase::Switch)] {
            let before = operator.ring().epoch;
            let asked = operator.ask(wanted).await;
            // Phases pass in milliseconds: the leader dies when it has come so far, or somewhat further.
            eventually(CHANGE, async || {
                let ring = operator.ring();
                let is_there = ring.epoch > before && (ring.phase >= deadly || ring.phase == Phase::Stable);
                if is_there { Ok(()) } else { Err(format!("{} {:?}", ring.epoch, ring.phase)) }
            })
            .await;
            kill_leader(&server, &mut coordinators).await;
            operator.is_done(asked).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (published, ()) = tokio::join!(publishing, changing);
    assert_eq!((coordinators.len(), operator.ring().phase), (1, Phase::Stable));

    for (room, last) in rooms.iter().zip(published) {
        assert!(last > 10);
        for subscriber in &room.subscribers {
            let numbers = subscriber.numbers(usize::try_from(last).unwrap()).await;
            assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "{}", room.channel);
        }
    }
    tokio::time::timeout(PATIENCE, async {
        for subscriber in rooms.iter().flat_map(|room| &room.subscribers) {
            assert_eq!(subscriber.look().0, [], "nothing came twice");
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_voted_out_and_its_channels_go_on_elsewhere() {
    let server = EtcdServer::start().await;
    let mut redis = join_all((0..3).map(|_| RedisServer::start(&[]))).await;
    let _coordinator = Process::coordinator(&server, "c0");
    let gateways: Vec<(Process, Rig)> = (0..2).map(|number| Process::gateway(&server, &format!("g{number}"))).collect();
    let operator = &gateways[0].0;
    let all = layout(&[("redis-a", &redis[0]), ("redis-b", &redis[1]), ("redis-c", &redis[2])]);
    operator.is_done(operator.ask(all).await).await;
    let (namespace, channels) = (keeping(100, HOUR_MS), (0..20).map(|index| channel(&format!("room{index}"))).collect::<Vec<_>>());
    for channel in &channels {
        gateways[0].1.publish(channel, &namespace, 1).await;
    }
    redis[1].kill().await;
    let state = |ring: &Document| ring.current.node("redis-b").map(|node| node.state);
    eventually(CHANGE, async || {
        let ring = operator.ring();
        if state(&ring) == Some(NodeState::Down) && ring.phase == Phase::Stable { Ok(()) } else { Err(format!("{ring:?}")) }
    })
    .await;
    let owner = |channel: &Channel| View::new(operator.ring()).owner(Slot::of(channel)).map(ToString::to_string);
    assert!(channels.iter().all(|channel| owner(channel).is_some_and(|owner| owner != "redis-b")));
    for channel in &channels {
        let (_, rig) = &gateways[1];
        let subscriber = rig.subscribe(channel, &namespace, None).await;
        gateways[0].1.publish(channel, &namespace, 2).await;
        assert_eq!(subscriber.numbers(1).await, [2]);
    }
}
