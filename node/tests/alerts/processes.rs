//! Processes that start again and again, get no CPU, stand still, have old certificates, and lose another region.

use crate::{
    stage::{Seen, Stage},
    table::Scene,
};
use core::net::SocketAddr;
use serde_json::json;
use std::{fs, time::Duration};
use testkit::{Authority, ControlGroup, Identity, Node, NodeOptions, Proxy, http};
use tokio::task::JoinSet;

/// Longer than a runtime may stand still without a word, and shorter than what ends the process.
const STALL_MS: u64 = 3_000;
/// What a starved process gets of one CPU, in percent.
const STARVED_PERCENT: u32 = 10;
/// Who ask it one thing after the other meanwhile, as it needs less than that while nobody does.
const ASKING: usize = 8;
const DAY: Duration = Duration::from_secs(86_400);
const KEY: &str = "the key of this cluster";

pub(crate) async fn play(seen: Seen) {
    let authority = Authority::new("ours");
    let [client, peer, client_renewed, peer_renewed] = [90; 4].map(|days| authority.signs_for("127.0.0.1", days * DAY));
    let (client_old, peer_old) = (authority.signs_for("127.0.0.1", 7 * DAY), authority.signs_for("127.0.0.1", DAY / 2));
    let mut restarting = node("", &[]).await;
    let starved = node("", &[]).await;
    let stalling = node("", &[("HEADCOUNT_FAILPOINTS", "stall")]).await;
    let showing = node(&certificates(&authority, &client, &peer), &[]).await;
    let far = region("far", "near=127.0.0.1:9").await;
    let link = Proxy::start(far.peer.unwrap());
    let near = region("near", &format!("far={}", link.address)).await;
    let targets = [&restarting, &starved, &stalling, &showing, &near].map(|node| ("nodes", node.admin));
    let stage = Stage::start(Scene::Processes, &seen, &targets).await;

    // The window is 15 s here, three starts that Prometheus sees must fall into it, and they are told apart by whole seconds.
    let again = stage.fault(&["HeadcountNodeRestarting"]).await;
    let restarts = async {
        for _ in 0..6 {
            restarting.restart().await;
            stage.sees("headcount_start_time_seconds", &restarting).await;
        }
    };
    tokio::join!(again.fires(), restarts);
    again.ends().await;

    let cut = stage.fault(&["HeadcountRegionUnreachable"]).await;
    link.cut();
    cut.fires().await;
    link.heal();
    cut.ends().await;

    let stalled = stage.fault(&["HeadcountRuntimeStalled"]).await;
    _ = http::post(stalling.admin, &format!("/failpoints/stall?ms={STALL_MS}"), &json!({})).await;
    stalled.fires().await;
    stalled.ends().await;

    let old = stage.fault(&["HeadcountCertificateExpires"]).await;
    replace(&client, &client_old);
    replace(&peer, &peer_old);
    old.fires().await;
    replace(&client, &client_renewed);
    replace(&peer, &peer_renewed);
    old.ends().await;

    let late = stage.fault(&["HeadcountRuntimeLag"]).await;
    let group = ControlGroup::of_cpu(STARVED_PERCENT).unwrap();
    group.take(starved.pid().unwrap()).unwrap();
    let mut asking = JoinSet::new();
    for _ in 0..ASKING {
        asking.spawn(ask(starved.admin));
    }
    late.fires().await;
    drop((group, asking));
    late.ends().await;
}

async fn ask(admin: SocketAddr) {
    loop {
        _ = http::get(admin, "/readyz").await;
    }
}

async fn node(config_toml: &str, env: &[(&str, &str)]) -> Node {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Node::start(NodeOptions { config_toml: config_toml.to_owned(), env, ..NodeOptions::default() }).await
}

/// A node of this region that follows another one.
async fn region(name: &str, peer: &str) -> Node {
    node(&format!("[node]\nname = \"n1\"\nregion = \"{name}\"\n[regions]\npeers = [\"{peer}\"]\n[counter]\nkey = \"{KEY}\"\n"), &[]).await
}

/// The configuration of a node that shows these to clients and to other nodes.
fn certificates(authority: &Authority, client: &Identity, peer: &Identity) -> String {
    format!(
        "[node]\nname = \"n1\"\n[auth]\nhmac_secrets = [\"one that nobody else has\"]\n[counter]\nseeds = [\"127.0.0.1:9\"]\n\
         [tls]\nclient_cert = {:?}\nclient_key = {:?}\ncert = {:?}\nkey = {:?}\npeer_ca = {:?}\n",
        client.cert,
        client.key,
        peer.cert,
        peer.key,
        authority.ca()
    )
}

/// From now on the files of one identity hold another one.
fn replace(old: &Identity, new: &Identity) {
    fs::copy(&new.key, &old.key).unwrap();
    fs::copy(&new.cert, &old.cert).unwrap();
}
