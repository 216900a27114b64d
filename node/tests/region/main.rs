//! Gateways, Redis nodes and etcd, as real processes, through the doors that everybody uses.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod metrics;
mod moves;
mod told;
