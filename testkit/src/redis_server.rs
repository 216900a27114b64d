//! I/O: a real redis-server as a child process, on a free port and in a directory of its own.

use crate::{
    Port, eventually,
    resp::{Reply, Resp},
};
use anyhow::{Context, Result, bail};
use core::net::SocketAddr;
use std::{fs, path::Path, process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of its log that a server prints when its test fails.
const LOG_LINES_SHOWN: usize = 60;
const LOG_FILE: &str = "log";
/// What a server logs once it listens.
const LISTENS: &str = "Ready to accept connections";
const RDB_FILE: &str = "dump.rdb";

/// Who Headcount is to a server that knows its users.
pub const USER: &str = "headcount";
/// Of every user there.
pub const PASSWORD: &str = "wonder";
/// Who the test is there.
const OPERATOR: &str = "operator";

/// What a server finds when it comes back.
#[derive(Clone, Debug)]
pub enum Disk {
    /// Nothing.
    Empty,
    /// What was saved last, see [`RedisServer::save`].
    Kept,
    /// What [`RedisServer::save`] returned at some time.
    Older(Vec<u8>),
}

/// A running server. Dropping it kills it, and prints its log if the test is failing.
#[derive(Debug)]
pub struct RedisServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Lines of its configuration besides ours.
    options: Vec<String>,
    child: Child,
    scratch: TempDir,
    /// Holds the file of its users, where there is one.
    users: Option<TempDir>,
    _port: Port,
}

impl RedisServer {
    /// Starts a server that saves nothing by itself, with more lines of configuration, and waits until it answers.
    pub async fn start(options: &[&str]) -> RedisServer {
        let options: Vec<String> = options.iter().map(|&line| line.to_owned()).collect();
        let (port, scratch) = (Port::hold(), tempfile::tempdir().expect("a directory for redis-server"));
        let child = spawn(port.address(), scratch.path(), &options).expect("starting redis-server: is it installed?");
        let mut server = RedisServer { address: port.address(), options, child, scratch, users: None, _port: port };
        server.wait_until_it_answers().await.unwrap_or_else(|error| panic!("{error}:\n{}", server.log()));
        server
    }

    /// `redis://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join(LOG_FILE)).unwrap_or_default()
    }

    /// Starts one that lets in only the users of a file: [`USER`], whose line there gets [`PASSWORD`], and the test itself.
    pub async fn start_with_users(acl: &str, options: &[&str]) -> RedisServer {
        let directory = tempfile::tempdir().expect("a directory for users.acl");
        let file = directory.path().join("users.acl");
        let users = acl.replace(&format!("user {USER} on "), &format!("user {USER} on >{PASSWORD} "));
        assert_ne!(users, acl, "there is no such user in the file");
        fs::write(&file, format!("{}\nuser {OPERATOR} on >{PASSWORD} ~* &* +@all\n", users.trim_end())).expect("writing users.acl");
        let line = format!("aclfile {}", file.display());
        let mut server = RedisServer::start(&[&[line.as_str()], options].concat()).await;
        server.users = Some(directory);
        server
    }

    /// What it has refused to the user of Headcount.
    pub async fn refused(&self) -> Result<Vec<Reply>> {
        match self.cli(&["ACL", "LOG"]).await? {
            Reply::List(entries) => Ok(entries.into_iter().filter(|entry| format!("{entry:?}").contains(&format!("{USER:?}"))).collect()),
            reply => bail!("ACL LOG: {reply:?}"),
        }
    }

    /// Runs one command on a connection of its own, as the test's own user, or the default user with the password of
    /// `requirepass`, where there is one.
    pub async fn cli(&self, words: &[&str]) -> Result<Reply> {
        let mut resp = Resp::default();
        if self.options.iter().any(|line| line.starts_with("aclfile ")) {
            resp.command(self.address, &["AUTH", OPERATOR, PASSWORD]).await?;
        }
        if let Some(password) = self.options.iter().find_map(|line| line.strip_prefix("requirepass ")) {
            resp.command(self.address, &["AUTH", password]).await?;
        }
        Ok(resp.command(self.address, words).await?)
    }

    /// Saves to disk what it holds, and returns the file's bytes.
    pub async fn save(&self) -> Vec<u8> {
        assert_eq!(self.cli(&["SAVE"]).await.expect("SAVE"), Reply::Text("OK".to_owned()));
        fs::read(self.scratch.path().join(RDB_FILE)).expect("the saved file")
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("killing redis-server");
    }

    /// Stops the process as it stands (SIGSTOP): its connections stay open, and nothing answers.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    /// Lets a frozen process go on.
    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    /// Starts it again on the same port, killing it first if it still runs, and waits until it answers.
    pub async fn restart(&mut self, disk: Disk) {
        self.restart_unanswering(disk).await;
        self.wait_until_it_answers().await.expect("redis-server starts again");
    }

    /// The same without waiting: it may still be loading what it finds.
    pub async fn restart_unanswering(&mut self, disk: Disk) {
        self.kill().await;
        let file = self.scratch.path().join(RDB_FILE);
        match disk {
            Disk::Empty => _ = fs::remove_file(file),
            Disk::Kept => {}
            Disk::Older(bytes) => fs::write(file, bytes).expect("writing an older file"),
        }
        self.child = spawn(self.address, self.scratch.path(), &self.options).expect("starting redis-server again");
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("redis-server runs").to_string();
        // No system call from here: that would need unsafe code or one more crate.
        let status = Command::new("sh").args(["-c", "kill -\"$1\" \"$2\"", "sh", signal, &pid]).status().await;
        assert!(status.expect("running kill").success(), "kill -{signal} {pid}");
    }

    /// An error if the process has ended.
    async fn wait_until_it_answers(&mut self) -> Result<()> {
        eventually(PATIENCE, async || {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Err(anyhow::anyhow!("redis-server ended with {status}")));
            }
            if !self.log().contains(LISTENS) {
                // What answers meanwhile may be another server, which took the port first.
                bail!("it does not listen yet");
            }
            match self.cli(&["PING"]).await.context("PING")? {
                Reply::Text(pong) if pong == "PONG" => anyhow::Ok(Ok(())),
                // It is there, and wants a password that only the test knows.
                Reply::Error(reason) if reason.starts_with("NOAUTH") || reason.starts_with("NOPERM") => Ok(Ok(())),
                reply => bail!("PING: {reply:?}"),
            }
        })
        .await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A frozen process dies of this too.
        _ = self.child.start_kill();
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
            let shown: Vec<&str> = log.lines().skip(skipped).collect();
            eprintln!("--- log of redis-server at {} ({skipped} lines left out)\n{}\n---", self.address, shown.join("\n"));
        }
    }
}

