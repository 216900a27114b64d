//! I/O: what each server has in its own words, in pipelines over several connections, and the servers that are compared.

use super::{
    Ack, plain_redis,
    rates::{Pairs, Run, Subject},
};
use crate::{
    redis::{Persistence, Redis},
    server::cpu_s,
};
use anyhow::ensure;
use core::net::SocketAddr;
use std::{fmt::Write, ops::Range, sync::Arc, time::Duration};
use testkit::{Node, NodeOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};

/// Connections that share the work: as many as redis-benchmark has by default.
pub(super) const CONNECTIONS: usize = 50;
/// Operations that are sent before their answers are read.
pub(super) const PIPELINE: usize = 64;

/// A comparison.
pub(super) struct Row {
    pub(super) ours: Ack,
    pub(super) theirs: Persistence,
    pub(super) floor: Option<f64>,
}

pub(super) const ROWS: [Row; 3] = [
    Row { ours: Ack::Memory, theirs: Persistence::None, floor: Some(2.0) },
    Row { ours: Ack::Fsync, theirs: Persistence::None, floor: Some(1.0) },
    Row { ours: Ack::Fsync, theirs: Persistence::Always, floor: None },
];

/// Two nodes and two Redis servers.
pub(super) struct Servers {
    memory: Node,
    fsync: Node,
    plain: Redis,
    always: Redis,
}

impl Servers {
    /// Starts them; nodes with this configuration.
    pub(super) async fn start(config_toml: &str) -> anyhow::Result<Servers> {
        let (memory, fsync) = (headcount_with(Ack::Memory, config_toml).await, headcount_with(Ack::Fsync, config_toml).await);
        Ok(Servers { memory, fsync, plain: plain_redis().await?, always: Redis::start(Persistence::Always).await? })
    }

    /// The node that acknowledges so.
    pub(super) fn ours(&self, ack: Ack) -> anyhow::Result<Subject> {
        match ack {
            Ack::Memory => Subject::of("ack memory", &self.memory),
            Ack::Fsync => Subject::of("ack fsync", &self.fsync),
        }
    }

    /// The Redis that writes so.
    pub(super) fn theirs(&self, persistence: Persistence) -> Subject {
        let of = |name, redis: &Redis| Subject { name, address: redis.address, pid: redis.pid };
        match persistence {
            Persistence::None => of("no persistence", &self.plain),
            Persistence::Always => of("appendfsync always", &self.always),
        }
    }

    /// Adds a table of the rates of two operations that do the same, of so many pairs of runs in turn with so many in each.
    pub(super) async fn compare<O, T>(
        &self,
        (pairs, operations): (usize, usize),
        done: &str,
        ours: Operation<O>,
        theirs: Operation<T>,
        text: &mut String,
    ) -> anyhow::Result<()>
    where
        O: Fn(usize, &mut String) + Clone + Send + Sync + 'static,
        T: Fn(usize, &mut String) + Clone + Send + Sync + 'static,
    {
        writeln!(text, "| headcount | Redis | {done}/s (CPU) | Redis: {done}/s (CPU) | ratio | lowest to highest pair | floor |")?;
        writeln!(text, "|---|---|---|---|---|---|---|")?;
        for Row { ours: ack, theirs: persistence, floor } in ROWS {
            let (our, their) = (self.ours(ack)?, self.theirs(persistence));
            let mut runs = Pairs::default();
            for _ in 0..pairs {
                let their_run = one_run(&their, operations, theirs.clone()).await?;
                let our_run = one_run(&our, operations, ours.clone()).await?;
                runs.push(&format!("{done}, {} against {}", our.name, their.name), our_run, their_run);
            }
            writeln!(text, "| {} | {} | {} |", our.name, their.name, runs.cells(floor))?;
        }
        writeln!(text)?;
        Ok(())
    }

    /// All of them.
    pub(super) fn all(&self) -> anyhow::Result<[Subject; 4]> {
        let theirs = [Persistence::None, Persistence::Always].map(|persistence| self.theirs(persistence));
        let [plain, always] = theirs;
        Ok([self.ours(Ack::Memory)?, self.ours(Ack::Fsync)?, plain, always])
    }
}

/// A node that acknowledges as `ack` says.
pub(super) async fn headcount_with(ack: Ack, config_toml: &str) -> Node {
    let env = vec![("HEADCOUNT_COUNTER__ACK".to_owned(), ack.name().to_owned())];
    Node::start(NodeOptions { env, config_toml: config_toml.to_owned(), ..NodeOptions::default() }).await
}

/// One kind of operation. All its answers are numbers.
#[derive(Clone)]
pub(super) struct Operation<F> {
    /// Answers to one.
    pub(super) replies: usize,
    /// Appends what does the one of this number.
    pub(super) write: F,
}

/// Does so many, and says how fast.
#[allow(clippy::cast_precision_loss)] // figures for people
pub(super) async fn one_run<F>(server: &Subject, count: usize, operation: Operation<F>) -> anyhow::Result<Run>
where
    F: Fn(usize, &mut String) + Send + Sync + 'static,
{
    let before = cpu_s(server.pid)?;
    let took = send_all(server.address, count, operation).await?;
    let cpu_ns = (cpu_s(server.pid)? - before) * 1e9 / count as f64;
    Ok(Run { rate: count as f64 / took.as_secs_f64(), cpu_ns })
}

/// Does so many; how long that took.
pub(super) async fn send_all<F>(address: SocketAddr, count: usize, operation: Operation<F>) -> anyhow::Result<Duration>
where
    F: Fn(usize, &mut String) + Send + Sync + 'static,
{
    let (begun, share, operation) = (Instant::now(), count.div_ceil(CONNECTIONS).max(1), Arc::new(operation));
    let mut connections = JoinSet::new();
    for from in (0..count).step_by(share) {
        let operation = operation.clone();
        connections.spawn(async move { send_range(address, from..count.min(from + share), &operation).await });
    }
    while let Some(done) = connections.join_next().await {
        done??;
    }
    Ok(begun.elapsed())
}

async fn send_range<F: Fn(usize, &mut String)>(address: SocketAddr, range: Range<usize>, operation: &Operation<F>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut commands, mut answers) = (String::new(), Vec::new());
    for start in range.clone().step_by(PIPELINE) {
        let end = range.end.min(start + PIPELINE);
        commands.clear();
        (start..end).for_each(|number| (operation.write)(number, &mut commands));
        stream.write_all(commands.as_bytes()).await?;
        answers.clear();
        let (mut lines, mut seen) = (0, 0);
        while lines < (end - start) * operation.replies {
            ensure!(stream.read_buf(&mut answers).await? > 0, "closed by the server");
            lines += answers[seen..].iter().filter(|byte| **byte == b'\n').count();
            seen = answers.len();
        }
        let is_number = |line: &[u8]| line.is_empty() || (line.starts_with(b":") && !line.starts_with(b":-"));
        ensure!(answers.split(|byte| *byte == b'\n').all(is_number), "refused: {}", String::from_utf8_lossy(&answers));
    }
    Ok(())
}

/// A command of these words.
pub(super) fn command(words: &[&str], out: &mut String) {
    _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        _ = write!(out, "${}\r\n{word}\r\n", word.len());
    }
}
