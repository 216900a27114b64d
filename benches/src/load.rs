//! I/O: makes counters: each key once, over RESP, pipelined.

use anyhow::ensure;
use core::net::SocketAddr;
use std::fmt::Write;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Connections that share the work.
const CONNECTIONS: usize = 4;
/// Commands sent before their answers are read.
const PIPELINE: usize = 1000;
/// Counters between two lines of progress.
const PROGRESS: usize = 1_000_000;

/// Adds 1 to each of `count` new counters, named as `redis-benchmark` names its own; an error unless each is 1 then.
pub(crate) async fn fill(address: SocketAddr, count: usize) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    let share = count.div_ceil(CONNECTIONS);
    for from in (0..count).step_by(share.max(1)) {
        connections.spawn(fill_range(address, from, count.min(from + share)));
    }
    while let Some(done) = connections.join_next().await {
        done??;
    }
    Ok(())
}

async fn fill_range(address: SocketAddr, from: usize, to: usize) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut commands, mut answers) = (String::new(), Vec::new());
    for start in (from..to).step_by(PIPELINE) {
        let end = to.min(start + PIPELINE);
        commands.clear();
        for key in start..end {
            write!(commands, "*3\r\n$6\r\nINCRBY\r\n$16\r\nkey_{key:012}\r\n$1\r\n1\r\n")?;
        }
        stream.write_all(commands.as_bytes()).await?;
        answers.resize(b":1\r\n".len() * (end - start), 0);
        stream.read_exact(&mut answers).await?;
        ensure!(answers.chunks(4).all(|answer| answer == b":1\r\n"), "a counter is not 1 after its first increment");
        if start > from && (start - from) % PROGRESS < PIPELINE {
            eprintln!("  filled {} of {}", start - from, to - from);
        }
    }
    Ok(())
}
