//! I/O: `headcount-bench`: starts the real binary, loads it with real sockets, and prints what that cost.

mod bus;
mod client;
mod clock;
mod counters;
mod fanout;
mod faults;
mod growth;
mod latency;
mod load;
mod moves;
mod overload;
mod plot;
mod presence;
mod probe;
mod redis;
mod regions;
mod replication;
mod resp;
mod ring;
mod room;
mod server;
mod soak;
mod visible;

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
    /// Calls and publications at one and three Redis nodes, beside redis-benchmark at the same ones, and subscriptions: rates,
    /// CPU, and what another client of the server feels.
    ///
    /// Needs redis-server and redis-benchmark on the PATH; takes some ten minutes. For trying: --quick.
    Bus(bus::Options),
    /// Additions, or votes, over RESP beside Redis: rates, server CPU, memory of a counter or a vote, recovery.
    Counters(counters::Options),
    /// Connections and deliveries beside other servers, and beside the practical limit: memory, CPU, latency, and that all get all in
    /// order.
    ///
    /// Needs 20,000 open files (`ulimit -n`); node and npm for ws and socket.io, and nginx with nchan: what is not there is left
    /// out. All of it takes an hour and a half. For trying: --quick.
    Fanout(fanout::Options),
    /// What an addition and a counter cost as the number of counters grows: rates and CPU beside Redis, memory, disk,
    /// recovery, and the pauses of a snapshot.
    ///
    /// Needs redis-server and redis-benchmark on the PATH. A size takes from a minute (10,000) to some ten minutes
    /// (50,000,000); for each counter about 140 bytes of memory and 160 of disk, and 110 bytes of memory for Redis beside
    /// that. Files are in the directory for temporary files: let TMPDIR name another one if that is small, or no disk at
    /// all. The report is written anew after each size. For trying: --sizes 10000,100000 --pairs 1 --operations 400000.
    Growth(growth::Options),
    /// Presence at its Redis nodes: a hundred thousand joins into one room, coming back after a minute, what idle and churning
    /// members cost beside a scheme that refreshes every member, what nobody at all costs, and the rows of a dead gateway.
    ///
    /// Needs redis-server and etcd on the PATH, and 20,000 open files (`ulimit -n`); takes half an hour. For trying: --quick.
    Presence(presence::Options),
    /// Two regions with Redis nodes and etcd of their own, over slow links: how soon one shows what changes in the other, while
    /// messages, joins and counters change at the same time.
    ///
    /// Needs redis-server and etcd on the PATH, and 20,000 open files (`ulimit -n`); takes some four minutes. For trying: --quick.
    Regions(regions::Options),
    /// Three regions: bytes between them, how soon one shows what another acknowledged, and catching up.
    ///
    /// Three nodes on this machine, each a region of its own; what they say to each other goes through proxies in this
    /// process, which count its bytes, delay it and cut it off. All of it takes some ten minutes, and joining 10,000,000
    /// counters about 6 GiB of memory and of disk (TMPDIR names the place). For trying: --quick.
    Replication(replication::Options),
    /// The ring of Redis nodes beside other ways to give channels to nodes: balance, what moves when nodes come and go,
    /// time and memory.
    ///
    /// Starts no servers; takes some two minutes. For trying: --channels 20000.
    Ring(ring::Options),
    /// Planned changes of the ring under heavy traffic, of which gateways learn late: that nothing is lost, doubled or out of
    /// order.
    ///
    /// Needs redis-server and etcd on the PATH; takes some ten minutes. For trying: --runs 1 --rate 500.
    Moves(moves::Options),
    /// More than a gateway can take: 15,000 clients that come back when their gateway dies, and 1,000 readers who do not read; and what
    /// others feel of it.
    ///
    /// Needs redis-server and etcd on the PATH, and 20,000 open files (`ulimit -n`); takes some five minutes. For trying: --quick.
    Overload(overload::Options),
    /// Counters of several regions under killed, stopped, cut, full, failing and lost everything: that the sums are exact.
    Faults(faults::Options),
    /// Everything at once for an hour: two regions with clients that come and go, messages and likes, while processes are killed, stopped
    /// and restarted, links cut and rings changed. Every promise must be kept, and memory must be flat.
    ///
    /// Needs redis-server and etcd on the PATH. For trying: --minutes 2.
    Soak(soak::Options),
    /// A server that `fanout` starts.
    #[command(hide = true)]
    Serve(fanout::Server),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let benchmark = async {
        match Arguments::parse().benchmark {
            Benchmark::Bus(options) => bus::run(&options).await,
            Benchmark::Counters(options) => counters::run(&options).await,
            Benchmark::Fanout(options) => fanout::run(&options).await,
            Benchmark::Faults(options) => faults::run(&options).await,
            Benchmark::Growth(options) => growth::run(&options).await,
            Benchmark::Moves(options) => moves::run(&options).await,
            Benchmark::Overload(options) => overload::run(&options).await,
            Benchmark::Presence(options) => presence::run(&options).await,
            Benchmark::Regions(options) => regions::run(&options).await,
            Benchmark::Ring(options) => ring::run(options).await,
            Benchmark::Replication(options) => replication::run(&options).await,
            Benchmark::Soak(options) => soak::run(&options).await,
            Benchmark::Serve(server) => fanout::serve(&server).await,
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
