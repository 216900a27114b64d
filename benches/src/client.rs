//! I/O: a client that speaks just enough of the protocol: connect, subscribe, publish, and a check of every offset.

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// One subscribed connection.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    /// Offset of the last publication.
    offset: u64,
    next_id: u64,
}

impl Client {
    /// Connects and subscribes in one frame, as the JavaScript SDK does.
    pub(crate) async fn subscribe(address: SocketAddr, channel: &str) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let url = format!("ws://{address}/connection/websocket");
        let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
        let mut client = Client { socket, offset: 0, next_id: 3 };
        let commands = [json!({ "id": 1, "connect": {} }), json!({ "id": 2, "subscribe": { "channel": channel } })];
        client.socket.send(Message::text(commands.map(|command| command.to_string()).join("\n"))).await?;
        let mut is_subscribed = false;
        while !is_subscribed {
            for reply in client.receive().await? {
                ensure!(reply.get("error").is_none(), "refused: {reply}");
                if let Some(result) = reply.get("subscribe") {
                    client.offset = result["offset"].as_u64().unwrap_or(0);
                    is_subscribed = true;
                }
            }
        }
        Ok(client)
    }

    /// Publishes and waits for the answer.
    pub(crate) async fn publish(&mut self, channel: &str, data: &Value) -> anyhow::Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let command = json!({ "id": id, "publish": { "channel": channel, "data": data } });
        self.socket.send(Message::text(command.to_string())).await?;
        loop {
            for reply in self.receive().await? {
                if reply["id"] == id {
                    ensure!(reply.get("error").is_none(), "refused: {reply}");
                    return Ok(());
                }
            }
        }
    }

    /// Receives `count` publications; an error unless each follows the one before it.
    pub(crate) async fn expect(&mut self, count: usize) -> anyhow::Result<()> {
        let mut seen = 0;
        while seen < count {
            for reply in self.receive().await? {
                if let Some(offset) = reply["push"]["pub"]["offset"].as_u64() {
                    ensure!(offset == self.offset + 1, "offset {offset} after {}", self.offset);
                    self.offset = offset;
                    seen += 1;
                }
            }
        }
        Ok(())
    }

    /// The messages of one frame; pings are answered.
    async fn receive(&mut self) -> anyhow::Result<Vec<Value>> {
        match self.socket.next().await.context("closed")?? {
            Message::Text(text) => {
                if text.split('\n').any(|line| line == "{}") {
                    self.socket.send(Message::text("{}")).await?;
                }
                text.split('\n').map(|line| Ok(serde_json::from_str(line)?)).collect()
            }
            Message::Close(frame) => bail!("closed by the server: {frame:?}"),
            _ => Ok(Vec::new()),
        }
    }
}
