//! Bytes as they are, to a listener of a node, and what comes back.

use std::{net::SocketAddr, time::Duration};
use testkit::{Node, NodeOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long whatever must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn node(config_toml: &str) -> Node {
    Node::start(NodeOptions { config_toml: config_toml.to_owned(), ..NodeOptions::default() }).await
}

/// Sends all of it, as far as it is taken, and reads until the connection ends.
pub(crate) async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    _ = stream.write_all(bytes).await;
    rest(&mut stream).await
}

/// What comes until the connection ends.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = timeout(PATIENCE, stream.read(&mut part)).await.expect("the connection ends") {
        answer.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of each answer in a connection.
pub(crate) fn statuses(answer: &str) -> Vec<u16> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().unwrap()).collect()
}

/// What a counter reads.
pub(crate) async fn value(node: &Node, key: &str) -> i64 {
    let answer = testkit::http::get(node.client, &format!("/v1/counters/{key}")).await.unwrap();
    answer.json()["value"].as_i64().unwrap_or_else(|| panic!("{}", answer.body))
}

/// One line of the metrics, such as `name{label="value"}`; 0 if it is not there.
pub(crate) async fn metric(node: &Node, line: &str) -> f64 {
    Some(node.metric(line).await).filter(|value| !value.is_nan()).unwrap_or(0.0)
}
