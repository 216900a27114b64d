//! `headcount probe` at real gateways: one alone, one that dies and comes back, one that asks for tokens, and two that replicate.

#![allow(clippy::unwrap_used)] // All of this is a test.

use core::net::SocketAddr;
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use testkit::{Node, NodeOptions, Proxy, eventually, http, metric_table, node::binary};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "a secret of at least thirty-two bytes";
const TABLE: &str = include_str!("../../METRICS.md");
/// The steps at the first door.
const HERE: [&str; 6] = ["connect", "subscribe", "presence", "message", "like", "read"];

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary().unwrap());
    command.args(["probe", "--json"]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Exit code, the round, and all that was written.
async fn once(args: &[&str]) -> (i32, Value, String) {
    let output = command(args).arg("--once").output().await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let round = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (output.status.code().unwrap(), round, out + &err)
}

/// The steps at a door, with what came of them: `ok`, `skipped`, or why not.
fn steps(round: &Value, target: SocketAddr) -> Vec<(String, String)> {
    let at = |step: &&Value| step["target"] == json!(target.to_string());
    let outcome = |step: &Value| match (&step["ms"], &step["error"]) {
        (Value::Number(_), Value::Null) => "ok".to_owned(),
        (Value::Null, Value::String(error)) => error.to_owned(),
        _ => "skipped".to_owned(),
    };
    let steps = round["steps"].as_array().unwrap().iter().filter(at);
    steps.map(|step| (step["step"].as_str().unwrap().to_owned(), outcome(step))).collect()
}

fn all_ok(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "ok".to_owned())).collect()
}

