//! Pure: the section `[regions]`: where gateways of other regions are reached.

use super::{
    reader::Reader,
    sections::{is_host_and_port, is_identifier},
};

/// Peers that can be configured; more are refused.
const PEERS_MAX: usize = 64;

/// `[regions]`
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Regions {
    pub peers: Vec<RegionPeer>,
    pub stale_ms: u64,
    pub gone_ms: u64,
}

/// A gateway of another region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPeer {
    /// Its region.
    pub region: String,
    /// Its peer listener, as HOST:PORT.
    pub address: String,
}

impl Regions {
    /// `own`: the region of this node.
    pub(super) fn read(reader: &mut Reader, own: &str) -> Regions {
        let texts = reader.texts("regions.peers");
        if texts.len() > PEERS_MAX {
            reader.refuse("regions.peers", format!("{} peers; at most {PEERS_MAX} can be configured", texts.len()));
        }
        let peers: Vec<RegionPeer> = texts.iter().filter_map(|text| peer(text)).collect();
        if let Some(text) = texts.iter().find(|text| peer(text).is_none()) {
            reader.refuse("regions.peers", format!("{text:?} is not REGION=HOST:PORT"));
        }
        if let Some(peer) = peers.iter().find(|peer| peer.region == own) {
            let reason = format!("{:?} is of {own:?}, which is this node's own region: name gateways of other ones", peer.address);
            reader.refuse("regions.peers", reason);
        }
        let (stale_ms, gone_ms) = (reader.seconds_as_ms("regions.stale_s", 1..=3600), reader.seconds_as_ms("regions.gone_s", 2..=86_400));
        if gone_ms <= stale_ms {
            reader.refuse("regions.gone_s", "must be more than regions.stale_s: who may be gone is stale first".to_owned());
        }
        Regions { peers, stale_ms, gone_ms }
    }
}

fn peer(text: &str) -> Option<RegionPeer> {
    let (region, address) = text.split_once('=')?;
    let peer = RegionPeer { region: region.to_owned(), address: address.to_owned() };
    (is_identifier(region) && is_host_and_port(address)).then_some(peer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, problems};

    const GATEWAY: &str = "[node]\nregion = \"eu\"\nroles = [\"gateway\"]\n[counter]\nseeds = [\"c1:7400\"]\n";
    const KEY: &str = "key = \"sixteen bytes it has\"\n";

    fn peers(peers: &[&str]) -> String {
        format!("[regions]\npeers = {peers:?}\n")
    }

    #[test]
    fn several_peers_of_several_regions_are_read_in_their_order() {
        let config = load(&format!("{GATEWAY}{KEY}{}", peers(&["us=g1.us:7400", "us=[2001:db8::1]:7401", "ap=10.0.0.1:7400"])), &[]);
        let found: Vec<(String, String)> = config.unwrap().regions.peers.into_iter().map(|peer| (peer.region, peer.address)).collect();
        let expected = [("us", "g1.us:7400"), ("us", "[2001:db8::1]:7401"), ("ap", "10.0.0.1:7400")];
        assert_eq!(found, expected.map(|(region, address)| (region.to_owned(), address.to_owned())));
        assert!(load("", &[]).unwrap().regions.peers.is_empty());
    }

    #[test]
    fn what_is_no_peer_of_another_region_is_told_with_its_reason() {
        for (listed, reason) in [
            (["g1.us:7400"].as_slice(), "\"g1.us:7400\" is not REGION=HOST:PORT"),
            (&["us=g1.us"], "\"us=g1.us\" is not REGION=HOST:PORT"),
            (&["u s=g1.us:7400"], "\"u s=g1.us:7400\" is not REGION=HOST:PORT"),
            (&["us=g1:7400", "=g1:7400"], "\"=g1:7400\" is not REGION=HOST:PORT"),
            (&["us=g1:0"], "\"us=g1:0\" is not REGION=HOST:PORT"),
            (&["us=g1:7400", "eu=g2:7400"], "\"g2:7400\" is of \"eu\", which is this node's own region: name gateways of other ones"),
        ] {
            let found = problems(&format!("{GATEWAY}{KEY}{}", peers(listed)), &[]);
            assert_eq!(found, [format!("hc.toml:8: regions.peers = {listed:?}: {reason}")]);
        }
        let many: Vec<String> = (0..65).map(|at| format!("us=g{at}:7400")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let found = problems(&format!("{GATEWAY}{KEY}{}", peers(&many)), &[]);
        assert!(found.len() == 1 && found[0].ends_with("65 peers; at most 64 can be configured"), "{found:?}");
        assert_eq!(problems(&format!("{GATEWAY}{KEY}{}", peers(&many[1..])), &[]), [""; 0]);
    }

    #[test]
    fn a_region_is_stale_before_it_is_gone() {
        let config = load("[regions]\nstale_s = 2\ngone_s = 5\n", &[]).unwrap();
        assert_eq!((config.regions.stale_ms, config.regions.gone_ms), (2_000, 5_000));
        let found = problems("[regions]\nstale_s = 300\n", &[]);
        assert_eq!(found, ["default: regions.gone_s = 300: must be more than regions.stale_s: who may be gone is stale first"]);
    }

    #[test]
    fn links_need_what_shows_who_belongs_to_the_cluster_and_a_listener() {
        let us = peers(&["us=g1.us:7400"]);
        let named = "[node]\nname = \"n1\"\nregion = \"eu\"\n";
        let needs_key = "must be set with regions.peers, unless tls.peer_ca is: it shows who belongs to the cluster";
        assert_eq!(problems(&format!("{named}{us}"), &[]), [format!("default: counter.key: {needs_key}")]);
        let tls = "[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\npeer_ca = \"ca.pem\"\n";
        for fine in [format!("{named}{us}{tls}"), format!("{named}{us}[counter]\n{KEY}")] {
            assert_eq!(problems(&fine, &[]), [""; 0], "{fine}");
        }
        for config in [format!("{named}{us}[counter]\n{KEY}"), format!("{GATEWAY}{KEY}{us}")] {
            let lines = config.lines().count();
            let found = problems(&format!("{config}[listen]\npeer = \"\"\n"), &[]);
            let reason = "must be set with regions.peers: other nodes connect to it";
            assert_eq!(found, [format!("hc.toml:{}: listen.peer = \"\": {reason}", lines + 2)], "{config}");
        }
    }
}
