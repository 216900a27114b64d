//! I/O: replicas of counters, one in each region, that reach each other only through proxies which a test can cut; and what
//! may happen to their disks.

use crate::{
    Direction, FaultyDisk, Node, NodeOptions, Proxy, SkewedClock, SmallDisk, eventually, http,
    load::Target,
    node::binary,
    tally::{Expected, Tally},
};
use anyhow::{Result, bail};
use core::net::SocketAddr;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{process::Command, time::timeout};
use uuid::Uuid;

/// How long whatever must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long one question may take: longer than a node waits until it covers a session.
const ANSWER: Duration = Duration::from_secs(5);
/// Where nobody listens.
const NOWHERE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 9);

/// What the replicas are like.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterOptions {
    /// Each has a disk of its own with so many bytes.
    pub disk_bytes: Option<u64>,
    /// Each has a disk that may stand still or fail.
    pub faulty_disks: bool,
    /// Each has a wall clock that can be set; not together with the disks.
    pub skewed_clocks: bool,
}

/// Replicas by number. One that was retired keeps its number.
#[derive(Debug)]
pub struct Cluster {
    /// All that ever were.
    pub nodes: Vec<Node>,
    /// The disk of each, where they have their own.
    pub small_disks: Vec<Option<Arc<SmallDisk>>>,
    /// The faults of each disk, where there may be some.
    pub faulty_disks: Vec<Option<FaultyDisk>>,
    /// The clock of each, where they have their own.
    pub clocks: Vec<Option<SkewedClock>>,
    options: ClusterOptions,
    /// So that no node of another test is let in by mistake, on a port that was another's before.
    key: Uuid,
    retired: BTreeSet<usize>,
    /// By who dials and who is dialed.
    proxies: BTreeMap<(usize, usize), Proxy>,
}

