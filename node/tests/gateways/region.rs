//! One region: two nodes with counters alone, and gateways without any.

use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Node, NodeOptions, eventually};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "the key of this cluster";

pub(crate) struct Region {
    pub(crate) counters: [Node; 2],
    pub(crate) gateways: Vec<Node>,
    http: Client,
}

/// What came of one addition.
#[derive(Debug)]
pub(crate) enum Answer {
    Counted(Value),
    /// Refused before anything was counted.
    NotCounted,
    Unknown,
}

impl Region {
    /// `more` is added to the configuration of the nodes with counters.
    pub(crate) async fn start(gateways: usize, more: &str) -> Region {
        let options = |name: &str, seeds: &[String]| {
            let config_toml = format!(
                "[node]\nname = \"{name}\"\nregion = \"eu\"\nroles = [\"counter\"]\n[counter]\nkey = \"{KEY}\"\nseeds = {}\n{more}\n",
                json!(seeds)
            );
            NodeOptions { config_toml, ..NodeOptions::default() }
        };
        let one = Node::start(options("c1", &[])).await;
        let other = Node::start(options("c2", &[one.peer.unwrap().to_string()])).await;
        // The second test of this process finds it installed.
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = Client::builder().timeout(Duration::from_secs(20)).no_proxy().build().unwrap();
        let mut region = Region { counters: [one, other], gateways: Vec::new(), http };
        for at in 0..gateways {
            let gateway = region.gateway(&format!("g{}", at + 1), KEY).await;
            region.gateways.push(gateway);
        }
        for node in &region.gateways {
            eventually(PATIENCE, async || is(readyz(node).await, "\"status\":\"ready\"")).await;
        }
        for node in &region.counters {
            eventually(PATIENCE, async || is_near(metric(node, "headcount_counter_peers").await, 1.0)).await;
        }
        region
    }

    /// Starts a gateway that counts at this region's nodes.
    pub(crate) async fn gateway(&self, name: &str, key: &str) -> Node {
        let seeds: Vec<String> = self.counters.iter().map(|node| node.peer.unwrap().to_string()).collect();
        let config_toml = format!(
            "[node]\nname = \"{name}\"\nregion = \"eu\"\nroles = [\"gateway\"]\n[counter]\nkey = \"{key}\"\nseeds = {}\n\
             [[namespace]]\nname = \"liked\"\ntype = \"unique\"\n[[namespace]]\nname = \"stock\"\ntype = \"bounded\"\n\
             [[namespace]]\nname = \"views\"\ntype = \"windowed\"\n",
            json!(seeds)
        );
        Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
    }

    pub(crate) async fn call(&self, gateway: usize, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.request(method.parse().unwrap(), self.gateways[gateway].url() + path);
        let request = if body.is_null() { request } else { request.json(body) };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, gateway: usize, path: &str) -> (u16, Value) {
        self.call(gateway, "GET", &format!("/v1/counters{path}"), &Value::Null).await
    }

    pub(crate) async fn add(&self, gateway: usize, key: &str, body: &Value) -> Answer {
        let (status, answer) = self.call(gateway, "POST", &format!("/v1/counters/{key}/add"), body).await;
        let text = answer.to_string();
        match status {
            200 => Answer::Counted(answer),
            503 if text.contains("storage_unavailable") && text.contains("unknown whether") => Answer::Unknown,
            503 if text.contains("storage_unavailable") && text.contains("not counted") | text.contains("nothing was counted") => {
                Answer::NotCounted
            }
            _ => panic!("{status} {text}"),
        }
    }

    pub(crate) async fn counted(&self, gateway: usize, key: &str, body: Value) -> Value {
        match self.add(gateway, key, &body).await {
            Answer::Counted(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until everything that the gateways have sent is known to count, or not to.
    pub(crate) async fn until_resolved(&self) {
        for gateway in &self.gateways {
            eventually(PATIENCE, async || {
                let lanes = metric(gateway, "headcount_counter_lanes").await;
                if lanes <= 1.0 { Ok(()) } else { Err(format!("{lanes} lanes")) }
            })
            .await;
        }
    }

    /// Waits until both nodes, each asked by itself, agree; returns the value.
    pub(crate) async fn settled_value(&self, key: &str) -> i64 {
        eventually(PATIENCE, async || {
            let mut values = Vec::new();
            for node in &self.counters {
                values.push(self.resp(node, key).await);
            }
            if values[0] == values[1] && metric(&self.counters[0], "headcount_counter_origins").await <= 2.0 {
                Ok(values[0])
            } else {
                Err(format!("{values:?}"))
            }
        })
        .await
    }

    async fn resp(&self, node: &Node, key: &str) -> i64 {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let mut stream = BufReader::new(tokio::net::TcpStream::connect(node.resp.unwrap()).await.unwrap());
        stream.write_all(format!("GET {key}\r\n").as_bytes()).await.unwrap();
        let (mut length, mut value) = (String::new(), String::new());
        stream.read_line(&mut length).await.unwrap();
        stream.read_line(&mut value).await.unwrap();
        value.trim().parse().unwrap()
    }

    pub(crate) async fn events(&self, gateway: usize, channel: &str) -> Events {
        let body = self.http.get(format!("{}/v1/events?channel={channel}", self.gateways[gateway].url())).send().await.unwrap();
        assert_eq!(body.status(), 200);
        Events { body, text: String::new() }
    }
}

/// What a page hears.
pub(crate) struct Events {
    body: Response,
    text: String,
}

impl Events {
    pub(crate) async fn until(&mut self, needle: &str) {
        while !self.text.contains(needle) {
            let chunk = self.body.chunk().await.unwrap().unwrap_or_else(|| panic!("ended without {needle}: {}", self.text));
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

pub(crate) async fn readyz(node: &Node) -> String {
    testkit::http::get(node.admin, "/readyz").await.unwrap().body
}

pub(crate) async fn metric(node: &Node, name: &str) -> f64 {
    let body = testkit::http::get(node.admin, "/metrics").await.unwrap().body;
    body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(f64::NAN)
}

pub(crate) fn is(text: String, needle: &str) -> Result<(), String> {
    if text.contains(needle) { Ok(()) } else { Err(text) }
}

fn is_near(value: f64, expected: f64) -> Result<(), String> {
    if (value - expected).abs() < 0.5 { Ok(()) } else { Err(format!("{value}, not {expected}")) }
}
