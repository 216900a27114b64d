//! Slots move, as planned or because their node is lost, while members come and go: nobody is told gone who is here, and
//! everybody knows who is here afterwards.

use crate::lobby::{Lobby, PATIENCE, wishes};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use testkit::{
    Guest,
    crowd::{self, Wish},
    figure,
};
use tokio::time::{Instant, sleep};

/// Who is here at first, and goes some time: only they do, so that everybody is told of each.
const GOING: usize = 600;
/// Who is here at first, and stays.
const STAYING: usize = 60;
/// So many go, come, and are away for a moment in a round.
const ROUND: usize = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// Who is here, and who has come and gone so far.
struct Churn {
    guests: Vec<Guest>,
    /// The first of the guests, who will go.
    going: usize,
    came: Vec<Wish>,
    went: Vec<Wish>,
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_while_members_come_and_go() {
    let mut lobby = Lobby::start(2, 2, 6, "").await;
    let guests = lobby.enter(GOING + STAYING, &[0, 1]).await;
    lobby.until_exact("all in", &guests, PATIENCE).await;
    lobby.forget();
    let mut churn = Churn { guests, going: GOING, came: Vec::new(), went: Vec::new() };

    lobby.region.start_redis("redis-2").await;
    let url = lobby.region.redis["redis-2"].url();
    for change in [&["add", "redis-2", url.as_str()][..], &["drain", "redis-0"], &["undrain", "redis-0"]] {
        let what = change[..2].join(" ");
        let is_done = AtomicBool::new(false);
        let changing = async {
            let told = lobby.region.ring(&[change, &["--force"]].concat()).await.unwrap();
            is_done.store(true, Ordering::Relaxed);
            told
        };
        let churning = async {
            while !is_done.load(Ordering::Relaxed) {
                round(&lobby, &mut churn).await;
            }
        };
        let (began, (told, ())) = (Instant::now(), tokio::join!(changing, churning));
        println!("{told}");
        figure::time("ring-moves", &format!("a change with members coming and going ({what})").replace(" redis-", " "), began.elapsed());
        is_settled(&lobby, &churn, &what).await;
    }

    lobby.until_steady().await;
    let mut lost = lobby.region.redis.remove("redis-2").unwrap();
    let since = Instant::now();
    lost.kill().await;
    while lobby.region.gateways[0].metric("headcount_ring_nodes{state=\"serving\"}").await != 2.0 {
        round(&lobby, &mut churn).await;
        assert!(since.elapsed() < PATIENCE, "the lost node is not removed");
    }
    figure::time("ring-moves", "a lost node is out of the ring after", since.elapsed());
    is_settled(&lobby, &churn, "a node lost").await;
    lobby.assert_no_false_leaves("in the end").await;
}

async fn round(lobby: &Lobby, churn: &mut Churn) {
    let Some(going) = churn.going.checked_sub(ROUND) else {
        // On a slow machine a change may take longer than there are people to come and go.
        return sleep(PAUSE).await;
    };
    churn.going = going;
    let going: Vec<Guest> = churn.guests.drain(..ROUND).collect();
    churn.went.extend(wishes(&going));
    for guest in going {
        guest.leave().await;
    }
    let away: Vec<Guest> = churn.guests.drain(churn.going..churn.going + ROUND).collect();
    let back: Vec<Wish> = away.iter().map(|guest| lobby.again(guest, usize::from(guest.wish.gateway == lobby.door(0)))).collect();
    drop(away);
    let strangers = lobby.wishes(ROUND, &[0, 1]);
    churn.came.extend(strangers.clone());
    churn.guests.extend(crowd::enter_all(strangers.into_iter().chain(back)).await);
    sleep(PAUSE).await;
}

async fn is_settled(lobby: &Lobby, churn: &Churn, what: &str) {
    lobby.until_exact(what, &churn.guests, PATIENCE).await;
    lobby.until_redis_has(what, &churn.guests, PATIENCE).await;
    lobby.until_told(what, &churn.came, &churn.went, PATIENCE).await;
    lobby.assert_sound(what);
}
