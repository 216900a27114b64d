//! Two regions, each with Redis nodes, etcd, gateways and counter nodes of its own, which reach each other only through proxies.

use crate::scene::NOWHERE;
use core::net::SocketAddr;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use testkit::{Direction, Flow, Node, NodeOptions, Proxy, Region, RegionOptions, Traffic, TrafficOptions, crowd, eventually, http};
use tokio::time::Instant;
use uuid::Uuid;

/// How long anything may take that has no bound of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Gateways, Redis nodes and counter nodes of a region, each.
const EACH: usize = 2;
/// Of every channel that flows, so many publications have come since something happened.
const FLOWS: u64 = 5;

/// What the regions are like.
#[derive(Clone, Copy)]
pub(crate) struct PairOptions {
    /// `regions.stale_s` and `regions.gone_s`.
    pub(crate) stale_s: u64,
    pub(crate) gone_s: u64,
}

/// For tests in which nobody is to be taken for gone.
impl Default for PairOptions {
    fn default() -> PairOptions {
        PairOptions { stale_s: 30, gone_s: 300 }
    }
}

/// The two.
pub(crate) struct Pair {
    pub(crate) sides: [Side; 2],
}

/// One region, and the ways from each of its nodes to each node of the other one.
pub(crate) struct Side {
    pub(crate) region: Region,
    pub(crate) counters: Vec<Node>,
    pub(crate) gateway_ways: Vec<Vec<Proxy>>,
    pub(crate) counter_ways: Vec<Vec<Proxy>>,
}

/// Proxies from each node to each.
fn ways() -> Vec<Vec<Proxy>> {
    (0..EACH).map(|_| (0..EACH).map(|_| Proxy::start(NOWHERE)).collect()).collect()
}

fn toml(options: PairOptions, counter: &Value) -> String {
    let PairOptions { stale_s, gone_s } = options;
    // Traffic is of channels that keep all of it, and of such that keep almost nothing.
    let namespaces: String = [("chat", 20_000, false), ("brief", 5, false), ("room", 100, true)]
        .map(|(name, history_size, presence)| {
            format!(
                "[[namespace]]\nname = \"{name}\"\nglobal = true\nhistory_size = {history_size}\npresence = {presence}\njoin_leave = {presence}\n"
            )
        })
        .concat();
    format!(
        "{}{namespaces}[limits]\nstale_timeout_s = 60\nhandshake_timeout_s = 60\n\
         [presence]\ngrace_s = 6\n[counter]\nkey = {}\nseeds = {}\n[regions]\nstale_s = {stale_s}\ngone_s = {gone_s}\n",
        crowd::auth_toml(),
        counter["key"],
        counter["seeds"],
    )
}

impl Side {
    async fn start(name: &str, options: PairOptions, key: Uuid, ways: [Vec<Vec<Proxy>>; 2], other: &str) -> Side {
        let [gateway_ways, counter_ways] = ways;
        let mut counters: Vec<Node> = Vec::new();
        for (at, ways) in counter_ways.iter().enumerate() {
            let own = counters.iter().filter_map(|node| node.peer);
            let seeds: Vec<String> = own.chain(ways.iter().map(|way| way.address)).map(|address| address.to_string()).collect();
            // Nobody is to learn a way around the proxies.
            let config_toml = format!(
                "[node]\nname = \"c{at}\"\nregion = \"{name}\"\nroles = [\"counter\"]\n\
                 [counter]\nkey = \"{key}\"\nseeds = {}\naddress = \"127.0.0.1:9\"\n",
                json!(seeds)
            );
            counters.push(Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await);
        }
        let seeds: Vec<String> = counters.iter().filter_map(|node| node.peer).map(|peer| peer.to_string()).collect();
        let peers = |ways: &Vec<Proxy>| ways.iter().map(|way| format!("{other}={}", way.address)).collect::<Vec<_>>();
        let region = Region::start(RegionOptions {
            name: name.to_owned(),
            redis_nodes: EACH,
            gateways: EACH,
            counts_elsewhere: true,
            config_toml: toml(options, &json!({ "key": key, "seeds": seeds })),
            // It stands in the section [regions].
            gateway_toml: gateway_ways.iter().map(|ways| format!("peers = {}\n", json!(peers(ways)))).collect(),
            ..RegionOptions::default()
        });
        Side { region: region.await, counters, gateway_ways, counter_ways }
    }

    /// Its gateways, for clients.
    pub(crate) fn doors(&self) -> Vec<SocketAddr> {
        self.region.gateways.iter().map(|gateway| gateway.client).collect()
    }

    /// All ways that begin here.
    pub(crate) fn ways(&self) -> impl Iterator<Item = &Proxy> {
        self.gateway_ways.iter().chain(&self.counter_ways).flatten()
    }
}

