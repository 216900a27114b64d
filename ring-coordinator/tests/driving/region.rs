//! A region with a real etcd and real Redis nodes. The coordinators are real too; gateways are stations that say at once
//! that they have done their part, and vote as they are told.

use prometheus::Registry;
use protocol::time::Now;
use ring_coordinator::{
    coordinator::{
        Desk,
        driver::{Driver, DriverConfig},
        timing::Timing,
    },
    document::{Document, Layout, Node, NodeState},
    etcd::{self, Etcd, EtcdConfig, Snapshot, lease::LEASE_TTL_MS},
    member::{Member, MemberConfig, Progress, Riding},
    redis::{Access, Nodes, NodesConfig, Opinion, Vote},
    slot::Slot,
    view::View,
    wanted::{Answer, Outcome, Wanted, Wish},
};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use testkit::{EtcdServer, RedisServer, eventually, resp::Reply};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Gateways of these tests never lose their leases, so that nobody need be waited for as long.
const TIMING: fn() -> Timing =
    || Timing { lease_ttl_ms: 1_000, margin_ms: 200, hold_down_ms: 2_000, drain_ms: 300, again_ms: 500, ..Timing::default() };

pub(crate) fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let mono_ms = u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: 1_800_000_000_000 + mono_ms }
}

type Opinions = BTreeMap<String, Opinion>;

fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

pub(crate) fn wanted(wish: Wish) -> Vec<u8> {
    serde_json::to_vec(&Wanted { wish, by: "test".to_owned(), asked_ms: now().wall_ms, instead_of: None }).unwrap()
}

/// A member that has no nodes to ask.
fn member(etcd: &Etcd, name: &str) -> Member {
    let nodes = NodesConfig { gateway: name.to_owned(), access: Access::default(), scripts: Vec::new(), clock: now, random_u64 };
    let (nodes, _) = Nodes::new(nodes, &Registry::new()).unwrap();
    let (address, version) = (String::new(), String::new());
    let config = MemberConfig { gateway: name.to_owned(), address, version, may_be_stale: true, clock: now };
    Member::new(config, etcd.clone(), nodes, None, &Registry::new()).unwrap()
}

/// Dropped, it ends as by a power cut.
pub(crate) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One process's way to etcd.
pub(crate) struct Station {
    pub(crate) etcd: Etcd,
    _running: Task,
}

impl Station {
    fn new(server: &EtcdServer) -> Station {
        let access = etcd::Access { endpoints: vec![server.url()], ..etcd::Access::default() };
        let config = EtcdConfig { access, region: "eu".to_owned(), clock: now, random_u64, lease_ttl_ms: LEASE_TTL_MS };
        let etcd = Etcd::new(config, &Registry::new()).unwrap();
        let running = tokio::spawn(etcd.clone().run(std::future::pending()));
        Station { etcd, _running: Task(running) }
    }
}

pub(crate) struct SimGateway {
    station: Station,
    pub(crate) riding: watch::Receiver<Arc<Riding>>,
    opinions: watch::Sender<Arc<Opinions>>,
    pub(crate) presence: watch::Sender<u64>,
    _tasks: [Task; 2],
}

pub(crate) struct Region {
    pub(crate) server: EtcdServer,
    pub(crate) redis: BTreeMap<String, RedisServer>,
    pub(crate) gateways: Vec<SimGateway>,
    pub(crate) coordinators: BTreeMap<String, (Station, Task, Desk)>,
    /// Gateways acknowledge no later epoch.
    pub(crate) acks_until: Arc<AtomicU64>,
    /// The revision of what was asked last.
    asked: AtomicI64,
}

