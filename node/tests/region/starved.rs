//! A gateway that gets hardly any time to run: it must still say that it lives.

use crate::lobby::{Lobby, PATIENCE};
use std::time::Duration;
use testkit::{ControlGroup, figure, http};
use tokio::time::{Instant, sleep, timeout};

const GUESTS: usize = 60;
/// Of one CPU.
const PERCENT: u32 = 10;
/// Several leases long.
const STARVED: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute, and root: cargo xtask faults"]
async fn a_gateway_with_a_tenth_of_a_cpu_is_not_taken_for_dead() {
    let lobby = Lobby::start(2, 2, 4, "").await;
    let guests = lobby.enter(GUESTS, &[0, 1]).await;
    lobby.until_exact("all in", &guests, PATIENCE).await;
    lobby.until_steady().await;
    lobby.forget();
    let group = ControlGroup::of_cpu(PERCENT).unwrap();
    let gateway = &lobby.region.gateways[1];
    group.take(gateway.pid().unwrap()).unwrap();
    let (since, mut slowest) = (Instant::now(), Duration::ZERO);
    while since.elapsed() < STARVED {
        let asked = Instant::now();
        let answer = timeout(STARVED, http::get(gateway.admin, "/readyz")).await;
        assert_eq!(answer.expect("an answer, however late").unwrap().status, 200);
        slowest = slowest.max(asked.elapsed());
        sleep(PAUSE).await;
    }
    lobby.assert_nothing_was_told("starved");
    drop(group);
    lobby.until_exact("fed", &guests, PATIENCE).await;
    lobby.assert_nothing_was_told("fed");
    let fenced = lobby.sum("headcount_presence_fenced_total").await;
    figure::time("cpu", "slowest answer of /readyz", slowest);
    figure("cpu", "taken for dead", fenced, "");
    assert_eq!(fenced, 0.0, "it was taken for dead");
    lobby.assert_no_false_leaves("fed").await;
}
