//! I/O: nginx with nchan, with a configuration and a directory of its own, beside whatever nginx else runs.

use crate::server::family;
use anyhow::{Context, bail, ensure};
use core::net::SocketAddr;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

/// How long nginx may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Attempts to find a port that is still free when nginx binds it.
const PORTS_TRIED: usize = 5;
/// What to do where it is not installed.
const HOW: &str = "install it (Debian: `apt-get install nginx libnginx-mod-nchan`), or name both files with --nginx and --nchan-module";

/// The program and the module.
#[derive(Clone, Debug)]
pub(super) struct Nginx {
    pub(super) program: PathBuf,
    pub(super) module: PathBuf,
}

/// A running nginx. Dropping it ends its worker, too, which would outlive a master that is killed.
pub(super) struct Running {
    pub(super) child: Child,
    _directory: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = self.child.id().and_then(|pid| family(pid).ok()).unwrap_or_default();
        let family = family.iter().map(ToString::to_string);
        // No system call from here: that would need unsafe code or one more crate.
        _ = std::process::Command::new("sh").args(["-c", "kill -TERM \"$@\"", "sh"]).args(family).status();
    }
}

/// What it is, with its version.
pub(super) fn version(nginx: &Nginx) -> anyhow::Result<String> {
    for path in [&nginx.program, &nginx.module] {
        ensure!(path.is_file(), "{} is not there: {HOW}", path.display());
    }
    let output = std::process::Command::new(&nginx.program).arg("-v").output().with_context(|| format!("running nginx; {HOW}"))?;
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let nchan = packaged().map_or_else(|| "nchan".to_owned(), |version| format!("nchan {version}"));
    Ok(format!("{nchan}, one worker, {}", text.rsplit(": ").next().unwrap_or(&text)))
}

/// The version of Debian's package, if it is installed.
fn packaged() -> Option<String> {
    let output = std::process::Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libnginx-mod-nchan"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|version| !version.is_empty())
}

/// Starts nginx in the foreground. Everything that it writes is in the directory.
pub(super) async fn start(nginx: &Nginx) -> anyhow::Result<(SocketAddr, Running)> {
    for _ in 0..PORTS_TRIED {
        let directory = tempfile::tempdir()?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = directory.path().join("nginx.conf");
        fs::write(&config, configuration(nginx, address, directory.path()))?;
        let mut command = Command::new(&nginx.program);
        command.arg("-c").arg(&config).arg("-p").arg(directory.path()).args(["-e", "stderr"]);
        let mut child = command.stdin(Stdio::null()).kill_on_drop(true).spawn().context("starting nginx")?;
        let begun = Instant::now();
        while child.try_wait()?.is_none() {
            if TcpStream::connect(address).await.is_ok() {
                return Ok((address, Running { child, _directory: directory }));
            }
            ensure!(begun.elapsed() < PATIENCE, "nginx does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        // Somebody else took the port, or it says why.
    }
    bail!("nginx could not be started on {PORTS_TRIED} free ports")
}

/// Messages are kept for as long as one may be under way, and no longer.
fn configuration(nginx: &Nginx, address: SocketAddr, directory: &Path) -> String {
    let (module, directory) = (nginx.module.display(), directory.display());
    format!(
        "load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr error;
pid {directory}/pid;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  nchan_shared_memory_size 256M;
  server {{
    listen {address} backlog=4096;
    location = /publish {{
      nchan_publisher;
      nchan_channel_id $arg_channel;
      nchan_message_buffer_length 64;
      nchan_message_timeout 1m;
    }}
    location = /subscribe {{
      nchan_subscriber websocket eventsource;
      nchan_channel_id $arg_channel;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"
    )
}
