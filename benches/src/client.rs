//! I/O: a client that speaks just enough of the protocol: connect, subscribe, and whatever else is asked.

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// One connection.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    /// What the server calls it.
    pub(crate) id: String,
    /// Bytes of the messages received so far, without the frames around them.
    pub(crate) received_bytes: u64,
    next_id: u64,
}

impl Client {
    /// Connects and subscribes in one frame, as the JavaScript SDK does.
    pub(crate) async fn subscribe(address: SocketAddr, channel: &str) -> anyhow::Result<Client> {
        Client::begin(address, Some(channel), None).await
    }

    /// The same, as the user whose token this is.
    pub(crate) async fn subscribe_as(address: SocketAddr, channel: &str, token: &str) -> anyhow::Result<Client> {
        Client::begin(address, Some(channel), Some(token)).await
    }

    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Client> {
        Client::begin(address, None, None).await
    }

    async fn begin(address: SocketAddr, channel: Option<&str>, token: Option<&str>) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let url = format!("ws://{address}/connection/websocket");
        let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
        let mut client = Client { socket, id: String::new(), received_bytes: 0, next_id: 3 };
        let connect = token.map_or_else(|| json!({}), |token| json!({ "token": token }));
        let mut commands = vec![json!({ "id": 1, "connect": connect }).to_string()];
        commands.extend(channel.map(|channel| json!({ "id": 2, "subscribe": { "channel": channel } }).to_string()));
        client.socket.send(Message::text(commands.join("\n"))).await?;
        let mut left = commands.len();
        while left > 0 {
            for reply in client.receive().await? {
                ensure!(reply.get("error").is_none(), "refused: {reply}");
                left -= usize::from(reply.get("id").is_some());
                if let Some(result) = reply.get("connect") {
                    client.id = result["client"].as_str().unwrap_or_default().to_owned();
                }
            }
        }
        Ok(client)
    }

    /// Sends a command, and waits for its reply; what is pushed before that is lost.
    pub(crate) async fn ask(&mut self, mut command: Value) -> anyhow::Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        command["id"] = id.into();
        self.socket.send(Message::text(command.to_string())).await?;
        loop {
            for reply in self.receive().await? {
                if reply["id"] == id {
                    ensure!(reply.get("error").is_none(), "refused: {reply}");
                    return Ok(reply);
                }
            }
        }
    }

    /// Answers pings for as long as the connection lives, which is to outlive the caller.
    pub(crate) async fn stay(mut self) -> anyhow::Result<()> {
        loop {
            self.receive().await?;
        }
    }

    /// The messages of one frame; pings are answered.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<Vec<Value>> {
        match self.socket.next().await.context("closed")?? {
            Message::Text(text) => {
                self.received_bytes += text.len() as u64;
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
