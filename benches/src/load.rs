//! I/O: additions over RESP, pipelined: each key of many once, or some keys in turn.

use crate::resp::Connection;
use anyhow::ensure;
use core::net::SocketAddr;
use std::{fmt::Write, ops::Range, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval},
};

/// Connections that share the work.
const CONNECTIONS: usize = 4;
/// Commands sent before their answers are read.
const PIPELINE: usize = 1000;
/// Counters between two lines of progress.
const PROGRESS: usize = 1_000_000;
/// Parts of a second in which paced additions are sent, each in one pipeline.
const TICKS_PER_S: usize = 100;

/// Additions to some counters in turn, so that the same number of them goes to each.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    /// What the counters' names begin with.
    pub(crate) name: String,
    /// Counters added to.
    pub(crate) keys: usize,
    pub(crate) additions: usize,
    /// Additions per second, over one connection; `None`: as fast as it goes, over several.
    pub(crate) per_s: Option<usize>,
}

impl Turns {
    pub(crate) fn key(&self, number: usize) -> String {
        format!("{}_{number:012}", self.name)
    }

    /// Does them all; returns how long that took.
    pub(crate) async fn run(&self, address: SocketAddr) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        if let Some(per_s) = self.per_s {
            let mut ticks = interval(Duration::from_secs(1) / u32::try_from(TICKS_PER_S)?);
            let mut connection = Connection::open(address).await?;
            let size = per_s.div_ceil(TICKS_PER_S);
            for start in (0..self.additions).step_by(size) {
                // A tick that was missed is made up for at once.
                ticks.tick().await;
                connection.add_each(self.keys_of(start..self.additions.min(start + size))).await?;
            }
        } else {
            let mut connections = JoinSet::new();
            let share = self.additions.div_ceil(CONNECTIONS).max(1);
            for from in (0..self.additions).step_by(share) {
                let (turns, to) = (self.clone(), self.additions.min(from + share));
                connections.spawn(async move {
                    let mut connection = Connection::open(address).await?;
                    for start in (from..to).step_by(PIPELINE) {
                        connection.add_each(turns.keys_of(start..to.min(start + PIPELINE))).await?;
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(done) = connections.join_next().await {
                done??;
            }
        }
        Ok(begun.elapsed())
    }

    fn keys_of(&self, additions: Range<usize>) -> impl Iterator<Item = String> {
        additions.map(|addition| self.key(addition % self.keys))
    }
}

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
