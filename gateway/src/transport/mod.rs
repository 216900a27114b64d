//! I/O: the ways in and out of a connection.

pub(crate) mod bodies;
pub mod emulation;
pub mod events;
pub mod guard;
pub mod inbound;
pub(crate) mod socket;
pub mod stream;
pub mod websocket;

use crate::hub::outbox::{Item, Outbox};
use bytes::Bytes;
use presence::Departure;
use protocol::code::Disconnect;
use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

/// What came from the client.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// One frame of commands.
    Frame(Bytes),
    /// Something that the transport itself answers, with these bytes.
    Asked(Bytes),
    /// The answer to a native ping.
    Pong,
    /// The client is gone; whether it said goodbye.
    Gone(Departure),
}

/// The other end cannot be written to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// One connection's bytes, in and out.
pub trait Transport: Send {
    /// What waits to be written to it.
    fn outbox(&self) -> &Arc<Outbox>;

    /// Waits for what the client says.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received>;

    /// Writes `items`; may be dropped before it is done, and what was begun is then finished by [`Transport::close`].
    fn send(&mut self, items: &[Item]) -> impl Future<Output = Result<(), Gone>> + Send;

    /// After [`Received::Gone`]: gives the answer that is owed, if one is.
    fn take_leave(&mut self) -> impl Future<Output = ()> + Send;

    /// Says why, and ends.
    fn close(&mut self, code: Disconnect) -> impl Future<Output = ()> + Send;
}
