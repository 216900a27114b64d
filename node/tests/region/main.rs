//! Gateways, Redis nodes and etcd, as real processes, through the doors that everybody uses.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod aborts;
mod coordinators;
mod etcd_faults;
mod etcd_majority;
mod least_privilege;
mod lobby;
mod lookout;
mod metrics;
mod moves;
mod presence_clock;
mod presence_crash;
mod presence_etcd;
mod presence_grace;
mod presence_random;
mod presence_redis;
mod presence_ring;
mod presence_stale;
mod random_plan;
mod random_stage;
mod random_truth;
mod redis_faults;
mod redis_lost;
mod scene;
mod service;
mod starved;
mod told;
