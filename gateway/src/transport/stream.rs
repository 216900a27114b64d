//! I/O: a response body that never ends: http_stream, SSE and EventSource. Frames from the client, if any, come from
//! other requests through a bounded queue.

use super::{Gone, Received, Transport};
use crate::{
    gateway::Gateway,
    hub::{
        broadcast::{Broadcast, Kind, Wire},
        outbox::{Item, Outbox},
    },
};
use axum::{
    body::Body,
    http::{HeaderValue, Response, header},
};
use bytes::{Bytes, BytesMut};
use presence::Departure;
use protocol::{
    code::Disconnect,
    frame::{self, Format},
    message::{Push, Reply},
    name::Channel,
};
use std::{
    fmt::Write,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// Chunks between the connection's task and the HTTP server; a full queue makes the connection wait.
const CHUNKS_MAX: usize = 4;
/// Frames from `POST /emulation` that wait; at the bound the request is answered 503.
pub(crate) const INBOUND_MAX: usize = 16;
/// Milliseconds after which a browser reconnects an EventSource.
const RETRY_MS: u64 = 1000;

/// How messages are told apart in the body.
#[derive(Clone, Debug)]
pub(crate) enum Framing {
    /// JSON, a newline behind each message.
    Lines,
    /// Protobuf, each message behind its length.
    Lengths,
    /// `data:` lines of server-sent events with replies or bare pushes.
    Data(Wire),
    /// Named events with ids, for EventSource; positions in the order of the request's channels.
    Events(Vec<(Channel, Option<String>)>),
}

/// The connection's side of a streaming response.
pub(crate) struct Stream {
    framing: Framing,
    outbox: Arc<Outbox>,
    body: mpsc::Sender<Bytes>,
    gone: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    inbound: Option<mpsc::Receiver<Bytes>>,
}

impl Stream {
    /// The two ends of a stream: the transport and the response.
    pub(crate) fn new(gateway: &Gateway, framing: Framing, inbound: Option<mpsc::Receiver<Bytes>>) -> (Stream, Response<Body>) {
        let (body, chunks) = mpsc::channel(CHUNKS_MAX);
        let content_type = match framing {
            Framing::Lines => "application/json",
            Framing::Lengths => "application/octet-stream",
            Framing::Data(_) | Framing::Events(_) => "text/event-stream",
        };
        if let Some(opening) = framing.opening() {
            // The queue is empty, so that there is room.
            let _ = body.try_send(opening);
        }
        let stream = futures_util::stream::unfold(chunks, |mut chunks| async move {
            chunks.recv().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), chunks))
        });
        let mut response = Response::new(Body::from_stream(stream));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, no-transform, must-revalidate"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        let outbox = Arc::new(Outbox::new(framing.wire(), gateway.settings.outbox_bytes_max, None));
        let watched = body.clone();
        let gone = Box::pin(async move { watched.closed().await });
        (Stream { framing, outbox, body, gone, inbound }, response)
    }

    async fn write(&self, chunk: Bytes) -> Result<(), Gone> {
        self.body.send(chunk).await.map_err(|_| Gone)
    }
}

impl Transport for Stream {
    fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        if self.gone.as_mut().poll(context).is_ready() {
            return Poll::Ready(Received::Gone(Departure::Dropped));
        }
        let Some(inbound) = &mut self.inbound else { return Poll::Pending };
        inbound.poll_recv(context).map(|frame| frame.map_or(Received::Gone(Departure::Dropped), Received::Frame))
    }

    async fn take_leave(&mut self) {}

    async fn send(&mut self, items: &[Item]) -> Result<(), Gone> {
        let wire = self.framing.wire();
        let mut chunk = BytesMut::new();
        for item in items {
            self.framing.append(item, wire, &mut chunk);
        }
        self.write(chunk.freeze()).await
    }

    async fn close(&mut self, code: Disconnect) {
        let farewell = self.framing.farewell(code);
        // A body that takes nothing more is closed by dropping it.
        let _ = self.body.try_send(farewell);
    }
}

impl Framing {
    fn wire(&self) -> Wire {
        match self {
            Framing::Lines => Wire::Json,
            Framing::Lengths => Wire::Protobuf,
            Framing::Data(wire) => *wire,
            Framing::Events(_) => Wire::Event,
        }
    }

    fn opening(&self) -> Option<Bytes> {
        match self {
            Framing::Lines | Framing::Lengths => None,
            Framing::Data(_) => Some(Bytes::from_static(b"\r\n")),
            Framing::Events(_) => Some(format!("retry: {RETRY_MS}\n\n").into()),
        }
    }

    fn append(&mut self, item: &Item, wire: Wire, chunk: &mut BytesMut) {
        let Some(bytes) = item.bytes(wire) else { return };
        match self {
            Framing::Lines => chunk.extend([bytes, &b"\n"[..]].concat()),
            Framing::Lengths => chunk.extend_from_slice(bytes),
            Framing::Data(_) => chunk.extend([b"data: ", &bytes[..], b"\n\n"].concat()),
            Framing::Events(positions) => {
                if let Item::Broadcast(broadcast) = item
                    && let Some(id) = advance(positions, broadcast)
                {
                    chunk.extend_from_slice(id.as_bytes());
                    if broadcast.kind == Kind::Position {
                        chunk.extend_from_slice(b"\n");
                    }
                }
                chunk.extend_from_slice(bytes);
            }
        }
    }

    /// The last words: a disconnect push, or the events that an EventSource can hear.
    fn farewell(&self, code: Disconnect) -> Bytes {
        let push = Push { disconnect: Some(code.to_message()), ..Push::default() };
        let reply = Reply { push: Some(push.clone()), ..Reply::default() };
        let mut chunk = BytesMut::new();
        match self {
            Framing::Lines => {
                chunk.extend_from_slice(&frame::encode(Format::Json, &reply));
                chunk.extend_from_slice(b"\n");
            }
            Framing::Lengths => chunk.extend_from_slice(&frame::encode(Format::Protobuf, &reply)),
            Framing::Data(wire) => {
                let json = if *wire == Wire::BareJson { frame::encode(Format::Json, &push) } else { frame::encode(Format::Json, &reply) };
                chunk.extend([b"data: ", &json[..], b"\n\n"].concat());
            }
            Framing::Events(_) if code == Disconnect::ConnectionExpired => chunk.extend_from_slice(b"event: expired\ndata: {}\n\n"),
            Framing::Events(_) => {
                let json = frame::encode(Format::Json, &code.to_message());
                chunk.extend([b"event: disconnect\ndata: ", &json[..], b"\n\n"].concat());
            }
        }
        chunk.freeze()
    }
}

/// Notes the place of a publication and says the `id:` line that holds the places in all channels.
fn advance(positions: &mut [(Channel, Option<String>)], broadcast: &Broadcast) -> Option<String> {
    if broadcast.epoch.is_empty() {
        return None;
    }
    let (_, position) = positions.iter_mut().find(|(channel, _)| *channel == broadcast.channel)?;
    *position = Some(format!("{}.{}", broadcast.epoch, broadcast.offset));
    let mut id = String::from("id: ");
    for (index, (_, position)) in positions.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(id, "{comma}{}", position.as_deref().unwrap_or_default());
    }
    id.push('\n');
    Some(id)
}
