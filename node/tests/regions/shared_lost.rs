//! A whole region dies: its clients and services carry on in the other one, and are told what is true there; and then it is back.

use crate::shared::{PATIENCE, Pair, PairOptions, far, until_roster};
use core::net::SocketAddr;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use testkit::{
    Disk, Guest, Proxy, Watcher,
    crowd::{self, Wish},
    eventually, figure, http,
    resp::{Reply, Resp},
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

const ROOM: &str = "room:hall";
const CHANNEL: &str = "chat:hall";
/// A service waits so long for the answer of a region that does not answer.
const IN_VAIN: Duration = Duration::from_secs(1);

fn wish(user: &str, gateway: SocketAddr) -> Wish {
    Wish { user: user.to_owned(), channels: vec![ROOM.to_owned()], gateway }
}

/// A like that may be tried again.
fn like(by: i64) -> Value {
    json!({ "by": by, "token": Uuid::now_v7() })
}

async fn add(door: SocketAddr, like: &Value) -> Value {
    let answer = http::post(door, "/v1/counters/likes/add", like).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

async fn publish(door: SocketAddr, number: u64) {
    let answer = http::post(door, &format!("/v1/channels/{CHANNEL}/messages"), &json!({ "data": number })).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// The numbers that a channel keeps, once there are so many.
async fn kept(door: SocketAddr, count: usize) -> Vec<u64> {
    eventually(PATIENCE, async || {
        let path = format!("/v1/channels/{CHANNEL}/messages?limit=100");
        let messages = http::get(door, &path).await.map_err(|error| error.to_string())?.json();
        let kept: Vec<u64> = messages["messages"].as_array().into_iter().flatten().filter_map(|message| message["data"].as_u64()).collect();
        if kept.len() == count { Ok(kept) } else { Err(format!("{door} keeps {messages}")) }
    })
    .await
}

/// Asks for the channel from a place on; what is answered.
async fn subscribe(guest: &Guest, from: Option<&Value>) -> Value {
    let mut subscribe = json!({ "channel": CHANNEL });
    if let Some(from) = from {
        (subscribe["recover"], subscribe["offset"], subscribe["epoch"]) = (json!(true), from["offset"].clone(), from["epoch"].clone());
    }
    let reply = guest.ask(json!({ "subscribe": subscribe })).await.unwrap();
    reply.get("subscribe").unwrap_or_else(|| panic!("{reply}")).clone()
}

/// Waits until all counter nodes of these sides read this.
async fn until_counted(pair: &Pair, sides: &[usize], likes: i64) {
    for node in sides.iter().flat_map(|side| &pair.sides[*side].counters) {
        eventually(PATIENCE, async || match Resp::default().command(node.resp.unwrap(), &["GET", "likes"]).await {
            Ok(Reply::Text(read)) if read == likes.to_string() => Ok(()),
            other => Err(format!("{other:?}, not {likes}")),
        })
        .await;
    }
}

async fn is_lost(pair: &mut Pair) {
    let side = &mut pair.sides[0];
    for node in side.region.gateways.iter_mut().chain(&mut side.counters) {
        node.kill9().await;
    }
    for server in side.region.redis.values_mut() {
        server.kill().await;
    }
    side.region.etcd.kill().await;
}

/// With what was on its disks: that is its counters and its ring.
async fn is_back(pair: &mut Pair) {
    let side = &mut pair.sides[0];
    side.region.etcd.restart().await;
    let names: Vec<String> = side.region.redis.keys().cloned().collect();
    for name in names {
        side.region.restart_redis(&name, Disk::Empty).await;
    }
    for node in side.counters.iter_mut().chain(&mut side.region.gateways) {
        node.restart().await;
    }
    pair.until_linked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_services_of_a_lost_region_carry_on_in_the_other_one_and_every_like_counts_once() {
    let mut pair = Pair::start(PairOptions { stale_s: 2, gone_s: 5 }).await;
    let (left, right) = (pair.sides[0].doors(), pair.sides[1].doors());
    let watcher = Watcher::start(right[0], "watcher", ROOM).await.unwrap();
    let movers = crowd::enter_all(["ann", "bob"].map(|user| wish(user, left[0]))).await;
    let lost = crowd::enter_all(["lou", "max"].map(|user| wish(user, left[1]))).await;
    let mut stayers = crowd::enter_all(["rex", "sue"].iter().zip(&right).map(|(user, door)| wish(user, *door))).await;

    // Publications of both regions, and where clients of both are then.
    let reader = subscribe(&movers[0], None).await;
    let neighbour = subscribe(&stayers[0], None).await;
    for (number, door) in [(1, left[0]), (2, right[0]), (3, left[1]), (4, right[1])] {
        publish(door, number).await;
        for door in [left[0], right[0]] {
            kept(door, usize::try_from(number).unwrap()).await;
        }
    }

    // One like is known in both regions, one in this alone, and of one nobody knows.
    let (shared, local, unknown) = (like(3), like(50), like(700));
    add(left[0], &shared).await;
    until_counted(&pair, &[0, 1], 3).await;
    let ways = || pair.sides.iter().flat_map(|side| &side.counter_ways).flatten();
    ways().for_each(Proxy::cut);
    assert_eq!(add(left[1], &local).await["value"], 53);
    for node in &pair.sides[0].counters {
        node.freeze().await;
    }
    let answer = timeout(IN_VAIN, http::post(left[0], "/v1/counters/likes/add", &unknown)).await;
    assert!(!answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200)), "its counters stand still");
    let died = Instant::now();
    is_lost(&mut pair).await;
    pair.heal();

    // Services retry in the other region.
    assert_eq!(add(right[0], &shared).await["duplicate"], true);
    for (at, like) in [&local, &unknown].into_iter().enumerate() {
        assert_eq!(add(right[at], like).await["duplicate"], false);
        add(right[1 - at], like).await;
    }
    until_counted(&pair, &[1], 753).await;

    // Clients come back there. Who does not is gone with the region, without a leave.
    let back = movers.iter().map(|mover| Wish { gateway: right[1], ..mover.wish.clone() });
    let moved = crowd::enter_all(back).await;
    drop((movers, lost));
    eventually(PATIENCE, async || match far(&pair.sides[1].region.gateways[0]).await {
        far if far["state"] == "gone" => Ok(()),
        far => Err(far.to_string()),
    })
    .await;
    let here = ["ann", "bob", "rex", "sue", "watcher"];
    let truth: BTreeMap<String, (u64, Value)> = here.map(|user| (user.to_owned(), (1, json!(["right"])))).into();
    for door in &right {
        until_roster(*door, ROOM, &truth, Some(true)).await;
    }
    figure::time("region-lost", "who is left is seen, and nobody else, after", died.elapsed());
    let noted = watcher.noted();
    assert_eq!((noted.leaves(), &noted.wrong), (vec![], &vec![]));

    // A place in the lost region's stream means nothing here, and a place of this one does.
    publish(right[0], 5).await;
    assert_eq!(kept(right[1], 5).await, [1, 2, 3, 4, 5]);
    let answer = subscribe(&moved[0], Some(&reader)).await;
    assert_eq!((answer["was_recovering"].as_bool(), answer["recovered"].as_bool().unwrap_or(false)), (Some(true), false), "{answer}");
    assert_ne!(answer["epoch"], reader["epoch"]);
    stayers[0] = Guest::enter(stayers[0].wish.clone()).await.unwrap();
    let answer = subscribe(&stayers[0], Some(&neighbour)).await;
    assert_eq!(answer["recovered"], true, "{answer}");
    let recovered: Vec<_> = answer["publications"].as_array().unwrap().iter().map(|publication| publication["data"].clone()).collect();
    assert_eq!(recovered, [1, 2, 3, 4, 5]);

    // The region is back with what it knew: what was counted twice meanwhile is taken back.
    is_back(&mut pair).await;
    let back = Instant::now();
    until_counted(&pair, &[0, 1], 753).await;
    figure::time("region-lost", "counters equal after its return", back.elapsed());
    for door in pair.doors() {
        until_roster(door, ROOM, &truth, None).await;
    }
    assert_eq!(kept(left[0], 3).await, [2, 4, 5], "what the other region has published");
    let noted = watcher.noted();
    assert_eq!((noted.leaves(), &noted.wrong), (vec![], &vec![]));
}
