//! Every process of a region is restarted, one after the other, while clients, services and the other region go on.

use crate::{
    likes::Likes,
    shared::{PATIENCE, Pair, PairOptions, Side, traffic, until_it_flows, until_roster},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use testkit::{
    Disk, Guest, Outcome, Traffic, Watcher,
    crowd::{self, Wish},
    eventually, figure,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

const ROOM: &str = "room:hall";
/// At each gateway.
const GUESTS: usize = 4;
/// Likes that a service adds in one go, and how long it pauses then.
const LIKES: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

struct Stage {
    pair: Pair,
    guests: Vec<Guest>,
    /// In the other region, which is not restarted; the first of them is told of joins and leaves, too.
    watchers: Vec<Watcher>,
    traffic: Traffic,
    likes: Arc<Likes>,
    /// Times that all services have added something.
    rounds: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    liking: Vec<JoinHandle<()>>,
}

impl Stage {
    async fn start() -> Stage {
        let pair = Pair::start(PairOptions::default()).await;
        let wishes = pair.doors().into_iter().enumerate().flat_map(|(at, gateway)| {
            (0..GUESTS).map(move |number| Wish { user: format!("guest{at}-{number}"), channels: vec![ROOM.to_owned()], gateway })
        });
        let guests = crowd::enter_all(wishes).await;
        let [one, other] = pair.sides[1].doors()[..] else { unreachable!("two gateways") };
        let watchers =
            vec![Watcher::start(one, "watcher", ROOM).await.unwrap(), Watcher::of_roster(other, "onlooker", ROOM).await.unwrap()];
        let groups = pair.sides.each_ref().map(Side::doors);
        let traffic = Traffic::start_among(&groups, &traffic("all")).await.unwrap();
        let (likes, rounds, ends) = (Arc::new(Likes::new()), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let liking = pair.sides.iter().map(|side| {
            let (doors, likes, rounds, ends) = (side.doors(), likes.clone(), rounds.clone(), ends.clone());
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    likes.add(&doors, LIKES).await;
                    rounds.fetch_add(1, Ordering::Relaxed);
                    sleep(PAUSE).await;
                }
            })
        });
        let liking = liking.collect();
        let stage = Stage { pair, guests, watchers, traffic, likes, rounds, ends, liking };
        stage.until_exact().await;
        stage.watchers.iter().for_each(Watcher::forget);
        stage
    }

    /// Every roster is the truth, and no watcher was told of anything else meanwhile.
    async fn until_exact(&self) {
        let mut truth: BTreeMap<String, (u64, Value)> = BTreeMap::new();
        for guest in &self.guests {
            let region = if self.pair.sides[0].doors().contains(&guest.wish.gateway) { "left" } else { "right" };
            truth.insert(guest.wish.user.clone(), (1, json!([region])));
        }
        truth.insert("watcher".to_owned(), (1, json!(["right"])));
        for door in self.pair.doors() {
            until_roster(door, ROOM, &truth, None).await;
        }
    }

    /// Something was restarted: everything goes on, and nobody has come or gone.
    async fn goes_on(&self, row: &str, what: &str, since: Instant) {
        let (since_ms, rounds) = (self.traffic.now_ms(), self.rounds.load(Ordering::Relaxed));
        until_it_flows(&self.traffic, since_ms).await;
        eventually(PATIENCE, async || match self.rounds.load(Ordering::Relaxed) {
            now if now > rounds + 4 => Ok(()),
            now => Err(format!("{what}: {now} rounds of likes")),
        })
        .await;
        self.pair.until_linked().await;
        self.until_exact().await;
        for watcher in &self.watchers {
            let noted = watcher.noted();
            assert_eq!((noted.told, noted.left, noted.wrong), (vec![], vec![], vec![]), "{what}: {}", watcher.user);
        }
        let took = since.elapsed();
        let began_ms = self.traffic.now_ms().saturating_sub(u64::try_from(took.as_millis()).unwrap());
        let pauses_ms = self.traffic.flow(began_ms).pauses_ms;
        let pause_ms = pauses_ms.iter().max_by_key(|(_, pause_ms)| **pause_ms);
        eprintln!("{what}: over after {took:?}; the longest that a subscriber waited: {pause_ms:?} ms");
        figure::time(row, "all as before after", took);
        figure::time(
            row,
            "longest wait of a subscriber, who comes back to the same place",
            Duration::from_millis(pause_ms.map_or(0, |(_, pause_ms)| *pause_ms)),
        );
    }

    /// Its clients are sent away, and come to the other one.
    async fn gateway_restarts(&mut self, at: usize) {
        let since = Instant::now();
        let doors = self.pair.sides[0].doors();
        let neighbour = Watcher::of_roster(doors[1 - at], "neighbour", ROOM).await.unwrap();
        neighbour.forget();
        self.pair.sides[0].region.gateways[at].signal_terminate().await;
        let (away, mut here): (Vec<Guest>, Vec<Guest>) = self.guests.drain(..).partition(|guest| guest.wish.gateway == doors[at]);
        for guest in &away {
            eventually(PATIENCE, async || match guest.ended() {
                Some(end) if end.contains("3001") => Ok(()),
                end => Err(format!("{}: {end:?}", guest.wish.user)),
            })
            .await;
        }
        here.extend(crowd::enter_all(away.iter().map(|guest| Wish { gateway: doors[1 - at], ..guest.wish.clone() })).await);
        self.guests = here;
        let gateway = &mut self.pair.sides[0].region.gateways[at];
        assert_eq!(gateway.wait().await.code(), Some(0));
        gateway.restart().await;
        self.goes_on("restart-gateway", &format!("gateway {at}"), since).await;
        let noted = neighbour.noted();
        assert_eq!((noted.left, noted.wrong), (vec![], vec![]), "at the other gateway");
    }

    async fn counter_restarts(&mut self, at: usize) {
        let since = Instant::now();
        let counter = &mut self.pair.sides[0].counters[at];
        assert_eq!(counter.terminate().await.code(), Some(0));
        counter.restart().await;
        self.goes_on("restart-counter", &format!("counter node {at}"), since).await;
    }

    async fn etcd_restarts(&mut self) {
        let since = Instant::now();
        self.pair.sides[0].region.etcd.restart().await;
        self.goes_on("restart-etcd", "etcd", since).await;
    }

    /// It keeps nothing on disk: so its channels are moved away before, and back then.
    async fn redis_restarts(&mut self, name: &str) {
        let since = Instant::now();
        let region = &mut self.pair.sides[0].region;
        region.ring(&["drain", name, "--force"]).await.unwrap();
        region.restart_redis(name, Disk::Empty).await;
        // Who takes it for down would have it wait before it is taken in again.
        eventually(PATIENCE, async || {
            let status = region.ring_status().await.map_err(|error| error.to_string())?;
            let nodes = status["nodes"].as_array().into_iter().flatten();
            if nodes.clone().all(|node| node.get("down_votes").is_none()) { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        region.ring(&["undrain", name, "--force"]).await.unwrap();
        self.goes_on("restart-redis", name, since).await;
    }

    /// So many restarts of a kind are over.
    async fn ends(mut self, restarted: &[(&str, u64)]) {
        self.ends.store(true, Ordering::Relaxed);
        for liking in self.liking.drain(..) {
            liking.await.unwrap();
        }
        self.likes.assert_nothing_was_refused();
        self.likes.until_equal(&self.pair).await;
        let mut false_leaves = 0.0;
        for gateway in self.pair.sides.iter().flat_map(|side| &side.region.gateways) {
            false_leaves += gateway.metric("headcount_presence_false_leaves_total").await;
        }
        let likes = u64::try_from(self.likes.counted().values().sum::<i64>()).unwrap();
        let outcome = self.traffic.finish(PATIENCE).await.unwrap();
        eprintln!("{outcome:?}; requests of services without an answer: {}", self.likes.unanswered.load(Ordering::Relaxed));
        // A publisher whose gateway ends comes back, and knows nothing of what was under way.
        let Outcome { acknowledged, delivered, longest_pause_ms, cut_off, .. } = outcome;
        assert!(acknowledged > 500, "{outcome:?}");
        for (row, count) in restarted {
            figure::count(row, "restarts", *count);
            figure::count(row, "likes acknowledged, each counted once", likes);
            figure::count(row, "messages lost, doubled or out of order", outcome.lost + outcome.doubled + outcome.out_of_order);
            figure(row, "false leaves", false_leaves, "");
        }
        assert_eq!(false_leaves, 0.0);
        assert_eq!(outcome, Outcome { acknowledged, delivered, longest_pause_ms, cut_off, ..Outcome::default() });
    }
}

/// What is restarted.
#[derive(Clone, Copy)]
enum Kind {
    Gateways,
    Counters,
    Etcd,
    RedisNodes,
}

impl Kind {
    fn row(self) -> &'static str {
        match self {
            Kind::Gateways => "restart-gateway",
            Kind::Counters => "restart-counter",
            Kind::Etcd => "restart-etcd",
            Kind::RedisNodes => "restart-redis",
        }
    }

    /// Restarts one of its processes, in turn.
    async fn restarts(self, stage: &mut Stage, turn: u64) {
        let at = usize::from(!turn.is_multiple_of(2));
        match self {
            Kind::Gateways => stage.gateway_restarts(at).await,
            Kind::Counters => stage.counter_restarts(at).await,
            Kind::Etcd => stage.etcd_restarts().await,
            Kind::RedisNodes => stage.redis_restarts(["redis-0", "redis-1"][at]).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_a_region_loses_no_like_and_no_message_and_shows_nobody_gone() {
    rolls(&[(Kind::Gateways, 2), (Kind::Counters, 2), (Kind::Etcd, 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask faults"]
async fn a_rolling_restart_of_a_region_with_its_redis_nodes_loses_nothing_either() {
    rolls(&[(Kind::Gateways, 2), (Kind::Counters, 2), (Kind::Etcd, 1), (Kind::RedisNodes, 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask faults"]
async fn gateways_are_restarted_again_and_again() {
    rolls(&[(Kind::Gateways, rounds())]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask faults"]
async fn counter_nodes_are_restarted_again_and_again() {
    rolls(&[(Kind::Counters, rounds())]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask faults"]
async fn etcd_is_restarted_again_and_again() {
    rolls(&[(Kind::Etcd, rounds())]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask faults"]
async fn redis_nodes_are_restarted_again_and_again() {
    rolls(&[(Kind::RedisNodes, rounds())]).await;
}

/// How often something is restarted by the tests for which there is time: `HEADCOUNT_ROUNDS`.
fn rounds() -> u64 {
    std::env::var("HEADCOUNT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

async fn rolls(kinds: &[(Kind, u64)]) {
    let mut stage = Stage::start().await;
    for (kind, count) in kinds {
        for turn in 0..*count {
            kind.restarts(&mut stage, turn).await;
        }
    }
    let restarted: Vec<_> = kinds.iter().map(|(kind, count)| (kind.row(), *count)).collect();
    stage.ends(&restarted).await;
}
