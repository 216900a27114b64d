//! I/O: the smallest HTTP client that tests of small pages need; others use a real one.

use core::net::SocketAddr;
use serde_json::Value;
use std::io::{Error, ErrorKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An answer; `body` is all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// `GET path` from the server at `address`, on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")).await
}

/// `POST path` with a body of JSON to the server at `address`, on a connection of its own.
pub async fn post(address: SocketAddr, path: &str, body: &Value) -> std::io::Result<Answer> {
    send(address, "POST", path, body).await
}

/// `PUT path`, the same way.
pub async fn put(address: SocketAddr, path: &str, body: &Value) -> std::io::Result<Answer> {
    send(address, "PUT", path, body).await
}

async fn send(address: SocketAddr, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
    let (body, kind) = (body.to_string(), "Content-Type: application/json");
    ask(address, &format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await
}

/// Sends a request, as it is written, on a connection of its own; it should be of HTTP/1.0.
pub async fn ask(address: SocketAddr, request: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the body ends with the connection, never in chunks.
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let parts = text.split_once("\r\n\r\n").and_then(|(head, body)| Some((head.split(' ').nth(1)?.parse().ok()?, body)));
    let (status, body) = parts.ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("not HTTP: {text:?}")))?;
    Ok(Answer { status, body: body.to_owned() })
}
