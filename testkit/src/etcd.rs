//! I/O: real etcd servers on free ports, in directories of their own, with what can happen to them: killed, hung, started
//! again, compacted, restored from an older copy, locked by passwords and certificates.

use crate::{Authority, EtcdWatch, Identity, Port, eventually, http};
use anyhow::{Result, anyhow, bail};
use core::net::SocketAddr;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long a server may take to start, and a command to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of its log that a server prints when its test fails.
const LOG_LINES_SHOWN: usize = 60;
const LOG_FILE: &str = "log";

/// What a server is started with.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// Clients need a certificate of this authority, and the server has one for 127.0.0.1.
    pub tls: Option<Arc<Authority>>,
    /// More arguments.
    pub args: Vec<String>,
}

/// A running etcd. Dropping it kills it, and prints its log if the test is failing.
#[derive(Debug)]
pub struct EtcdServer {
    /// Where clients connect.
    pub client: SocketAddr,
    name: String,
    peer: SocketAddr,
    metrics: SocketAddr,
    /// `name=url` of every member.
    members: String,
    options: EtcdOptions,
    identity: Option<Identity>,
    /// Of the root user, once passwords are asked for.
    root: Option<String>,
    child: Child,
    data_dir: PathBuf,
    scratch: TempDir,
    _ports: [Port; 3],
}

impl EtcdServer {
    /// Starts one and waits until it answers. Panics with its log if it does not.
    pub async fn start() -> EtcdServer {
        EtcdServer::start_with(EtcdOptions::default()).await
    }

    /// Starts one with options.
    pub async fn start_with(options: EtcdOptions) -> EtcdServer {
        let ports = [(); 3].map(|()| Port::hold());
        let members = format!("m0=http://{}", ports[1].address());
        let mut server = EtcdServer::spawn("m0", ports, &members, options);
        server.wait_until_healthy().await;
        server
    }

    /// `ports` are for clients, for other members and for metrics.
    fn spawn(name: &str, ports: [Port; 3], members: &str, options: EtcdOptions) -> EtcdServer {
        let scratch = tempfile::tempdir().expect("a directory for etcd");
        let identity = options.tls.as_ref().map(|authority| authority.signs("127.0.0.1"));
        let data_dir = scratch.path().join("data");
        let (name, members) = (name.to_owned(), members.to_owned());
        let child = Command::new("true").spawn().expect("running true");
        let [client, peer, metrics] = ports.each_ref().map(Port::address);
        let root = None;
        let mut server =
            EtcdServer { client, name, peer, metrics, members, options, identity, root, child, data_dir, scratch, _ports: ports };
        server.run();
        server
    }