impl Region {
    /// So many gateways and coordinators, and these nodes, none of which is in the ring.
    pub(crate) async fn start(nodes: &[&str], gateways: usize, coordinators: usize) -> Region {
        let server = EtcdServer::start().await;
        let mut redis = BTreeMap::new();
        for node in nodes {
            redis.insert((*node).to_owned(), RedisServer::start(&[]).await);
        }
        let mut region = Region {
            server,
            redis,
            gateways: Vec::new(),
            coordinators: BTreeMap::new(),
            acks_until: Arc::new(AtomicU64::new(u64::MAX)),
            asked: AtomicI64::new(0),
        };
        (0..gateways).for_each(|number| region.add_gateway(&format!("g{number}")));
        (0..coordinators).for_each(|number| region.add_coordinator(&format!("c{number}")));
        region
    }

    /// A member, and a bus that is done with everything at once, up to what the test lets it.
    fn add_gateway(&mut self, name: &str) {
        let station = Station::new(&self.server);
        let (finished, until) = (watch::Sender::new(0), self.acks_until.clone());
        let (opinions, presence, news) = (watch::Sender::default(), watch::Sender::new(0), watch::Sender::new(None));
        let member = member(&station.etcd, name);
        let (riding, mut rings) = (member.riding(), member.riding());
        let progress = Progress {
            acked: finished.subscribe(),
            presence: presence.subscribe(),
            news: news.subscribe(),
            opinions: opinions.subscribe(),
        };
        let following = tokio::spawn(async move {
            let _news = news;
            member.run(progress, std::future::pending()).await;
        });
        let bus = tokio::spawn(async move {
            loop {
                let epoch = rings.borrow_and_update().view.as_ref().map_or(0, |view| view.epoch());
                finished.send_replace(epoch.min(until.load(Ordering::SeqCst)));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        self.gateways.push(SimGateway { station, riding, opinions, presence, _tasks: [Task(following), Task(bus)] });
    }

    pub(crate) fn add_coordinator(&mut self, name: &str) {
        let station = Station::new(&self.server);
        let config =
            DriverConfig { name: name.to_owned(), access: Access::default(), timing: TIMING(), known: None, clock: now, random_u64 };
        let (driver, desk) = Driver::new(&station.etcd, config, &Registry::new()).unwrap();
        let running = tokio::spawn(driver.run(std::future::pending()));
        self.coordinators.insert(name.to_owned(), (station, Task(running), desk));
    }

    /// Ends the leader as a power cut would.
    pub(crate) async fn kill_leader(&mut self) {
        let words = ["get", "--prefix", "/headcount/eu/leader/", "--sort-by=CREATE", "--order=ASCEND", "--limit=1", "--print-value-only"];
        let leader = self.server.ctl(&words).await.unwrap();
        assert!(self.coordinators.remove(leader.trim()).is_some(), "{leader}");
    }

    /// All gateways say so of a node.
    pub(crate) fn vote(&self, node: &str, vote: Vote) {
        let opinion = Opinion { vote, since_ms: 0, reason: String::new() };
        for gateway in &self.gateways {
            gateway.opinions.send_replace(Arc::new([(node.to_owned(), opinion.clone())].into()));
        }
    }

    pub(crate) fn layout(&self, nodes: &[(&str, u32, NodeState)]) -> Layout {
        let node = |(id, weight, state): &(&str, u32, NodeState)| {
            let (id, url) = ((*id).to_owned(), self.redis[*id].url());
            Node { id, url, weight: *weight, state: *state, incarnation: 0 }
        };
        Layout { nodes: nodes.iter().map(node).collect(), ..Layout::default() }
    }

    pub(crate) fn etcd(&self) -> &Etcd {
        &self.gateways[0].station.etcd
    }

    /// Asks for a layout, as an operator does.
    pub(crate) async fn ask(&self, layout: Layout) {
        let epoch = self.etcd().mirror().snapshot().document.as_ref().map_or(0, |held| held.value.epoch);
        let asked = self.etcd().store().ask(&wanted(Wish::Become { layout, epoch })).await.unwrap();
        self.asked.store(asked, Ordering::SeqCst);
    }

    /// Waits for the answer to what was asked last.
    pub(crate) async fn answer(&self) -> Answer {
        let asked = self.asked.load(Ordering::SeqCst);
        let has_it = |snapshot: &Snapshot| snapshot.revision > asked && snapshot.wanted_result.is_some() && snapshot.wanted.is_none();
        let snapshot = self.sees("an answer", has_it).await;
        serde_json::from_slice(&snapshot.wanted_result.as_ref().unwrap().value).unwrap()
    }

    /// Asks for a layout and waits until the ring has it.
    pub(crate) async fn goes_over_to(&self, nodes: &[(&str, u32, NodeState)]) -> Document {
        self.ask(self.layout(nodes)).await;
        let answer = self.answer().await;
        assert_eq!((answer.outcome, answer.reason.as_str()), (Outcome::Done, ""));
        self.sees_ring("the new ring", |document| document.epoch >= answer.epoch).await
    }

    pub(crate) async fn sees(&self, what: &str, is_so: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        eventually(PATIENCE, async || {
            let snapshot = self.etcd().mirror().snapshot();
            if is_so(&snapshot) { Ok(snapshot) } else { Err(format!("waiting for {what}: {snapshot:?}")) }
        })
        .await
    }

    pub(crate) async fn sees_ring(&self, what: &str, is_so: impl Fn(&Document) -> bool) -> Document {
        let has_it = |snapshot: &Snapshot| snapshot.document.as_ref().is_some_and(|held| is_so(&held.value));
        self.sees(what, has_it).await.document.as_ref().unwrap().value.clone()
    }

    /// A stream with some entries for each channel, at the node that owns it.
    pub(crate) async fn publish(&self, document: &Document, channels: &[String]) {
        let view = View::new(document.clone());
        for channel in channels {
            let slot = Slot::of_bytes(channel.as_bytes());
            let owner = view.owner(slot).unwrap();
            let life = self.life(document, owner).await;
            let meta = format!("hc:{{{}}}:meta:{channel}", slot.number());
            self.cli(owner, &["HSET", &meta, "life", &life, "epoch", "e", "top", "3"]).await;
            self.cli(owner, &["XADD", &format!("hc:{{{}}}:hist:{channel}", slot.number()), "3-0", "f", "v"]).await;
        }
    }

    /// Each channel has its stream at the node that owns it, in that node's present life, and nowhere else; and the copy of
    /// the ring is there.
    pub(crate) async fn holds(&self, document: &Document, channels: &[String]) {
        let view = View::new(document.clone());
        for channel in channels {
            let slot = Slot::of_bytes(channel.as_bytes());
            let (owner, meta) = (view.owner(slot).unwrap(), format!("hc:{{{}}}:meta:{channel}", slot.number()));
            let life = self.life(document, owner).await;
            eventually(PATIENCE, async || {
                for node in document.current.nodes.iter().filter(|node| node.state != NodeState::Down) {
                    let found = self.cli(&node.id, &["HMGET", &meta, "life", "top"]).await;
                    let expected =
                        if *node.id == **owner { [&life, "3"].map(|text| Reply::Text(text.to_owned())) } else { [Reply::Nil, Reply::Nil] };
                    let is_right = found == Reply::List(expected.into());
                    if !is_right {
                        return Err(format!("{channel} of {owner}: {} has {found:?}, life {life}", node.id));
                    }
                }
                Ok(())
            })
            .await;
        }
    }

    async fn life(&self, document: &Document, node: &str) -> String {
        let info = self.cli(node, &["INFO", "server"]).await;
        let Reply::Text(info) = info else { panic!("{info:?}") };
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim();
        format!("{run_id}.{}", document.current.node(node).unwrap().incarnation)
    }

    pub(crate) async fn cli(&self, node: &str, words: &[&str]) -> Reply {
        self.redis[node].cli(words).await.unwrap()
    }
}
