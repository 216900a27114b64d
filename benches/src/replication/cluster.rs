//! I/O: nodes in regions of their own, whose connections go through proxies: one for each direction of dialing.

use crate::{load::Turns, resp::Connection};
use anyhow::{Context, ensure};
use core::net::SocketAddr;
use std::time::Duration;
use testkit::{Direction, Node, NodeOptions, Proxy, eventually, http};
use tokio::time::Instant;

pub(super) const REGIONS: [&str; 3] = ["eu", "us", "ap"];
/// How long nodes may take to come together, or to catch up with each other.
const PATIENCE: Duration = Duration::from_secs(600);
/// Metrics that are brought up to date every second.
const TROUBLES: [(&str, &str); 3] = [
    ("headcount_counter_stream_gaps_total", "gaps"),
    ("headcount_counter_digest_mismatches_total", "digest mismatches"),
    ("headcount_counter_poisoned_chunks_total", "poisoned chunks"),
];
/// Counters of a run whose values are compared at the end.
const COMPARED: usize = 100;

pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    /// `proxies[from][to]`; those to oneself are not used.
    proxies: Vec<Vec<Proxy>>,
}

/// Bytes that have reached `[to]` from `[from]`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic(pub(super) [[u64; 3]; 3]);

impl Cluster {
    /// Starts the first `count` of [`REGIONS`], and waits until each hears the others.
    pub(super) async fn start(count: usize) -> anyhow::Result<Cluster> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxies = REGIONS.iter().map(|_| REGIONS.iter().map(|_| Proxy::start(nowhere)).collect()).collect();
        let mut cluster = Cluster { nodes: Vec::new(), proxies };
        for at in 0..count {
            cluster.nodes.push(Node::start(cluster.options(at, count)).await);
            cluster.retarget()?;
        }
        for at in 0..count {
            Connection::open(cluster.resp(at)?).await?.number(&["INCR", "first"]).await?;
        }
        for at in 0..count {
            let session = cluster.session(at).await?;
            cluster.until_covered(&session).await?;
        }
        Ok(cluster)
    }

    /// Starts the next region, empty; the others learn of it when it dials them.
    pub(super) async fn join(&mut self) -> anyhow::Result<()> {
        let at = self.nodes.len();
        self.nodes.push(Node::start(self.options(at, at + 1)).await);
        self.retarget()
    }

    fn options(&self, at: usize, count: usize) -> NodeOptions {
        let seeds: Vec<String> = (0..count).filter(|to| *to != at).map(|to| format!("\"{}\"", self.proxies[at][to].address)).collect();
        // Nobody is to learn a way around the proxies: nothing listens at the address that each gives out.
        let config_toml = format!(
            "[node]\nname = \"c1\"\nregion = \"{}\"\n[counter]\nseeds = [{}]\nkey = \"the key of this cluster\"\naddress = \"127.0.0.1:9\"\n",
            REGIONS[at],
            seeds.join(", ")
        );
        NodeOptions { config_toml, ..NodeOptions::default() }
    }

    fn retarget(&self) -> anyhow::Result<()> {
        for from in &self.proxies {
            for (proxy, node) in from.iter().zip(&self.nodes) {
                proxy.retarget(node.peer.context("no peer listener")?);
            }
        }
        Ok(())
    }

    pub(super) fn resp(&self, at: usize) -> anyhow::Result<SocketAddr> {
        self.nodes[at].resp.context("no resp listener")
    }

    /// What has crossed each link so far, whoever dialed it.
    pub(super) fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for from in 0..REGIONS.len() {
            for to in (0..REGIONS.len()).filter(|to| *to != from) {
                traffic.0[from][to] = self.proxies[from][to].traffic(Direction::ToTarget).delivered
                    + self.proxies[to][from].traffic(Direction::FromTarget).delivered;
            }
        }
        traffic
    }

    /// Every byte between regions takes so long, from now on.
    pub(super) fn delay(&self, one_way: Duration) {
        self.proxies.iter().flatten().for_each(|proxy| proxy.delay(Direction::Both, one_way));
    }

    /// Nothing gets to a region or out of it any more.
    pub(super) fn isolate(&self, at: usize) {
        for other in (0..REGIONS.len()).filter(|other| *other != at) {
            self.proxies[at][other].cut();
            self.proxies[other][at].cut();
        }
    }

    /// Ends cuts and delays.
    pub(super) fn heal(&self) {
        self.proxies.iter().flatten().for_each(Proxy::heal);
    }

    /// How far a node is: whoever covers it shows everything that this one does now.
    pub(super) async fn session(&self, at: usize) -> anyhow::Result<String> {
        Connection::open(self.resp(at)?).await?.call(&["HC.SESSION"]).await?.context("no session")
    }

    /// Waits until every node covers `session`; returns how long that took.
    pub(super) async fn until_covered(&self, session: &str) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for node in &self.nodes {
            let path = format!("/v1/counters/first?min={session}");
            // Each request waits a while at the node, which answers as soon as it can.
            eventually(PATIENCE, async || match http::get(node.client, &path).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(error) => Err(error.to_string()),
            })
            .await;
        }
        Ok(begun.elapsed())
    }

    /// An error unless every node shows what `turns` has added, at the first, the last and some counters between.
    pub(super) async fn compare(&self, turns: &Turns) -> anyhow::Result<()> {
        for (at, region) in REGIONS.iter().enumerate().take(self.nodes.len()) {
            let mut connection = Connection::open(self.resp(at)?).await?;
            for key in (0..turns.keys).step_by(turns.keys.div_ceil(COMPARED)).chain([turns.keys - 1]) {
                let expected = turns.additions / turns.keys + usize::from(key < turns.additions % turns.keys);
                let name = turns.key(key);
                let value = connection.number(&["GET", &name]).await?;
                ensure!(usize::try_from(value) == Ok(expected), "{name} is {value} in {region}, and {expected} was added");
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// What each node says has gone wrong in its conversations; "none" if nothing has.
    pub(super) async fn troubles(&self) -> anyhow::Result<String> {
        let mut troubles = Vec::new();
        for (node, region) in self.nodes.iter().zip(REGIONS) {
            let metrics = http::get(node.admin, "/metrics").await?.body;
            for (metric, what) in TROUBLES {
                let value = metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
                let value = value.with_context(|| format!("{metric} is not served in {region}"))?;
                if value != "0" {
                    troubles.push(format!("{what} in {region} {value}"));
                }
            }
        }
        Ok(if troubles.is_empty() { "none".to_owned() } else { format!("**{}**", troubles.join(", ")) })
    }
}

impl Traffic {
    /// What has crossed since `earlier`, less `idle` bytes per second for `seconds`; what is left of nothing is nothing.
    #[allow(clippy::cast_precision_loss)] // figures for people
    pub(super) fn since(&self, earlier: &Traffic, idle: &[[f64; 3]; 3], seconds: f64) -> [[f64; 3]; 3] {
        let mut bytes = [[0.0; 3]; 3];
        for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))) {
            let grown = (self.0[from][to] - earlier.0[from][to]) as f64;
            bytes[from][to] = (grown - idle[from][to] * seconds).max(0.0);
        }
        bytes
    }
}
