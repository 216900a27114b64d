//! I/O: a region: an etcd, Redis nodes and gateways that share their channels over them, each a real process.

use crate::{Disk, EtcdServer, Node, NodeOptions, RedisServer, eventually, node::binary};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::process::Command;

/// How long whatever must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the region is like.
#[derive(Clone, Debug, Default)]
pub struct RegionOptions {
    /// How many Redis nodes, `redis-0` and so on.
    pub redis_nodes: usize,
    /// How many gateways, `g0` and so on, each of which stands for election as the coordinator too.
    pub gateways: usize,
    /// More lines of each gateway's configuration, after `[etcd]`.
    pub config_toml: String,
    /// More lines of each Redis node's configuration.
    pub redis_options: Vec<String>,
}

/// The processes. Dropping it ends them.
#[derive(Debug)]
pub struct Region {
    /// etcd.
    pub etcd: EtcdServer,
    /// Redis nodes by their names.
    pub redis: BTreeMap<String, RedisServer>,
    /// Gateways by number.
    pub gateways: Vec<Node>,
    options: RegionOptions,
    scratch: TempDir,
}

impl Region {
    /// Starts everything, and waits until the ring has all nodes and every gateway is ready.
    pub async fn start(options: RegionOptions) -> Region {
        let (etcd, scratch) = (EtcdServer::start().await, tempfile::tempdir().expect("a directory"));
        let (redis, gateways) = (BTreeMap::new(), Vec::new());
        let mut region = Region { etcd, redis, gateways, options, scratch };
        for at in 0..region.options.redis_nodes {
            region.start_redis(&format!("redis-{at}")).await;
        }
        // Gateways are ready once there is a ring, and the ring is made by one of them.
        let first = region.spawn_gateway(0);
        let (first, made) = tokio::join!(first, region.make_ring());
        made.expect("the first ring");
        region.gateways.push(first);
        for at in 1..region.options.gateways {
            let gateway = region.spawn_gateway(at).await;
            region.gateways.push(gateway);
        }
        region
    }

    /// One more Redis node, not in the ring yet.
    pub async fn start_redis(&mut self, name: &str) {
        let options: Vec<&str> = self.options.redis_options.iter().map(String::as_str).collect();
        self.redis.insert(name.to_owned(), RedisServer::start(&options).await);
    }

    /// One more gateway; returns its number.
    pub async fn join(&mut self) -> usize {
        let gateway = self.spawn_gateway(self.gateways.len()).await;
        self.gateways.push(gateway);
        self.gateways.len() - 1
    }

    /// `headcount ring …`, as an operator runs it.
    pub async fn ring(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(binary()?);
        command.env("HEADCOUNT_ETCD__ENDPOINTS", self.etcd.url()).env("HEADCOUNT_NODE__REGION", "local").arg("ring").args(args);
        let output = command.kill_on_drop(true).output().await?;
        let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("headcount ring {args:?} ended with {}: {told}{complained}", output.status);
        }
        Ok(told.into_owned())
    }

    /// `headcount ring status --json`.
    pub async fn ring_status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.ring(&["status", "--json"]).await?)?)
    }

    /// Kills a Redis node and starts it again at the same address.
    pub async fn restart_redis(&mut self, name: &str, disk: Disk) {
        self.redis.get_mut(name).expect("such a node").restart(disk).await;
    }

    async fn make_ring(&self) -> Result<()> {
        let nodes: Vec<Value> = self.redis.iter().map(|(id, server)| json!({ "id": id, "url": server.url() })).collect();
        let file = self.layout_file(&json!({ "nodes": nodes }))?;
        eventually(PATIENCE, async || self.ring(&["apply", &file.to_string_lossy(), "--force"]).await).await;
        Ok(())
    }

    fn layout_file(&self, layout: &Value) -> Result<PathBuf> {
        let file = self.scratch.path().join("layout.json");
        std::fs::write(&file, layout.to_string())?;
        Ok(file)
    }

    async fn spawn_gateway(&self, at: usize) -> Node {
        let config_toml = format!("[node]\nname = \"g{at}\"\n[etcd]\nendpoints = [\"{}\"]\n{}", self.etcd.url(), self.options.config_toml);
        Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
    }
}
