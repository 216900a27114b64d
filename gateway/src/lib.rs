//! I/O: sessions of clients, the hub that fans out to them, the transports, the HTTP API and the bus.

pub mod admission;
mod alarms;
mod answers;
pub mod api;
pub mod auth;
pub mod bus;
mod connection;
mod descriptors;
mod front_door;
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
pub mod hub;
mod live;
pub mod metrics;
mod orders;
pub mod outbound;
mod people;
pub mod regions;
pub mod registry;
mod replies;
mod rosters;
pub mod server;
pub mod session;
mod subscribing;
mod takeover;
mod tasks;
pub mod tls;
mod tops;
pub mod traces;
pub mod transport;
pub mod webhooks;
