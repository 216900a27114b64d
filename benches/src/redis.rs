//! I/O: Redis's own server, and its own load generator, as child processes.

use anyhow::{Context, bail, ensure};
use core::net::SocketAddr;
use std::{process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Attempts to find a port that is still free when the server binds it.
const PORTS_TRIED: usize = 5;
/// Clients that load a server at the same time.
pub(crate) const CLIENTS: usize = 50;

/// What Redis keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Nothing.
    None,
    /// A log, fsynced before the answer.
    Always,
}

/// A running server. Dropping it kills it.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    _child: Child,
    _dir: TempDir,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start(persistence: Persistence) -> anyhow::Result<Redis> {
        for _ in 0..PORTS_TRIED {
            let dir = tempfile::tempdir()?;
            let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
            match persistence {
                Persistence::None => command.args(["--appendonly", "no"]),
                Persistence::Always => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
            };
            command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
            let mut child = command.spawn().context("starting redis-server")?;
            let pid = child.id().context("redis-server ended")?;
            match tokio::time::timeout(PATIENCE, answers(address, &mut child)).await.context("redis-server does not answer")? {
                true => return Ok(Redis { address, pid, _child: child, _dir: dir }),
                // Somebody else took the port.
                false => continue,
            }
        }
        bail!("redis-server could not be started on {PORTS_TRIED} free ports")
    }
}

/// Whether the server answers; false once it has ended.
async fn answers(address: SocketAddr, child: &mut Child) -> bool {
    loop {
        if !matches!(child.try_wait(), Ok(None)) {
            return false;
        }
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let mut answer = [0; 7];
            if stream.write_all(b"PING\r\n").await.is_ok() && stream.read_exact(&mut answer).await.is_ok() {
                return answer == *b"+PONG\r\n";
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The versions of both programs; an error that says what to install if one is missing.
pub(crate) fn versions() -> anyhow::Result<String> {
    let version = |program: &str| {
        let output = std::process::Command::new(program).arg("--version").output();
        let output = output.with_context(|| {
            format!("{program} is missing: install redis-server and redis-tools (Debian: `apt-get install redis-server redis-tools`)")
        })?;
        anyhow::Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let server = version("redis-server")?;
    let number = server.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or(&server);
    Ok(format!("redis-server {number}, {}", version("redis-benchmark")?))
}

/// Adds 1 to `operations` counters, each picked at random of `keys`, `pipeline` commands at a time; the operations per second.
pub(crate) async fn benchmark(address: SocketAddr, pipeline: usize, operations: usize, keys: usize) -> anyhow::Result<f64> {
    benchmark_of(address, pipeline, operations, &["-r", &keys.to_string(), "INCRBY", "key___rand_int__", "1"]).await
}

/// Runs `redis-benchmark` with more arguments, the last of which are the command; the operations per second.
pub(crate) async fn benchmark_of(address: SocketAddr, pipeline: usize, operations: usize, arguments: &[&str]) -> anyhow::Result<f64> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string(), "-c", &CLIENTS.to_string()]);
    command.args(["-P", &pipeline.to_string(), "-n", &operations.to_string(), "--csv"]);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.context("running redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "redis-benchmark: {}: {text} {}", output.status, String::from_utf8_lossy(&output.stderr));
    // A heading, then the name, which may have commas in it between its quotes, the rate, and latencies.
    let last = text.lines().last().unwrap_or_default();
    let rate = last.split("\",\"").nth(1);
    rate.context("redis-benchmark printed no rate")?.trim_matches('"').parse().with_context(|| format!("redis-benchmark: {text}"))
}
