//! Pure: what more machines do not help against, and how near it is.

use super::{
    Region,
    load::Load,
    redis_nodes::{publication_cpu, quiet_cpu},
    table::*,
    traffic::{micros, share},
};
use serde::Serialize;

/// A bound of the design, in one region.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// What would be too much.
    pub what: &'static str,
    /// As much is planned.
    pub used: f64,
    /// As much is possible.
    pub most: f64,
    /// Of both.
    pub unit: &'static str,
    /// The arguments and constants that make it.
    pub by: &'static str,
    /// What happens beyond it.
    pub then: &'static str,
    /// What helps.
    pub helps: &'static str,
}

impl Limit {
    /// How much of it is used, in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        100.0 * self.used / self.most
    }

    /// Whether it is beyond what is possible.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.used > self.most
    }
}

/// All of them.
pub(super) fn limits(load: &Load, region: &Region) -> Vec<Limit> {
    let (gateways, thread) = (region.gateways.nodes as f64, share(CPU_PERCENT));
    let busiest = region.traffic.busiest;
    let further = (busiest.heard(gateways) - busiest.rate).max(0.0);
    let tokens = load.likes_per_s as f64 * load.tokens_percent / 100.0 * TOKEN_WINDOW_MS.value / 1e3;
    let mut limits = vec![
        Limit {
            what: "the busiest channel, at the one Redis node that has it",
            used: busiest.rate * publication_cpu(load) + further * micros(LISTENER_CPU),
            most: thread,
            unit: "cores",
            by: "--busiest-messages-per-s × (APPEND_CPU + gateways that listen × LISTENER_CPU), CPU_PERCENT",
            then: "its messages wait, and are answered 503 in the end",
            helps: "several channels for one, or fewer, larger messages",
        },
        Limit {
            what: "everybody of the busiest channel comes at once, at that node",
            used: busiest.subscribers * micros(CROWD_CPU) / CROWD_S.value,
            most: thread,
            unit: "cores",
            by: "--busiest-members-percent × CROWD_CPU ÷ CROWD_S, CPU_PERCENT",
            then: "joins are told late, and the node's other channels wait with them",
            helps: "several channels for one; a namespace without presence",
        },
        Limit {
            what: "changes of the busiest channel's roster that a gateway remembers",
            used: region.traffic.busiest_changes.rate * RECENT_MS.value / 1e3,
            most: RECENT_ENTRIES_MAX.value,
            unit: "",
            by: "--busiest-members-percent ÷ --session-s × RECENT_MS, RECENT_ENTRIES_MAX",
            then: "clients who were away for less than RECENT_MS read pages of the whole roster, too",
            helps: "several channels for one; rosters only where somebody looks at them",
        },
        Limit {
            what: "gateways that are there, at each Redis node",
            used: quiet_cpu(gateways),
            most: thread,
            unit: "cores",
            by: "gateways × (QUIET_CPU - EMPTY_CPU), CPU_PERCENT",
            then: "nodes have ever less left for channels",
            helps: "larger gateways, or more regions",
        },
        Limit {
            what: "a change of the ring: each gateway's word goes to all gateways through etcd",
            used: gateways * gateways / ETCD_EVENTS.value,
            most: ACK_MIN_MS.value / 1e3,
            unit: "s",
            by: "gateways² ÷ ETCD_EVENTS (notes), ACK_MIN_MS",
            then: "gateways whose word is late are expelled, and register anew",
            helps: "larger gateways, or more regions",
        },
        Limit {
            what: "a crashed gateway's clients, written at Redis anew before they are told gone",
            used: region.redis.landing_s,
            most: (LEASE_TTL_MS.value + CANARY_SILENT_MS.value) / 1e3,
            unit: "s",
            by: "--connections-per-gateway × presence of one who comes ÷ free CPU of Redis nodes, LEASE_TTL_MS + CANARY_SILENT_MS",
            then: "some are told gone, and here again at once",
            helps: "smaller gateways, or more Redis nodes",
        },
        Limit {
            what: "a crashed gateway's rows, taken away at all Redis nodes at once",
            used: region.redis.reap_s,
            most: REAP_MS.value / 1e3,
            unit: "s",
            by: "--connections-per-gateway × (--channels-per-client + 1) ÷ Redis nodes ÷ REAPED, REAP_MS",
            then: "ghosts outlive the promised 17 s",
            helps: "smaller gateways, or more Redis nodes",
        },
        Limit {
            what: "changes of counters of all regions, at each counter node",
            used: region.counters.changes,
            most: APPLIED.value * thread,
            unit: "/s",
            by: "--likes-per-s, APPLIED, CPU_PERCENT",
            then: "counter nodes fall behind, and values of others are old",
            helps: "gather likes before they are added; separate clusters for separate products",
        },
        Limit {
            what: "counters, at each counter node",
            used: load.counters as f64,
            most: COUNTERS_MAX.value,
            unit: "",
            by: "--counters, COUNTERS_MAX",
            then: "additions to new counters are refused",
            helps: "separate clusters for separate products",
        },
        Limit {
            what: "memory of a counter node",
            used: region.counters.memory_gib,
            most: load.memory_gib as f64 * share(MEMORY_PERCENT),
            unit: "GiB",
            by: "--counters × (COUNTER_MEMORY + ORIGIN_MEMORY × other counter nodes), MEMORY_PERCENT",
            then: "the kernel ends the process",
            helps: "counter nodes with more memory; separate clusters",
        },
        Limit {
            what: "tokens of all regions, at each counter node",
            used: tokens,
            most: TOKENS_MAX.value,
            unit: "",
            by: "--likes-per-s × --tokens-percent × TOKEN_WINDOW_MS, TOKENS_MAX",
            then: "additions with a new token are refused",
            helps: "tokens only where a service's retry must be exact; a gateway's is without",
        },
    ];
    if load.regions > 1 {
        limits.push(Limit {
            what: "a link between two regions, one way",
            used: region.link_gbit,
            most: load.link_gbit * share(NETWORK_PERCENT),
            unit: "Gbit/s",
            by: "--likes-per-s × CHANGE_BYTES × counter nodes, --global-percent, --link-gbit, NETWORK_PERCENT",
            then: "values of other regions are old",
            helps: "fewer, larger counter nodes; a faster link",
        });
    }
    limits
}
