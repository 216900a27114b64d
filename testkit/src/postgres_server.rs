//! I/O: a real PostgreSQL server as child processes, on a free port and in a directory of its own. It refuses to run as root, so that root
//! starts it as nobody.

use crate::{Identity, Port, eventually};
use anyhow::{Context, Result, bail};
use core::net::SocketAddr;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long a server may take to start, with the recovery after a kill.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is started again: what is left of its last life may still hold its memory for a moment.
const STARTS_MAX: usize = 10;
/// Lines of its log that a server prints when its test fails.
const LOG_LINES_SHOWN: usize = 60;
/// What a server logs once it listens and has recovered.
const LISTENS: &str = "database system is ready to accept connections";
/// Where Debian keeps the programs, by version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Whom root starts it as.
const NOBODY: &str = "nobody";

/// Who the test is there, a superuser, and the password.
pub const USER: &str = "headcount";
const PASSWORD: &str = "wonder";
const CERT: &str = "server.crt";
const KEY: &str = "server.key";

/// A running server. Dropping it kills it, and prints its log if the test is failing.
#[derive(Debug)]
pub struct PostgresServer {
    /// Where it listens.
    pub address: SocketAddr,
    programs: PathBuf,
    child: Child,
    scratch: TempDir,
    _port: Port,
}

impl PostgresServer {
    /// Starts a server with an empty database, and waits until it can be connected to.
    pub async fn start() -> PostgresServer {
        PostgresServer::start_with(None).await
    }

    /// The same of one that also takes connections with TLS.
    pub async fn start_with(identity: Option<&Identity>) -> PostgresServer {
        let programs =
            programs().expect("PostgreSQL is not installed: initdb and postgres are neither on the PATH nor where Debian keeps them");
        let (port, scratch) = (Port::hold(), tempfile::tempdir().expect("a directory for PostgreSQL"));
        initialise(&programs, scratch.path(), identity).await.expect("initdb");
        let child = spawn(&programs, scratch.path(), port.address()).expect("starting postgres");
        let mut server = PostgresServer { address: port.address(), programs, child, scratch, _port: port };
        server.wait_until_it_listens(0).await.unwrap_or_else(|error| panic!("{error}:\n{}", server.log()));
        server
    }

    /// `postgres://USER:PASSWORD@127.0.0.1:PORT/postgres`
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}/postgres", self.address)
    }

    /// What it has logged, in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_of(self.scratch.path())).unwrap_or_default()
    }

    /// Kills all its processes as a power cut would, and waits until the first of them is gone.
    pub async fn kill(&mut self) {
        let Some(pid) = self.child.id() else { return };
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        signal("KILL", &[&[pid.to_string().as_str()][..], &children.split_whitespace().collect::<Vec<_>>()].concat()).await;
        self.child.wait().await.expect("waiting for postgres");
    }

    /// Stops all its processes as they stand (SIGSTOP): connections stay open, and nothing answers.
    pub async fn freeze(&self) {
        self.signal_all("STOP").await;
    }

    /// Lets frozen processes go on.
    pub async fn thaw(&self) {
        self.signal_all("CONT").await;
    }

    /// Starts it again with what it had, killing it first if it still runs, and waits until it can be connected to.
    pub async fn restart(&mut self) {
        self.kill().await;
        for _ in 0..STARTS_MAX {
            let lives = self.log().matches(LISTENS).count();
            self.child = spawn(&self.programs, self.scratch.path(), self.address).expect("starting postgres again");
            if self.wait_until_it_listens(lives).await.is_ok() {
                return;
            }
        }
        panic!("postgres does not start again:\n{}", self.log())
    }

    async fn signal_all(&self, name: &str) {
        let pid = self.child.id().expect("postgres runs");
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        signal(name, &[&[pid.to_string().as_str()][..], &children.split_whitespace().collect::<Vec<_>>()].concat()).await;
    }

    /// An error if the process has ended.
    async fn wait_until_it_listens(&mut self, lives: usize) -> Result<()> {
        eventually(PATIENCE, async || {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Err(anyhow::anyhow!("postgres ended with {status}")));
            }
            if self.log().matches(LISTENS).count() <= lives {
                bail!("it does not listen yet");
            }
            anyhow::Ok(Ok(()))
        })
        .await
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Killed, it would leave a piece of shared memory behind: it is asked to end at once, and has two seconds.
        if let Some(pid) = self.child.id() {
            let file = data_of(self.scratch.path()).join("postmaster.pid");
            let script = "kill -CONT \"$1\"; kill -QUIT \"$1\"; i=0; while [ -e \"$2\" ] && [ $i -lt 40 ]; do sleep 0.05; i=$((i+1)); done";
            _ = std::process::Command::new("sh").args(["-c", script, "sh", &pid.to_string()]).arg(file).stderr(Stdio::null()).status();
        }
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
            let shown: Vec<&str> = log.lines().skip(skipped).collect();
            eprintln!("--- log of PostgreSQL at {} ({skipped} lines left out)\n{}\n---", self.address, shown.join("\n"));
        }
    }
}

