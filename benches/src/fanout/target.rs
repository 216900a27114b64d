//! I/O: the servers that are compared, each as a process of its own on a free port.

use super::{
    dialect::{Dialect, Speech},
    nchan::{self, Nginx},
    npm,
};
use crate::server::{self, Cpu};
use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use core::net::SocketAddr;
use std::{
    any::Any,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use testkit::{Node, NodeOptions, UNPACED};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

/// How long a server may take to say where it listens.
const PATIENCE: Duration = Duration::from_secs(30);
/// The key of services, which Redis clients authenticate with.
pub(super) const API_KEY: &str = "fanout";

/// A server, by its name on the command line and in tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// The binary next to this one, or that of `HEADCOUNT_BIN`.
    Headcount,
    /// The binary that --before names.
    Before,
    /// The practical limit.
    Raw,
    /// What one writes first with axum.
    Naive,
    /// ws, of npm.
    Ws,
    /// socket.io, of npm.
    SocketIo,
    /// nchan, in nginx.
    Nchan,
}

/// Where servers come from that are not part of this.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) before: Option<PathBuf>,
    pub(super) nginx: Nginx,
    /// Where npm has installed packages, with a directory for each.
    pub(super) packages: PathBuf,
}

/// A running server. Dropping it kills it.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) dialect: Dialect,
    /// Where Redis clients count, if it counts.
    pub(super) resp: Option<SocketAddr>,
    pid: u32,
    /// Its tokens, if it wants some.
    has_tokens: bool,
    _process: Box<dyn Any>,
}

impl Target {
    pub(super) const ALL: [Target; 7] =
        [Target::Headcount, Target::Before, Target::Raw, Target::Naive, Target::Ws, Target::SocketIo, Target::Nchan];

    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it is headcount, in some version.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Target::Headcount | Target::Before)
    }

    /// Whether it can send server-sent events.
    pub(super) fn has_events(self) -> bool {
        !matches!(self, Target::Ws | Target::SocketIo)
    }

    fn speech(self) -> Speech {
        match self {
            Target::Headcount | Target::Before => Speech::Headcount,
            Target::Raw | Target::Naive | Target::Ws => Speech::Plain,
            Target::SocketIo => Speech::SocketIo,
            Target::Nchan => Speech::Nchan,
        }
    }

    /// What it is in detail, with its version. An error says what is missing.
    pub(super) async fn describe(self, places: &Places) -> anyhow::Result<String> {
        match self {
            Target::Headcount => Ok(format!("headcount {} (WebSocket as JSON)", env!("CARGO_PKG_VERSION"))),
            Target::Before => {
                let path = places.before.as_ref().context("--before names no binary")?;
                ensure!(path.is_file(), "{} is not there", path.display());
                Ok("another build of headcount, given by --before".to_owned())
            }
            Target::Raw => Ok("a server of one thread that only delivers: the practical limit".to_owned()),
            Target::Naive => Ok(format!("axum {}, a broadcast channel and two tasks for each client", locked("axum")?)),
            Target::Ws => npm::install(&npm::WS, &places.packages).await,
            Target::SocketIo => npm::install(&npm::SOCKET_IO, &places.packages).await,
            Target::Nchan => nchan::version(&places.nginx),
        }
    }

    /// Starts it and waits until it listens; `is_events` says what its subscribers are to use.
    pub(super) async fn start(self, places: &Places, is_events: bool) -> anyhow::Result<Running> {
        let dialect = Dialect { speech: self.speech(), is_events };
        match self {
            Target::Headcount => headcount(None, dialect).await,
            Target::Before => headcount(places.before.clone(), dialect).await,
            Target::Raw | Target::Naive => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["serve", &self.name()]);
                Running::announced(command, dialect).await
            }
            Target::Ws => Running::announced(npm::command(&npm::WS, &places.packages), dialect).await,
            Target::SocketIo => Running::announced(npm::command(&npm::SOCKET_IO, &places.packages), dialect).await,
            Target::Nchan => {
                let (address, nginx) = nchan::start(&places.nginx).await?;
                let pid = nginx.child.id();
                Running::of(address, dialect, pid, nginx)
            }
        }
    }
}

/// A node as one would run it: clients need tokens; history is off, because no other server here keeps any.
async fn headcount(binary: Option<PathBuf>, dialect: Dialect) -> anyhow::Result<Running> {
    let config_toml = format!("{}[namespace_default]\nhistory_size = 0\nrecover = false\n{UNPACED}", testkit::crowd::auth_toml());
    let env = [("DEVELOPMENT", "false"), ("API_KEYS", API_KEY)];
    let env = env.map(|(key, value)| (format!("HEADCOUNT_AUTH__{key}"), value.to_owned())).to_vec();
    let node = Node::start(NodeOptions { config_toml, env, binary, ..NodeOptions::default() }).await;
    let pid = node.pid().context("the node ended")?;
    Ok(Running { address: node.client, dialect, resp: node.resp, pid, has_tokens: true, _process: Box::new(node) })
}

impl Running {
    /// A server that says where it listens in its first line.
    async fn announced(mut command: Command, dialect: Dialect) -> anyhow::Result<Running> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting {:?}", command.as_std().get_program()))?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.context("the server says nothing")??;
        let address = line.context("the server ended at once")?.parse().context("where the server listens")?;
        Running::of(address, dialect, child.id(), child)
    }

    fn of(address: SocketAddr, dialect: Dialect, pid: Option<u32>, process: impl Any) -> anyhow::Result<Running> {
        let pid = pid.context("the server ended")?;
        Ok(Running { address, dialect, resp: None, pid, has_tokens: false, _process: Box::new(process) })
    }

    /// The token of this user, if the server wants one.
    pub(super) fn token(&self, user: usize) -> String {
        if self.has_tokens { testkit::crowd::token(&format!("user{user}")) } else { String::new() }
    }

    /// CPU of all its processes so far.
    pub(super) fn cpu(&self) -> anyhow::Result<Cpu> {
        server::family(self.pid)?.into_iter().map(server::cpu).sum()
    }

    /// Resident memory of all its processes, in KiB. What they share is counted by each: only its growth says something.
    pub(super) fn resident_kib(&self) -> anyhow::Result<u64> {
        server::family(self.pid)?.into_iter().map(server::resident_kib).sum()
    }
}

/// The version of a crate in the workspace's lock file.
fn locked(name: &str) -> anyhow::Result<&'static str> {
    let lock = include_str!("../../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
    entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next()).with_context(|| format!("{name} is not locked"))
}

/// Those of `wanted` that can be started, each with what it is; of the others it is said what is missing.
pub(super) async fn available(wanted: &[Target], places: &Places) -> anyhow::Result<(Vec<(Target, String)>, Vec<String>)> {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for target in Target::ALL.into_iter().filter(|target| wanted.contains(target)) {
        match target.describe(places).await {
            Ok(what) => there.push((target, what)),
            Err(reason) => {
                eprintln!("{} is left out: {reason:#}", target.name());
                missing.push(format!("{} is left out: {reason:#}", target.name()));
            }
        }
    }
    if there.is_empty() {
        bail!("none of these servers is there");
    }
    Ok((there, missing))
}

/// Where cargo has put this program, and where other things may be installed that it needs.
pub(super) fn target_directory() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let directory = program.ancestors().find(|directory| directory.file_name().is_some_and(|name| name == "target"));
    Ok(directory.or_else(|| program.parent()).unwrap_or(Path::new(".")).to_owned())
}
