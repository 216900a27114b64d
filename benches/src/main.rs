//! I/O: `headcount-bench`: starts the real binary, loads it with real sockets, and prints what that cost.

mod client;
mod counters;
mod crowd;
mod faults;
mod server;

use clap::{Parser, Subcommand};

/// Measures the headcount binary next to this one, or the one that HEADCOUNT_BIN names.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Many WebSocket clients in one channel: memory of each, CPU of each delivery, and that all get all in order.
    Crowd(crowd::Options),
    /// Additions over RESP beside Redis: rates, server CPU, memory of a counter, recovery.
    Counters(counters::Options),
    /// Counters of several regions under killed, stopped, cut, full, failing and lost everything: that the sums are exact.
    Faults(faults::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().benchmark {
        Benchmark::Crowd(options) => crowd::run(&options).await,
        Benchmark::Counters(options) => counters::run(&options).await,
        Benchmark::Faults(options) => faults::run(&options).await,
    }
}
