//! The connections to Redis nodes, against real servers in every kind of trouble.

#![allow(clippy::unwrap_used, unreachable_pub)] // All of this is a test, also what stands outside of #[test] functions.

mod commands;
mod gateway;
mod handover;
mod subscriptions;
mod tls;
