//! A client that says what it wants as it is written, and hears how that was taken.

use anyhow::{Context, Result};
use core::net::SocketAddr;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::time::Duration;
use tokio::{net::TcpSocket, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// How a session fared that was to begin.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It was answered.
    In(Box<Client>),
    /// There was no handshake, but this status, and so many seconds to wait.
    Status(u16, Option<u64>),
    /// It was closed with this code.
    Closed(u16),
}

impl Begun {
    pub(crate) fn client(self) -> Client {
        match self {
            Begun::In(client) => *client,
            other => panic!("not let in: {other:?}"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    socket: WebSocketStream<tokio::net::TcpStream>,
}

impl Client {
    /// Begins a session with `frame`; as from `address`, if a proxy that is believed says so.
    pub(crate) async fn begin(gateway: SocketAddr, address: Option<&str>, frame: &str) -> Result<Begun> {
        let socket = TcpSocket::new_v4()?;
        // Little is taken of what is not read.
        socket.set_recv_buffer_size(4096)?;
        let stream = socket.connect(gateway).await?;
        let mut request = format!("ws://{gateway}/connection/websocket").into_client_request()?;
        if let Some(address) = address {
            request.headers_mut().insert("x-forwarded-for", address.parse()?);
        }
        let socket = match timeout(PATIENCE, client_async(request, stream)).await? {
            Ok((socket, _)) => socket,
            Err(Error::Http(response)) => {
                let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                return Ok(Begun::Status(response.status().as_u16(), after));
            }
            Err(error) => return Err(error.into()),
        };
        let mut client = Client { socket };
        client.say(frame).await?;
        Ok(match client.hear().await? {
            Ok(_) => Begun::In(Box::new(client)),
            Err(code) => Begun::Closed(code),
        })
    }

    pub(crate) async fn say(&mut self, frame: &str) -> Result<()> {
        Ok(self.socket.send(Message::text(frame)).await?)
    }

    /// The first message of the next frame that holds one; an inner error is the code with which the connection was closed.
    pub(crate) async fn hear(&mut self) -> Result<Result<Value, u16>> {
        Ok(self.hear_all().await?.map(|mut messages| messages.swap_remove(0)))
    }

    /// All messages of it; pings are answered.
    pub(crate) async fn hear_all(&mut self) -> Result<Result<Vec<Value>, u16>> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await?.context("ended without a word")?? {
                Message::Text(text) => {
                    let messages: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
                    let (pings, rest): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message == &serde_json::json!({}));
                    if !pings.is_empty() {
                        self.say("{}").await?;
                    }
                    if !rest.is_empty() {
                        return Ok(Ok(rest));
                    }
                }
                Message::Close(frame) => return Ok(Err(frame.map_or(0, |frame| frame.code.into()))),
                _ => {}
            }
        }
    }
}
