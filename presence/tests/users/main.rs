//! Users, when they were seen last, and their contacts, as gateways of one region share them; and what these know of channels
//! when their nodes, or others, take them for gone.

#![allow(clippy::unwrap_used, unreachable_pub)] // All of this is a test, also what stands outside of #[test] functions.

mod contacts;
mod gone;
mod kept;
mod online;
mod region;
mod stale;
mod telling;
mod watching;
