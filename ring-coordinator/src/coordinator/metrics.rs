//! I/O: the coordinator's metrics, and the table that documents them.

use super::facts::Alarm;
use crate::document::{Document, NodeState, Phase};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::BTreeSet;

const IS_LEADER: &str = "headcount_coordinator_is_leader";
const LEADER_CHANGES: &str = "headcount_coordinator_leader_changes_total";
const ALARMS: &str = "headcount_coordinator_frozen";
const REMOVED: &str = "headcount_coordinator_nodes_removed_total";
const READMITTED: &str = "headcount_coordinator_nodes_readmitted_total";
const EXPELLED: &str = "headcount_coordinator_gateways_expelled_total";
const PHASE: &str = "headcount_coordinator_phase_seconds";
const SWEPT: &str = "headcount_coordinator_swept_channels_total";
const WRITES: &str = "headcount_coordinator_writes_total";

/// Every metric of the coordinator with its help text.
pub const METRICS: &[(&str, &str)] = &[
    (IS_LEADER, "1 at the coordinator that leads"),
    (LEADER_CHANGES, "Times that this coordinator was elected"),
    (ALARMS, "1 while the leader does nothing by itself, by reason (went_back, unreadable, frozen, last_nodes, throttled)"),
    (REMOVED, "Redis nodes taken out of the ring because they were lost, by node"),
    (READMITTED, "Redis nodes taken in again after they were lost, by node"),
    (EXPELLED, "Gateways that did not do their part of a change in time"),
    (PHASE, "Seconds that the ring was in a phase of a change, by phase"),
    (SWEPT, "Channels handed over by sweeps, by result (copied, already, too_large, failed)"),
    (WRITES, "Writes of the ring document, by result (ok, refused, unknown)"),
];

/// The live metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) is_leader: IntGauge,
    pub(super) leader_changes: IntCounter,
    alarms: IntGaugeVec,
    removed: IntCounterVec,
    readmitted: IntCounterVec,
    pub(super) expelled: IntCounter,
    phase: HistogramVec,
    pub(super) swept: IntCounterVec,
    pub(super) writes: IntCounterVec,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let seconds = vec![0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
        let metrics = Metrics {
            is_leader: IntGauge::with_opts(opts(IS_LEADER))?,
            leader_changes: IntCounter::with_opts(opts(LEADER_CHANGES))?,
            alarms: IntGaugeVec::new(opts(ALARMS), &["reason"])?,
            removed: IntCounterVec::new(opts(REMOVED), &["node"])?,
            readmitted: IntCounterVec::new(opts(READMITTED), &["node"])?,
            expelled: IntCounter::with_opts(opts(EXPELLED))?,
            phase: HistogramVec::new(HistogramOpts::from(opts(PHASE)).buckets(seconds), &["phase"])?,
            swept: IntCounterVec::new(opts(SWEPT), &["result"])?,
            writes: IntCounterVec::new(opts(WRITES), &["result"])?,
        };
        // So that a rate is known before the first event.
        ["prepare", "fence", "switch"].iter().for_each(|phase| _ = metrics.phase.with_label_values(&[phase]));
        ["copied", "already", "too_large", "failed"].iter().for_each(|result| _ = metrics.swept.with_label_values(&[result]));
        ["ok", "refused", "unknown"].iter().for_each(|result| _ = metrics.writes.with_label_values(&[result]));
        metrics.show_alarms(&BTreeSet::new());
        registry.register(Box::new(metrics.is_leader.clone()))?;
        registry.register(Box::new(metrics.leader_changes.clone()))?;
        registry.register(Box::new(metrics.alarms.clone()))?;
        registry.register(Box::new(metrics.removed.clone()))?;
        registry.register(Box::new(metrics.readmitted.clone()))?;
        registry.register(Box::new(metrics.expelled.clone()))?;
        registry.register(Box::new(metrics.phase.clone()))?;
        registry.register(Box::new(metrics.swept.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        Ok(metrics)
    }

    pub(super) fn show_alarms(&self, alarms: &BTreeSet<Alarm>) {
        for reason in Alarm::REASONS {
            let is_raised = alarms.iter().any(|alarm| alarm.reason() == reason);
            self.alarms.with_label_values(&[reason]).set(i64::from(is_raised));
        }
    }

    /// Shows the nodes of a leader's document before any of them is lost.
    pub(super) fn know(&self, document: &Document) {
        for node in document.nodes() {
            [&self.removed, &self.readmitted].iter().for_each(|counter| _ = counter.with_label_values(&[&node.id]));
        }
    }

    /// Counts what a leader's document has changed, after so many milliseconds of the one before.
    pub(super) fn count_step(&self, before: &Document, after: &Document, ms: u64) {
        let phase = match before.phase {
            Phase::Stable => None,
            Phase::Prepare => Some("prepare"),
            Phase::Fence => Some("fence"),
            Phase::Switch => Some("switch"),
        };
        if let Some(phase) = phase {
            #[allow(clippy::cast_precision_loss)] // far below 2^53
            self.phase.with_label_values(&[phase]).observe(ms as f64 / 1000.0);
        }
        for node in &after.current.nodes {
            let counter = match (before.current.node(&node.id).map(|before| before.state), node.state) {
                (Some(NodeState::Serving) | None, NodeState::Down) => &self.removed,
                (Some(NodeState::Down), NodeState::Serving) => &self.readmitted,
                _ => continue,
            };
            counter.with_label_values(&[&node.id]).inc();
        }
    }
}

fn opts(name: &str) -> Opts {
    let (_, help) = METRICS.iter().find(|(known, _)| *known == name).expect("a metric of the table");
    Opts::new(name, *help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Layout, Node};

    #[test]
    fn the_table_is_exactly_what_is_shown_before_anything_has_happened() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let url = "redis://a:1".to_owned();
        let node = Node { id: "a".to_owned(), url, weight: 1, state: NodeState::Serving, incarnation: 1 };
        metrics.know(&Document { current: Layout { nodes: vec![node], ..Layout::default() }, ..Document::default() });
        let mut table: Vec<_> = METRICS.iter().map(|(name, help)| ((*name).to_owned(), (*help).to_owned())).collect();
        table.sort();
        let shown: Vec<_> = registry.gather().iter().map(|family| (family.name().to_owned(), family.help().to_owned())).collect();
        assert_eq!(shown, table);
    }

    #[test]
    fn an_alarm_that_is_over_is_shown_as_0_so_that_who_watches_sees_its_end() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let shown = || Alarm::REASONS.map(|reason| metrics.alarms.with_label_values(&[reason]).get());
        metrics.show_alarms(&BTreeSet::from([Alarm::Frozen, Alarm::WentBack { seen: 1, known: 2 }]));
        assert_eq!(shown(), [1, 0, 1, 0, 0]);
        metrics.show_alarms(&BTreeSet::from([Alarm::Throttled]));
        assert_eq!(shown(), [0, 0, 0, 0, 1]);
    }
}