fn spawn(address: SocketAddr, directory: &Path, options: &[String]) -> Result<Child> {
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {}", address.port()),
        format!("dir {}", directory.display()),
        format!("logfile {}", directory.join(LOG_FILE).display()),
        format!("dbfilename {RDB_FILE}"),
        "save \"\"".to_owned(),
        "appendonly no".to_owned(),
        "enable-debug-command local".to_owned(),
    ];
    lines.extend(options.iter().cloned());
    let config = directory.join("redis.conf");
    fs::write(&config, lines.join("\n"))?;
    let mut command = Command::new("redis-server");
    command.arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    Ok(command.spawn()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(text.to_owned())
    }

    #[tokio::test]
    async fn a_server_comes_back_with_what_it_is_given() {
        let mut server = RedisServer::start(&["maxmemory-policy noeviction"]).await;
        let run_id = |reply: Reply| format!("{reply:?}").split("run_id:").nth(1).map(|rest| rest[..40].to_owned());
        let first = run_id(server.cli(&["INFO", "server"]).await.unwrap());
        server.cli(&["SET", "k", "1"]).await.unwrap();
        let older = server.save().await;
        server.cli(&["SET", "k", "2"]).await.unwrap();
        server.save().await;
        server.restart(Disk::Kept).await;
        assert_eq!(server.cli(&["GET", "k"]).await.unwrap(), text("2"));
        server.restart(Disk::Older(older)).await;
        assert_eq!(server.cli(&["GET", "k"]).await.unwrap(), text("1"));
        server.kill().await;
        assert!(server.cli(&["PING"]).await.is_err());
        server.restart(Disk::Empty).await;
        assert_eq!(server.cli(&["MGET", "k"]).await.unwrap(), Reply::List(vec![Reply::Nil]));
        assert_ne!(run_id(server.cli(&["INFO", "server"]).await.unwrap()), first);
    }

    #[tokio::test]
    async fn a_frozen_server_answers_when_it_is_thawed() {
        let server = RedisServer::start(&["requirepass secret"]).await;
        server.freeze().await;
        let mut answer = Box::pin(server.cli(&["PING"]));
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut answer).await.is_err());
        server.thaw().await;
        assert_eq!(answer.await.unwrap(), text("PONG"));
    }
}
