//! Clients who stand still cost Redis nothing, and those of a gateway that is killed are told gone, soon and rightly.

use crate::lobby::{Lobby, PATIENCE, wishes};
use std::{collections::BTreeMap, time::Duration};
use testkit::{
    Guest, RedisServer,
    crowd::{self, Wish},
    figure,
    resp::Reply,
};
use tokio::time::{Instant, sleep};

/// From a crash to the last leave.
const GONE: Duration = Duration::from_secs(17);
/// Users of the killed gateway who have another client elsewhere.
const ELSEWHERE: usize = 100;
/// Clients of the gateway that is started again who do not come back.
const LOST: usize = 10;
/// Rows of one call.
const CHUNK: u64 = 500;
/// Microseconds in which one such call keeps a node from everything else.
const STALL_US_MAX: i64 = 25_000;
const STALL_US_MEDIAN_MAX: i64 = 5_000;
/// What gateways do every few seconds falls into one of two equally long times or into the other. One command for each client
/// would be half as much again with a thousand of them.
const COMMANDS_LEEWAY: f64 = 1.35;

struct Size {
    /// At the gateway that is killed.
    clients: usize,
    channels: usize,
    idle: Duration,
    is_stall_bounded: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_cost_nothing_and_those_of_a_killed_gateway_are_told_gone() {
    idle_and_killed(&Size { clients: 1_000, channels: 4, idle: Duration::from_secs(20), is_stall_bounded: false }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and says how long Redis stalls: cargo xtask faults"]
async fn fifteen_thousand_idle_clients_cost_nothing_and_are_told_gone_when_their_gateway_is_killed() {
    idle_and_killed(&Size { clients: 15_000, channels: 20, idle: Duration::from_secs(60), is_stall_bounded: true }).await;
}

async fn idle_and_killed(size: &Size) {
    let lobby = Lobby::start(3, 2, size.channels, "").await;
    let mut guests = lobby.enter(100, &[2]).await;
    lobby.until_exact("a few", &guests, PATIENCE).await;
    let few = commands_while_idle(&lobby, size.idle).await;
    guests.extend(lobby.enter(size.clients - 100, &[2]).await);
    let also_elsewhere: Vec<Wish> = guests.iter().take(ELSEWHERE).enumerate().map(|(n, guest)| lobby.again(guest, n % 2)).collect();
    guests.extend(crowd::enter_all(also_elsewhere).await);
    guests.extend(lobby.enter(100, &[0, 1]).await);
    lobby.until_exact("all in", &guests, 3 * PATIENCE).await;
    let many = commands_while_idle(&lobby, size.idle).await;
    let (few_sum, many_sum): (u64, u64) = (few.values().sum(), many.values().sum());
    println!("commands in {:?}: {few_sum} with 100 clients: {few:?}; {many_sum} with {}: {many:?}", size.idle, guests.len());
    // On a busy machine whatever is done every second is done less often: that shows in the pings.
    let pace = many["ping"] as f64 / few["ping"] as f64;
    let expected = few_sum as f64 * pace;
    assert!(many_sum as f64 <= expected * COMMANDS_LEEWAY, "{many_sum} commands with {} clients, {expected:.0} expected", guests.len());

    lobby.until_steady().await;
    lobby.forget();
    for server in lobby.region.redis.values() {
        for setting in [["slowlog-max-len", "1000000"], ["slowlog-log-slower-than", "0"]] {
            server.cli(&["CONFIG", "SET", setting[0], setting[1]]).await.unwrap();
        }
    }
    is_killed(lobby, guests, size).await;
}

async fn is_killed(mut lobby: Lobby, guests: Vec<Guest>, size: &Size) {
    let door = lobby.door(2);
    let watched = lobby.watchers.len();
    let killed = Instant::now();
    lobby.region.gateways[2].kill9().await;
    lobby.watchers.retain(|watcher| watcher.gateway != door);
    let (gone, stay): (Vec<Guest>, Vec<Guest>) = guests.into_iter().partition(|guest| guest.wish.gateway == door);
    // Each client is in a channel and in its user's partition; the watchers there were clients, too.
    let rows = 2 * (gone.len() + watched - lobby.watchers.len());
    let mut went = wishes(gone.iter().filter(|guest| stay.iter().all(|other| other.wish.user != guest.wish.user)));
    let seat = |channel: &String| Wish { user: "watcher2".to_owned(), channels: vec![channel.clone()], gateway: door };
    went.extend(lobby.channels.iter().map(seat));
    drop(gone);
    lobby.until_told("killed", &[], &went, PATIENCE).await;
    lobby.until_exact("killed", &stay, PATIENCE).await;
    let mut last = Duration::ZERO;
    for watcher in &lobby.watchers {
        let noted = watcher.noted();
        let times = noted.told.iter().map(|told| told.at).chain(noted.left.iter().map(|(at, _)| *at));
        last = times.map(|at| at - killed).max().unwrap_or_default().max(last);
    }
    // What is told twice, or falsely, comes late.
    sleep(Duration::from_secs(2)).await;
    lobby.until_told("long after", &[], &went, PATIENCE).await;
    lobby.assert_sound("killed");
    lobby.assert_no_false_leaves("killed").await;
    let reaped = lobby.sum("headcount_presence_ghosts_reaped_total").await;
    println!("{} members told gone, the last {last:?} after the crash (bound: {GONE:?}); {reaped} rows reaped of {rows}", went.len());
    figure::time("gateway-killed", "last leave after the crash", last);
    figure("gateway-killed", "false leaves", lobby.sum("headcount_presence_false_leaves_total").await, "");
    assert!(last <= GONE, "the last leave came {last:?} after the crash");
    assert_eq!(reaped, rows as f64);
    assert_stalls(&lobby, rows, size).await;
    is_killed_and_started_again(lobby, stay).await;
}

/// A gateway is back so soon that its lease has not ended. Its clients come back at the other one at once, but for a few.
async fn is_killed_and_started_again(mut lobby: Lobby, guests: Vec<Guest>) {
    let door = lobby.door(1);
    lobby.forget();
    let (gone, rest): (Vec<_>, Vec<_>) = lobby.watchers.drain(..).partition(|watcher| watcher.gateway == door);
    lobby.watchers = rest;
    let (mut away, mut here): (Vec<Guest>, Vec<Guest>) = guests.into_iter().partition(|guest| guest.wish.gateway == door);
    // Those who have nobody elsewhere, so that each is told gone.
    let is_alone = |guest: &Guest| here.iter().all(|other| other.wish.user != guest.wish.user);
    let lost = away.iter().rposition(is_alone).unwrap();
    let lost = away.split_off(lost + 1 - LOST);
    assert!(lost.iter().all(is_alone), "the last ones to enter have one client each");
    let mut back: Vec<Wish> = away.iter().map(|guest| lobby.again(guest, 0)).collect();
    let seat = |channel: &String| Wish { user: "watcher1".to_owned(), channels: vec![channel.clone()], gateway: lobby.door(0) };
    back.extend(lobby.channels.iter().map(seat));
    let killed = Instant::now();
    let ((), back) = tokio::join!(lobby.region.gateways[1].restart(), crowd::enter_all(back));
    println!("started again and back after {:?}", killed.elapsed());
    drop((gone, away));
    here.extend(back);
    lobby.until_told("started again", &[], &wishes(&lost), PATIENCE).await;
    println!("the lost ones are told gone {:?} after the crash (bound: {GONE:?})", killed.elapsed());
    figure::time("gateway-killed", "last leave, started again at once", killed.elapsed());
    assert!(killed.elapsed() <= GONE);
    lobby.watch_at(1).await;
    lobby.until_exact("started again", &here, PATIENCE).await;
    lobby.assert_sound("started again");
    lobby.assert_no_false_leaves("started again").await;
}

/// What one call of the reaper costs a node.
async fn assert_stalls(lobby: &Lobby, rows: usize, size: &Size) {
    let is_reap = |script: &&ring_coordinator::redis::Script| script.code().contains("Takes rows of a dead owner");
    let scripts = presence::scripts();
    let sha1 = scripts.iter().find(is_reap).unwrap().sha1();
    let mut stalls = Vec::new();
    for server in lobby.region.redis.values() {
        stalls.extend(reaps(server, sha1).await);
    }
    stalls.sort_unstable();
    assert!(stalls.len() as u64 * CHUNK >= rows as u64 && !stalls.is_empty(), "{} calls for {rows} rows", stalls.len());
    let (median, longest) = (stalls[stalls.len() / 2], stalls[stalls.len() - 1]);
    println!("{} calls of the reaper: median {median} µs, longest {longest} µs", stalls.len());
    if size.is_stall_bounded {
        assert!(longest <= STALL_US_MAX && median <= STALL_US_MEDIAN_MAX, "median {median} µs, longest {longest} µs");
    }
}

/// Microseconds of each call of the reaper; no call is for more rows than [`CHUNK`].
async fn reaps(server: &RedisServer, sha1: &str) -> Vec<i64> {
    let Reply::List(entries) = server.cli(&["SLOWLOG", "GET", "-1"]).await.unwrap() else { panic!("no list") };
    let mut calls = Vec::new();
    for entry in entries {
        let Reply::List(entry) = entry else { continue };
        let [_, _, Reply::Integer(us), Reply::List(words), ..] = &entry[..] else { continue };
        if words.get(1) == Some(&Reply::Text(sha1.to_owned())) {
            assert_eq!(words.last(), Some(&Reply::Text(CHUNK.to_string())), "{words:?}");
            calls.push(*us);
        }
    }
    calls
}

/// What all nodes were asked while nobody did anything, those commands included that scripts call.
async fn commands_while_idle(lobby: &Lobby, idle: Duration) -> BTreeMap<String, u64> {
    let before = commands(lobby).await;
    sleep(idle).await;
    let after = commands(lobby).await;
    after
        .into_iter()
        .map(|(name, calls)| (name.clone(), calls - before.get(&name).copied().unwrap_or(0)))
        .filter(|(_, calls)| *calls > 0)
        .collect()
}

async fn commands(lobby: &Lobby) -> BTreeMap<String, u64> {
    let mut commands: BTreeMap<String, u64> = BTreeMap::new();
    for server in lobby.region.redis.values() {
        let Reply::Text(stats) = server.cli(&["INFO", "commandstats"]).await.unwrap() else { panic!("no text") };
        for line in stats.lines() {
            let Some((name, rest)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls=")) else { continue };
            *commands.entry(name.to_owned()).or_default() += rest.split(',').next().unwrap().parse::<u64>().unwrap();
        }
    }
    commands
}
