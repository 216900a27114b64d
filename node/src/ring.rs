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
use presence::{Rules, Shared, SharedConfig, Tiers};
use prometheus::Registry;
use protocol::time::Now;
use ring_coordinator::{
    coordinator::{
        driver::{Driver, DriverConfig},
        timing::Timing,
    },
    disk::RingFile,
    etcd::{Etcd, Snapshot},
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
    /// Who is where, at all gateways.
    pub presence: Arc<Shared>,
    /// How it stands with the ring here.
    pub riding: watch::Receiver<Arc<Riding>>,
    name: String,
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
        scripts.extend(presence::scripts());
        let gateway = node.to_owned();
        let nodes = NodesConfig { gateway: gateway.clone(), access, scripts, clock: clock::now, random_u64: rand::random };
        let (nodes, hearing) = Nodes::new(nodes, registry).context("registering metrics")?;
        let bus = RedisBus::new(node, hub, nodes.clone(), clock::now, rand::random, registry).context("registering metrics")?;
        let presence = SharedConfig {
            gateway: node.into(),
            rules: presence_rules(config),
            nodes: nodes.clone(),
            mirror: etcd.mirror().clone(),
            lease_ttl_ms: config.presence.lease_ttl_ms,
            clock: clock::now,
            random_u64: rand::random,
            hooks: config.webhooks.is_some(),
        };
        let presence = Arc::new(Shared::new(presence, registry).context("registering metrics")?);
        let hearing_too = presence.clone();
        bus.overhear(Box::new(move |heard| hearing_too.hear(heard)));
        let member = MemberConfig {
            gateway,
            address: address.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            may_be_stale: config.etcd.is_some(),
            clock: clock::now,
        };
        let member = Member::new(member, etcd.clone(), nodes.clone(), Some(RingFile::new(data_dir.path())), registry);
        let member = member.context("registering metrics")?;
        Ok(Ring { bus: Arc::new(bus), presence, riding: member.riding(), name: node.to_owned(), nodes, hearing, member })
    }

    /// Where it can be looked at from.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        self.member.outlook()
    }

    /// What `/readyz` tells of it.
    #[must_use]
    pub fn check(&self, etcd: &Etcd) -> Check {
        let (me, riding, nodes, mirror) = (self.name.clone(), self.riding.clone(), self.nodes.clone(), etcd.mirror().clone());
        Box::new(move || health(&me, &riding.borrow(), &nodes, &mirror.snapshot(), clock::now()))
    }

    /// Hears what is published, and goes by the newest ring, until `shutdown`; then lets go of the nodes.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Ring { bus, presence, riding, nodes, hearing, member, .. } = self;
        let (acked, incarnation) = (bus.acked(), presence.incarnation());
        let progress = Progress { acked, presence: incarnation, news: bus.ring_news(), opinions: nodes.opinions() };
        tokio::select! {
            () = shutdown => {}
            () = bus.run(hearing, std::future::pending()) => {}
            () = member.run(progress, std::future::pending()) => {}
            () = follow(&bus, &presence, riding) => {}
            () = presence.clone().run(std::future::pending()) => {}
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
        timing: Timing::with_leases(config.presence.lease_ttl_ms),
        // It tells an etcd that was restored from an older copy.
        known: RingFile::new(data_dir.path()).load().unwrap_or_default(),
        clock: clock::now,
        random_u64: rand::random,
    };
    let (driver, _) = Driver::new(etcd, config, registry).context("registering metrics")?;
    Ok(driver)
}

/// How rosters behave.
pub fn presence_rules(config: &Config) -> Rules {
    Rules { region: config.node.region.as_str().into(), grace_ms: config.presence.grace_ms, tiers: Tiers::default() }
}

/// The bus and presence go by what the member learns.
async fn follow(bus: &RedisBus, presence: &Arc<Shared>, mut riding: watch::Receiver<Arc<Riding>>) {
    let mut doubts = 0;
    loop {
        let now = riding.borrow_and_update().clone();
        if let Some(view) = &now.view {
            bus.apply(view);
            presence.apply(view);
        }
        if std::mem::replace(&mut doubts, now.doubts) < now.doubts {
            bus.check();
        }
        if riding.changed().await.is_err() {
            return;
        }
    }
}

/// For so long a node must be voted down here before it counts that others vote it up: each notices a dead one in its own
/// time, and one that is dead for all is no reason to send clients elsewhere.
const ODD_AFTER_MS: u64 = 5_000;

/// A gateway without a ring serves nobody; one whose ring is old, or of whose nodes some are lost, goes on. A node that this
/// gateway alone does not reach while it is in the ring makes it send new clients elsewhere.
fn health(me: &str, riding: &Riding, nodes: &Nodes, snapshot: &Snapshot, now: Now) -> Health {
    let Some(view) = &riding.view else {
        return match &riding.standing {
            Standing::None(why) => Health::Failed((*why).to_owned()),
            _ => Health::Failed("there is no ring to go by".to_owned()),
        };
    };
    let serving: Vec<&str> = view.document.current.serving().map(|node| node.id.as_str()).collect();
    if serving.is_empty() {
        return Health::Failed(
            "no Redis node of the ring takes slots: `headcount ring add` adds one, `headcount ring undrain` gives slots to one again"
                .to_owned(),
        );
    }
    let (mut down, mut full) = (Vec::new(), Vec::new());
    for id in &serving {
        let Some(node) = nodes.health(id) else { continue };
        if node.is_out_of_memory {
            full.push(*id);
        }
        let Some(opinion) = node.opinion.filter(|opinion| opinion.vote == Vote::Down) else { continue };
        let others_up = snapshot.votes.iter().filter(|((node, gateway), held)| node == id && gateway != me && held.value.vote == Vote::Up);
        if is_odd_one_out(opinion.since_ms, others_up.count(), snapshot.gateways.len(), now) {
            return Health::Failed(format!("this gateway does not reach the Redis node {id}, and most others do: {}", opinion.reason));
        }
        down.push(format!("{id} ({})", opinion.reason));
    }
    if !down.is_empty() {
        return Health::Degraded(format!("{} of {} Redis nodes do not answer: {}", down.len(), serving.len(), down.join(", ")));
    }
    if !full.is_empty() {
        return Health::Degraded(format!("out of memory, so that what keeps history is refused: Redis nodes {}", full.join(", ")));
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

/// Whether a node that is voted down here since then is up for a majority without us. Our own vote in etcd may be an old one.
fn is_odd_one_out(down_since_ms: u64, others_up: usize, gateways: usize, now: Now) -> bool {
    2 * others_up > gateways && now.wall_ms.saturating_sub(down_since_ms) >= ODD_AFTER_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gateway_that_has_missed_a_node_for_long_while_a_majority_reaches_it_is_the_odd_one_out() {
        let now = Now { mono_ms: 0, wall_ms: 100_000 };
        for (down_since_ms, others_up, gateways, expected) in [
            (95_000, 2, 3, true),
            (95_001, 2, 3, false),
            (10_000, 1, 2, false),
            (10_000, 1, 3, false),
            (10_000, 2, 4, false),
            (10_000, 3, 4, true),
            (10_000, 0, 1, false),
            // By a clock that was set back.
            (200_000, 2, 3, false),
        ] {
            assert_eq!(is_odd_one_out(down_since_ms, others_up, gateways, now), expected, "{down_since_ms} {others_up} of {gateways}");
        }
    }
}
