//! I/O: WebSocket (RFC 6455), handshake and frames by tungstenite.

use super::{Gone, Received, Transport};
use crate::{
    connection::{self, Opening},
    gateway::Gateway,
    hub::{broadcast::Wire, outbox::Item},
};
use axum::{
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use presence::Departure;
use protocol::{
    code::Disconnect,
    frame::{self, Format},
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        handshake::server::create_response_with_body,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// Bytes read from the socket at once. Tungstenite's default of 128 KiB for each connection would be most of our memory.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Bytes gathered before a write.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;
/// How long a client may take to answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The subprotocol of the binary form.
const PROTOBUF_SUBPROTOCOL: &str = "centrifuge-protobuf";
/// The subprotocol of the text form, which is also spoken without any.
const JSON_SUBPROTOCOL: &str = "centrifuge-json";

/// The query of `/connection/websocket`.
#[derive(Deserialize)]
pub(crate) struct Options {
    format: Option<String>,
    cf_protocol: Option<String>,
    #[serde(default)]
    cf_ws_frame_ping_pong: Option<String>,
}

/// `GET /connection/websocket`
pub(crate) async fn upgrade(State(gateway): State<Arc<Gateway>>, Query(options): Query<Options>, mut request: Request) -> Response<Body> {
    let (format, subprotocol) = negotiate(&options, request.headers());
    let head = {
        let mut head = axum::http::Request::new(());
        *head.method_mut() = request.method().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        head
    };
    let mut response = match create_response_with_body(&head, Body::empty) {
        Ok(response) => response,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("not a WebSocket handshake: {error}\n")).into_response(),
    };
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    let native_ping = options.cf_ws_frame_ping_pong.as_deref() == Some("true");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        // Nothing of hyper stays: the socket itself comes back.
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let config = config(gateway.settings.message_bytes_max);
        let socket = WebSocketStream::from_partially_read(parts.io.into_inner(), parts.read_buf.to_vec(), Role::Server, Some(config)).await;
        let transport = WebSocket { socket, format };
        connection::run(gateway, transport, Opening { native_ping, ..Opening::default() }).await;
    });
    response
}

/// A connection over WebSocket.
struct WebSocket {
    socket: WebSocketStream<TcpStream>,
    format: Format,
}

impl WebSocket {
    fn message(&self, frame: Bytes) -> Message {
        match self.format {
            Format::Protobuf => Message::Binary(frame),
            Format::Json => Utf8Bytes::try_from(frame.clone()).map_or(Message::Binary(frame), Message::Text),
        }
    }

    /// Sends a close frame and reads until the client's answer.
    async fn close_with(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static(reason) };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        })
        .await;
    }
}

impl Transport for WebSocket {
    fn wire(&self) -> Wire {
        if self.format == Format::Protobuf { Wire::Protobuf } else { Wire::Json }
    }

    async fn receive(&mut self) -> Received {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Received::Frame(text.into()),
                Some(Ok(Message::Binary(bytes))) => return Received::Frame(bytes),
                Some(Ok(Message::Pong(_))) => return Received::Pong,
                Some(Ok(Message::Close(close))) => {
                    // Tungstenite has queued the answer; reading on sends it.
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = self.socket.next().await {} }).await;
                    let is_clean = close.is_some_and(|close| close.code == CloseCode::Normal);
                    return Received::Gone(if is_clean { Departure::Clean } else { Departure::Dropped });
                }
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
                Some(Err(error)) => {
                    match error {
                        Error::Capacity(_) => self.close_with(1009, "message size limit").await,
                        Error::Utf8(_) => self.close_with(1007, "invalid UTF-8").await,
                        Error::Protocol(_) => self.close_with(1002, "protocol error").await,
                        _ => {}
                    }
                    return Received::Gone(Departure::Dropped);
                }
                None => return Received::Gone(Departure::Dropped),
            }
        }
    }

    async fn send(&mut self, items: &[Item]) -> Result<(), Gone> {
        let wire = self.wire();
        let messages: Vec<Bytes> = items.iter().filter_map(|item| item.bytes(wire)).cloned().collect();
        let message = self.message(frame::join(self.format, &messages));
        self.socket.send(message).await.map_err(|_| Gone)
    }

    async fn ping(&mut self) -> Result<(), Gone> {
        self.socket.send(Message::Ping(Bytes::new())).await.map_err(|_| Gone)
    }

    async fn close(&mut self, code: Disconnect) {
        let (number, reason) = code.parts();
        self.close_with(number, reason).await;
    }
}

fn config(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

/// The form of messages, and the subprotocol to answer with.
fn negotiate(options: &Options, headers: &HeaderMap) -> (Format, Option<&'static str>) {
    let mut offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    match offered.find(|name| [JSON_SUBPROTOCOL, PROTOBUF_SUBPROTOCOL].contains(name)) {
        Some(PROTOBUF_SUBPROTOCOL) => (Format::Protobuf, Some(PROTOBUF_SUBPROTOCOL)),
        Some(_) => (Format::Json, Some(JSON_SUBPROTOCOL)),
        None if [&options.format, &options.cf_protocol].into_iter().flatten().any(|format| format == "protobuf") => {
            (Format::Protobuf, None)
        }
        None => (Format::Json, None),
    }
}
