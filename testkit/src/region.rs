//! I/O: a region: an etcd, Redis nodes and gateways that share their channels over them, each a real process.

use crate::{Disk, EtcdCluster, EtcdServer, Node, NodeOptions, Proxy, RedisServer, eventually, node::binary, redis_server};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::process::Command;

/// How long whatever must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the region, where etcd asks for a password.
const LOGIN: (&str, &str) = ("headcount", "wonder");
/// Who is let in at the Redis nodes, where that is to be so.
pub const USERS: &str = include_str!("../../deploy/redis/users.acl");
/// All keys of the region `local`.
pub const PREFIX: &str = "/headcount/local/";

/// What the region is like.
#[derive(Clone, Debug, Default)]
pub struct RegionOptions {
    /// Its name; `local` if empty.
    pub name: String,
    /// How many Redis nodes, `redis-0` and so on.
    pub redis_nodes: usize,
    /// How many gateways, `g0` and so on, each of which stands for election as the coordinator too, unless there are others.
    pub gateways: usize,
    /// How many nodes that are nothing but candidates, `c0` and so on.
    pub coordinators: usize,
    /// etcd has three members, and not one.
    pub three_etcds: bool,
    /// etcd asks for a password, and lets the region's user at the region's keys.
    pub etcd_login: bool,
    /// Each gateway reaches etcd through a proxy of its own.
    pub etcd_by_proxy: bool,
    /// Gateways have no counters of their own; `config_toml` says where they count.
    pub counts_elsewhere: bool,
    /// More lines of each gateway's configuration, after `[etcd]`.
    pub config_toml: String,
    /// More lines after these, by the gateway's number.
    pub gateway_toml: Vec<String>,
    /// More lines of each Redis node's configuration.
    pub redis_options: Vec<String>,
    /// Redis nodes let in nobody but the users of `deploy/redis/users.acl`.
    pub least_privilege: bool,
}

impl RegionOptions {
    fn name(&self) -> &str {
        if self.name.is_empty() { "local" } else { &self.name }
    }
}

/// The processes. Dropping it ends them.
#[derive(Debug)]
pub struct Region {
    /// etcd, or the first of its members.
    pub etcd: EtcdServer,
    /// Its other members.
    pub other_etcds: Vec<EtcdServer>,
    /// Redis nodes by their names.
    pub redis: BTreeMap<String, RedisServer>,
    /// Gateways by number.
    pub gateways: Vec<Node>,
    /// Coordinators by number, where they are not the gateways.
    pub coordinators: Vec<Node>,
    /// The way of each gateway to etcd, by number, where it is a proxy's.
    pub ways: Vec<Proxy>,
    options: RegionOptions,
    scratch: TempDir,
}

impl Region {
    /// Starts everything, and waits until the ring has all nodes and every gateway is ready.
    pub async fn start(options: RegionOptions) -> Region {
        let mut members = if options.three_etcds { EtcdCluster::start().await.members } else { vec![EtcdServer::start().await] };
        let mut etcd = members.remove(0);
        if options.etcd_login {
            etcd.auth_on(LOGIN.0, LOGIN.1, &format!("/headcount/{}/", options.name())).await.expect("passwords");
        }
        let mut region = Region {
            etcd,
            other_etcds: members,
            redis: BTreeMap::new(),
            gateways: Vec::new(),
            coordinators: Vec::new(),
            ways: Vec::new(),
            options,
            scratch: tempfile::tempdir().expect("a directory"),
        };
        for at in 0..region.options.redis_nodes {
            region.start_redis(&format!("redis-{at}")).await;
        }
        for at in 0..region.options.coordinators {
            let options = region.node_options(&format!("c{at}"), "\"coordinator\"", &region.etcd_urls());
            region.coordinators.push(Node::start(options).await);
        }
        // Gateways are ready once there is a ring, and the ring may be made by one of them.
        let options = region.gateway_options();
        let (first, made) = tokio::join!(Node::start(options), region.make_ring());
        made.expect("the first ring");
        region.gateways.push(first);
        for _ in 1..region.options.gateways {
            region.join().await;
        }
        region
    }

    /// All members of etcd.
    pub fn etcds(&mut self) -> impl Iterator<Item = &mut EtcdServer> {
        std::iter::once(&mut self.etcd).chain(&mut self.other_etcds)
    }

