//! Nodes in several regions, each pair connected through proxies that a test can cut: one for each direction of dialing.

use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use testkit::{Direction, Node, NodeOptions, Proxy, eventually};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const REGIONS: [&str; 3] = ["eu", "us", "ap"];

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    /// `proxies[from][to]`; those to oneself are not used.
    proxies: Vec<Vec<Proxy>>,
    pub(crate) http: reqwest::Client,
}

/// What came of one request.
pub(crate) enum Answer {
    Counted(Value),
    Refused(Value),
    Unknown,
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxies: Vec<Vec<Proxy>> = REGIONS.iter().map(|_| REGIONS.iter().map(|_| Proxy::start(nowhere)).collect()).collect();
        let mut nodes = Vec::new();
        for (at, region) in REGIONS.iter().enumerate() {
            let seeds: Vec<_> =
                proxies[at].iter().enumerate().filter(|(to, _)| *to != at).map(|(_, proxy)| proxy.address.to_string()).collect();
            nodes.push(Node::start(options(region, &seeds, "the key of this cluster")).await);
        }
        for from in &proxies {
            for (proxy, node) in from.iter().zip(&nodes) {
                proxy.retarget(node.peer.unwrap());
            }
        }
        // The second test of this process finds it installed.
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build().unwrap();
        let cluster = Cluster { nodes, proxies, http };
        cluster.until_metric("headcount_counter_peers", 2.0).await;
        cluster
    }

    pub(crate) async fn add(&self, at: usize, key: &str, body: &Value) -> Answer {
        let url = format!("{}/v1/counters/{key}/add", self.nodes[at].url());
        match self.http.post(url).json(body).send().await {
            Err(_) => Answer::Unknown,
            Ok(response) => {
                let is_success = response.status().is_success();
                match response.json().await {
                    Ok(body) if is_success => Answer::Counted(body),
                    Ok(body) => Answer::Refused(body),
                    Err(_) => Answer::Unknown,
                }
            }
        }
    }

    /// Counts at a node that answers, and returns the answer.
    pub(crate) async fn counted(&self, at: usize, key: &str, body: Value) -> Value {
        match self.add(at, key, &body).await {
            Answer::Counted(answer) => answer,
            Answer::Refused(answer) => panic!("{answer}"),
            Answer::Unknown => panic!("no answer"),
        }
    }

    pub(crate) async fn get(&self, at: usize, path: &str) -> (u16, Value) {
        let response = self.http.get(format!("{}/v1/counters/{path}", self.nodes[at].url())).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Turns a vote at a node, and returns how many have voted.
    pub(crate) async fn vote(&self, at: usize, key: &str, user: &str, is_on: bool) -> i64 {
        let method = if is_on { reqwest::Method::PUT } else { reqwest::Method::DELETE };
        let url = format!("{}/v1/counters/{key}/voters/{user}", self.nodes[at].url());
        let answer: Value = self.http.request(method, url).send().await.unwrap().json().await.unwrap();
        answer["value"].as_i64().unwrap_or_else(|| panic!("{answer}"))
    }

    pub(crate) async fn value(&self, at: usize, key: &str) -> i64 {
        self.get(at, key).await.1["value"].as_i64().unwrap()
    }

    /// Waits until all nodes read `expected`.
    pub(crate) async fn until_all_read(&self, key: &str, expected: i64) {
        eventually(PATIENCE, async || {
            let mut values = Vec::new();
            for at in 0..self.nodes.len() {
                values.push(self.value(at, key).await);
            }
            if values.iter().all(|value| *value == expected) { Ok(()) } else { Err(format!("{key} is {values:?}, not {expected}")) }
        })
        .await;
    }

    pub(crate) async fn metric(&self, at: usize, name: &str) -> f64 {
        let body = testkit::http::get(self.nodes[at].admin, "/metrics").await.unwrap().body;
        body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(f64::NAN)
    }

    /// Waits until all nodes show this value.
    pub(crate) async fn until_metric(&self, name: &str, expected: f64) {
        eventually(PATIENCE, async || {
            let mut values = Vec::new();
            for at in 0..self.nodes.len() {
                values.push(self.metric(at, name).await);
            }
            if values.iter().all(|value| (value - expected).abs() < 0.5) {
                Ok(())
            } else {
                Err(format!("{name} is {values:?}, not {expected}"))
            }
        })
        .await;
    }

    /// Nothing gets through between two nodes any more.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        self.proxies[one][other].cut();
        self.proxies[other][one].cut();
    }

    /// What `from` says does not reach `to`, and nobody is told.
    pub(crate) fn silence(&self, from: usize, to: usize) {
        self.proxies[from][to].black_hole(Direction::ToTarget);
        self.proxies[to][from].black_hole(Direction::FromTarget);
    }

    pub(crate) fn heal(&self) {
        self.proxies.iter().flatten().for_each(Proxy::heal);
    }
}

pub(crate) fn options(region: &str, seeds: &[String], key: &str) -> NodeOptions {
    // Nobody is to learn a way around the proxies.
    let config_toml = format!(
        "[node]\nname = \"c1\"\nregion = \"{region}\"\n[counter]\nseeds = {}\nkey = \"{key}\"\naddress = \"127.0.0.1:9\"\n\
         [[namespace]]\nname = \"liked\"\ntype = \"unique\"\n[[namespace]]\nname = \"stock\"\ntype = \"bounded\"\n",
        json!(seeds)
    );
    NodeOptions { config_toml, ..NodeOptions::default() }
}
