//! I/O: a client of a gateway, of which Traffic has many.

use super::{AGAIN, ANSWER};
use anyhow::{Context, Result, bail};
use core::net::SocketAddr;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Where a client connects: at the first one, and when its connection has ended, at the next one, for as long as it takes.
#[derive(Clone)]
pub(super) struct Doors(VecDeque<SocketAddr>);

impl Doors {
    pub(super) fn new(doors: impl IntoIterator<Item = SocketAddr>) -> Doors {
        Doors(doors.into_iter().collect())
    }

    pub(super) async fn enter(&self) -> Result<Client> {
        Client::connect(*self.0.front().context("no door")?).await
    }

    /// `None` if it is told to stop.
    pub(super) async fn enter_again(&mut self, stop: &AtomicBool) -> Option<Client> {
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(AGAIN).await;
            self.0.rotate_left(1);
            if let Ok(client) = self.enter().await {
                return Some(client);
            }
        }
        None
    }
}

/// One connection of the client protocol, in JSON.
pub(super) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Replies of one frame that were not looked at yet, last first.
    waiting: Vec<Value>,
    last_id: u64,
}

impl Client {
    pub(super) async fn connect(gateway: SocketAddr) -> Result<Client> {
        let (socket, _) = connect_async(format!("ws://{gateway}/connection/websocket")).await?;
        let mut client = Client { socket, waiting: Vec::new(), last_id: 0 };
        let connected = client.ask(json!({ "connect": {} })).await?;
        if connected.get("connect").is_none() {
            bail!("{connected}");
        }
        Ok(client)
    }

    pub(super) async fn send(&mut self, mut command: Value) -> Result<u64> {
        self.last_id += 1;
        command["id"] = json!(self.last_id);
        self.socket.send(Message::text(command.to_string())).await?;
        Ok(self.last_id)
    }

    /// Asks, and passes over pushes.
    pub(super) async fn ask(&mut self, command: Value) -> Result<Value> {
        let id = self.send(command).await?;
        let answer = async {
            loop {
                let reply = self.next().await?;
                if reply.get("id").and_then(Value::as_u64) == Some(id) {
                    return Ok(reply);
                }
            }
        };
        timeout(ANSWER, answer).await.context("no answer")?
    }

    /// The next reply; pings are answered. Nothing is lost if it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(reply) = self.waiting.pop() {
                if reply.as_object().is_some_and(serde_json::Map::is_empty) {
                    self.socket.send(Message::text("{}")).await?;
                    continue;
                }
                return Ok(reply);
            }
            match self.socket.next().await.context("the connection ended")?? {
                Message::Text(text) => {
                    let replies: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
                    self.waiting = replies?;
                    self.waiting.reverse();
                }
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
    }
}
