//! I/O: two regions with Redis and etcd of their own, which reach each other through proxies.

use core::net::SocketAddr;
use serde_json::json;
use std::time::Duration;
use testkit::{Direction, Node, Proxy, Region, RegionOptions, UNPACED, eventually, http};

const NAMES: [&str; 2] = ["eu", "us"];
/// How long they may need to find each other.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Scene {
    regions: Vec<Region>,
    /// By who dials.
    proxies: [Proxy; 2],
}

impl Scene {
    pub(super) async fn start() -> Scene {
        let proxies = NAMES.map(|_| Proxy::start(SocketAddr::from(([127, 0, 0, 1], 9))));
        let mut scene = Scene { regions: Vec::new(), proxies };
        for (at, other) in [(0, 1), (1, 0)] {
            let way = scene.proxies[at].address.to_string();
            let config_toml = format!(
                "[regions]\npeers = {}\n[counter]\nseeds = {}\nkey = \"the key of these two regions\"\naddress = \"127.0.0.1:9\"\n\
                 [[namespace]]\nname = \"chat\"\nglobal = true\nhistory_size = 100\n{UNPACED}",
                json!([format!("{}={way}", NAMES[other])]),
                json!([way])
            );
            let options =
                RegionOptions { name: NAMES[at].to_owned(), redis_nodes: 1, gateways: 1, config_toml, ..RegionOptions::default() };
            let region = Region::start(options).await;
            if let Some(peer) = region.gateways[0].peer {
                scene.proxies[other].retarget(peer);
            }
            scene.regions.push(region);
        }
        for at in [0, 1] {
            let node = scene.node(at);
            eventually(PATIENCE, async || {
                let regions = http::get(node.client, "/v1/regions").await.map_err(|error| error.to_string())?.json();
                let states = regions["regions"].as_array().into_iter().flatten().map(|region| region["state"].clone());
                if states.eq(["live", "live"]) { Ok(()) } else { Err(regions.to_string()) }
            })
            .await;
        }
        scene
    }

    /// Where changes are made.
    pub(super) fn here(&self) -> &Node {
        self.node(0)
    }

    /// Where they are watched.
    pub(super) fn there(&self) -> &Node {
        self.node(1)
    }

    fn node(&self, at: usize) -> &Node {
        &self.regions[at].gateways[0]
    }

    /// Every byte between the regions takes so long, from now on.
    pub(super) fn delay(&self, one_way: Duration) {
        self.proxies.iter().for_each(|proxy| proxy.delay(Direction::Both, one_way));
    }
}
