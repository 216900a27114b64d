//! I/O: WebSocket (RFC 6455). The handshake is tungstenite's, and so are the headers of frames.

pub(crate) mod frames;

use super::{Gone, Received, Transport};
use crate::{
    connection::{self, Opening},
    gateway::Gateway,
    hub::{
        broadcast::Wire,
        outbox::{Item, Line, Outbox},
    },
};
use axum::{
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::{Buf, Bytes, BytesMut};
use frames::{Reader, Said, Violation};
use hyper::upgrade::Parts;
use hyper_util::rt::TokioIo;
use presence::Departure;
use protocol::{code::Disconnect, frame::Format};
use serde::Deserialize;
use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    io::ErrorKind,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{handshake::server::create_response_with_body, protocol::frame::coding::CloseCode};

/// Bytes read from a socket at once, into a buffer that all connections of a thread share.
const READ_BYTES: usize = 64 * 1024;
/// How long a client may take to answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The subprotocol of the binary form.
const PROTOBUF_SUBPROTOCOL: &str = "centrifuge-protobuf";
/// The subprotocol of the text form, which is also spoken without any.
const JSON_SUBPROTOCOL: &str = "centrifuge-json";

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

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
        let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let transport = WebSocket::new(&gateway, io.into_inner(), &read_buf, format);
        drop(read_buf);
        connection::run(gateway, transport, Opening { native_ping, ..Opening::default() }).await;
    });
    response
}

/// A connection over WebSocket. Between two messages it holds nothing.
struct WebSocket {
    outbox: Arc<Outbox>,
    /// Bytes in one message.
    message_bytes_max: usize,
    /// While there is more than whole messages that were received.
    input: Option<Box<Input>>,
    /// What is being written.
    unsent: Bytes,
}

/// What the client sent.
struct Input {
    reader: Reader,
    /// Read and not received yet.
    said: VecDeque<Said>,
    /// What comes after that.
    end: Option<End>,
}

/// Why nothing more is received.
#[derive(Clone, Copy)]
enum End {
    /// The client said so, with this code.
    Farewell(Option<u16>),
    Violation(Violation),
}

impl WebSocket {
    fn new(gateway: &Gateway, socket: TcpStream, read_already: &[u8], format: Format) -> WebSocket {
        let wire = if format == Format::Protobuf { Wire::ProtobufFrames } else { Wire::JsonFrames };
        let line = Line { socket, sent: gateway.metrics.sent.clone() };
        let outbox = Arc::new(Outbox::new(wire, gateway.settings.outbox_bytes_max, Some(line)));
        let mut transport = WebSocket { outbox, message_bytes_max: gateway.settings.message_bytes_max, input: None, unsent: Bytes::new() };
        transport.read(read_already);
        transport
    }

    fn read(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let most = self.message_bytes_max;
        let input = self.input.get_or_insert_with(|| Box::new(Input { reader: Reader::new(most), said: VecDeque::new(), end: None }));
        if let Err(violation) = input.reader.read(bytes, &mut input.said) {
            input.end = Some(End::Violation(violation));
        }
    }

    /// Reads what is there, or waits; false at the end of the connection.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let outbox = self.outbox.clone();
        let Some(socket) = outbox.socket() else { return Poll::Ready(false) };
        loop {
            if ready!(socket.poll_read_ready(context)).is_err() {
                return Poll::Ready(false);
            }
            let read = BUFFER.with_borrow_mut(|buffer| {
                let read = socket.try_read(buffer);
                self.read(&buffer[..*read.as_ref().unwrap_or(&0)]);
                read
            });
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.is_ok_and(|read| read > 0)),
            }
        }
    }

    async fn write(&mut self) -> Result<(), Gone> {
        let outbox = self.outbox.clone();
        let socket = outbox.socket().ok_or(Gone)?;
        while !self.unsent.is_empty() {
            match socket.try_write(&self.unsent) {
                Ok(0) => return Err(Gone),
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable().await.map_err(|_| Gone)?,
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Says the last word. Nothing else is written from here on.
    async fn say_last(&mut self, close_frame: Bytes) -> Result<(), Gone> {
        // What had begun to go out ends first: a part of it that waits, or what was being written.
        let begun = self.outbox.close().unwrap_or_default();
        self.unsent = [std::mem::take(&mut self.unsent), begun, close_frame].concat().into();
        self.write().await
    }

    /// Sends a close frame and reads until the client's answer.
    async fn close_with(&mut self, code: u16, reason: &'static str) {
        let closed = async {
            if self.say_last(frames::close(Some(code), reason)).await.is_ok() {
                while !self.has_answered() && poll_fn(|context| self.poll_read(context)).await {}
            }
        };
        _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }

    /// Whether what the client said last has come; forgets what it said before.
    fn has_answered(&mut self) -> bool {
        let Some(input) = &mut self.input else { return false };
        let is_over = input.end.is_some() || input.said.iter().any(|said| matches!(said, Said::Close(_)));
        input.said.clear();
        is_over
    }
}

impl Transport for WebSocket {
    fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        loop {
            if let Some(input) = &mut self.input {
                match input.said.pop_front() {
                    Some(Said::Message(message)) => return Poll::Ready(Received::Frame(message)),
                    Some(Said::Ping(payload)) => return Poll::Ready(Received::Asked(frames::pong(&payload))),
                    Some(Said::Pong) => return Poll::Ready(Received::Pong),
                    Some(Said::Close(code)) => {
                        input.end = Some(End::Farewell(code));
                        let is_clean = code == Some(CloseCode::Normal.into());
                        return Poll::Ready(Received::Gone(if is_clean { Departure::Clean } else { Departure::Dropped }));
                    }
                    None if input.end.is_some() => return Poll::Ready(Received::Gone(Departure::Dropped)),
                    None => {}
                }
                self.input.take_if(|input| input.reader.is_empty());
            }
            if !ready!(self.poll_read(context)) {
                return Poll::Ready(Received::Gone(Departure::Dropped));
            }
        }
    }

    async fn take_leave(&mut self) {
        match self.input.as_ref().and_then(|input| input.end) {
            Some(End::Farewell(code)) => {
                _ = tokio::time::timeout(CLOSE_TIMEOUT, self.say_last(frames::close(code, ""))).await;
            }
            Some(End::Violation(violation)) => {
                let (code, reason) = violation.parts();
                self.close_with(code, reason).await;
            }
            None => {}
        }
    }

    async fn send(&mut self, items: &[Item]) -> Result<(), Gone> {
        let wire = self.outbox.wire();
        let mut messages = items.iter().filter_map(|item| item.bytes(wire));
        self.unsent = match (messages.next(), messages.next()) {
            (None, _) => return Ok(()),
            (Some(only), None) => only.clone(),
            (Some(first), Some(second)) => [first, second]
                .into_iter()
                .chain(messages)
                .fold(BytesMut::new(), |mut all, message| {
                    all.extend_from_slice(message);
                    all
                })
                .freeze(),
        };
        self.write().await
    }

    async fn close(&mut self, code: Disconnect) {
        let (number, reason) = code.parts();
        self.close_with(number, reason).await;
    }
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
