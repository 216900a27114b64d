//! A gateway that carries links to another region is killed, hangs, or is cut off: nothing is lost, nobody is told gone, and the
//! others go on meanwhile.

use crate::shared::{PATIENCE, Pair, PairOptions, far, traffic, until_it_flows, until_roster};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use testkit::{
    Guest, Outcome, Proxy, Traffic, Watcher,
    crowd::{self, Wish},
    eventually, figure,
};

const ROOMS: [&str; 2] = ["room:blue", "room:green"];
/// At each gateway.
const GUESTS: usize = 8;

/// Two regions with traffic and guests, and the gateway of the first one that something happens to.
struct Stage {
    pair: Pair,
    at: usize,
    /// At all gateways, and at all others.
    all: Traffic,
    others: Traffic,
    guests: Vec<Guest>,
    /// At all others.
    watchers: Vec<Watcher>,
}

impl Stage {
    async fn start() -> Stage {
        let pair = Pair::start(PairOptions::default()).await;
        let at = pair.serving(0).await;
        let doors = pair.doors();
        let others: Vec<SocketAddr> = doors.iter().copied().filter(|door| *door != pair.sides[0].doors()[at]).collect();
        let mut wishes = Vec::new();
        for (gateway, door) in doors.iter().enumerate() {
            wishes.extend((0..GUESTS).map(|number| Wish {
                user: format!("guest{gateway}-{number}"),
                channels: vec![ROOMS[number % ROOMS.len()].to_owned()],
                gateway: *door,
            }));
        }
        let guests = crowd::enter_all(wishes).await;

        let mut watchers = Vec::new();
        for (number, door) in others.iter().enumerate() {
            for room in ROOMS {
                watchers.push(Watcher::of_roster(*door, &format!("watcher{number}"), room).await.unwrap());
            }
        }

        let kinds = [traffic("all"), traffic("others")];
        let (all, others) = tokio::try_join!(Traffic::start(&doors, &kinds[0]), Traffic::start(&others, &kinds[1])).unwrap();
        let stage = Stage { pair, at, all, others, guests, watchers };
        until_it_flows(&stage.all, 0).await;
        stage.until_exact().await;
        stage.watchers.iter().for_each(Watcher::forget);
        stage
    }

    fn door(&self) -> SocketAddr {
        self.pair.sides[0].doors()[self.at]
    }

    /// Every roster at every gateway, by services and by watchers, is the truth.
    async fn until_exact(&self) {
        for room in ROOMS {
            let mut truth: BTreeMap<String, (u64, Value)> = BTreeMap::new();
            for guest in self.guests.iter().filter(|guest| guest.wish.channels.iter().any(|channel| channel == room)) {
                let region = if self.pair.sides[0].doors().contains(&guest.wish.gateway) { "left" } else { "right" };
                truth.insert(guest.wish.user.clone(), (1, json!([region])));
            }
            assert!(truth.len() >= GUESTS, "{truth:?}");
            for door in self.pair.doors() {
                until_roster(door, room, &truth, None).await;
            }
            let truth: BTreeMap<String, u64> = truth.into_iter().map(|(user, (clients, _))| (user, clients)).collect();
            for watcher in self.watchers.iter().filter(|watcher| watcher.channel == room) {
                eventually(PATIENCE, async || {
                    let roster = watcher.noted().roster;
                    if roster == truth { Ok(()) } else { Err(format!("{} in {room} has {roster:?}", watcher.user)) }
                })
                .await;
            }
        }
    }

    /// What happens now is noticed by none of the others for long; says so.
    async fn goes_on_without(&self, what: &str, since_ms: u64) {
        let flow = until_it_flows(&self.others, since_ms).await;
        let pause_ms = flow.pauses_ms.values().max().copied().unwrap_or_default();
        figure::time("gateway-with-links", "longest wait at other gateways", Duration::from_millis(pause_ms));
        eprintln!(
            "{what}: clients of other gateways waited {pause_ms} ms at most, {} ms after it all flows",
            self.others.now_ms() - since_ms
        );
        assert_eq!(flow.refused, 0, "{what}");
    }

    async fn is_over(&self, what: &str) {
        self.pair.until_linked().await;
        let since_ms = self.all.now_ms();
        until_it_flows(&self.all, since_ms).await;
        self.until_exact().await;
        for watcher in &self.watchers {
            let noted = watcher.noted();
            assert_eq!((noted.left, noted.wrong), (Vec::new(), Vec::new()), "{what}: {} in {}", watcher.user, watcher.channel);
        }
        for side in &self.pair.sides {
            for gateway in &side.region.gateways {
                assert_eq!(gateway.metric("headcount_presence_false_leaves_total").await, 0.0, "{what}");
            }
        }
    }

    async fn hangs(&self) {
        let since_ms = self.others.now_ms();
        self.pair.sides[0].region.gateways[self.at].freeze().await;
        self.goes_on_without("hung", since_ms).await;
        self.pair.sides[0].region.gateways[self.at].thaw().await;
        self.is_over("hung").await;
    }

    /// Its clients hear what the other region says through the other gateway of their own.
    async fn is_cut_off(&self) {
        let (own, other) = (&self.pair.sides[0].gateway_ways[self.at], &self.pair.sides[1].gateway_ways);
        let ways = || own.iter().chain(other.iter().map(|ways| &ways[self.at]));
        let since_ms = self.others.now_ms();
        ways().for_each(Proxy::cut);
        eventually(PATIENCE, async || match far(&self.pair.sides[0].region.gateways[self.at]).await {
            far if far["trouble"].is_string() => Ok(()),
            far => Err(format!("not cut off: {far}")),
        })
        .await;
        self.goes_on_without("cut off", since_ms).await;
        let flow = until_it_flows(&self.all, self.all.now_ms()).await;
        assert_eq!(flow.told, BTreeMap::new());
        ways().for_each(Proxy::heal);
        self.is_over("cut off").await;
    }

    /// Its clients come back at the other gateway, and it comes back itself.
    async fn is_killed(&mut self) {
        let (door, since_ms) = (self.door(), self.others.now_ms());
        self.pair.sides[0].region.gateways[self.at].kill9().await;
        let neighbour = self.pair.sides[0].doors()[1 - self.at];
        let (away, mut here): (Vec<Guest>, Vec<Guest>) = self.guests.drain(..).partition(|guest| guest.wish.gateway == door);
        let back = away.iter().map(|guest| Wish { gateway: neighbour, ..guest.wish.clone() });
        here.extend(crowd::enter_all(back).await);
        self.guests = here;
        self.goes_on_without("killed", since_ms).await;
        self.pair.sides[0].region.gateways[self.at].restart().await;
        self.is_over("killed").await;
    }

    async fn ends(self) {
        let publishers_there = 12 / 4;
        for (traffic, cut_off_max) in [(self.others, 0), (self.all, publishers_there)] {
            let outcome = traffic.finish(PATIENCE).await.unwrap();
            let Outcome { acknowledged, delivered, longest_pause_ms, cut_off, .. } = outcome;
            assert!(acknowledged > 500 && cut_off <= cut_off_max, "{outcome:?}");
            assert_eq!(outcome, Outcome { acknowledged, delivered, longest_pause_ms, cut_off, ..Outcome::default() });
            figure::count("gateway-with-links", "lost, doubled or out of order", outcome.lost + outcome.doubled + outcome.out_of_order);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_links_hangs_is_cut_off_and_is_killed_and_nothing_is_lost_and_nobody_told_gone() {
    let mut stage = Stage::start().await;
    stage.hangs().await;
    stage.is_cut_off().await;
    stage.is_killed().await;
    stage.ends().await;
}
