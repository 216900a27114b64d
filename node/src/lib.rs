//! I/O: the one binary's parts. Begin with `wiring.rs`, which reads top to bottom as the picture of the system.

pub mod admin;
pub mod admin_client;
pub mod admin_orders;
pub mod certificates;
pub mod cli;
pub mod clock;
pub mod config;
pub mod counter_commands;
pub mod data_dir;
pub mod demo;
pub mod etcd;
pub mod failure;
pub mod listeners;
pub mod operations;
mod parts;
pub mod plan;
pub mod plan_command;
pub mod pulse;
pub mod readiness;
pub mod ring;
pub mod ring_asking;
pub mod ring_commands;
pub mod signals;
pub mod telemetry;
pub mod token;
pub mod wiring;
