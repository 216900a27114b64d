//! Pure: how many counter nodes a region needs, and why. Each has all counters of all regions.

use super::{
    load::{Load, NoPlan},
    table::*,
    traffic::{Cost, GIB, Traffic, cores, nanos, share, whole},
};
use serde::Serialize;

/// The counter nodes of a region.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CounterNodes {
    /// How many, spare ones included.
    pub nodes: u64,
    /// What decides it.
    pub decided_by: &'static str,
    /// What they need together, while all live.
    pub cores: f64,
    /// Of that.
    pub costs: Vec<Cost>,
    /// That each uses, in GiB, if every counter was counted at every node.
    pub memory_gib: f64,
    /// Of each, in GiB: two snapshots and a log as long.
    pub disk_gib: f64,
    /// Written to the log of each, in MB/s.
    pub log_mb_s: f64,
    /// A start after a crash, in seconds.
    pub start_s: f64,
    /// Changes of counters that each takes in from all others, each second.
    pub changes: f64,
    /// From this region to each other one, counters only, in Gbit/s.
    pub link_gbit: f64,
}

impl CounterNodes {
    pub(super) fn of(load: &Load, traffic: &Traffic) -> Result<CounterNodes, NoPlan> {
        let (regions, counters, machine) = (load.regions as f64, load.counters as f64, load.cores as f64 * share(CPU_PERCENT));
        let own = traffic.likes * nanos(ADD_CPU) + traffic.reads * nanos(ADD_CPU) * share(READ_SHARE);
        // A counter that changes more often than nodes flush goes out once a flush of each node.
        let told = |likes: f64, nodes: f64| likes.min(nodes * counters * 1e3 / FLUSH_MS.value);
        let (mut nodes, mut decided_by) = (whole(1.0 + SPARE_NODES.value), "one that counts");
        let taken_in = loop {
            // What one takes in does not become less with more of them.
            let taken_in = told(traffic.likes * regions, nodes as f64 * regions) / APPLIED.value * APPLIED_CORES.value;
            let counting = own / (machine - taken_in);
            if taken_in >= machine || counting + SPARE_NODES.value > COUNTER_NODES_MAX.value {
                let likes = traffic.likes * regions;
                return Err(NoPlan::because(format!(
                    "{likes:.0} additions a second: each counter node takes in what all others add, which leaves too little of its \
                     cores; take fewer --likes-per-s or more --cores"
                )));
            }
            let least = whole(counting.max(1.0) + SPARE_NODES.value);
            if least <= nodes {
                break taken_in;
            }
            (nodes, decided_by) = (least, "CPU (--cores, CPU_PERCENT)");
        };
        let (count, everywhere) = (nodes as f64, nodes as f64 * regions);
        let changes = told(traffic.likes * regions, everywhere);
        let costs = vec![
            Cost::new("additions", traffic.likes * nanos(ADD_CPU), "--likes-per-s × ADD_CPU"),
            Cost::new("reads", traffic.reads * nanos(ADD_CPU) * share(READ_SHARE), "--reads-per-s × ADD_CPU (assumed)"),
            Cost::new("additions of other nodes", taken_in * count, "--likes-per-s × counter nodes × APPLIED_CORES ÷ APPLIED"),
        ];
        Ok(CounterNodes {
            nodes,
            decided_by,
            cores: cores(&costs),
            costs,
            memory_gib: counters * (COUNTER_MEMORY.value + (everywhere - 1.0) * ORIGIN_MEMORY.value) / GIB,
            disk_gib: counters * (2.0 * SNAPSHOT_DISK.value + LOG_DISK.value) / GIB,
            log_mb_s: (traffic.likes / count + changes) * LOG_DISK.value / 1e6,
            start_s: counters / RECOVERED.value,
            changes,
            link_gbit: link_bytes(told(traffic.likes, count), count) * 8.0 / 1e9,
        })
    }
}

/// Bytes from one region to another, each second: each node there follows each node here.
fn link_bytes(changes: f64, nodes: f64) -> f64 {
    nodes * (changes * CHANGE_BYTES.value + nodes * LINK_BYTES.value)
}
