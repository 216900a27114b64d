//! Gateways with a ring of two nodes.

use parking_lot::Mutex;
use presence::{
    About, Departure, Erased, Event, Member, Presence, Rules, Shared, SharedConfig, Tiers, Unavailable, UserPresence,
    cluster::{OwnerId, RoomId},
    redis::Place,
    scripts,
};
use prometheus::Registry;
use protocol::{name::Channel, time::Now};
use ring_coordinator::{
    document::{Document, Layout, Node},
    etcd::{self, Etcd, EtcdConfig, lease::LEASE_TTL_MS},
    redis::{Access, Link, Nodes, NodesConfig},
    view::View,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use testkit::{RedisServer, eventually};
use tokio::task::JoinSet;

pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a dropped client is held.
pub const GRACE_MS: u64 = 400;

#[allow(clippy::disallowed_methods)] // The tests' own clock.
pub fn now() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let mono_ms = 1_000_000 + u64::try_from(START.elapsed().as_millis()).unwrap();
    Now { mono_ms, wall_ms: 1_700_000_000_000 + mono_ms }
}

/// Now, by a clock that says this time.
pub fn at(wall_ms: u64) -> Now {
    Now { wall_ms, ..now() }
}

pub struct Region {
    pub servers: Vec<RedisServer>,
    pub document: Document,
    /// The connections of somebody who is no gateway.
    pub nodes: Nodes,
}

impl Region {
    pub async fn start() -> Region {
        let servers = vec![RedisServer::start(&[]).await, RedisServer::start(&[]).await];
        let (nodes, _) = Nodes::new(nodes_config("nobody"), &Registry::new()).unwrap();
        let mut region = Region { servers, document: Document::default(), nodes };
        region.document = region.ring(1);
        region.nodes.apply(&region.document);
        region
    }

    /// The ring of this epoch; the nodes of each count as other lives.
    pub fn ring(&self, epoch: u64) -> Document {
        let node = |(index, server): (usize, &RedisServer)| {
            let id = format!("redis-{index}");
            Node { id, url: server.url(), weight: 1, state: Default::default(), incarnation: epoch }
        };
        let current = Layout { nodes: self.servers.iter().enumerate().map(node).collect(), ..Layout::default() };
        Document { epoch, current, ..Document::default() }
    }

    pub async fn gateway(&self, name: &str) -> Gateway {
        self.start_gateway(name, false).await
    }

    /// One that wants to tell services.
    pub async fn telling_gateway(&self, name: &str) -> Gateway {
        self.start_gateway(name, true).await
    }

    async fn start_gateway(&self, name: &str, hooks: bool) -> Gateway {
        let gateway = Gateway::start(name, hooks);
        gateway.apply(&self.document).await;
        gateway
    }

    /// The connection to where a room is.
    pub async fn link(&self, room: &RoomId) -> Link {
        let view = View::new(self.document.clone());
        let (node, life) = (view.owner(room.slot()).unwrap(), format!(".{}", self.document.epoch));
        eventually(PATIENCE, async || {
            self.nodes.link(node).ok().filter(|link| link.life().as_str().ends_with(&life)).ok_or("not connected")
        })
        .await
    }

    /// Where a room is, and what it is called.
    pub fn node(&self, room: &RoomId) -> (&RedisServer, String) {
        let view = View::new(self.document.clone());
        let name = view.owner(room.slot()).unwrap().to_string();
        (&self.servers[name.strip_prefix("redis-").unwrap().parse::<usize>().unwrap()], name)
    }

    /// The names of all keys at all nodes that have this in them.
    pub async fn keys_with(&self, part: &str) -> Vec<String> {
        let mut found = Vec::new();
        for server in &self.servers {
            match server.cli(&["KEYS", &format!("*{part}*")]).await.unwrap() {
                testkit::resp::Reply::List(keys) => found.extend(keys.iter().map(|key| format!("{key:?}"))),
                reply => panic!("{reply:?}"),
            }
        }
        found
    }
}

pub fn place<'a>(link: &'a Link, room: &'a RoomId, region: &Region) -> Place<'a> {
    Place { link, room, ring_epoch: region.document.epoch }
}

pub fn owner(gateway: &str, incarnation: u64) -> OwnerId {
    OwnerId { gateway: gateway.into(), incarnation }
}

pub fn member(user: &str, client: &str) -> Member {
    Member::new(client.into(), user.into(), About::default())
}

pub struct Gateway {
    pub presence: Presence,
    shared: Arc<Shared>,
    nodes: Nodes,
    told: Arc<Mutex<Vec<Event>>>,
    subscribed: Arc<Mutex<BTreeSet<String>>>,
    registry: Registry,
    _tasks: JoinSet<()>,
}

