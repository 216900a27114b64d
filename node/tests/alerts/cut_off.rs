//! A gateway that reaches neither etcd nor any Redis node, and then does again.

use crate::{
    people,
    stage::{Seen, Stage},
    table::Scene,
};
use testkit::{Region, RegionOptions, crowd};

const PASSWORD: &str = "wonder";
/// Publications that a channel keeps; more than these are missed.
const HISTORY: usize = 5;

pub(crate) async fn play(seen: Seen) {
    let known = (0..2).map(|at| format!("user g{at} on >{PASSWORD} ~* &* +@all"));
    let login = (0..2).map(|at| format!("[redis]\nusername = \"g{at}\"\npassword = \"{PASSWORD}\"\n"));
    let options = RegionOptions {
        redis_nodes: 2,
        gateways: 2,
        etcd_by_proxy: true,
        config_toml: format!("{}[namespace_default]\nhistory_size = {HISTORY}\n", crowd::auth_toml()),
        gateway_toml: login.collect(),
        redis_options: known.collect(),
        ..RegionOptions::default()
    };
    let region = Region::start(options).await;
    let [here, away] = [0, 1].map(|at| region.gateways[at].client);
    let _guests = [people::guests(3, here, "ann").await, people::guests(3, away, "bob").await];
    for channel in people::channels() {
        assert_eq!(people::publish(here, &channel).await, 200);
    }
    let targets = [0, 1].map(|at| ("local", region.gateways[at].admin));
    let stage = Stage::start(Scene::CutOff, &seen, &targets).await;

    let cut = stage
        .fault(&[
            "HeadcountEtcdLeaseLow",
            "HeadcountGatewayReaped",
            "HeadcountResubscribePending",
            "HeadcountRingEpochsDiffer",
            "HeadcountRingStale",
        ])
        .await;
    region.ways[1].cut();
    for server in region.redis.values() {
        server.cli(&["ACL", "SETUSER", "g1", "off"]).await.unwrap();
        server.cli(&["CLIENT", "KILL", "USER", "g1"]).await.unwrap();
    }
    region.ring(&["reweight", "redis-0", "2", "--force"]).await.unwrap();
    for channel in people::channels() {
        for _ in 0..2 * HISTORY {
            people::publish(here, &channel).await;
        }
    }
    cut.fires().await;

    let back = stage.fault(&["HeadcountGatewayFenced", "HeadcountPublicationsLost"]).await;
    for server in region.redis.values() {
        server.cli(&["ACL", "SETUSER", "g1", "on"]).await.unwrap();
    }
    region.ways[1].heal();
    back.fires().await;
    back.ends().await;
    cut.ends().await;
}
