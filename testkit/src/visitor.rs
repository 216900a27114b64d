//! I/O: a client that says what it wants as it is written, and hears how that was taken: for those who may not be let in.

use anyhow::{Context, Result};
use core::net::SocketAddr;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that a visitor's kernel takes in while it does not read, about.
const RECEIVE_BYTES: u32 = 4096;

/// Pause between two looks whether a connection is over that is not read.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How a session fared that was to begin.
#[derive(Debug)]
pub enum Begun {
    /// It was answered.
    In(Box<Visitor>),
    /// There was no handshake, but this status, and so many seconds to wait.
    Status(u16, Option<u64>),
    /// It was closed with this code.
    Closed(u16),
}

impl Begun {
    /// The client that was let in; panics if it was not.
    #[must_use]
    pub fn visitor(self) -> Visitor {
        match self {
            Begun::In(visitor) => *visitor,
            other => panic!("not let in: {other:?}"),
        }
    }
}

/// A client that was let in. It answers pings while it hears.
#[derive(Debug)]
pub struct Visitor {
    socket: WebSocketStream<TcpStream>,
}

impl Visitor {
    /// Begins a session with `frame`; as from the address `forwarded`, if a proxy that is believed says so; from this machine's address
    /// `from`, for one address has too few ports for some crowds.
    pub async fn begin(gateway: SocketAddr, from: Option<SocketAddr>, forwarded: Option<&str>, frame: &str) -> Result<Begun> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        if let Some(from) = from {
            socket.bind(from)?;
        }
        let stream = timeout(PATIENCE, socket.connect(gateway)).await??;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{gateway}/connection/websocket").into_client_request()?;
        if let Some(address) = forwarded {
            request.headers_mut().insert("x-forwarded-for", address.parse()?);
        }
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let socket = match timeout(PATIENCE, client_async_with_config(request, stream, Some(config))).await? {
            Ok((socket, _)) => socket,
            Err(Error::Http(response)) => {
                let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                return Ok(Begun::Status(response.status().as_u16(), after));
            }
            Err(error) => return Err(error.into()),
        };
        let mut visitor = Visitor { socket };
        visitor.say(frame).await?;
        Ok(match timeout(PATIENCE, visitor.hear()).await?? {
            Ok(_) => Begun::In(Box::new(visitor)),
            Err(code) => Begun::Closed(code),
        })
    }

    /// Sends a frame.
    pub async fn say(&mut self, frame: &str) -> Result<()> {
        Ok(self.socket.send(Message::text(frame)).await?)
    }

    /// The messages of the next frame that holds some; an inner error is the code with which the connection was closed.
    pub async fn hear(&mut self) -> Result<Result<Vec<Value>, u16>> {
        loop {
            match self.socket.next().await.context("ended without a word")?? {
                Message::Text(text) => {
                    let messages: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
                    let (pings, rest): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message == &json!({}));
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

    /// Reads nothing until the connection is over, which the other end shows by closing it.
    pub async fn until_ended(&self) {
        // What is there to read stays there; only that nothing more can be written tells of the end.
        while let Ok(ready) = self.socket.get_ref().ready(Interest::WRITABLE | Interest::ERROR).await {
            if ready.is_write_closed() || ready.is_error() {
                return;
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    /// Sends a frame and returns the first message that comes after it; panics if the connection is closed instead.
    pub async fn ask(&mut self, frame: &str) -> Result<Value> {
        self.say(frame).await?;
        let heard = timeout(PATIENCE, self.hear()).await??;
        Ok(heard.unwrap_or_else(|code| panic!("closed with {code} after {frame}")).swap_remove(0))
    }
}
