//! I/O: a real Prometheus on a free port of loopback, which scrapes nodes and goes by the shipped rules, in less time.

use crate::{FACTOR, RULES, WINDOW_LEAST, rules::shortened};
use anyhow::{Context, Result, bail};
use core::net::SocketAddr;
use serde_json::Value;
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use testkit::{eventually, http};
use tokio::process::{Child, Command};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Somebody else may take a free port between our looking and its use: then another one is tried, so often.
const PORT_ATTEMPTS: usize = 5;
/// Between two scrapes, and two evaluations of the rules.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// An alert that is pending or fires.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) name: String,
    pub(crate) severity: String,
    pub(crate) fires: bool,
}

/// A running Prometheus. Dropping it kills it.
pub(crate) struct Prometheus {
    address: SocketAddr,
    child: Child,
    scratch: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these admin listeners, each with its job, and waits until it has scraped every one of them.
    pub(crate) async fn start(targets: &[(&str, SocketAddr)]) -> Prometheus {
        for _ in 0..PORT_ATTEMPTS {
            let mut prometheus = Prometheus::launch(targets).expect("starting prometheus: is it installed?");
            if prometheus.until_ready(targets.len()).await {
                return prometheus;
            }
        }
        panic!("prometheus found no free port");
    }

    fn launch(targets: &[(&str, SocketAddr)]) -> Result<Prometheus> {
        let scratch = tempfile::tempdir()?;
        fs::write(scratch.path().join("rules.yml"), shortened(RULES, FACTOR, WINDOW_LEAST))?;
        let interval = format!("{}ms", INTERVAL.as_millis());
        let mut config =
            format!("global:\n  scrape_interval: {interval}\n  evaluation_interval: {interval}\n  scrape_timeout: {interval}\n");
        config += "rule_files: [rules.yml]\nscrape_configs:\n";
        let mut jobs: Vec<&str> = targets.iter().map(|(job, _)| *job).collect();
        jobs.dedup();
        for job in jobs {
            let addresses = targets.iter().filter(|(of, _)| *of == job).map(|(_, address)| format!("\"{address}\""));
            let addresses = addresses.collect::<Vec<_>>().join(", ");
            config += &format!("  - job_name: {job}\n    static_configs:\n      - targets: [{addresses}]\n");
        }
        fs::write(scratch.path().join("prometheus.yml"), config)?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = fs::File::create(scratch.path().join("log"))?;
        let mut command = Command::new("prometheus");
        command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data").arg(format!("--web.listen-address={address}"));
        command.current_dir(scratch.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        Ok(Prometheus { address, child: command.spawn()?, scratch })
    }

    /// False: its port was taken.
    async fn until_ready(&mut self, targets: usize) -> bool {
        eventually(PATIENCE, async || {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default();
                if log.contains("address already in use") {
                    return Ok(false);
                }
                panic!("prometheus ended with {status}:\n{log}");
            }
            let found = self.ask("/api/v1/query?query=up").await?;
            let up = found["result"].as_array().context("no result")?.iter().filter(|sample| sample["value"][1] == "1").count();
            if up == targets { Ok(true) } else { bail!("{up} of {targets} targets are up") }
        })
        .await
    }

    /// What is pending or fires now.
    pub(crate) async fn alerts(&self) -> Result<Vec<Alert>> {
        let found = self.ask("/api/v1/alerts").await?;
        let alert = |alert: &Value| {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            Alert { name: label("alertname"), severity: label("severity"), fires: alert["state"] == "firing" }
        };
        Ok(found["alerts"].as_array().context("no alerts")?.iter().map(alert).collect())
    }

    /// The last that was scraped of a metric without labels at a node.
    pub(crate) async fn value(&self, metric: &str, node: SocketAddr) -> Result<f64> {
        let found = self.ask(&format!("/api/v1/query?query={metric}")).await?;
        let samples = found["result"].as_array().context("no result")?;
        let sample = samples.iter().find(|sample| sample["metric"]["instance"] == node.to_string()).context("not scraped")?;
        Ok(sample["value"][1].as_str().context("no value")?.parse()?)
    }

    async fn ask(&self, path: &str) -> Result<Value> {
        let answer = http::get(self.address, path).await?;
        if answer.status != 200 {
            bail!("{path}: {} {}", answer.status, answer.body);
        }
        Ok(answer.json()["data"].take())
    }
}
