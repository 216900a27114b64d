//! Redis nodes that lose what they had, or that one gateway or nobody reaches for a while: nobody is told gone who is here,
//! and soon everybody knows who is here, those included who came and went meanwhile.

use crate::lobby::{EXACT_AGAIN, Lobby, PATIENCE, wishes};
use std::time::Duration;
use testkit::{Disk, Guest, crowd, figure};
use tokio::time::{Instant, sleep};

const AT: &str = "redis-1";
/// Who is here before the first fault.
const GUESTS: usize = 200;
/// Who comes, and who goes, during each.
const MOVING: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_a_redis_node_nobody_is_told_gone_who_is_here() {
    let mut lobby = Lobby::start_with_names(2, 3, 6).await;
    let mut guests = lobby.enter(GUESTS, &[0, 1]).await;
    lobby.until_exact("all in", &guests, PATIENCE).await;
    lobby.until_redis_has("all in", &guests, PATIENCE).await;
    for fault in [Fault::Empty, Fault::Flushed, Fault::FlushedUnnoticed, Fault::Frozen, Fault::Cut] {
        amid(&mut lobby, &mut guests, fault).await;
    }
    lobby.assert_no_false_leaves("in the end").await;
    figure("redis-presence", "false leaves", lobby.sum("headcount_presence_false_leaves_total").await, "");
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The node is killed, and comes back with nothing.
    Empty,
    /// It loses its data and lives on.
    Flushed,
    /// The same, and nobody comes or goes who would be told.
    FlushedUnnoticed,
    /// It does not answer for a while.
    Frozen,
    /// It does not let one of the gateways in for a while.
    Cut,
}

impl Fault {
    async fn begin(self, lobby: &mut Lobby) {
        let node = lobby.region.redis.get_mut(AT).unwrap();
        match self {
            Fault::Empty => node.kill().await,
            Fault::Flushed | Fault::FlushedUnnoticed => _ = node.cli(&["FLUSHALL"]).await.unwrap(),
            Fault::Frozen => node.freeze().await,
            Fault::Cut => {
                node.cli(&["ACL", "SETUSER", "g1", "off"]).await.unwrap();
                let killed = node.cli(&["CLIENT", "KILL", "USER", "g1"]).await.unwrap();
                assert_ne!(killed, testkit::resp::Reply::Integer(0));
            }
        }
    }

    async fn end(self, lobby: &mut Lobby) {
        let node = lobby.region.redis.get_mut(AT).unwrap();
        match self {
            Fault::Empty => node.restart(Disk::Empty).await,
            Fault::Flushed | Fault::FlushedUnnoticed => {}
            Fault::Frozen => node.thaw().await,
            Fault::Cut => _ = node.cli(&["ACL", "SETUSER", "g1", "on"]).await.unwrap(),
        }
    }

    /// How long it lasts. A node that nobody reaches for longer is given up.
    fn lasts(self) -> Duration {
        Duration::from_millis(if let Fault::Cut = self { 6_000 } else { 1_000 })
    }
}

async fn amid(lobby: &mut Lobby, guests: &mut Vec<Guest>, fault: Fault) {
    let what = format!("{fault:?}");
    lobby.forget();
    fault.begin(lobby).await;
    let moving = if let Fault::FlushedUnnoticed = fault { 0 } else { MOVING };
    let leaving: Vec<Guest> = guests.drain(..moving).collect();
    let went = wishes(&leaving);
    for guest in leaving {
        guest.leave().await;
    }
    let newcomers = lobby.wishes(moving, &[0, 1]);
    let came = newcomers.clone();
    let entering = tokio::spawn(crowd::enter_all(newcomers));
    sleep(fault.lasts()).await;
    fault.end(lobby).await;
    let healed = Instant::now();
    guests.extend(entering.await.unwrap());
    println!("{what}: newcomers are in {:?} after the end of it", healed.elapsed());
    lobby.until_exact(&what, guests, EXACT_AGAIN.saturating_sub(healed.elapsed())).await;
    lobby.until_redis_has(&what, guests, EXACT_AGAIN.saturating_sub(healed.elapsed())).await;
    figure::time("redis-presence", "rosters exact after the end of it", healed.elapsed());
    // What is told falsely comes late.
    sleep(Duration::from_secs(2)).await;
    lobby.until_told(&what, &came, &went, PATIENCE).await;
    lobby.assert_sound(&what);
}
