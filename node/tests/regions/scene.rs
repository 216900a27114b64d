//! Nodes in regions of their own, which reach each other only through proxies.

use core::net::{Ipv4Addr, SocketAddr};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use testkit::{Node, NodeOptions, Proxy, eventually, http};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);
/// Where nobody listens.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

pub(crate) struct Scene {
    pub(crate) nodes: Vec<Node>,
    /// By who dials and who is dialed.
    pub(crate) proxies: BTreeMap<(usize, usize), Proxy>,
}

impl Scene {
    /// Starts so many regions, whose namespace `chat` is global and keeps `history_size` publications of each channel, and waits until
    /// each knows all others.
    pub(crate) async fn start(count: usize, history_size: usize) -> Scene {
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to))).filter(|(from, to)| from != to);
        let mut scene = Scene { nodes: Vec::new(), proxies: pairs.map(|pair| (pair, Proxy::start(NOWHERE))).collect() };
        let key = Uuid::new_v4();
        for at in 0..count {
            let dialed = scene.proxies.iter().filter(|((from, _), _)| *from == at);
            let peers: Vec<String> = dialed.map(|((_, to), proxy)| format!("r{to}={}", proxy.address)).collect();
            let config_toml = format!(
                "{}[node]\nname = \"n1\"\nregion = \"r{at}\"\n[regions]\npeers = {}\nstale_s = 2\ngone_s = 5\n[counter]\nkey = \"the key of cluster {key}\"\n\
                 [[namespace]]\nname = \"chat\"\nglobal = true\nhistory_size = {history_size}\n[[namespace]]\nname = \"local\"\n",
                testkit::crowd::auth_toml(),
                json!(peers)
            );
            let node = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
            let dialed = scene.proxies.iter().filter(|((_, to), _)| *to == at);
            dialed.for_each(|(_, proxy)| proxy.retarget(node.peer.unwrap_or(NOWHERE)));
            scene.nodes.push(node);
        }
        for node in &scene.nodes {
            eventually(PATIENCE, async || {
                let regions = http::get(node.client, "/v1/regions").await.unwrap().json();
                let live = regions["regions"].as_array().unwrap().iter().filter(|region| region["state"] == "live").count();
                if live == count { Ok(()) } else { Err(regions.to_string()) }
            })
            .await;
        }
        scene
    }

    pub(crate) fn gateways(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.client).collect()
    }
}

/// What a channel keeps at a node: data, and region where it is another one.
pub(crate) async fn history(node: &Node, channel: &str) -> Value {
    let messages = http::get(node.client, &format!("/v1/channels/{channel}/messages?limit=300")).await.unwrap().json();
    let publications = messages["messages"].as_array().cloned().unwrap_or_default();
    publications.iter().map(|publication| json!([publication["data"], publication["region"]])).collect()
}

/// A channel's roster at a node: user, clients and regions of each member.
pub(crate) async fn roster(node: &Node, channel: &str) -> (Value, Value) {
    let roster = http::get(node.client, &format!("/v1/channels/{channel}/presence")).await.unwrap().json();
    let members = roster["members"].as_array().cloned().unwrap_or_default();
    let members = members.iter().map(|member| json!([member["user"], member["num_clients"], member["regions"]])).collect();
    (members, json!([roster["num_users"], roster["num_clients"], roster["stale"]]))
}
