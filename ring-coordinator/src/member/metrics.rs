//! I/O: the metrics of the ring as this gateway goes by it, and the table that documents them.

use super::Riding;
use crate::{document::Phase, source::Origin};
use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec, Opts, Registry};

const EPOCH: &str = "headcount_ring_epoch";
const NODES: &str = "headcount_ring_nodes";
const PHASE: &str = "headcount_ring_phase";
const SHARE: &str = "headcount_ring_ownership_ratio";
const WEIGHT: &str = "headcount_ring_weight_ratio";
const STALENESS: &str = "headcount_ring_staleness_seconds";
const SOURCE: &str = "headcount_ring_source";
const REGISTERED: &str = "headcount_ring_registered";
const DOUBTS: &str = "headcount_ring_doubts";

/// Name and meaning of each.
pub const METRICS: [(&str, &str); 9] = [
    (EPOCH, "Epoch of the ring that this gateway goes by; it differs between gateways while a change spreads"),
    (NODES, "Nodes of the ring by state (serving, drained, down)"),
    (PHASE, "1 for the phase that the ring is in (stable, prepare, fence, switch)"),
    (SHARE, "Share of all slots that a node owns, by node"),
    (WEIGHT, "What that share should be: of all weight of the nodes that take slots, by node"),
    (STALENESS, "Seconds since etcd has said last what the ring is"),
    (SOURCE, "1 for the best place where a copy of the ring was seen (etcd, redis, disk)"),
    (REGISTERED, "1 while this gateway stands in etcd, so that changes of the ring wait for it"),
    (DOUBTS, "How often this gateway has lost its place in etcd, and has compared every channel with its history"),
];

const PHASES: [(Phase, &str); 4] =
    [(Phase::Stable, "stable"), (Phase::Prepare, "prepare"), (Phase::Fence, "fence"), (Phase::Switch, "switch")];

/// The live metrics.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    epoch: IntGauge,
    nodes: IntGaugeVec,
    phase: IntGaugeVec,
    share: GaugeVec,
    weight: GaugeVec,
    staleness: Gauge,
    source: IntGaugeVec,
    registered: IntGauge,
    doubts: IntGauge,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let opts = |(name, help): (&str, &str)| Opts::new(name, help);
        let [epoch, nodes, phase, share, weight, staleness, source, registered, doubts] = METRICS.map(opts);
        let metrics = Metrics {
            epoch: IntGauge::with_opts(epoch)?,
            nodes: IntGaugeVec::new(nodes, &["state"])?,
            phase: IntGaugeVec::new(phase, &["phase"])?,
            share: GaugeVec::new(share, &["node"])?,
            weight: GaugeVec::new(weight, &["node"])?,
            staleness: Gauge::with_opts(staleness)?,
            source: IntGaugeVec::new(source, &["source"])?,
            registered: IntGauge::with_opts(registered)?,
            doubts: IntGauge::with_opts(doubts)?,
        };
        registry.register(Box::new(metrics.epoch.clone()))?;
        registry.register(Box::new(metrics.nodes.clone()))?;
        registry.register(Box::new(metrics.phase.clone()))?;
        registry.register(Box::new(metrics.share.clone()))?;
        registry.register(Box::new(metrics.weight.clone()))?;
        registry.register(Box::new(metrics.staleness.clone()))?;
        registry.register(Box::new(metrics.source.clone()))?;
        registry.register(Box::new(metrics.registered.clone()))?;
        registry.register(Box::new(metrics.doubts.clone()))?;
        Ok(metrics)
    }

    #[allow(clippy::cast_precision_loss)] // milliseconds and slots
    pub(super) fn show(&self, riding: &Riding, age_ms: u64) {
        self.staleness.set(age_ms as f64 / 1000.0);
        self.registered.set(i64::from(riding.is_registered));
        self.doubts.set(i64::try_from(riding.doubts).unwrap_or(i64::MAX));
        for origin in [Origin::Etcd, Origin::Redis, Origin::Disk] {
            self.source.with_label_values(&[origin.label()]).set(i64::from(riding.origin == Some(origin)));
        }
        let Some(view) = &riding.view else { return };
        let epoch = i64::try_from(view.epoch()).unwrap_or(i64::MAX);
        for (phase, label) in PHASES {
            self.phase.with_label_values(&[label]).set(i64::from(view.document.phase == phase));
        }
        if self.epoch.get() == epoch {
            return;
        }
        self.epoch.set(epoch);
        self.nodes.reset();
        self.share.reset();
        self.weight.reset();
        for node in &view.document.current.nodes {
            self.nodes.with_label_values(&[node.state.label()]).inc();
        }
        let all: u32 = view.document.current.serving().map(|node| node.weight).sum();
        for node in view.document.current.serving() {
            self.weight.with_label_values(&[&node.id]).set(f64::from(node.weight) / f64::from(all));
        }
        for (node, slots) in view.shares() {
            self.share.with_label_values(&[&node]).set(slots as f64 / f64::from(crate::slot::SLOTS));
        }
    }
}
