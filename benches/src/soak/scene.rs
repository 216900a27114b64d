//! I/O: two regions of released binaries, each with etcd, Redis nodes, a coordinator and gateways that have counters; they reach each
//! other, and the counters of one region too, through proxies only.

use super::plan::{REDIS_NODES, REGIONS};
use core::net::SocketAddr;
use serde_json::json;
use std::{path::Path, time::Duration};
use testkit::{Node, Proxy, Region, RegionOptions, UNPACED, crowd, eventually, http, load::Target};

pub(super) const NAMES: [&str; REGIONS] = ["eu", "us"];
/// Of each region. The first one is never killed nor stopped.
pub(super) const GATEWAYS: usize = 2;
/// The Redis node of each region that is added and removed.
pub(super) const GUEST: &str = "redis-guest";
/// How long they may need to find each other.
const PATIENCE: Duration = Duration::from_secs(120);
const NOWHERE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 9);

pub(super) struct Scene {
    pub(super) regions: Vec<Region>,
    /// From each gateway to each other one.
    ways: Vec<Way>,
}

/// Gateways by region and number.
struct Way {
    from: (usize, usize),
    to: (usize, usize),
    proxy: Proxy,
}

impl Scene {
    pub(super) async fn start() -> Scene {
        let all: Vec<(usize, usize)> = (0..REGIONS).flat_map(|region| (0..GATEWAYS).map(move |at| (region, at))).collect();
        let pairs = all.iter().flat_map(|from| all.iter().map(move |to| (*from, *to))).filter(|(from, to)| from != to);
        let ways = pairs.map(|(from, to)| Way { from, to, proxy: Proxy::start(NOWHERE) }).collect();
        let mut scene = Scene { regions: Vec::new(), ways };
        for (region, name) in NAMES.iter().enumerate() {
            let gateway_toml = (0..GATEWAYS).map(|at| scene.toml((region, at))).collect();
            let options = RegionOptions {
                name: (*name).to_owned(),
                redis_nodes: REDIS_NODES,
                gateways: GATEWAYS,
                coordinators: 1,
                config_toml: config(),
                gateway_toml,
                ..RegionOptions::default()
            };
            let mut region = Region::start(options).await;
            region.start_redis(GUEST).await;
            scene.regions.push(region);
        }
        for way in &scene.ways {
            way.proxy.retarget(scene.regions[way.to.0].gateways[way.to.1].peer.unwrap_or(NOWHERE));
        }
        scene.until_linked().await;
        scene
    }

    /// What only this gateway's configuration has.
    fn toml(&self, gateway: (usize, usize)) -> String {
        let from_here = self.ways.iter().filter(|way| way.from == gateway);
        let seeds: Vec<String> = from_here.clone().map(|way| way.proxy.address.to_string()).collect();
        let abroad = from_here.filter(|way| way.to.0 != gateway.0);
        let peers: Vec<String> = abroad.map(|way| format!("{}={}", NAMES[way.to.0], way.proxy.address)).collect();
        // Nobody is to learn a way around the proxies.
        format!(
            "[regions]\npeers = {}\n[counter]\nseeds = {}\nkey = \"the key of these two regions\"\naddress = \"{NOWHERE}\"\n",
            json!(peers),
            json!(seeds)
        )
    }

    /// Waits until each gateway has a link to the other region.
    pub(super) async fn until_linked(&self) {
        for gateway in self.gateways() {
            eventually(PATIENCE, async || {
                let answer = http::get(gateway.client, "/v1/regions").await.map_err(|error| error.to_string())?.json();
                let states = answer["regions"].as_array().into_iter().flatten().map(|region| region["state"].clone());
                if states.eq(["live", "live"]) { Ok(()) } else { Err(answer.to_string()) }
            })
            .await;
        }
    }

    pub(super) fn gateways(&self) -> impl Iterator<Item = &Node> {
        self.regions.iter().flat_map(|region| &region.gateways)
    }

    /// Where clients of each region connect.
    pub(super) fn doors(&self) -> Vec<Vec<SocketAddr>> {
        self.regions.iter().map(|region| region.gateways.iter().map(|gateway| gateway.client).collect()).collect()
    }

    /// Where likes are added.
    pub(super) fn targets(&self) -> Vec<Target> {
        let targets = self.gateways().enumerate();
        targets.map(|(at, node)| Target { at, client: node.client, resp: node.resp.unwrap_or(NOWHERE) }).collect()
    }

    fn between_regions(&self) -> impl Iterator<Item = &Proxy> {
        self.ways.iter().filter(|way| way.from.0 != way.to.0).map(|way| &way.proxy)
    }

    pub(super) fn cut(&self) {
        self.between_regions().for_each(Proxy::cut);
    }

    pub(super) fn heal(&self) {
        self.between_regions().for_each(Proxy::heal);
    }

    /// All processes that run, by their names.
    pub(super) fn processes(&self) -> Vec<(String, u32)> {
        let mut processes = vec![("this program".to_owned(), std::process::id())];
        for (name, region) in NAMES.iter().zip(&self.regions) {
            let gateways = region.gateways.iter().enumerate().map(|(at, node)| (format!("{name} gateway {at}"), node.pid()));
            let coordinators = region.coordinators.iter().map(|node| (format!("{name} coordinator"), node.pid()));
            let redis = region.redis.iter().map(|(node, server)| (format!("{name} {node}"), server.pid()));
            let etcd = [(format!("{name} etcd"), region.etcd.pid())];
            let all = gateways.chain(coordinators).chain(redis).chain(etcd);
            processes.extend(all.filter_map(|(name, pid)| Some((name, pid?))));
        }
        processes
    }

    /// Writes what each process has logged into a directory.
    pub(super) fn keep_logs(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(directory)?;
        for (name, region) in NAMES.iter().zip(&self.regions) {
            let gateways = region.gateways.iter().enumerate().map(|(at, node)| (format!("{name}-gateway-{at}"), node.log()));
            let coordinators = region.coordinators.iter().map(|node| (format!("{name}-coordinator"), node.log()));
            let redis = region.redis.iter().map(|(node, server)| (format!("{name}-{node}"), server.log()));
            for (name, log) in gateways.chain(coordinators).chain(redis).chain([(format!("{name}-etcd"), region.etcd.log())]) {
                std::fs::write(directory.join(format!("{name}.log")), log)?;
            }
        }
        Ok(())
    }
}

/// What all gateways have in common: rooms of members, and channels that keep more than flows during the longest fault, for so short a
/// time that the channels of a period are gone some periods later.
fn config() -> String {
    format!(
        "{}[[namespace]]\nname = \"chat\"\nglobal = true\nhistory_size = 2000\nhistory_ttl_s = 300\npresence = false\njoin_leave = false\n\
         [[namespace]]\nname = \"room\"\nglobal = true\nhistory_size = 0\n\
         {UNPACED}address_per_s = 0\nstale_timeout_s = 60\nhandshake_timeout_s = 60\n",
        crowd::auth_toml()
    )
}