impl Cluster {
    /// Starts `count` replicas, each of which knows all others, and waits until they are connected.
    pub async fn start(count: usize, options: ClusterOptions) -> Result<Cluster> {
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to))).filter(|(from, to)| from != to);
        let proxies = pairs.map(|pair| (pair, Proxy::start(NOWHERE))).collect();
        let (nodes, small_disks, faulty_disks, clocks, retired) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        let mut cluster = Cluster { nodes, small_disks, faulty_disks, clocks, options, key: Uuid::new_v4(), retired, proxies };
        for _ in 0..count {
            cluster.add_node().await?;
        }
        cluster.until_metric("headcount_counter_peers", count as f64 - 1.0).await;
        Ok(cluster)
    }

    /// Starts one more, which knows those that are there; returns its number.
    pub async fn join(&mut self) -> Result<usize> {
        let from = self.nodes.len();
        for to in self.live() {
            // A node that was started with seeds has a listener for peers.
            let target = self.nodes[to].peer.unwrap_or(NOWHERE);
            self.proxies.insert((from, to), Proxy::start(target));
        }
        self.add_node().await?;
        Ok(from)
    }

    async fn add_node(&mut self) -> Result<()> {
        let at = self.nodes.len();
        let disk = match self.options.disk_bytes {
            Some(bytes) => Some(Arc::new(SmallDisk::mount(bytes).await?)),
            None => None,
        };
        let faults = if self.options.faulty_disks { Some(FaultyDisk::build()?) } else { None };
        let clock = if self.options.skewed_clocks { Some(SkewedClock::build()?) } else { None };
        let seeds: Vec<String> =
            self.proxies.iter().filter(|((from, _), _)| *from == at).map(|(_, proxy)| proxy.address.to_string()).collect();
        // Nobody is to learn a way around the proxies.
        let config_toml = format!(
            "[node]\nname = \"c1\"\nregion = \"r{at}\"\n[counter]\nseeds = {}\nkey = \"the key of cluster {}\"\naddress = \"{NOWHERE}\"\n",
            json!(seeds),
            self.key
        );
        let mut env = faults.as_ref().map(FaultyDisk::env).unwrap_or_default();
        env.extend(clock.iter().flat_map(SkewedClock::env));
        let node = Node::start(NodeOptions { config_toml, env, disk: disk.clone(), ..NodeOptions::default() }).await;
        let dialed = self.proxies.iter().filter(|((_, to), _)| *to == at);
        dialed.for_each(|(_, proxy)| proxy.retarget(node.peer.unwrap_or(NOWHERE)));
        self.nodes.push(node);
        self.small_disks.push(disk);
        self.faulty_disks.push(faults);
        self.clocks.push(clock);
        Ok(())
    }

    /// The numbers of those that are not retired.
    #[must_use]
    pub fn live(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| !self.retired.contains(at)).collect()
    }

    /// `region/node` of one.
    #[must_use]
    pub fn member(at: usize) -> String {
        format!("r{at}/c1")
    }

    /// Where clients find those that are not retired.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let target = |at: usize| Some(Target { at, client: self.nodes[at].client, resp: self.nodes[at].resp? });
        self.live().into_iter().filter_map(target).collect()
    }

    /// Reads a counter at one; `None` if that does not answer.
    pub async fn read(&self, at: usize, path: &str) -> Option<(u16, Value)> {
        let answer = timeout(ANSWER, http::get(self.nodes[at].client, &format!("/v1/counters/{path}"))).await.ok()?.ok()?;
        Some((answer.status, answer.json()))
    }

    /// Whether all others show whatever this one has shown so far: then its disk may go.
    pub async fn is_held_elsewhere(&self, at: usize) -> bool {
        let Some((200, reading)) = self.read(at, "t0").await else { return false };
        let path = format!("t0?min={}", reading["session"].as_str().unwrap_or_default());
        for other in self.live().into_iter().filter(|other| *other != at) {
            if self.read(other, &path).await.is_none_or(|(status, _)| status != 200) {
                return false;
            }
        }
        true
    }

    /// Kills one, lets its disk be lost or replaced by an older one, and starts it again. Nobody else has it for long.
    pub async fn replace_disk(&mut self, at: usize, older: Option<&Path>) -> Result<()> {
        self.nodes[at].kill9().await;
        let counters = self.nodes[at].data_dir.join("counter");
        fs::remove_dir_all(&counters)?;
        if let Some(older) = older {
            copy(older, &counters)?;
        }
        self.nodes[at].restart().await;
        Ok(())
    }

    /// Copies what one has on disk at this moment.
    pub async fn back_up(&self, at: usize, to: &Path) -> Result<()> {
        self.nodes[at].freeze().await;
        let copied = copy(&self.nodes[at].data_dir.join("counter"), to);
        self.nodes[at].thaw().await;
        copied
    }

    /// Kills one for good.
    pub async fn retire(&mut self, at: usize) {
        self.nodes[at].kill9().await;
        self.retired.insert(at);
        self.proxies.retain(|(from, to), _| *from != at && *to != at);
    }

    /// Tells node `by`, by the command for it, that a retired one will not come back.
    pub async fn forget(&self, by: usize, gone: usize) -> Result<()> {
        let mut command = Command::new(binary()?);
        command.args(["counter", "forget", &Cluster::member(gone), "--force", "--data-dir"]).arg(&self.nodes[by].data_dir);
        let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await??;
        if !output.status.success() {
            bail!("counter forget: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Nothing gets through between two any more.
    pub fn cut(&self, one: usize, other: usize) {
        self.between(one, other).for_each(|(_, proxy)| proxy.cut());
    }

    /// What `from` says does not reach `to`, and nobody is told.
    pub fn silence(&self, from: usize, to: usize) {
        for (dialer, proxy) in self.between(from, to) {
            proxy.black_hole(if dialer == from { Direction::ToTarget } else { Direction::FromTarget });
        }
    }

    /// What they say to each other takes so long.
    pub fn slow_down(&self, one: usize, other: usize, delay: Duration) {
        self.between(one, other).for_each(|(_, proxy)| proxy.delay(Direction::Both, delay));
    }

    /// What they say to each other is lost in part, and so comes late.
    pub fn lose(&self, one: usize, other: usize, percent: u8, random_u64: fn() -> u64) {
        self.between(one, other).for_each(|(_, proxy)| proxy.lose(Direction::Both, percent, random_u64));
    }

    /// All is well between two.
    pub fn mend(&self, one: usize, other: usize) {
        self.between(one, other).for_each(|(_, proxy)| proxy.heal());
    }

    /// All is well between all.
    pub fn heal(&self) {
        self.proxies.values().for_each(Proxy::heal);
    }

    fn between(&self, one: usize, other: usize) -> impl Iterator<Item = (usize, &Proxy)> {
        let pairs = [(one, other), (other, one)];
        pairs.into_iter().filter_map(|pair| Some((pair.0, self.proxies.get(&pair)?)))
    }

    /// Waits until all live ones show this.
    pub async fn until_metric(&self, name: &str, expected: f64) {
        eventually(PATIENCE, async || {
            let mut values = Vec::new();
            for at in self.live() {
                values.push(self.nodes[at].metric(name).await);
            }
            let is_so = values.iter().all(|value| (value - expected).abs() < 0.5);
            if is_so { Ok(()) } else { Err(format!("{name} is {values:?}, not {expected}")) }
        })
        .await;
    }

    /// Waits until all live ones read the same of every counter in the tally, and that is as it must be.
    pub async fn until_all_read(&self, tally: &Tally) {
        let off = |violation: &Vec<String>| violation.is_empty();
        assert!(off(&tally.violations), "{:#?}", tally.violations);
        for (key, expected) in &tally.counters {
            eventually(PATIENCE, async || self.agree_on(key, expected).await).await;
        }
    }

    async fn agree_on(&self, key: &str, expected: &Expected) -> Result<(), String> {
        let mut values = Vec::new();
        for at in self.live() {
            values.push(self.read(at, key).await.and_then(|(_, reading)| reading["value"].as_i64()));
        }
        let (is_one, is_right) = (values.windows(2).all(|pair| pair[0] == pair[1]), values[0].is_some_and(|value| expected.admits(value)));
        if is_one && is_right { Ok(()) } else { Err(format!("{key} is {values:?}, and must be {expected:?}")) }
    }

    /// Waits until nothing of ended lives and retired members is left, and nothing has happened that should not.
    pub async fn until_folded(&self, tally: &Tally) {
        let live = self.live();
        self.until_metric("headcount_counter_origins", live.len() as f64).await;
        let members: BTreeSet<String> = live.iter().map(|at| Cluster::member(*at)).collect();
        for at in live {
            for key in tally.counters.keys() {
                let reading = self.read(at, &format!("{key}?detail=replicas")).await.map(|(_, reading)| reading).unwrap_or_default();
                let entries = reading["replicas"].as_object().cloned().unwrap_or_default();
                let strangers: Vec<_> = entries.keys().filter(|member| !members.contains(*member)).collect();
                assert!(!entries.is_empty() && strangers.is_empty(), "{key} has entries of {strangers:?}: {reading}");
            }
        }
        for name in ["law_violations", "poisoned_chunks", "digest_mismatches"] {
            self.until_metric(&format!("headcount_counter_{name}_total"), 0.0).await;
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
