//! I/O: the real binary as a child process, on free ports and in a directory of its own.

use crate::{Port, SmallDisk, eventually, http};
use anyhow::{Context, Result, anyhow};
use core::net::SocketAddr;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long a node may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of its log that a node prints when its test fails.
const LOG_LINES_SHOWN: usize = 200;

/// A table of configuration for loads that come faster than a node lets clients by default; it may be gone on with.
pub const UNPACED: &str = "[limits]\nnewcomers_per_s = 0\nresumes_per_s = 0\ncommands_per_s = 0\nconnections_per_user = 0\n";

/// What a node is started with.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// The text of `--config`. Listeners that it leaves out have a port each that is held for them, except `api`, which stays unset.
    pub config_toml: String,
    /// More variables; no other `HEADCOUNT_…` variable reaches the node.
    pub env: Vec<(String, String)>,
    /// `None`: a new directory that lives as long as the [`Node`].
    pub data_dir: Option<PathBuf>,
    /// A disk of its own for `data_dir`, which is taken from there.
    pub disk: Option<Arc<SmallDisk>>,
    /// `None`: the one that [`binary()`] finds.
    pub binary: Option<PathBuf>,
}

/// A running node. Dropping it kills it, and prints its log if the test is failing.
#[derive(Debug)]
pub struct Node {
    /// Where clients connect; port 0 of a node without the role `gateway`.
    pub client: SocketAddr,
    /// The service routes, if they have a listener of their own.
    pub api: Option<SocketAddr>,
    /// Counters for Redis clients.
    pub resp: Option<SocketAddr>,
    /// Metrics and readiness.
    pub admin: SocketAddr,
    /// Other nodes, if some are configured.
    pub peer: Option<SocketAddr>,
    /// What outlives the process, as others see it.
    pub data_dir: PathBuf,
    options: NodeOptions,
    child: Child,
    scratch: TempDir,
    ports: Vec<(&'static str, Port)>,
}

/// The listeners that have a port if the configuration says nothing of them.
const LISTENERS: [&str; 4] = ["client", "resp", "admin", "peer"];

impl Node {
    /// Starts a node and waits until it is ready. Panics with its log if it does not become so.
    pub async fn start(options: NodeOptions) -> Node {
        let mut node = Node::launch(options);
        node.until_ready().await;
        node
    }

    /// Starts a node that may not become ready, and waits until it says why.
    pub async fn start_unready(options: NodeOptions) -> Node {
        let mut node = Node::launch(options);
        node.wait_until(|answer| matches!(answer.status, 200 | 503)).await;
        node
    }

    fn launch(options: NodeOptions) -> Node {
        let scratch = tempfile::tempdir().expect("a directory for the node");
        let data_dir = match &options.disk {
            Some(disk) => disk.seen_from_outside(),
            None => options.data_dir.clone().unwrap_or_else(|| scratch.path().join("data")),
        };
        fs::write(scratch.path().join("config.toml"), &options.config_toml).expect("writing the node's configuration");
        let unset = LISTENERS.into_iter().filter(|listener| !configures(&options.config_toml, listener));
        let ports: Vec<_> = unset.map(|listener| (listener, Port::hold())).collect();
        let child = spawn(scratch.path(), &data_dir, &options, &ports).expect("starting the node");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Node { client: nowhere, api: None, resp: None, admin: nowhere, peer: None, data_dir, options, child, scratch, ports }
    }

    /// Everything that the node, in all its lives, has written to stdout and stderr.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join(LOG_FILE)).unwrap_or_default()
    }