impl Gateway {
    fn start(name: &str, hooks: bool) -> Gateway {
        let registry = Registry::new();
        let access = etcd::Access { endpoints: vec!["http://127.0.0.1:1".to_owned()], ..etcd::Access::default() };
        // Who is dead is not asked here.
        let etcd = Etcd::new(
            EtcdConfig { access, region: "local".to_owned(), clock: now, random_u64: || 7, lease_ttl_ms: LEASE_TTL_MS },
            &registry,
        )
        .unwrap();
        let (nodes, mut hearing) = Nodes::new(nodes_config(name), &registry).unwrap();
        let config = SharedConfig {
            gateway: name.into(),
            rules: Rules { region: "local".into(), grace_ms: GRACE_MS, tiers: Tiers::default() },
            nodes: nodes.clone(),
            mirror: etcd.mirror().clone(),
            lease_ttl_ms: LEASE_TTL_MS,
            clock: now,
            random_u64: || 7,
            hooks,
        };
        let shared = Arc::new(Shared::new(config, &registry).unwrap());
        let (told, subscribed) = (Arc::<Mutex<Vec<Event>>>::default(), Arc::<Mutex<BTreeSet<String>>>::default());
        let (telling, wanting) = (told.clone(), subscribed.clone());
        shared.tell(Arc::new(move |event| telling.lock().push(event)), Arc::new(move |channel| wanting.lock().contains(channel.as_str())));
        let mut tasks = JoinSet::new();
        tasks.spawn(shared.clone().run(std::future::pending()));
        let listener = shared.clone();
        tasks.spawn(async move {
            while let Some(heard) = hearing.next().await {
                listener.hear(&heard);
            }
        });
        Gateway { presence: Presence::Shared(shared.clone()), shared, nodes, told, subscribed, registry, _tasks: tasks }
    }

    /// Goes by this ring, and waits until all nodes are connected.
    pub async fn apply(&self, document: &Document) {
        self.nodes.apply(document);
        let life = format!(".{}", document.epoch);
        for node in document.nodes() {
            eventually(PATIENCE, async || {
                self.nodes.link(&node.id).ok().filter(|link| link.life().as_str().ends_with(&life)).ok_or("not connected")
            })
            .await;
        }
        self.shared.apply(&Arc::new(View::new(document.clone())));
    }

    /// Under which incarnation it writes.
    pub fn incarnation(&self) -> u64 {
        *self.shared.incarnation().borrow()
    }

    /// A counter or a gauge without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("there is no metric {name}"));
        let metric = &family.get_metric()[0];
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }

    pub fn enter(&self, channel: &Channel, user: &str, client: &str) {
        self.presence.join(channel, member(user, client), now());
    }

    /// Follows a channel, as a session does that wants to be told of members.
    pub async fn follow(&self, channel: &Channel) {
        self.subscribed.lock().insert(channel.as_str().to_owned());
        self.presence.follow(channel).await.unwrap();
    }

    pub fn connect(&self, user: &str, client: &str) {
        self.presence.connect(&user.into(), &client.into(), now());
    }

    pub fn disconnect(&self, user: &str, client: &str, departure: Departure, wall_ms: u64) {
        self.presence.disconnect(&user.into(), &client.into(), departure, at(wall_ms));
    }

    pub async fn erase(&self, user: &str) -> Result<Erased, Unavailable> {
        self.presence.erase(user, now()).await
    }

    pub async fn user(&self, user: &str) -> UserPresence {
        self.presence.query(&[user]).await.unwrap()[0]
    }

    pub async fn online(&self, me: &str) -> Vec<String> {
        texts(&self.presence.contacts_online(me).await.unwrap())
    }

    pub fn known_online(&self, me: &str) -> Vec<String> {
        texts(&self.presence.known_contacts_online(me))
    }

    /// Subscribes to `contacts:<me>`, as a client's session does.
    pub async fn subscribe(&self, me: &str) {
        self.subscribed.lock().insert(format!("contacts:{me}"));
        self.presence.follow_contacts(me).await.unwrap();
    }

    pub fn unsubscribe(&self, me: &str) {
        self.subscribed.lock().remove(&format!("contacts:{me}"));
    }

    /// What was told so far, in short.
    pub fn told(&self) -> Vec<String> {
        let tell = |event: &Event| match event {
            Event::Online { user, watchers } => format!("+{user} {watchers:?}"),
            Event::Offline { user, last_seen_ms, watchers } => format!("-{user}@{last_seen_ms} {watchers:?}"),
            Event::Contacts { owner, online } => format!("={owner} {online:?}"),
            other => format!("{other:?}"),
        };
        self.told.lock().iter().map(tell).collect()
    }

    /// Waits until this, and nothing else, was told since the last time.
    pub async fn tells(&self, expected: &[&str]) {
        eventually(PATIENCE, async || {
            let told = self.told();
            if told.len() < expected.len() { Err(format!("{told:?}, not {expected:?}")) } else { Ok(()) }
        })
        .await;
        assert_eq!(self.told(), expected);
        self.told.lock().clear();
    }
}

pub fn names(users: &[&str]) -> Vec<Arc<str>> {
    users.iter().map(|user| Arc::from(*user)).collect()
}

fn texts(users: &[Arc<str>]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

fn nodes_config(gateway: &str) -> NodesConfig {
    let access = Access::default();
    NodesConfig { gateway: gateway.to_owned(), access, scripts: scripts(), clock: now, random_u64: || 7 }
}