impl Pair {
    /// Starts both, and waits until all know all others.
    pub(crate) async fn start(options: PairOptions) -> Pair {
        let key = Uuid::new_v4();
        let (left, right) = tokio::join!(
            Side::start("left", options, key, [ways(), ways()], "right"),
            Side::start("right", options, key, [ways(), ways()], "left")
        );
        let pair = Pair { sides: [left, right] };
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to) = (&pair.sides[from], &pair.sides[to]);
            for (ways, nodes) in [(&from.gateway_ways, &to.region.gateways), (&from.counter_ways, &to.counters)] {
                for (way, node) in ways.iter().flat_map(|ways| ways.iter().zip(nodes)) {
                    way.retarget(node.peer.unwrap());
                }
            }
        }
        pair.until_linked().await;
        pair
    }

    /// Waits until every gateway has a link to the other region, and every counter node has heard of all others.
    pub(crate) async fn until_linked(&self) {
        for side in &self.sides {
            for gateway in &side.region.gateways {
                eventually(PATIENCE, async || match far(gateway).await {
                    far if far["state"] == "live" && far["trouble"].is_null() => Ok(()),
                    far => Err(far.to_string()),
                })
                .await;
            }
            for counter in &side.counters {
                eventually(PATIENCE, async || {
                    // The nodes that are dialed by it or have dialed it.
                    let peers = counter.metric("headcount_counter_peers").await;
                    if peers >= (2 * EACH - 1) as f64 { Ok(()) } else { Err(format!("{peers} peers")) }
                })
                .await;
            }
        }
    }

    /// A gateway of this side that serves links to the other one.
    pub(crate) async fn serving(&self, side: usize) -> usize {
        for (at, gateway) in self.sides[side].region.gateways.iter().enumerate() {
            if gateway.metric("headcount_region_served_links").await >= 1.0 {
                return at;
            }
        }
        panic!("nobody serves the gateways of the other side")
    }

    /// The gateways of both, for clients.
    pub(crate) fn doors(&self) -> Vec<SocketAddr> {
        self.sides.iter().flat_map(Side::doors).collect()
    }

    fn ways(&self) -> impl Iterator<Item = &Proxy> {
        self.sides.iter().flat_map(Side::ways)
    }

    /// Nothing gets through any more, and everybody notices.
    pub(crate) fn cut(&self) {
        self.ways().for_each(Proxy::cut);
    }

    /// What one side says does not reach the other, and nobody is told.
    pub(crate) fn silence(&self, from: usize) {
        self.sides[from].ways().for_each(|way| way.black_hole(Direction::ToTarget));
        self.sides[1 - from].ways().for_each(|way| way.black_hole(Direction::FromTarget));
    }

    /// Everything gets through.
    pub(crate) fn heal(&self) {
        self.ways().for_each(Proxy::heal);
    }
}

/// How a gateway knows the other region.
pub(crate) async fn far(gateway: &Node) -> Value {
    let regions = http::get(gateway.client, "/v1/regions").await.map(|answer| answer.json()).unwrap_or_default();
    // The first one is its own.
    regions["regions"][1].clone()
}

/// Publications, ten each second in each channel, all of which are kept.
pub(crate) fn traffic(name: &str) -> TrafficOptions {
    TrafficOptions { channels: (0..12).map(|at| format!("chat:{name}{at}")).collect(), rate: 120, publishers: 12 }
}

/// Waits until every channel has flowed on since `since_ms`; says how long the longest pause was.
pub(crate) async fn until_it_flows(traffic: &Traffic, since_ms: u64) -> Flow {
    eventually(PATIENCE, async || {
        let flow = traffic.flow(since_ms);
        let still: BTreeMap<_, _> = flow.fewest.iter().filter(|(_, fewest)| **fewest < FLOWS).collect();
        if still.is_empty() && !flow.fewest.is_empty() { Ok(flow) } else { Err(format!("these stand still: {still:?}")) }
    })
    .await
}

/// A roster is the truth: user, clients, and regions of each member; and not said to be stale.
pub(crate) async fn until_roster(door: SocketAddr, channel: &str, truth: &BTreeMap<String, (u64, Value)>, stale: Option<bool>) -> Duration {
    let since = Instant::now();
    eventually(PATIENCE, async || {
        let path = format!("/v1/channels/{channel}/presence?limit=1000");
        let roster = http::get(door, &path).await.map_err(|error| error.to_string())?.json();
        let member = |entry: &Value| {
            let count = entry["num_clients"].as_u64().unwrap_or_default();
            (entry["user"].as_str().unwrap_or_default().to_owned(), (count, entry["regions"].clone()))
        };
        let members: BTreeMap<_, _> = roster["members"].as_array().into_iter().flatten().map(member).collect();
        let wrong: Vec<_> = members.iter().filter(|(user, entry)| truth.get(*user) != Some(entry)).take(8).collect();
        let missing: Vec<_> = truth.iter().filter(|(user, entry)| members.get(*user) != Some(entry)).take(8).collect();
        if wrong.is_empty() && missing.is_empty() && roster["stale"] == json!(stale) {
            Ok(())
        } else {
            Err(format!("{channel} at {door}: wrong {wrong:?}, missing {missing:?}, stale {}", roster["stale"]))
        }
    })
    .await;
    since.elapsed()
}
