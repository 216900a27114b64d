//! Several gateways and several Redis nodes: publications cross, nodes die and come back, slots move.

#![allow(clippy::unwrap_used, unreachable_pub)] // All of this is a test, also what stands outside of #[test] functions.

#[path = "../bus_rig/mod.rs"]
mod bus_rig;
mod controls;
mod coordinated;
mod crossing;
mod handover;
mod moving;
mod trouble;
