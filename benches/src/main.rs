//! I/O: `headcount-bench`: starts the real binary, loads it with real sockets, and prints what that cost.

mod client;
mod counters;
mod crowd;
mod load;
mod redis;
mod server;

use anyhow::bail;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let benchmark = async {
        match Arguments::parse().benchmark {
            Benchmark::Crowd(options) => crowd::run(&options).await,
            Benchmark::Counters(options) => counters::run(&options).await,
        }
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whatever was started ends with the future that holds it.
    tokio::select! {
        result = benchmark => result,
        _ = interrupt.recv() => bail!("interrupted; what was started has been stopped"),
        _ = terminate.recv() => bail!("terminated; what was started has been stopped"),
    }
}
