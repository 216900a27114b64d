//! I/O: messages over WebSocket (RFC 6455).

pub(crate) mod frames;
pub(crate) mod handshake;
mod input;

use super::{
    Gone, Received, Transport,
    socket::{CLOSE_TIMEOUT, Socket, joined},
};
use crate::{
    admission::pace::{Pace, Rate},
    gateway::Gateway,
    hub::{
        broadcast::Wire,
        outbox::{Item, Line, Outbox},
    },
};
use frames::{Said, Violation};
use input::{End, Input};
use presence::Departure;
use protocol::{code::Disconnect, frame::Format};
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Pings and pongs of one client in one second; one more ends the connection with 1008. A client has one pong in each ping interval to
/// say, and as many pings as it likes up to this.
const CONTROLS: Rate = Rate { per_s: 10, burst: 10 };

/// A connection over WebSocket. Between two messages it holds nothing.
struct WebSocket {
    socket: Socket,
    gateway: Arc<Gateway>,
    controls: Pace,
    /// While there is more than whole messages that were received.
    input: Option<Box<Input>>,
}

impl WebSocket {
    fn new(gateway: Arc<Gateway>, socket: TcpStream, read_already: &[u8], format: Format) -> WebSocket {
        let wire = if format == Format::Protobuf { Wire::ProtobufFrames } else { Wire::JsonFrames };
        let line = Line { socket, shared: Some(wire), sent: gateway.metrics.sent.clone() };
        let outbox = gateway.outbox(wire, Some(line));
        let mut transport = WebSocket { socket: Socket::new(outbox), gateway, controls: Pace::default(), input: None };
        if !read_already.is_empty() {
            Input::read(&mut transport.input, transport.gateway.settings.message_bytes_max, read_already);
        }
        transport
    }

    /// Reads what is there, or waits; false at the end of the connection.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let WebSocket { socket, gateway, input, .. } = self;
        socket.poll_read(context, |bytes| Input::read(input, gateway.settings.message_bytes_max, bytes))
    }

    /// Sends a close frame and reads until the client's answer; or to its end, if it breaks the rules.
    async fn close_with(&mut self, (code, reason): (u16, &'static str)) {
        let closed = async {
            self.socket.say_last(&frames::close(Some(code), reason)).await?;
            while !self.input.as_mut().is_some_and(|input| input.is_over()) && poll_fn(|context| self.poll_read(context)).await {}
            if self.input.as_ref().is_some_and(|input| matches!(input.end, Some(End::Violation(_)))) {
                self.socket.hear_out().await;
            }
            Ok::<(), Gone>(())
        };
        _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}

impl Transport for WebSocket {
    fn outbox(&self) -> &Arc<Outbox> {
        self.socket.outbox()
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        loop {
            if let Some(input) = &mut self.input {
                let said = input.said.pop_front();
                let is_control = matches!(said, Some(Said::Ping(_) | Said::Pong));
                if is_control && self.controls.take(CONTROLS, (self.gateway.clock)()).is_err() {
                    input.said.clear();
                    input.end = Some(End::Violation(Violation::Controls));
                    continue;
                }
                match said {
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
                _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.say_last(&frames::close(code, ""))).await;
            }
            Some(End::Violation(violation)) => {
                self.gateway.metrics.refused_inputs.with_label_values(&[violation.label()]).inc();
                self.close_with(violation.parts()).await;
            }
            None => {}
        }
    }

    async fn send(&mut self, items: &[Item]) -> Result<(), Gone> {
        let bytes = joined(items, self.socket.outbox().wire());
        self.socket.write(bytes).await
    }

    async fn close(&mut self, code: Disconnect) {
        self.close_with(code.parts()).await;
    }
}
