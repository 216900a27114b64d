//! What goes over the links between two regions is as much as what has changed, whatever there is besides.

use crate::shared::{PATIENCE, Pair, PairOptions};
use core::net::SocketAddr;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{
    Direction, Guest, Proxy, Watcher,
    crowd::{self, Wish},
    eventually, http,
    resp::{Reply, Resp},
};
use tokio::time::{Instant, sleep};

/// Counters and members that are there and do not change.
const COUNTERS: usize = 20_000;
const MEMBERS: usize = 200;
/// Changes while nothing gets through, and ten times as many.
const FEW: usize = 200;
const ROOM: &str = "room:hall";
const CHANNEL: &str = "chat:hall";
/// Counters in one request, and read in one.
const BATCH: usize = 500;
/// So long an idle link is looked at.
const IDLE: Duration = Duration::from_secs(2);
/// While nobody changes anything. Each of the four links between gateways says twice a second, in both directions, that it lives; each
/// counter node says to each how far it is.
const IDLE_PER_S: Bytes = Bytes { counters: 6_000, gateways: 4 * 2 * 2 * 16 };
/// What it takes to be linked again, as often as it has to be tried.
const LINKED: Bytes = Bytes { counters: 20_000, gateways: 4_000 };
/// What a change may cost: a counter added to, or a message published and the twentieth part of a member entering. There are two
/// who follow in the other region. A counter's change takes 49 bytes, and either of the two nodes here may tell it to either of those
/// after a cut: mostly one does, and sometimes both, which is why ten times the changes do not cost ten times as much in every run.
const CHANGE: Bytes = Bytes { counters: 4 * 55, gateways: 200 };

/// Bytes over all ways, of both directions.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    counters: u64,
    gateways: u64,
}

fn bytes(pair: &Pair) -> Bytes {
    let of = |ways: &[Vec<Proxy>]| ways.iter().flatten().map(|way| way.traffic(Direction::Both).delivered).sum::<u64>();
    let sum = |ways: fn(&crate::shared::Side) -> &Vec<Vec<Proxy>>| pair.sides.iter().map(|side| of(ways(side))).sum();
    Bytes { counters: sum(|side| &side.counter_ways), gateways: sum(|side| &side.gateway_ways) }
}

impl Bytes {
    fn since(self, before: Bytes) -> Bytes {
        Bytes { counters: self.counters - before.counters, gateways: self.gateways - before.gateways }
    }

    fn within(self, bound: Bytes) -> bool {
        self.counters <= bound.counters && self.gateways <= bound.gateways
    }
}

