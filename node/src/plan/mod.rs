//! Pure: what a load needs, from what was measured: gateways, counter nodes, Redis nodes and etcd, the bounds of the design, and
//! which of them breaks first when the load grows. docs/capacity.md explains it.

mod constant;
mod counter_nodes;
mod gateways;
mod limit;
mod load;
mod redis_nodes;
mod table;
mod text;
mod traffic;

pub use constant::{Constant, Source};
pub use counter_nodes::CounterNodes;
pub use gateways::Gateways;
pub use limit::Limit;
pub use load::{Load, NoPlan};
pub use redis_nodes::RedisNodes;
pub use table::TABLE;
pub use traffic::{Cost, Stream, Traffic};

use serde::Serialize;
use table::{ENVELOPE_BYTES, ETCD_MEMBERS, PACKET_BYTES, RENEW_MS};

/// How often the load is doubled to find out what breaks.
const DOUBLINGS: u32 = 10;

/// What nobody has measured, and what stands for it.
pub const NOT_MEASURED: &[&str] = &[
    "anything on more than 2 cores, or more than 19,000 clients at a gateway: taken as if cost grew with them",
    "a like or read through a gateway, and a read of a counter: taken as a client who connects, and as an addition",
    "an addition with ack fsync and without a pipeline: taken as one with ack memory; the disk's own speed is not in it",
    "what a gateway needs to hear one more publication or change: taken as what the publisher and the first listener need",
    "a ping: taken as two deliveries",
    "memory of a gateway for channels beyond a client's first, and for rosters' rows: the latter is an estimate of docs/performance.md",
    "memory of Redis for this layout of presence, and of a counter that several nodes have counted in",
    "CPU and memory of etcd",
];

/// What the figures leave out.
pub const NOT_IN_THE_MODEL: &[&str] = &[
    "TLS, which a proxy in front of the gateways does, and that proxy itself",
    "regions of different size, and a region that takes over another one's clients",
    "rosters across regions; --global-percent is an estimate",
    "webhooks, contacts, invisible clients, statuses; services that read rosters or history; clients who recover after a reconnect",
    "messages of one channel that come together, which cost far less (fanout.md): each delivery is counted as if it came alone",
    "joins and leaves of one channel that come together, which cost Redis a sixth or less (CROWD_CPU)",
];

/// A plan: for each region alike, and for all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// What it is for.
    pub load: Load,
    /// Each region.
    pub region: Region,
    /// Machines of all regions together.
    pub in_all: Machines,
    /// Bounds of the design, the nearest first.
    pub limits: Vec<Nearness>,
    /// The same for more users.
    pub growth: Vec<Grown>,
    /// See [`NOT_MEASURED`].
    pub not_measured: &'static [&'static str],
    /// See [`NOT_IN_THE_MODEL`].
    pub not_in_the_model: &'static [&'static str],
    /// See [`TABLE`].
    pub constants: &'static [Constant],
}

/// One region.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Region {
    /// What happens there.
    pub traffic: Traffic,
    #[allow(missing_docs)]
    pub gateways: Gateways,
    #[allow(missing_docs)]
    pub counters: CounterNodes,
    #[allow(missing_docs)]
    pub redis: RedisNodes,
    /// Members of etcd.
    pub etcd: u64,
    /// Leases renewed in etcd, each second.
    pub renewals: f64,
    /// To clients, in Gbit/s.
    pub client_gbit: f64,
    /// From clients, in Gbit/s.
    pub published_gbit: f64,
    /// To each other region, in Gbit/s.
    pub link_gbit: f64,
}

/// Machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Machines {
    pub gateways: u64,
    pub counters: u64,
    pub redis: u64,
    pub etcd: u64,
}

/// A bound, and how many times as many users break it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Nearness {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub limit: Limit,
    /// The first doubling at which it is broken; none: not before all of them, or not before there is no plan at all.
    pub breaks_at: Option<u64>,
}

/// A region with so many times as many users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grown {
    /// How many times.
    pub factor: u64,
    /// What it needs.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The bounds that are broken.
    pub broken: Vec<&'static str>,
}

