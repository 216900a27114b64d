//! Nobody is told gone because etcd is away; and a gateway that stood still for too long announces its clients again.

use crate::lobby::{EXACT_AGAIN, Lobby, PATIENCE, wishes};
use std::time::Duration;
use testkit::{Guest, Watcher, crowd::Wish, figure};
use tokio::time::{Instant, sleep};

/// Who is here before the fault.
const GUESTS: usize = 100;
/// Who comes, and who goes, meanwhile.
const MOVING: usize = 10;
/// Longer than all leases live.
const LEASES_END: Duration = Duration::from_secs(20);
/// Longer than one lives, and somebody must be silent for after that to be dead.
const LEASE_ENDS: Duration = Duration::from_secs(10 + 1 + 5 + 2);
/// After etcd is back nobody is judged for 12 s, and then some may be silent for 5 s: whoever is taken for dead is so by then.
const JUDGED: Duration = Duration::from_secs(12 + 5 + 2);

/// Long enough that one who is reaped again and again would be seen to be.
const STABLE: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_gone_while_etcd_hangs_for_longer_than_leases_live_nor_one_gateway_cannot_reach_it() {
    let (mut lobby, mut guests) = full(2).await;
    lobby.until_steady().await;
    lobby.region.etcd.stop().await;
    away(&mut lobby, &mut guests, "hung", LEASES_END).await;
    lobby.region.etcd.cont().await;
    back(&mut lobby, &mut guests, "hung").await;
    // Its lease ends, and its canary is heard all the time.
    lobby.region.ways[1].cut();
    away(&mut lobby, &mut guests, "cut off from one", LEASE_ENDS).await;
    let fenced = lobby.sum("headcount_presence_fenced_total").await;
    assert_eq!(fenced, 0.0, "nobody was taken for dead");
    lobby.region.ways[1].heal();
    lobby.until_exact("reached again", &guests, EXACT_AGAIN).await;
    lobby.assert_nothing_was_told("reached again");
    lobby.assert_no_false_leaves("reached again").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes four minutes: cargo xtask faults"]
async fn nobody_is_told_gone_while_etcd_is_away_for_a_minute() {
    let (mut lobby, mut guests) = full(2).await;
    lobby.until_steady().await;
    lobby.region.etcd.kill().await;
    away(&mut lobby, &mut guests, "killed", Duration::from_secs(60)).await;
    lobby.region.etcd.restart().await;
    back(&mut lobby, &mut guests, "killed").await;
    lobby.region.etcd.stop().await;
    away(&mut lobby, &mut guests, "hung", Duration::from_secs(60)).await;
    lobby.region.etcd.cont().await;
    back(&mut lobby, &mut guests, "hung").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_gateway_that_stands_still_are_told_gone_and_here_again_when_it_goes_on() {
    let (mut lobby, mut guests) = full(3).await;
    lobby.until_steady().await;
    lobby.forget();
    let door = lobby.door(2);
    let frozen = Instant::now();
    lobby.region.gateways[2].freeze().await;
    let (still, rest): (Vec<_>, Vec<_>) = lobby.watchers.drain(..).partition(|watcher| watcher.gateway == door);
    lobby.watchers = rest;
    let seat = |watcher: &Watcher| Wish { user: watcher.user.clone(), channels: vec![watcher.channel.clone()], gateway: door };
    let mut went = wishes(guests.iter().filter(|guest| guest.wish.gateway == door));
    went.extend(still.iter().map(seat));
    lobby.until_told("frozen", &[], &went, PATIENCE).await;
    figure::time("gateway-stopped", "clients told gone after", frozen.elapsed());
    let (away, here): (Vec<Guest>, Vec<Guest>) = guests.into_iter().partition(|guest| guest.wish.gateway == door);
    lobby.until_exact("frozen", &here, PATIENCE).await;

    // Nobody comes or goes there, so that it has to find out by itself.
    guests = away;
    guests.extend(here);
    lobby.forget();
    lobby.region.gateways[2].thaw().await;
    let thawed = Instant::now();
    let elsewhere = lobby.watchers.len();
    lobby.watchers.extend(still);
    lobby.until_exact("thawed", &guests, EXACT_AGAIN).await;
    figure::time("gateway-stopped", "rosters exact after it goes on", thawed.elapsed());
    let still = lobby.watchers.split_off(elsewhere);
    lobby.until_told("thawed", &went, &[], PATIENCE).await;
    lobby.watchers.extend(still);
    let ended: Vec<String> = guests.iter().filter_map(Guest::ended).collect();
    assert_eq!(ended, [""; 0], "no connection was closed by that");
    figure::count("gateway-stopped", "connections closed", ended.len() as u64);
    let fenced = lobby.region.gateways[2].metric("headcount_presence_fenced_total").await;
    assert!(fenced >= 1.0, "it was not found out that it had been taken for dead");
    lobby.assert_sound("thawed");
    // The one that stood still heard that its own clients are gone, and rightly so.
    lobby.assert_no_false_leaves("thawed").await;
    sleep(STABLE).await;
    lobby.until_exact("long after", &guests, PATIENCE).await;
    moving(&mut lobby, &mut guests, "long after").await;
    lobby.until_redis_has("long after", &guests, PATIENCE).await;
    lobby.assert_sound("long after");
}

async fn full(gateways: usize) -> (Lobby, Vec<Guest>) {
    let lobby = Lobby::start_by_proxies(gateways, 2, 4, "").await;
    let doors: Vec<usize> = (0..gateways).collect();
    let guests = lobby.enter(GUESTS, &doors).await;
    lobby.until_exact("all in", &guests, PATIENCE).await;
    (lobby, guests)
}

/// Who comes and goes is told as ever, and nobody else is.
async fn moving(lobby: &mut Lobby, guests: &mut Vec<Guest>, what: &str) {
    lobby.forget();
    let leaving: Vec<Guest> = guests.drain(..MOVING).collect();
    let went = wishes(&leaving);
    for guest in leaving {
        guest.leave().await;
    }
    let doors: Vec<usize> = (0..lobby.region.gateways.len()).collect();
    let newcomers = lobby.enter(MOVING, &doors).await;
    let came = wishes(&newcomers);
    guests.extend(newcomers);
    lobby.until_told(what, &came, &went, PATIENCE).await;
    lobby.until_exact(what, guests, PATIENCE).await;
    lobby.forget();
}

async fn away(lobby: &mut Lobby, guests: &mut Vec<Guest>, what: &str, time: Duration) {
    let began = Instant::now();
    sleep(time / 2).await;
    moving(lobby, guests, &format!("while etcd is {what}")).await;
    sleep(time.saturating_sub(began.elapsed())).await;
    lobby.assert_nothing_was_told(what);
}

async fn back(lobby: &mut Lobby, guests: &mut Vec<Guest>, what: &str) {
    let since = Instant::now();
    lobby.until_exact(what, guests, EXACT_AGAIN).await;
    figure::time("etcd-away-presence", "rosters exact after its return", since.elapsed());
    sleep(JUDGED).await;
    lobby.assert_nothing_was_told(what);
    moving(lobby, guests, &format!("after etcd was {what}")).await;
    lobby.assert_sound(what);
    lobby.assert_no_false_leaves(what).await;
    figure("etcd-away-presence", "false leaves", lobby.sum("headcount_presence_false_leaves_total").await, "");
}
