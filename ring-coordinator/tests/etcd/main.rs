//! What a gateway and a coordinator have of etcd, against a real one to which everything happens that happens to etcd.

#![allow(clippy::unwrap_used)] // All of this is a test.

mod access;
mod election;
mod lease;
mod mirror;
mod outage;
mod station;
