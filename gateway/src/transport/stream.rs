//! I/O: a response that never ends: http_stream, SSE and EventSource. Its connection begins before its head is written, since
//! the head may depend on how the connect request fares; its socket comes with the head. Frames from the client, if any, come
//! from other requests.

use super::{
    Gone, Received, Transport,
    inbound::Inbound,
    socket::{CLOSE_TIMEOUT, Socket, joined},
};
use crate::{
    gateway::Gateway,
    hub::{
        broadcast::{Broadcast, Wire},
        outbox::{Item, Line, Outbox, Sent},
    },
    replies,
    takeover::Takeover,
};
use axum::{
    body::Body,
    http::{HeaderValue, Response, header},
};
use bytes::{Bytes, BytesMut};
use presence::Departure;
use protocol::{code::Disconnect, name::Channel};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{sync::oneshot, time::timeout};

/// Milliseconds after which a browser reconnects an EventSource.
const RETRY_MS: u64 = 1000;

/// The connection's side of a streaming response.
pub(crate) struct Stream {
    socket: Socket,
    /// Brings the socket once the head is written.
    arriving: Option<oneshot::Receiver<Line>>,
    inbound: Option<Arc<Inbound>>,
    /// Of an EventSource, where it stands in the channels of its request, in their order.
    places: Box<[(Channel, Option<String>)]>,
}

/// The side of HTTP: makes the response. Dropped, it ends the connection.
pub(crate) struct Entrance {
    wire: Wire,
    sent: Arc<Sent>,
    arrived: oneshot::Sender<Line>,
}

impl Entrance {
    /// The response. Anybody may write to it what is encoded for `shared`; `None`: its connection's task alone.
    pub(crate) fn response(self, shared: Option<Wire>) -> Response<Body> {
        let Entrance { wire, sent, arrived } = self;
        let (content_type, opening) = match wire {
            Wire::Protobuf => ("application/octet-stream", Bytes::new()),
            Wire::JsonData | Wire::BareJson => ("text/event-stream", Bytes::from_static(b"\r\n")),
            Wire::Event | Wire::EventWithId => ("text/event-stream", format!("retry: {RETRY_MS}\n\n").into()),
            _ => ("application/json", Bytes::new()),
        };
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, no-transform, must-revalidate"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        // What a client sends behind its request is nothing that we read.
        Takeover::after(response, opening, move |socket, _| drop(arrived.send(Line { socket, shared, sent })))
    }
}

impl Stream {
    /// The two sides of a stream of messages as they are on `wire`.
    pub(crate) fn new(gateway: &Gateway, wire: Wire, inbound: Option<Arc<Inbound>>) -> (Stream, Entrance) {
        let (arrived, arriving) = oneshot::channel();
        let outbox = gateway.outbox(wire, None);
        let stream = Stream { socket: Socket::new(outbox), arriving: Some(arriving), inbound, places: Box::default() };
        (stream, Entrance { wire, sent: gateway.metrics.sent.clone(), arrived })
    }

    /// Of a stream of named events with ids, for EventSource.
    pub(crate) fn of_events(gateway: &Gateway, channels: Vec<Channel>) -> (Stream, Entrance) {
        let (stream, entrance) = Stream::new(gateway, Wire::Event, None);
        (Stream { places: channels.into_iter().map(|channel| (channel, None)).collect(), ..stream }, entrance)
    }

    /// What is written of `items`.
    fn bytes(&mut self, items: &[Item]) -> Bytes {
        let wire = self.socket.outbox().wire();
        if self.places.is_empty() {
            return joined(items, wire);
        }
        let mut all = BytesMut::new();
        for item in items {
            if let Item::Broadcast(broadcast) = item {
                all.extend_from_slice(&self.advance(broadcast));
            }
            all.extend_from_slice(item.bytes(wire).unwrap_or(&Bytes::new()));
        }
        all.freeze()
    }

    /// Notes the place of a push and says the id that holds the places in all channels; nothing for channels that only the token
    /// names.
    fn advance(&mut self, broadcast: &Broadcast) -> Vec<u8> {
        let Some((_, place)) = self.places.iter_mut().find(|(channel, _)| *channel == broadcast.channel) else { return Vec::new() };
        if !broadcast.epoch.is_empty() {
            *place = Some(broadcast.place());
        }
        let places: Vec<&str> = self.places.iter().map(|(_, place)| place.as_deref().unwrap_or_default()).collect();
        broadcast.id_line(&places.join(","))
    }

    /// Waits for the socket, if it has not come yet; false if it does not.
    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Some(arriving) = &mut self.arriving else { return Poll::Ready(true) };
        let line = ready!(Pin::new(arriving).poll(context));
        self.arriving = None;
        Poll::Ready(line.map(|line| self.socket.outbox().attach(line)).is_ok())
    }

    async fn arrival(&mut self) -> Result<(), Gone> {
        if poll_fn(|context| self.poll_arrival(context)).await { Ok(()) } else { Err(Gone) }
    }
}

impl Transport for Stream {
    fn outbox(&self) -> &Arc<Outbox> {
        self.socket.outbox()
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        if let Some(inbound) = &self.inbound
            && let Poll::Ready(frame) = inbound.poll_take(context)
        {
            return Poll::Ready(Received::Frame(frame));
        }
        // It is read only to see its end.
        while ready!(self.poll_arrival(context)) && ready!(self.socket.poll_read(context, |_| {})) {}
        Poll::Ready(Received::Gone(Departure::Dropped))
    }

    async fn take_leave(&mut self) {}

    async fn send(&mut self, items: &[Item]) -> Result<(), Gone> {
        self.arrival().await?;
        let bytes = self.bytes(items);
        self.socket.write(bytes).await
    }

    async fn close(&mut self, code: Disconnect) {
        let farewell = replies::farewell(self.socket.outbox().wire(), code);
        let closed = async {
            if self.arrival().await.is_ok() && self.socket.say_last(&farewell).await.is_ok() {
                self.socket.discard();
            }
        };
        _ = timeout(CLOSE_TIMEOUT, closed).await;
    }
}