    /// The one that changes the ring, as the nodes say; waits until there is one.
    pub async fn leader(&self) -> usize {
        let candidates = if self.coordinators.is_empty() { &self.gateways } else { &self.coordinators };
        eventually(PATIENCE, async || {
            for (at, node) in candidates.iter().enumerate() {
                if node.metric("headcount_coordinator_is_leader").await > 0.5 {
                    return Ok(at);
                }
            }
            Err("nobody leads")
        })
        .await
    }

    /// One more Redis node, not in the ring yet.
    pub async fn start_redis(&mut self, name: &str) {
        let options: Vec<&str> = self.options.redis_options.iter().map(String::as_str).collect();
        let server = match self.options.least_privilege {
            true => RedisServer::start_with_users(USERS, &options).await,
            false => RedisServer::start(&options).await,
        };
        self.redis.insert(name.to_owned(), server);
    }

    /// Panics if a Redis node has refused something to Headcount.
    pub async fn assert_nothing_was_refused(&self) {
        for (name, server) in &self.redis {
            let refused = server.refused().await.expect("ACL LOG");
            assert!(refused.is_empty(), "{name} has refused: {refused:#?}");
        }
    }

    /// One more gateway; returns its number.
    pub async fn join(&mut self) -> usize {
        let options = self.gateway_options();
        self.gateways.push(Node::start(options).await);
        self.gateways.len() - 1
    }

    /// `headcount ring …`, as an operator runs it.
    pub async fn ring(&self, args: &[&str]) -> Result<String> {
        let output = self.ring_command(args)?.output().await?;
        let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("headcount ring {args:?} ended with {}: {told}{complained}", output.status);
        }
        Ok(told.into_owned())
    }

    /// The same, to be run whenever it is wanted.
    pub fn ring_command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary()?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADCOUNT_")) {
            command.env_remove(name);
        }
        command.env("HEADCOUNT_ETCD__ENDPOINTS", self.etcd_urls().join(",")).env("HEADCOUNT_NODE__REGION", self.options.name());
        if self.options.etcd_login {
            command.env("HEADCOUNT_ETCD__USERNAME", LOGIN.0).env("HEADCOUNT_ETCD__PASSWORD", LOGIN.1);
        }
        command.arg("ring").args(args).kill_on_drop(true);
        Ok(command)
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

    fn etcd_urls(&self) -> Vec<String> {
        std::iter::once(&self.etcd).chain(&self.other_etcds).map(EtcdServer::url).collect()
    }

    /// What the next gateway is started with.
    pub fn gateway_options(&mut self) -> NodeOptions {
        let mut urls = self.etcd_urls();
        if self.options.etcd_by_proxy {
            let way = Proxy::start(self.etcd.client);
            urls = vec![format!("http://{}", way.address)];
            self.ways.push(way);
        }
        let roles = [("gateway", true), ("counter", !self.options.counts_elsewhere), ("coordinator", self.options.coordinators == 0)];
        let roles = roles.iter().filter(|(_, is_its)| *is_its).map(|(role, _)| format!("{role:?}")).collect::<Vec<_>>().join(", ");
        let mut options = self.node_options(&format!("g{}", self.gateways.len()), &roles, &urls);
        options.config_toml += self.options.gateway_toml.get(self.gateways.len()).map_or("", String::as_str);
        options
    }

    fn node_options(&self, name: &str, roles: &str, etcd: &[String]) -> NodeOptions {
        let (user, password) = LOGIN;
        let login = if self.options.etcd_login { format!("username = \"{user}\"\npassword = \"{password}\"\n") } else { String::new() };
        let more = &self.options.config_toml;
        let region = self.options.name();
        let config_toml =
            format!("[node]\nname = \"{name}\"\nregion = \"{region}\"\nroles = [{roles}]\n[etcd]\nendpoints = {etcd:?}\n{login}{more}");
        let login = [("HEADCOUNT_REDIS__USERNAME", redis_server::USER), ("HEADCOUNT_REDIS__PASSWORD", redis_server::PASSWORD)];
        let login = login.iter().filter(|_| self.options.least_privilege).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        NodeOptions { config_toml, env: login.collect(), ..NodeOptions::default() }
    }
}
