//! In a region one gateway of all tells what happens at any of them, and what becomes of gateways, nodes and the ring is nobody's
//! coming or going.

use crate::{
    enter,
    receiver::{PATIENCE, Receiver},
};
use testkit::{Node, Region, RegionOptions, crowd, eventually, http};

/// What was told of a channel or a user, kind by kind.
fn of(told: &[String], name: &str) -> Vec<String> {
    told.iter().filter_map(|event| event.split_once(' ')).filter(|(_, of)| *of == name).map(|(kind, _)| kind.to_owned()).collect()
}

async fn until(receiver: &Receiver, expected: &[(&str, &[&str])]) {
    receiver.until(&format!("{expected:?}"), |told| expected.iter().all(|(name, kinds)| of(told, name) == *kinds)).await;
}

/// Waits until everybody can be seen in the channel at this gateway.
async fn shows(gateway: &Node, channel: &str, users: usize) {
    eventually(PATIENCE, async || {
        let stats = http::get(gateway.client, &format!("/v1/channels/{channel}/presence/stats")).await?.json();
        anyhow::ensure!(stats["num_users"] == users, "in {channel}: {stats}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_tells_who_comes_and_goes_whatever_becomes_of_gateways_nodes_and_the_ring() {
    let receiver = Receiver::start().await;
    let config_toml = format!("{}[presence]\ngrace_s = 1\nlease_ttl_s = 2\n{}", crowd::auth_toml(), receiver.toml(""));
    let mut region =
        Region::start(RegionOptions { redis_nodes: 2, gateways: 3, config_toml, least_privilege: true, ..RegionOptions::default() }).await;

    // Several devices at several gateways.
    let ann = enter(&region.gateways[0], "ann", &["room"]).await;
    until(&receiver, &[("ann", &["online"]), ("room", &["occupied"])]).await;
    let second = enter(&region.gateways[1], "ann", &["room"]).await;
    ann.leave().await;
    second.leave().await;
    until(&receiver, &[("ann", &["online", "offline"]), ("room", &["occupied", "vacated"])]).await;

    // Bob stays from here on. Carol is at the gateway that dies, be it the one that tells or not.
    let bob = enter(&region.gateways[1], "bob", &["lounge"]).await;
    let carol = enter(&region.gateways[0], "carol", &["attic"]).await;
    until(&receiver, &[("bob", &["online"]), ("lounge", &["occupied"]), ("carol", &["online"]), ("attic", &["occupied"])]).await;
    region.ring(&["drain", "redis-0", "--force"]).await.unwrap();
    region.gateways[0].kill9().await;
    drop(carol);
    until(&receiver, &[("carol", &["online", "offline"]), ("attic", &["occupied", "vacated"])]).await;

    // Who goes while all is lost is told gone no more than who stays; the word of the loss says that all is to be read anew.
    let losses = of_losses(&receiver);
    for server in region.redis.values() {
        server.cli(&["FLUSHALL"]).await.unwrap();
    }
    receiver.until("the loss is told", |told| told.iter().filter(|event| *event == "resync_needed").count() > losses).await;
    until(&receiver, &[("bob", &["online", "online"]), ("lounge", &["occupied", "occupied"])]).await;
    region.ring(&["undrain", "redis-0", "--force"]).await.unwrap();
    shows(&region.gateways[2], "lounge", 1).await;
    bob.leave().await;
    until(&receiver, &[("bob", &["online", "online", "offline"]), ("lounge", &["occupied", "occupied", "vacated"])]).await;
    assert_eq!(of(&receiver.told(), "ann"), ["online", "offline"]);
    receiver.assert_sound();
    region.assert_nothing_was_refused().await;
}

fn of_losses(receiver: &Receiver) -> usize {
    receiver.told().iter().filter(|event| *event == "resync_needed").count()
}