/// Nobody is left in the channel, not even for a grace.
async fn assert_no_ghost(node: &Node) {
    let roster = http::get(node.client, "/v1/channels/headcount-probe/presence/stats").await.unwrap().json();
    assert_eq!(roster["num_clients"], 0, "{roster}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_works_passes_each_step_and_keeps_no_ghost() {
    let node = Node::start(NodeOptions::default()).await;
    let url = node.url();
    for number in 1..=2 {
        let (code, round, text) = once(&["--url", &url]).await;
        assert_eq!((code, steps(&round, node.client)), (0, all_ok(&HERE)), "{text}");
        assert_no_ghost(&node).await;
        let counter = http::get(node.client, "/v1/counters/headcount-probe").await.unwrap().json();
        assert_eq!(counter["value"], json!(number));
    }
    // A channel whose namespace there is not: what does not need it goes on.
    let (code, round, text) = once(&["--url", &url, "--channel", "nowhere:a"]).await;
    let found = steps(&round, node.client);
    assert_eq!((code, found[1].1.as_str()), (1, "error 102 (unknown channel)"), "{text}");
    let outcomes: Vec<&str> = found.iter().map(|(_, outcome)| outcome.as_str()).collect();
    assert_eq!([outcomes[0], outcomes[2], outcomes[3], outcomes[4], outcomes[5]], ["ok", "skipped", "skipped", "ok", "ok"]);
}

#[tokio::test]
async fn nobody_at_the_door_is_told_by_the_first_step() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let (code, round, text) = once(&["--url", "ws://127.0.0.1:9"]).await;
    let found = steps(&round, nowhere);
    assert!(code == 1 && found[0].1.contains("refused") && found[1..].iter().all(|(_, outcome)| outcome == "skipped"), "{text}");
    for bad in [&["--url", "127.0.0.1:9"][..], &["--url", "ws://127.0.0.1:9", "--other", "http://127.0.0.1:9"]] {
        let output = command(bad).arg("--once").output().await.unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(64), 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_made_from_a_secret_that_is_never_shown() {
    let config_toml = format!("[auth]\nhmac_secrets = [\"{SECRET}\"]\naudience = \"app\"\n");
    let node = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
    let url = node.url();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let file = file.to_str().unwrap();
    let (code, round, text) = once(&["--url", &url, "--secret-file", file, "--audience", "app"]).await;
    assert_eq!((code, steps(&round, node.client)), (0, all_ok(&HERE)), "{text}");

    let wrong = ["--url", &url, "--secret-file", file, "--audience", "another"];
    let (code, round, text) = once(&wrong).await;
    assert!(code == 1 && steps(&round, node.client)[0].0 == "connect" && steps(&round, node.client)[0].1 != "ok", "{text}");
    let (code, _, text_of_token) = once(&["--url", &url, "--token", "no.such.token"]).await;
    assert!(code == 1 && !text_of_token.contains("no.such.token") && !text.contains(SECRET), "{text_of_token}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_like_is_read_at_another_node_and_what_is_cut_off_is_told_by_the_step_that_fails() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let ways = [Proxy::start(nowhere), Proxy::start(nowhere)];
    let mut nodes = Vec::new();
    for (at, region) in ["eu", "us"].into_iter().enumerate() {
        let other = ["us", "eu"][at];
        let config_toml = format!(
            "[node]\nname = \"n\"\nregion = \"{region}\"\n[counter]\nseeds = [\"{address}\"]\naddress = \"{own}\"\nkey = \"the key of this cluster\"\n\
             [regions]\npeers = [\"{other}={address}\"]\n[[namespace]]\nname = \"chat\"\nglobal = true\n",
            address = ways[at].address,
            // The other one is to dial the proxy, and nothing that it has learned.
            own = ways[1 - at].address
        );
        nodes.push(Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await);
    }
    ways[0].retarget(nodes[1].peer.unwrap());
    ways[1].retarget(nodes[0].peer.unwrap());
    let (here, there) = (nodes[0].url(), nodes[1].url());
    let args = ["--url", &here, "--other", &there, "--others-hear", "--channel", "chat:probe"];
    let (here, there) = (nodes[0].client, nodes[1].client);
    eventually(PATIENCE, async || {
        let (code, round, text) = once(&args).await;
        let found = (code, steps(&round, here), steps(&round, there));
        let expected = (0, all_ok(&HERE), all_ok(&["connect", "subscribe", "message", "read"]));
        if found == expected { Ok(()) } else { Err(text) }
    })
    .await;

    for way in &ways {
        way.cut();
    }
    let (code, round, text) = once(&[&args[..], &["--deadline", "1s"]].concat()).await;
    assert_eq!((code, steps(&round, here)), (1, all_ok(&HERE)), "{text}");
    let there = steps(&round, there);
    let outcomes: Vec<&str> = there.iter().map(|(_, outcome)| outcome.as_str()).collect();
    assert_eq!(outcomes[..3], ["ok", "ok", "not within 1s"], "{text}");
    assert!(outcomes[3].starts_with("not within 1s; headcount-probe is "), "{text}");
}

/// A probe that goes on.
struct Probe {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    metrics: SocketAddr,
}

impl Probe {
    async fn start(args: &[&str]) -> Probe {
        let mut command = command(args);
        command.args(["--listen", "127.0.0.1:0", "--interval", "1s"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = told.next_line().await.unwrap().unwrap();
        let metrics = line.strip_prefix("metrics at http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap().parse().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Probe { _child: child, lines, metrics }
    }

    async fn round(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// The first round that is well, or is not.
    async fn until(&mut self, is_well: bool) -> Value {
        loop {
            let round = self.round().await;
            if round["ok"] == json!(is_well) {
                return round;
            }
        }
    }

    async fn exposition(&self) -> String {
        http::get(self.metrics, "/metrics").await.unwrap().body
    }
}

fn sample(exposition: &str, name: &str) -> f64 {
    let line = exposition.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {exposition}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_between_rounds_is_down_by_the_step_that_failed_and_heals() {
    let mut node = Node::start(NodeOptions::default()).await;
    let url = node.url();
    let mut probe = Probe::start(&["--url", &url, "--deadline", "20s"]).await;
    probe.until(true).await;
    let up = |step: &str| format!("headcount_probe_up{{step=\"{step}\",target=\"{}\"}}", node.client);
    let failures = |step: &str| format!("headcount_probe_failures_total{{step=\"{step}\",target=\"{}\"}}", node.client);
    let (up, failures) = (HERE.map(up), HERE.map(failures));
    let exposition = probe.exposition().await;
    let table = TABLE.split("## The probe").nth(1).unwrap();
    assert_eq!(metric_table::differences(table, &exposition), [""; 0]);
    assert!(up.iter().all(|up| sample(&exposition, up) == 1.0), "{exposition}");
    let succeeded = sample(&exposition, "headcount_probe_last_success_timestamp_seconds");
    assert!(succeeded > 1_700_000_000.0, "{exposition}");

    node.kill9().await;
    probe.until(false).await;
    // The kill may fall into a round; the next one begins without a node.
    let round = probe.until(false).await;
    let found = steps(&round, node.client);
    assert!(found[0].1.contains("refused") && found[1..].iter().all(|(_, outcome)| outcome == "skipped"), "{round}");
    let exposition = probe.exposition().await;
    assert!(up.iter().all(|up| sample(&exposition, up) == 0.0), "{exposition}");
    assert!(sample(&exposition, &failures[0]) >= 1.0 && sample(&exposition, "headcount_probe_rounds_total{result=\"failed\"}") >= 2.0);

    node.restart().await;
    let round = probe.until(true).await;
    assert_eq!(steps(&round, node.client), all_ok(&HERE));
    let exposition = probe.exposition().await;
    assert!(up.iter().all(|up| sample(&exposition, up) == 1.0), "{exposition}");
    assert!(sample(&exposition, "headcount_probe_last_success_timestamp_seconds") > succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_in_the_middle_of_a_round_leaves_no_ghost() {
    let node = Node::start(NodeOptions::default()).await;
    let (url, silent) = (node.url(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    // The other door accepts and says nothing, so the round hangs there while the first client waits in the channel.
    let other = format!("http://{}", silent.local_addr().unwrap());
    let mut child = command(&["--url", &url, "--other", &other, "--deadline", "10m"]).stdout(Stdio::piped()).spawn().unwrap();
    eventually(PATIENCE, async || {
        let stats = http::get(node.client, "/v1/channels/headcount-probe/presence/stats").await.unwrap().json();
        if stats["num_clients"] == 1 { Ok(()) } else { Err(stats.to_string()) }
    })
    .await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &pid]).status().await.unwrap().success());
    assert_eq!(tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
    assert_no_ghost(&node).await;
}
