//! I/O: `headcount doctor`: looks at everything that this node needs, and says what is fine and what to do about the rest. The
//! facts are gathered in `look/`; the other files judge them and are pure.

pub mod certificates;
pub mod clock;
pub mod disk;
pub mod etcd;
pub mod finding;
pub mod known_bad;
pub mod listening;
mod look;
pub mod reach;
pub mod redis;
pub mod system;

use finding::{Finding, Report, Status};

use crate::{
    clock as clocks,
    config::{BadConfig, Config},
    failure::Failure,
};
use anyhow::Context;
use clap::Args;
use core::net::SocketAddr;
use counter::resp;
use std::io::{self, Write};
use std::time::Duration;
use tokio::{task::JoinSet, time::timeout};

/// How long the disk may take; a file system on the network can hang for ever.
const DISK_PATIENCE: Duration = Duration::from_secs(15);

const EXAMPLES: &str = "\
Examples:
  headcount --config headcount.toml doctor        before the first start, after a change of the host, at 3 a.m.
  headcount --config headcount.toml doctor --json | jq '.findings[] | select(.status == \"fail\")'
                                                  what fails, with what to do about it";

/// How to tell it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DoctorCommand {
    /// As one JSON object: `findings`, each with `id`, `of`, `status`, `found`, `do`.
    #[arg(long)]
    json: bool,
}

/// Looks, and tells what was found. An error if something fails.
pub fn run(command: &DoctorCommand, config: Result<Config, Failure>) -> Result<(), Failure> {
    let report = match config {
        Ok(config) => examine(&config)?,
        Err(Failure::Config(bad)) => Report { findings: bad_config(&bad) },
        Err(failure) => return Err(failure),
    };
    let text = if command.json { serde_json::to_string(&report).context("writing the report")? } else { report.to_string() };
    writeln!(io::stdout(), "{text}").map_err(Failure::Output)?;
    match report.count(Status::Fail) {
        0 => Ok(()),
        failed => Err(Failure::Unwell(format!("{failed} of {} checks failed", report.findings.len()))),
    }
}

fn bad_config(bad: &BadConfig) -> Vec<Finding> {
    let problem = |problem: &crate::config::layers::Problem| {
        Finding::fail("config", "", problem.to_string(), "correct it; `headcount config print --defaults` explains every key")
    };
    bad.0.iter().map(problem).collect()
}

fn examine(config: &Config) -> Result<Report, Failure> {
    // One provider for every use of TLS, before the first; it fails only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let findings = runtime.block_on(findings(config));
    // A disk that hangs must not hold up the answer.
    runtime.shutdown_background();
    Ok(Report { findings })
}

async fn findings(config: &Config) -> Vec<Finding> {
    let first = clocks::now();
    let peers = config.tls.as_ref().map(|tls| tls.open(|path| std::fs::read(path)));
    let peer_tls = peers.as_ref().and_then(|opened| opened.as_ref().ok());
    let (disk, (region, is_redis_here), reached) =
        tokio::join!(disk(config), look::region::look(config, clocks::now), reached(config, peer_tls));
    let (disk, holder) = disk;
    let needs = system::Needs {
        clients: if config.node.roles.gateway { u64::try_from(config.limits.connections).unwrap_or(u64::MAX) } else { 0 },
        resp_clients: if config.listen.resp.is_some() { u64::try_from(resp::CLIENTS_MAX).unwrap_or(u64::MAX) } else { 0 },
        is_development: config.auth.development,
        ports: listeners(config).map(|(name, address)| (name, address.port())).collect(),
    };
    let mut findings: Vec<Finding> = config
        .warnings
        .iter()
        .map(|warning| Finding::warn("config", "", warning, "`headcount config print --defaults` explains every key"))
        .collect();
    if let Some(Err(bad)) = &peers {
        findings.extend(bad_config(bad));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("config", "", "no mistakes"));
    }
    findings.extend(system::judge(&look::system::look(holder.as_ref().map(|node| node.pid), is_redis_here), &needs));
    findings.extend(disk);
    let bound = listeners(config).map(|(name, address)| listening::judge(name, address, &look::sockets::bound(address), holder.as_ref()));
    findings.extend(bound);
    findings.extend(region);
    findings.extend(reached);
    findings.extend(look::tls::look(config, first).iter().map(|file| certificates::judge(file, first.wall_s())));
    findings.push(clock::judge(first, clocks::now()));
    findings
}

/// What there is to say of the disk, and who holds it.
async fn disk(config: &Config) -> (Vec<Finding>, Option<disk::Process>) {
    let (path, has_counters) = (config.node.data_dir.clone(), config.node.roles.counter);
    let look = tokio::task::spawn_blocking(move || look::disk::look(&path, clocks::now));
    match timeout(DISK_PATIENCE, look).await {
        Ok(Ok(disk)) => (disk::judge(&disk, has_counters), disk.holder),
        _ => {
            let told = format!("the disk of {} has not answered within {DISK_PATIENCE:?}", config.node.data_dir.display());
            (vec![Finding::fail("disk-directory", "", told, "look at the disk (`dmesg`), or set another node.data_dir")], None)
        }
    }
}

async fn reached(config: &Config, peers: Option<&peering::tls::PeerTls>) -> Vec<Finding> {
    let mut looks = JoinSet::new();
    for (at, place) in look::reach::places(config).into_iter().enumerate() {
        let peers = peers.cloned();
        looks.spawn(async move {
            let reached = look::reach::reach(&place, peers.as_ref(), clocks::now).await;
            (at, reach::judge(&place, &reached))
        });
    }
    let mut findings = looks.join_all().await;
    findings.sort_by_key(|(at, _)| *at);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn listeners(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let listen = config.listen;
    let all = [("client", listen.client), ("api", listen.api), ("resp", listen.resp), ("admin", listen.admin), ("peer", listen.peer)];
    all.into_iter().filter_map(|(name, address)| Some((name, address?)))
}