    fn run(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.scratch.path().join(LOG_FILE)).expect("etcd's log");
        let mut command = Command::new("etcd");
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let (client, peer) = (self.url(), format!("http://{}", self.peer));
        command.args(["--name", &self.name, "--data-dir"]).arg(&self.data_dir);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--listen-metrics-urls", &format!("http://{}", self.metrics)]);
        command.args(["--initial-cluster", &self.members, "--logger", "zap", "--log-outputs", "stderr"]);
        if let (Some(authority), Some(Identity { cert, key })) = (&self.options.tls, &self.identity) {
            command.arg("--cert-file").arg(cert).arg("--key-file").arg(key);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(authority.ca());
        }
        command.args(&self.options.args).stdin(Stdio::null()).stdout(log.try_clone().expect("etcd's log")).stderr(log);
        self.child = command.kill_on_drop(true).spawn().expect("etcd, which must be installed, starts");
    }

    async fn wait_until_healthy(&mut self) {
        eventually(PATIENCE, async || {
            if let Some(status) = self.child.try_wait()? {
                panic!("etcd ended with {status}:\n{}", self.log());
            }
            match http::get(self.metrics, "/health").await? {
                answer if answer.json()["health"] == "true" => Ok(()),
                answer => Err(anyhow!("/health: {} {}", answer.status, answer.body)),
            }
        })
        .await;
    }

    /// Where clients connect, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.options.tls.is_some() { "https" } else { "http" }, self.client)
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything that it has written, in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join(LOG_FILE)).unwrap_or_default()
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("killing etcd");
    }

    /// Stops it as it stands (SIGSTOP): connections stay open, and nothing answers.
    pub async fn stop(&self) {
        self.signal("STOP").await;
    }

    /// Lets a stopped one go on (SIGCONT).
    pub async fn cont(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("etcd runs").to_string();
        let status = Command::new("sh").args(["-c", "kill -\"$1\" \"$2\"", "sh", signal, &pid]).status().await;
        assert!(status.expect("running kill").success(), "kill -{signal} {pid}");
    }

    /// Starts it again with the same data and ports, killing it first if it still runs; waits until it answers.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.run();
        self.wait_until_healthy().await;
    }

    /// Runs `etcdctl` against it, as root where there are passwords, and returns what it printed.
    pub async fn ctl(&self, args: &[&str]) -> Result<String> {
        let mut command = self.etcdctl();
        command.args(["--command-timeout", "20s"]).args(args);
        let output = tokio::time::timeout(PATIENCE, command.output()).await??;
        if !output.status.success() {
            bail!("etcdctl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Each value of a key from now on, in the order in which they are written.
    pub async fn watch(&self, key: &str) -> Result<EtcdWatch> {
        EtcdWatch::start(self.etcdctl(), key).await
    }

    /// Whether it leads the members, as it says.
    pub async fn leads(&self) -> bool {
        let answer = http::get(self.metrics, "/metrics").await;
        answer.is_ok_and(|answer| answer.body.lines().any(|line| line == "etcd_server_is_leader 1"))
    }

    fn etcdctl(&self) -> Command {
        let mut command = Command::new("etcdctl");
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("ETCDCTL_API", "3");
        command.args(["--endpoints", &self.url(), "--dial-timeout", "10s"]);
        if let (Some(authority), Some(Identity { cert, key })) = (&self.options.tls, &self.identity) {
            command.arg("--cacert").arg(authority.ca()).arg("--cert").arg(cert).arg("--key").arg(key);
        }
        if let Some(password) = &self.root {
            command.args(["--user", &format!("root:{password}")]);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The revision that it has.
    pub async fn revision(&self) -> Result<i64> {
        let status: Value = serde_json::from_str(&self.ctl(&["endpoint", "status", "-w", "json"]).await?)?;
        status[0]["Status"]["header"]["revision"].as_i64().ok_or_else(|| anyhow!("no revision in {status}"))
    }

    /// Forgets all revisions before the present one.
    pub async fn compact(&self) -> Result<()> {
        let revision = self.revision().await?.to_string();
        self.ctl(&["compact", "--physical", &revision]).await.map(drop)
    }

    /// Saves a copy of its data, which lives as long as the server.
    pub async fn save(&self) -> Result<PathBuf> {
        let number = fs::read_dir(self.scratch.path())?.count();
        let copy = self.scratch.path().join(format!("copy-{number}"));
        self.ctl(&["snapshot", "save", &copy.to_string_lossy()]).await?;
        Ok(copy)
    }

    /// Kills it and starts it again with the data of a copy.
    pub async fn restore(&mut self, copy: &Path) -> Result<()> {
        self.kill().await;
        let number = fs::read_dir(self.scratch.path())?.count();
        self.data_dir = self.scratch.path().join(format!("data-{number}"));
        let (copy, data_dir, peer) = (copy.to_string_lossy(), self.data_dir.to_string_lossy(), format!("http://{}", self.peer));
        let what = ["snapshot", "restore", &copy, "--data-dir", &data_dir];
        let who = ["--name", &self.name, "--initial-cluster", &self.members, "--initial-advertise-peer-urls", &peer];
        self.ctl(&[what.as_slice(), who.as_slice()].concat()).await?;
        self.run();
        self.wait_until_healthy().await;
        Ok(())
    }

    /// From now on it asks for passwords. `user` has all rights on the keys below `prefix`, by a role of the same name.
    pub async fn auth_on(&mut self, user: &str, password: &str, prefix: &str) -> Result<()> {
        self.ctl(&["user", "add", "root:root"]).await?;
        self.ctl(&["user", "grant-role", "root", "root"]).await?;
        self.ctl(&["user", "add", &format!("{user}:{password}")]).await?;
        self.ctl(&["role", "add", user]).await?;
        self.grant(user, prefix).await?;
        self.ctl(&["user", "grant-role", user, user]).await?;
        self.ctl(&["auth", "enable"]).await?;
        self.root = Some("root".to_owned());
        Ok(())
    }

    /// Gives a role all rights on the keys below `prefix`.
    pub async fn grant(&self, role: &str, prefix: &str) -> Result<()> {
        self.ctl(&["role", "grant-permission", role, "--prefix=true", "readwrite", prefix]).await.map(drop)
    }

    /// Takes from a role what [`EtcdServer::grant`] gave it.
    pub async fn revoke(&self, role: &str, prefix: &str) -> Result<()> {
        self.ctl(&["role", "revoke-permission", role, "--prefix=true", prefix]).await.map(drop)
    }

    /// It asks for passwords no longer.
    pub async fn auth_off(&mut self) -> Result<()> {
        self.ctl(&["auth", "disable"]).await?;
        self.root = None;
        Ok(())
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It is asked for its health many times before it has any.
            let log: String = self.log().lines().filter(|line| !line.contains("/health error")).map(|line| format!("{line}\n")).collect();
            let skipped = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
            let shown: Vec<&str> = log.lines().skip(skipped).collect();
            eprintln!("--- log of etcd at {} ({skipped} lines left out)\n{}\n---", self.client, shown.join("\n"));
        }
    }
}

/// Three etcd servers that are one cluster.
#[derive(Debug)]
pub struct EtcdCluster {
    /// Its members.
    pub members: Vec<EtcdServer>,
}

impl EtcdCluster {
    /// Starts three and waits until each of them answers.
    pub async fn start() -> EtcdCluster {
        let ports = [(); 3].map(|()| [(); 3].map(|()| Port::hold()));
        let list: Vec<String> = ports.iter().enumerate().map(|(at, [_, peer, _])| format!("m{at}=http://{}", peer.address())).collect();
        let list = list.join(",");
        let start = |(at, ports)| EtcdServer::spawn(&format!("m{at}"), ports, &list, EtcdOptions::default());
        let mut members: Vec<EtcdServer> = ports.into_iter().enumerate().map(start).collect();
        for member in &mut members {
            member.wait_until_healthy().await;
        }
        EtcdCluster { members }
    }

    /// The URLs of all of them.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(EtcdServer::url).collect()
    }

    /// Which one leads, as those that answer say.
    pub async fn leader(&self) -> usize {
        eventually(PATIENCE, async || {
            for (at, member) in self.members.iter().enumerate() {
                if member.leads().await {
                    return Ok(at);
                }
            }
            Err("none of them leads")
        })
        .await
    }
}