/// Adds one to each of so many counters.
async fn add(door: SocketAddr, count: usize) {
    for first in (0..count).step_by(BATCH) {
        let ops: Vec<Value> = (first..count.min(first + BATCH)).map(|number| json!({ "key": format!("old{number}"), "by": 1 })).collect();
        let answer = http::post(door, "/v1/counters/batch", &json!({ "ops": ops })).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

struct Stage {
    pair: Pair,
    /// How often each counter was added to.
    expected: Vec<i64>,
    published: usize,
    members: Vec<Guest>,
    watchers: Vec<Watcher>,
    _listeners: Vec<Guest>,
}

impl Stage {
    async fn start() -> Stage {
        let pair = Pair::start(PairOptions::default()).await;
        let (mut watchers, mut listeners) = (Vec::new(), Vec::new());
        for door in pair.sides[1].doors() {
            watchers.push(Watcher::of_roster(door, "watcher", ROOM).await.unwrap());
            listeners
                .push(Guest::enter(Wish { user: "listener".to_owned(), channels: vec![CHANNEL.to_owned()], gateway: door }).await.unwrap());
        }
        Stage { pair, expected: vec![0; COUNTERS], published: 0, members: Vec::new(), watchers, _listeners: listeners }
    }

    async fn change(&mut self, count: usize) {
        let door = self.pair.sides[0].doors()[0];
        add(door, count).await;
        self.expected.iter_mut().take(count).for_each(|value| *value += 1);
        for _ in 0..count {
            self.published += 1;
            let body = json!({ "data": self.published });
            assert_eq!(http::post(door, &format!("/v1/channels/{CHANNEL}/messages"), &body).await.unwrap().status, 200);
        }
        self.enter(count / 20).await;
    }

    async fn enter(&mut self, count: usize) {
        let doors = self.pair.sides[0].doors();
        let first = self.members.len();
        let wish =
            |number: usize| Wish { user: format!("member{number}"), channels: vec![ROOM.to_owned()], gateway: doors[number % doors.len()] };
        let entered = crowd::enter_all((first..first + count).map(wish)).await;
        self.members.extend(entered);
    }

    /// The second region has everything.
    async fn until_equal(&self) {
        for node in &self.pair.sides[1].counters {
            let mut resp = Resp::default();
            for (at, values) in self.expected.chunks(BATCH).enumerate() {
                let keys: Vec<String> = (0..values.len()).map(|number| format!("old{}", at * BATCH + number)).collect();
                let words: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
                let value = |value: &i64| if *value == 0 { Reply::Nil } else { Reply::Text(value.to_string()) };
                let expected = Reply::List(values.iter().map(value).collect());
                eventually(PATIENCE, async || match resp.command(node.resp.unwrap(), &words).await {
                    Ok(read) if read == expected => Ok(()),
                    other => Err(format!("{:.200}", format!("{other:?}"))),
                })
                .await;
            }
        }
        let door = self.pair.sides[1].doors()[0];
        eventually(PATIENCE, async || {
            let path = format!("/v1/channels/{CHANNEL}/messages?limit=1&reverse=true");
            let last = http::get(door, &path).await.unwrap().json()["messages"][0]["data"].as_u64().unwrap_or(0);
            if last == self.published as u64 { Ok(()) } else { Err(format!("{last} of {}", self.published)) }
        })
        .await;
        for watcher in &self.watchers {
            eventually(PATIENCE, async || match watcher.noted().roster.len() {
                members if members == self.members.len() => Ok(()),
                members => Err(format!("{members} of {}", self.members.len())),
            })
            .await;
        }
    }

    /// What the healing costs after so many changes of each kind; it must be no more than these cost.
    async fn healed(&mut self, changes: usize) {
        self.pair.cut();
        self.change(changes).await;
        let (before, since) = (bytes(&self.pair), Instant::now());
        self.pair.heal();
        self.pair.until_linked().await;
        self.until_equal().await;
        let cost = bytes(&self.pair).since(before);
        let (seconds, number) = (since.elapsed().as_secs() + 1, changes as u64);
        let bound = |part: fn(&Bytes) -> u64| part(&LINKED) + seconds * part(&IDLE_PER_S) + number * part(&CHANGE);
        let bound = Bytes { counters: bound(|bytes| bytes.counters), gateways: bound(|bytes| bytes.gateways) };
        eprintln!("{changes} changes: {cost:?} in {:?}, {bound:?} at most", since.elapsed());
        assert!(cost.within(bound));
    }

    async fn is_idle(&self) {
        let (before, since) = (bytes(&self.pair), Instant::now());
        sleep(IDLE).await;
        let idle = bytes(&self.pair).since(before);
        let seconds = since.elapsed().as_secs() + 1;
        let bound = Bytes { counters: seconds * IDLE_PER_S.counters, gateways: seconds * IDLE_PER_S.gateways };
        eprintln!("idle for {:?}: {idle:?}, {bound:?} at most", since.elapsed());
        assert!(idle.within(bound) && idle.counters > 0 && idle.gateways > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_between_regions_is_proportional_to_changes_whatever_else_there_is() {
    let mut stage = Stage::start().await;
    let before = bytes(&stage.pair);
    add(stage.pair.sides[0].doors()[0], COUNTERS).await;
    stage.expected.iter_mut().for_each(|value| *value += 1);
    stage.enter(MEMBERS).await;
    stage.until_equal().await;
    let state = bytes(&stage.pair).since(before);
    eprintln!("what does not change: {state:?}");
    assert!(state.counters > 10 * LINKED.counters && state.gateways > 2 * LINKED.gateways, "it would be noticed if it came again");
    stage.is_idle().await;
    stage.healed(0).await;
    for changes in [FEW, 10 * FEW, FEW] {
        stage.healed(changes).await;
    }
}
