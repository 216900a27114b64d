//! I/O: one connection of the client protocol, in JSON over WebSocket, as a customer's SDK makes it.

use super::door::Door;
use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::ConfigVerifierExt;
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// Pushes that came while something else was waited for; the oldest goes for a newer one.
const PUSHES_MAX: usize = 1_000;

/// Why a step came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server has refused it, and goes on with this connection.
    Refused(String),
    /// There is no connection, or none any more.
    Lost(String),
}

impl Trouble {
    /// The reason.
    pub(super) fn reason(self) -> String {
        match self {
            Trouble::Refused(reason) | Trouble::Lost(reason) => reason,
        }
    }
}

/// Any stream of bytes in both directions.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// The connection. Nothing of it has a deadline: its caller sets one for each step.
pub(super) struct Connection {
    socket: WebSocketStream<Box<dyn Socket>>,
    /// Of one frame that were not looked at yet.
    replies: VecDeque<Value>,
    pushes: VecDeque<Value>,
    last_id: u64,
    /// What the server calls this client.
    pub(super) client: String,
}

impl Connection {
    /// Enters, with a token or as nobody.
    pub(super) async fn open(door: &Door, token: Option<&str>) -> Result<Connection, Trouble> {
        let tcp = TcpStream::connect((door.host.as_str(), door.port)).await.map_err(lost)?;
        tcp.set_nodelay(true).map_err(lost)?;
        let socket: Box<dyn Socket> = if door.is_tls {
            let config = ClientConfig::with_platform_verifier().map_err(|error| lost(format!("TLS: {error}")))?;
            let name = ServerName::try_from(door.host.clone()).map_err(|_| lost("no certificate can be for that host"))?;
            let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
            Box::new(tls.map_err(|error| lost(format!("TLS: {error}")))?)
        } else {
            Box::new(tcp)
        };
        let (socket, _) = client_async(door.url(), socket).await.map_err(lost)?;
        let mut connection = Connection { socket, replies: VecDeque::new(), pushes: VecDeque::new(), last_id: 0, client: String::new() };
        let asked =
            token.map_or_else(|| json!({ "name": "headcount-probe" }), |token| json!({ "name": "headcount-probe", "token": token }));
        let connected = connection.ask("connect", asked).await?;
        connection.client = connected["client"].as_str().ok_or_else(|| lost("the reply names no client"))?.to_owned();
        Ok(connection)
    }

    /// Sends a command of this kind, and returns its number.
    pub(super) async fn send(&mut self, kind: &str, command: Value) -> Result<u64, Trouble> {
        self.last_id += 1;
        let frame = json!({ "id": self.last_id, kind: command }).to_string();
        self.socket.send(Message::text(frame)).await.map_err(lost)?;
        Ok(self.last_id)
    }

    /// Asks, and returns what the reply holds of this kind. Pushes that come before it are kept.
    pub(super) async fn ask(&mut self, kind: &str, command: Value) -> Result<Value, Trouble> {
        let id = self.send(kind, command).await?;
        self.answer(kind, id).await
    }

    /// The reply to what was sent with this number.
    pub(super) async fn answer(&mut self, kind: &str, id: u64) -> Result<Value, Trouble> {
        loop {
            let mut reply = self.next().await?;
            if reply["id"] == json!(id) {
                let error = &reply["error"];
                if !error.is_null() {
                    let message = error["message"].as_str().unwrap_or_default();
                    return Err(Trouble::Refused(format!("error {} ({message})", error["code"])));
                }
                return Ok(reply[kind].take());
            }
            self.keep(reply);
        }
    }

    /// Calls a method.
    pub(super) async fn call(&mut self, method: &str, arguments: Value) -> Result<Value, Trouble> {
        let mut result = self.ask("rpc", json!({ "method": method, "data": arguments })).await?;
        Ok(result["data"].take())
    }

    /// Waits for a publication into the channel with this data.
    pub(super) async fn hear(&mut self, channel: &str, data: &Value) -> Result<(), Trouble> {
        let is_it = |push: &Value| push["channel"] == *channel && push["pub"]["data"] == *data;
        loop {
            while let Some(push) = self.pushes.pop_front() {
                if is_it(&push) {
                    return Ok(());
                }
            }
            let reply = self.next().await?;
            self.keep(reply);
        }
    }

    /// Leaves at once and for good, so that no roster waits for it to come back.
    pub(super) async fn leave(mut self, channel: Option<&str>) {
        if let Some(channel) = channel {
            let _ = self.ask("unsubscribe", json!({ "channel": channel })).await;
        }
        let _ = self.socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await;
    }

    fn keep(&mut self, mut reply: Value) {
        let push = reply["push"].take();
        if push.is_null() {
            return;
        }
        if self.pushes.len() >= PUSHES_MAX {
            self.pushes.pop_front();
        }
        self.pushes.push_back(push);
    }

    /// The next reply or push; pings are answered.
    async fn next(&mut self) -> Result<Value, Trouble> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                if reply.as_object().is_some_and(serde_json::Map::is_empty) {
                    self.socket.send(Message::text("{}")).await.map_err(lost)?;
                    continue;
                }
                return Ok(reply);
            }
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let replies: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
                    self.replies = replies.map_err(|error| lost(format!("what came is no reply: {error}")))?.into();
                }
                Some(Ok(Message::Close(Some(frame)))) => return Err(lost(format!("closed: {} {}", u16::from(frame.code), frame.reason))),
                Some(Ok(Message::Close(None))) | None => return Err(lost("the connection has ended")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(lost(error)),
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // errors are handed over
fn lost(reason: impl ToString) -> Trouble {
    Trouble::Lost(reason.to_string())
}
