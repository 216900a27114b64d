//! The program on a data directory, and nodes to fill one.

use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use testkit::{Node, NodeOptions};

pub(crate) fn config(name: &str) -> String {
    format!("[node]\nname = \"{name}\"\nregion = \"eu\"\n")
}

/// A node of region `eu`.
pub(crate) async fn node(name: &str) -> Node {
    Node::start(NodeOptions { config_toml: config(name), ..NodeOptions::default() }).await
}

/// Runs `headcount` with `data_dir` as its data directory; it would be node eu/c9, on free ports.
pub(crate) fn headcount(args: &[&str], data_dir: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headcount"));
    command
        .args(args)
        .env_clear()
        .env("HEADCOUNT_NODE__DATA_DIR", data_dir)
        .env("HEADCOUNT_NODE__NAME", "c9")
        .env("HEADCOUNT_NODE__REGION", "eu");
    for listener in ["CLIENT", "RESP", "ADMIN"] {
        command.env(format!("HEADCOUNT_LISTEN__{listener}"), "127.0.0.1:0");
    }
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The lines that the program prints, by key.
pub(crate) fn lines(args: &[&str], data_dir: &Path) -> Vec<Value> {
    let (code, out, err) = headcount(args, data_dir);
    assert_eq!((code, err.as_str()), (0, ""));
    let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["key"].as_str().unwrap().to_owned());
    lines
}

pub(crate) async fn add(node: &Node, key: &str, by: i64) {
    let url = format!("{}/v1/counters/{key}/add", node.url());
    let answer = client().post(url).json(&json!({ "by": by })).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

pub(crate) async fn value(node: &Node, key: &str) -> i64 {
    let answer = client().get(format!("{}/v1/counters/{key}", node.url())).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["value"].as_i64().unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    // The second caller in this process finds it installed.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The first segment of the log.
pub(crate) fn log_file(data_dir: &Path) -> PathBuf {
    data_dir.join("counter/000000000001.log")
}
