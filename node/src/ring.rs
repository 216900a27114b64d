//! I/O: what a gateway of a cluster has besides: the ring's Redis nodes, the bus over them, and its membership in the ring.

use crate::{
    clock,
    config::Config,
    data_dir::DataDir,
    failure::Failure,
    readiness::{Check, Health},
};
use anyhow::Context;
use gateway::{
    bus::redis::{self, RedisBus},
    hub::Hub,
};
use prometheus::Registry;
use ring_coordinator::{
    coordinator::{
        driver::{Driver, DriverConfig},
        timing::Timing,
    },
    disk::RingFile,
    etcd::{Etcd, Snapshot, record},
    member::{Member, MemberConfig, Progress, Riding, outlook::Outlook},
    redis::{Access, Hearing, Nodes, NodesConfig, Vote, handover_scripts},
    source::{Origin, STALE_MS, Standing},
};
use std::{future::Future, sync::Arc};
use tokio::sync::watch;

/// The parts of one gateway.
pub struct Ring {
    /// The bus over the Redis nodes.
    pub bus: Arc<RedisBus>,
    /// How it stands with the ring here.
    pub riding: watch::Receiver<Arc<Riding>>,
    nodes: Nodes,
    hearing: Hearing,
    member: Member,
}

impl Ring {
    /// Puts them together; nothing is connected yet. `address` is where clients connect.
    pub fn open(
        config: &Config,
        (node, address): (&str, &str),
        etcd: &Etcd,
        access: Access,
        hub: Arc<Hub>,
        data_dir: &DataDir,
        registry: &Registry,
    ) -> Result<Ring, Failure> {
        let mut scripts = redis::scripts();
        scripts.extend(handover_scripts());
        let gateway = node.to_owned();
        let nodes = NodesConfig { gateway: gateway.clone(), access, scripts, clock: clock::now, random_u64: rand::random };
        let (nodes, hearing) = Nodes::new(nodes, registry).context("registering metrics")?;
        let bus = RedisBus::new(node, hub, nodes.clone(), clock::now, rand::random, registry).context("registering metrics")?;
        let member = MemberConfig {
            gateway,
            address: address.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            may_be_stale: config.etcd.is_some(),
            clock: clock::now,
        };
        let member = Member::new(member, etcd.clone(), nodes.clone(), RingFile::new(data_dir.path()), registry);
        let member = member.context("registering metrics")?;
        Ok(Ring { bus: Arc::new(bus), riding: member.riding(), nodes, hearing, member })
    }

    /// Where it can be looked at from.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        self.member.outlook()
    }

    /// What `/readyz` tells of it.
    #[must_use]
    pub fn check(&self, etcd: &Etcd) -> Check {
        let (riding, nodes, mirror) = (self.riding.clone(), self.nodes.clone(), etcd.mirror().clone());
        Box::new(move || health(&riding.borrow(), &nodes, &mirror.snapshot()))
    }

    /// Hears what is published, and goes by the newest ring, until `shutdown`; then lets go of the nodes.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Ring { bus, riding, nodes, hearing, member } = self;
        let progress = Progress { acked: bus.acked(), news: bus.ring_news() };
        tokio::select! {
            () = shutdown => {}
            () = bus.run(hearing, std::future::pending()) => {}
            () = member.run(progress, std::future::pending()) => {}
            () = follow(&bus, riding) => {}
        }
        nodes.shutdown().await;
    }
}

/// The coordinator of a node with that role; it stands for election when it runs.
pub fn coordinator(
    config: &Config,
    node: &str,
    etcd: &Etcd,
    access: Access,
    data_dir: &DataDir,
    registry: &Registry,
) -> Result<Driver, Failure> {
    let config = DriverConfig {
        name: format!("{}/{node}", config.node.region),
        access,
        timing: Timing::default(),
        // It tells an etcd that was restored from an older copy.
        known: RingFile::new(data_dir.path()).load().unwrap_or_default(),
        clock: clock::now,
        random_u64: rand::random,
    };
    let (driver, _) = Driver::new(etcd, config, registry).context("registering metrics")?;
    Ok(driver)
}

/// The bus goes by what the member learns.
async fn follow(bus: &RedisBus, mut riding: watch::Receiver<Arc<Riding>>) {
    let mut doubts = 0;
    loop {
        let now = riding.borrow_and_update().clone();
        if let Some(view) = &now.view {
            bus.apply(view);
        }
        if std::mem::replace(&mut doubts, now.doubts) < now.doubts {
            bus.check();
        }
        if riding.changed().await.is_err() {
            return;
        }
    }
}

/// A gateway without a ring serves nobody; one whose ring is old, or of whose nodes some are lost, goes on. A node that this
/// gateway alone does not reach while it is in the ring makes it send new clients elsewhere.
fn health(riding: &Riding, nodes: &Nodes, snapshot: &Snapshot) -> Health {
    let Some(view) = &riding.view else {
        return match &riding.standing {
            Standing::None(why) => Health::Failed((*why).to_owned()),
            _ => Health::Failed("there is no ring to go by".to_owned()),
        };
    };
    let serving: Vec<&str> = view.document.current.serving().map(|node| node.id.as_str()).collect();
    if serving.is_empty() {
        return Health::Failed("no Redis node of the ring takes slots: add one with `headcount ring apply`".to_owned());
    }
    let mut down = Vec::new();
    for id in &serving {
        let Some(opinion) = nodes.health(id).and_then(|health| health.opinion).filter(|opinion| opinion.vote == Vote::Down) else {
            continue;
        };
        let up = snapshot.votes.iter().filter(|((node, _), held)| node == id && held.value.vote == record::Opinion::Up).count();
        if 2 * up > snapshot.gateways.len() {
            return Health::Failed(format!("this gateway does not reach the Redis node {id}, and most others do: {}", opinion.reason));
        }
        down.push(format!("{id} ({})", opinion.reason));
    }
    if !down.is_empty() {
        return Health::Degraded(format!("{} of {} Redis nodes do not answer: {}", down.len(), serving.len(), down.join(", ")));
    }
    match &riding.standing {
        Standing::Disputed(alarm) => Health::Degraded(alarm.to_string()),
        Standing::Stale(age_ms) if *age_ms > STALE_MS => {
            let from = riding.origin.map_or("a copy", Origin::label);
            Health::Degraded(format!("the ring is that of {from}; etcd has not confirmed it for {} s", age_ms / 1000))
        }
        _ if !riding.is_registered => {
            Health::Degraded("this gateway does not stand in etcd yet: changes of the ring do not wait for it".into())
        }
        _ => Health::Ok,
    }
}
