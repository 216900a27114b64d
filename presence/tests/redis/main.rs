//! The scripts of presence, against a real server.

#![allow(clippy::unwrap_used, unreachable_pub)] // All of this is a test, also what stands outside of #[test] functions.

mod edges;
mod generations;
mod hooks;
mod laws;
mod node;
mod owners;
mod reading;
mod reaping;
mod room;
mod speed;