/// The newest version that is installed.
fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(PROGRAMS)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin"))))
        .collect();
    versions.sort();
    let mut places = on_path.chain(versions.into_iter().rev().map(|(_, path)| path));
    places.find(|place| place.join("initdb").is_file() && place.join("postgres").is_file())
}

fn log_of(scratch: &Path) -> PathBuf {
    scratch.join("log")
}

fn data_of(scratch: &Path) -> PathBuf {
    scratch.join("data")
}

async fn initialise(programs: &Path, scratch: &Path, identity: Option<&Identity>) -> Result<()> {
    let password = scratch.join("password");
    fs::write(&password, PASSWORD)?;
    if let Some(Identity { cert, key }) = identity {
        fs::copy(cert, scratch.join(CERT))?;
        fs::copy(key, scratch.join(KEY))?;
        fs::set_permissions(scratch.join(KEY), fs::Permissions::from_mode(0o600))?;
    }
    if is_root() {
        let owned = Command::new("chown").args(["-R", NOBODY]).arg(scratch).status().await?;
        anyhow::ensure!(owned.success(), "chown: {owned}");
    }
    let mut command = command(&programs.join("initdb"));
    command.arg("--pgdata").arg(data_of(scratch)).args(["--username", USER, "--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8"]);
    let done = command.arg("--pwfile").arg(&password).current_dir(scratch).stdin(Stdio::null()).output().await.context("running initdb")?;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn spawn(programs: &Path, scratch: &Path, address: SocketAddr) -> Result<Child> {
    let log = fs::File::options().create(true).append(true).open(log_of(scratch))?;
    let mut command = command(&programs.join("postgres"));
    command.arg("-D").arg(data_of(scratch)).args(["-p", &address.port().to_string(), "-h", "127.0.0.1", "-k", ""]);
    if scratch.join(CERT).exists() {
        let file = |name: &str| scratch.join(name).display().to_string();
        command.args(["-c", "ssl=on", "-c", &format!("ssl_cert_file={}", file(CERT)), "-c", &format!("ssl_key_file={}", file(KEY))]);
    }
    command.args(["-c", "shared_buffers=16MB", "-c", "max_connections=30"]).current_dir(scratch);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    Ok(command.spawn()?)
}

/// The program, as somebody who is not root.
fn command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"))
}

async fn signal(name: &str, pids: &[&str]) {
    // No system call from here: that would need unsafe code or one more crate. One of them may have ended meanwhile.
    _ = Command::new("sh")
        .args(["-c", "signal=$1; shift; kill -\"$signal\" \"$@\"", "sh", name])
        .args(pids)
        .stderr(Stdio::null())
        .status()
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_comes_back_after_a_kill_on_the_same_port() {
        let mut server = PostgresServer::start().await;
        let is_there = async |server: &PostgresServer| tokio::net::TcpStream::connect(server.address).await.is_ok();
        assert!(is_there(&server).await);
        server.kill().await;
        assert!(!is_there(&server).await);
        server.restart().await;
        assert!(is_there(&server).await && server.log().contains("was not properly shut down"), "{}", server.log());
    }
}