    /// `http://…` of the client listener, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the node as a power cut would, and waits until it is gone.
    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("killing the node");
    }

    /// Sends SIGTERM without waiting.
    pub async fn signal_terminate(&self) {
        self.signal("TERM").await;
    }

    /// Asks it to read its configuration again (SIGHUP), without waiting.
    pub async fn signal_hangup(&self) {
        self.signal("HUP").await;
    }

    /// Writes another configuration file in place of the one that it was started with.
    pub fn configure(&self, config_toml: &str) {
        fs::write(self.scratch.path().join("config.toml"), config_toml).expect("writing the node's configuration");
    }

    /// Stops the process as it stands (SIGSTOP): its connections stay open, and nothing answers.
    /// Returns when every thread stands: on a busy machine one may go on for a moment.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
        let tasks = format!("/proc/{}/task", self.child.id().expect("the node runs"));
        eventually(PATIENCE, async || {
            for task in fs::read_dir(&tasks)? {
                let status = fs::read_to_string(task?.path().join("status"))?;
                anyhow::ensure!(status.contains("State:\tT"), "a thread runs on: {status}");
            }
            anyhow::Ok(())
        })
        .await;
    }

    /// Lets a frozen process go on.
    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("the node runs").to_string();
        // No system call from here: that would need unsafe code or one more crate.
        let status = Command::new("sh").args(["-c", "kill -\"$1\" \"$2\"", "sh", signal, &pid]).status().await;
        assert!(status.expect("running kill").success(), "kill -{signal} {pid}");
    }

    /// Bytes of memory that the process holds now.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = self.child.id().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok()).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("VmRSS of the node") * 1024
    }

    /// What a metric without labels shows; NaN for one that is not there, or while the node does not answer.
    pub async fn metric(&self, name: &str) -> f64 {
        let body = http::get(self.admin, "/metrics").await.map(|answer| answer.body).unwrap_or_default();
        body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(f64::NAN)
    }

    /// Waits until the process has ended by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the node ends").expect("waiting for the node")
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal_terminate().await;
        self.wait().await
    }

    /// Starts the node again, killing it first if it still runs: same directory, configuration and addresses.
    pub async fn restart(&mut self) {
        self.restart_unready().await;
        self.until_ready().await;
    }

    /// The same without waiting until it is ready: what it needs may not be there yet.
    pub async fn restart_unready(&mut self) {
        self.child.kill().await.expect("killing the node");
        let mut options = self.options.clone();
        // The configuration may have put some on port 0.
        options.env.push(listen("CLIENT", self.client));
        options.env.push(listen("ADMIN", self.admin));
        options.env.extend(self.api.map(|address| listen("API", address)));
        options.env.extend(self.resp.map(|address| listen("RESP", address)));
        options.env.extend(self.peer.map(|address| listen("PEER", address)));
        self.child = spawn(self.scratch.path(), &self.data_dir, &options, &self.ports).expect("starting the node again");
    }

    /// The status and the body of `/readyz`.
    pub async fn readiness(&self) -> Result<(u16, Value)> {
        let answer = http::get(self.admin, "/readyz").await?;
        Ok((answer.status, answer.json()))
    }

    /// Waits until it is ready. Panics with its log if it ends.
    pub async fn until_ready(&mut self) {
        self.wait_until(|answer| answer.status == 200).await;
    }

    /// Waits for such an answer of `/readyz`.
    async fn wait_until(&mut self, is_such: impl Fn(&http::Answer) -> bool) {
        let pid = self.child.id();
        eventually(PATIENCE, async || {
            if let Some(status) = self.child.try_wait()? {
                panic!("the node (pid {pid:?}) ended with {status}:\n{}", self.log());
            }
            self.read_addresses()?;
            match http::get(self.admin, "/readyz").await? {
                answer if is_such(&answer) => Ok(()),
                answer => Err(anyhow!("/readyz: {} {}", answer.status, answer.body)),
            }
        })
        .await;
    }

    fn read_addresses(&mut self) -> Result<()> {
        let addresses: Value = serde_json::from_str(&fs::read_to_string(self.data_dir.join("listen.json"))?)?;
        let of = |listener: &str| addresses[listener].as_str().map(str::parse::<SocketAddr>).transpose();
        self.client = of("client")?.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        self.admin = of("admin")?.context("listen.json has no admin; a node under test needs one")?;
        (self.api, self.resp, self.peer) = (of("api")?, of("resp")?, of("peer")?);
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
            let shown: Vec<&str> = log.lines().skip(skipped).collect();
            eprintln!("--- log of the node at {} ({skipped} lines left out)\n{}\n---", self.client, shown.join("\n"));
        }
    }
}

/// The binary under test: `HEADCOUNT_BIN`, or the one that cargo built with the program that asks.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HEADCOUNT_BIN") {
        // The node runs in another directory.
        return Ok(std::path::absolute(PathBuf::from(path))?);
    }
    // Binaries are in target/<profile>/, tests in deps/ below it.
    let program = std::env::current_exe()?;
    let places = program.ancestors().skip(1).take(2).map(|directory| directory.join("headcount"));
    places.into_iter().find(|place| place.is_file()).with_context(|| {
        let program = program.display();
        format!(
            "no headcount beside {program}: run `cargo build -p headcount-node` (with --release for a release build), or set HEADCOUNT_BIN"
        )
    })
}

const LOG_FILE: &str = "log";

fn spawn(scratch: &Path, data_dir: &Path, options: &NodeOptions, ports: &[(&str, Port)]) -> Result<Child> {
    let log = fs::File::options().create(true).append(true).open(scratch.join(LOG_FILE))?;
    let binary = options.binary.clone().map_or_else(binary, |path| Ok(std::path::absolute(path)?))?;
    let mut command = match &options.disk {
        Some(disk) => disk.run(&binary),
        None => Command::new(binary),
    };
    let data_dir = options.disk.as_ref().map_or(data_dir, |disk| disk.path());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("HEADCOUNT_")) {
            command.env_remove(name);
        }
    }
    command.envs(ports.iter().map(|(listener, port)| listen(&listener.to_uppercase(), port.address())));
    command.env("HEADCOUNT_NODE__DATA_DIR", data_dir).envs(options.env.iter().cloned());
    command.arg("--config").arg(scratch.join("config.toml")).current_dir(scratch);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    Ok(command.spawn()?)
}

fn listen(listener: &str, address: SocketAddr) -> (String, String) {
    (format!("HEADCOUNT_LISTEN__{listener}"), address.to_string())
}

/// Whether the `[listen]` section of `toml` sets `key`.
fn configures(toml: &str, key: &str) -> bool {
    let section = toml.split("[listen]").nth(1).unwrap_or_default();
    let keys = section.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| Some(line.split_once('=')?.0.trim()));
    keys.into_iter().any(|found| found == key)
}