/// More users, tried out.
struct Trial {
    factor: u64,
    load: Load,
    region: Result<Region, NoPlan>,
}

impl Trial {
    fn of(load: &Load, factor: u64) -> Trial {
        let load = load.times(factor);
        Trial { factor, region: Region::of(&load), load }
    }

    /// Bounds that are broken; none where there is no plan to look at.
    fn broken(&self) -> impl Iterator<Item = &'static str> {
        let limits = self.region.iter().flat_map(|region| limit::limits(&self.load, region));
        limits.filter(Limit::is_broken).map(|limit| limit.what)
    }
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Machines of each region.
    Machines(Machines),
    /// There is no plan: why.
    NoPlan(String),
}

impl Region {
    /// What one of the load's regions needs.
    ///
    /// # Errors
    /// [`NoPlan`] if the load makes no sense, or is more than a region can be built for.
    pub fn of(load: &Load) -> Result<Region, NoPlan> {
        load.check()?;
        let traffic = Traffic::of(load);
        let gateways = Gateways::of(load, &traffic)?;
        let counters = CounterNodes::of(load, &traffic)?;
        let redis = RedisNodes::of(load, &traffic, gateways.nodes)?;
        let global = traffic.global.rate / load.regions as f64 * (traffic.global.bytes + ENVELOPE_BYTES.value + PACKET_BYTES.value);
        let link_gbit = if load.regions > 1 { counters.link_gbit + global * 8.0 / 1e9 } else { 0.0 };
        Ok(Region {
            etcd: traffic::whole(ETCD_MEMBERS.value),
            renewals: (gateways.nodes + counters.nodes) as f64 / (RENEW_MS.value / 1e3),
            client_gbit: traffic.client_bytes() * 8.0 / 1e9,
            published_gbit: traffic.published_bytes(load.regions as f64) * 8.0 / 1e9,
            link_gbit,
            traffic,
            gateways,
            counters,
            redis,
        })
    }

    /// Its machines.
    #[must_use]
    pub fn machines(&self) -> Machines {
        Machines { gateways: self.gateways.nodes, counters: self.counters.nodes, redis: self.redis.nodes, etcd: self.etcd }
    }
}

impl Plan {
    /// For this load, and for what it may grow to.
    ///
    /// # Errors
    /// As [`Region::of`].
    pub fn of(load: &Load) -> Result<Plan, NoPlan> {
        let region = Region::of(load)?;
        let trials: Vec<Trial> = (0..=DOUBLINGS).map(|doubling| Trial::of(load, 1 << doubling)).collect();
        let breaks_at = |what| trials.iter().find(|trial| trial.broken().any(|broken| broken == what)).map(|trial| trial.factor);
        let limits = limit::limits(load, &region).into_iter();
        let mut limits: Vec<_> = limits.map(|limit| Nearness { limit, breaks_at: breaks_at(limit.what) }).collect();
        limits.sort_by(|one, other| {
            let factor = |nearness: &Nearness| nearness.breaks_at.unwrap_or(u64::MAX);
            factor(one).cmp(&factor(other)).then(other.limit.percent().total_cmp(&one.limit.percent()))
        });
        let growth = trials.iter().skip(1).map(|trial| Grown {
            factor: trial.factor,
            outcome: match &trial.region {
                Ok(region) => Outcome::Machines(region.machines()),
                Err(NoPlan(reasons)) => Outcome::NoPlan(reasons.join("; ")),
            },
            broken: trial.broken().collect(),
        });
        let each = region.machines();
        let times = |nodes: u64| nodes.saturating_mul(load.regions);
        Ok(Plan {
            load: load.clone(),
            in_all: Machines {
                gateways: times(each.gateways),
                counters: times(each.counters),
                redis: times(each.redis),
                etcd: times(each.etcd),
            },
            region,
            limits,
            growth: growth.collect(),
            not_measured: NOT_MEASURED,
            not_in_the_model: NOT_IN_THE_MODEL,
            constants: TABLE,
        })
    }
}
