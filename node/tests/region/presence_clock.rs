//! A gateway's wall clock jumps. Leases, graces and canaries go by the monotonic one.

use crate::lobby::{Lobby, PATIENCE, config_toml, wishes};
use std::time::Duration;
use testkit::{Node, Region, RegionOptions, SkewedClock, figure};
use tokio::time::sleep;

const GUESTS: usize = 60;
const HOUR_S: i64 = 3_600;
/// Longer than a lease, and the silence after which somebody is taken for dead.
const WATCHED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: cargo xtask faults"]
async fn a_clock_that_jumps_by_an_hour_tells_nobody_gone() {
    let options = RegionOptions { redis_nodes: 2, gateways: 1, config_toml: config_toml(""), ..RegionOptions::default() };
    let mut region = Region::start(options).await;
    let clock = SkewedClock::build().unwrap();
    let mut options = region.gateway_options();
    options.env.extend(clock.env());
    region.gateways.push(Node::start(options).await);
    let lobby = Lobby::watch(region, 4).await;
    let mut guests = lobby.enter(GUESTS, &[0, 1]).await;
    lobby.until_exact("all in", &guests, PATIENCE).await;
    lobby.until_steady().await;
    for offset_s in [HOUR_S, -HOUR_S] {
        lobby.forget();
        clock.set(offset_s).unwrap();
        sleep(WATCHED).await;
        lobby.assert_nothing_was_told("after a jump");
        let newcomers = lobby.enter(10, &[0, 1]).await;
        let came = wishes(&newcomers);
        guests.extend(newcomers);
        lobby.until_told("newcomers", &came, &[], PATIENCE).await;
        lobby.until_exact("newcomers", &guests, PATIENCE).await;
    }
    figure("clock-jumps", "clients told gone falsely", lobby.sum("headcount_presence_false_leaves_total").await, "");
    figure("clock-jumps", "gateways taken for dead", lobby.sum("headcount_presence_fenced_total").await, "");
    assert_eq!(lobby.sum("headcount_presence_fenced_total").await, 0.0);
    lobby.assert_no_false_leaves("in the end").await;
}
