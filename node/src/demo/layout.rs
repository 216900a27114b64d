//! Pure: which regions the demo has, where each listens, and how each is configured.

use crate::config::Listen;
use core::net::{Ipv4Addr, SocketAddr};
use serde_json::json;
use std::path::Path;

pub(super) const REGIONS_MIN: u8 = 2;
pub(super) const REGIONS_MAX: u8 = 5;
/// Ports from one region's to the next one's.
const STRIDE: u16 = 10;
/// The last port of the page for which all others exist.
pub(super) const PORT_MAX: u16 = u16::MAX - (REGIONS_MAX as u16 + 1) * STRIDE;
/// Europe, the United States, Asia and the Pacific, South America, Africa.
const NAMES: [&str; REGIONS_MAX as usize] = ["eu", "us", "ap", "sa", "af"];
/// A second is much for a page that is looked at: what is known of a region that is cut off is old soon, and gone soon.
const STALE_S: u64 = 1;
const GONE_S: u64 = 45;
/// Messages of each room, and seconds, that a region keeps for the others.
const HISTORY_SIZE: u32 = 1000;
const HISTORY_TTL_S: u32 = 3600;
/// Whose counters never go below zero.
pub(super) const NAMESPACE_OF_STOCK: &str = "stock";
/// Pages that are closed leave soon.
const GRACE_S: u64 = 3;
/// Seconds for pages to be told that the end has come.
pub(super) const DRAIN_S: u64 = 1;
/// Nobody is to learn a way around the links: nothing listens at the address that each node gives out.
const NOWHERE: &str = "127.0.0.1:9";

/// The page and the regions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) page: SocketAddr,
    pub(super) regions: Vec<Region>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Region {
    pub(super) name: &'static str,
    pub(super) listen: Listen,
}

impl Layout {
    /// With the page on `port` and the regions after it; where that is 0, on any ports.
    pub(super) fn new(regions: u8, port: u16) -> Layout {
        let at = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, if port == 0 { 0 } else { port + offset }));
        let region = |(name, first): (&'static str, u16)| {
            let listener = |which: u16| Some(at(first + which));
            Region { name, listen: Listen { client: listener(0), resp: listener(1), admin: listener(2), peer: listener(3), api: None } }
        };
        let names = NAMES.into_iter().take(usize::from(regions));
        Layout { page: at(0), regions: names.zip((1..).map(|number| number * STRIDE)).map(region).collect() }
    }

    /// With the addresses that were bound.
    pub(super) fn bound(self, page: SocketAddr, listens: Vec<Listen>) -> Layout {
        let regions = self.regions.into_iter().zip(listens).map(|(region, listen)| Region { listen, ..region });
        Layout { page, regions: regions.collect() }
    }

    /// Where the page may be opened: its origins, the one that is printed first.
    pub(super) fn origins(&self) -> [String; 2] {
        [format!("http://{}", self.page), format!("http://localhost:{}", self.page.port())]
    }

    /// Every two regions, by their places.
    pub(super) fn pairs(&self) -> Vec<(usize, usize)> {
        (0..self.regions.len()).flat_map(|a| (a + 1..self.regions.len()).map(move |b| (a, b))).collect()
    }

    /// How the region `at` is configured: `dialed` says where the link to another one begins.
    pub(super) fn config_toml(&self, at: usize, directory: &Path, key: &str, dialed: impl Fn(usize) -> SocketAddr) -> String {
        let Region { name, listen } = &self.regions[at];
        let address = |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        let others: Vec<usize> = (0..self.regions.len()).filter(|to| *to != at).collect();
        let seeds: Vec<String> = others.iter().map(|to| dialed(*to).to_string()).collect();
        let peers: Vec<String> = others.iter().map(|to| format!("{}={}", self.regions[*to].name, dialed(*to))).collect();
        let config = json!({
            "node": { "name": "n1", "region": name, "data_dir": directory.join(name) },
            "listen": {
                "client": address(listen.client), "resp": address(listen.resp), "admin": address(listen.admin), "peer": address(listen.peer),
            },
            "auth": { "origins": self.origins() },
            "namespace": [
                { "name": "chat", "global": true, "history_size": HISTORY_SIZE, "history_ttl_s": HISTORY_TTL_S },
                { "name": NAMESPACE_OF_STOCK, "type": "bounded" },
            ],
            "presence": { "grace_s": GRACE_S },
            "counter": { "seeds": seeds, "key": key, "address": NOWHERE },
            "regions": { "peers": peers, "stale_s": STALE_S, "gone_s": GONE_S },
            "log": { "level": "error" },
            "shutdown": { "drain_s": DRAIN_S },
        });
        toml::to_string(&config).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn port(address: Option<SocketAddr>) -> u16 {
        address.map_or(0, |address| address.port())
    }

    #[test]
    fn each_region_has_ports_of_its_own_after_the_page() {
        let layout = Layout::new(3, 8000);
        assert_eq!(layout.page.port(), 8000);
        let ports: Vec<_> = layout.regions.iter().map(|Region { name, listen }| (*name, port(listen.client), port(listen.peer))).collect();
        assert_eq!(ports, [("eu", 8010, 8013), ("us", 8020, 8023), ("ap", 8030, 8033)]);
        let last = Layout::new(REGIONS_MAX, PORT_MAX);
        assert!(last.regions.iter().all(|region| region.listen.client.is_some_and(|address| address.port() > PORT_MAX)));
        let free = Layout::new(2, 0);
        assert!(free.page.port() == 0 && free.regions.iter().all(|region| port(region.listen.resp) == 0));
    }

    #[test]
    fn every_region_is_configured_to_reach_each_other_one_by_its_link_alone() {
        let layout = Layout::new(3, 8000);
        for at in 0..3 {
            let link = |to: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, 100 + u16::try_from(to).unwrap()));
            let text = layout.config_toml(at, Path::new("somewhere"), "a key of at least sixteen bytes", link);
            let config = Config::load(Some(("the demo's configuration", &text)), &[]).unwrap();
            let peers: Vec<_> = config.regions.peers.iter().map(|peer| format!("{}={}", peer.region, peer.address)).collect();
            let all = ["eu=127.0.0.1:100", "us=127.0.0.1:101", "ap=127.0.0.1:102"];
            let others: Vec<&str> = all.into_iter().enumerate().filter(|(to, _)| *to != at).map(|(_, peer)| peer).collect();
            assert_eq!(peers, others);
            assert_eq!(config.counter.seeds, others.iter().map(|peer| &peer[3..]).collect::<Vec<_>>());
            assert_eq!(config.counter.address.as_deref(), Some(NOWHERE));
            assert_eq!(config.listen, layout.regions[at].listen);
            assert!(config.auth.development && config.auth.origins == ["http://127.0.0.1:8000", "http://localhost:8000"]);
        }
    }

    #[test]
    fn every_two_regions_are_a_pair() {
        assert_eq!(Layout::new(3, 0).pairs(), [(0, 1), (0, 2), (1, 2)]);
        assert_eq!(Layout::new(5, 0).pairs().len(), 10);
    }
}
