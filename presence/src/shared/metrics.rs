//! Pure: what shared presence counts besides.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Every metric with its help; joins, leaves and graces are those of [`crate::metrics::METRICS`].
pub(super) const METRICS: [(&str, &str); 13] = [
    ("headcount_presence_followed_rooms", "Rooms whose rosters are kept here, because somebody here wants to know them."),
    ("headcount_presence_unsaid", "Clients of this gateway of whom a Redis node has not confirmed what became of them."),
    (
        "headcount_presence_rows",
        "Clients of this gateway in rooms, those in grace included; each connection is in one more room, its user's partition.",
    ),
    ("headcount_presence_fenced_total", "Times that this gateway was taken for dead, and has written all its clients anew."),
    ("headcount_presence_ghosts_reaped_total", "Rows of dead gateways that this gateway has taken away."),
    ("headcount_presence_reap_seconds", "Seconds until all rows of a dead gateway were taken away from one Redis node."),
    (
        "headcount_presence_false_leaves_total",
        "Members who were told gone here while their client is connected here, and this gateway was not taken for dead; must stay 0.",
    ),
    ("headcount_presence_resyncs_total", "Times that a room was read, by what of it: its log after a gap, or the whole room."),
    ("headcount_presence_mismatches_total", "Times that a node had other rows of this gateway than it should, and all were written anew."),
    (
        "headcount_presence_owners_ignored_total",
        "Times that somebody looked and left out an owner of rows because too many are known; it is not reaped before others are gone.",
    ),
    ("headcount_presence_undecoded_total", "Changes of rooms that could not be read; the rooms were read anew."),
    ("headcount_presence_hooks_pending", "Events that services are to be told, at the nodes of which this gateway tells them."),
    (
        "headcount_presence_hooks_settled",
        "Whether all that happens at the nodes of which this gateway tells services is logged; not for some seconds after a change of the ring or of a node.",
    ),
];

/// The instruments.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub(super) struct Metrics {
    pub(super) grace_pending: IntGauge,
    pub(super) joins: IntCounter,
    pub(super) leaves: IntCounter,
    pub(super) followed: IntGauge,
    pub(super) unsaid: IntGauge,
    pub(super) rows: IntGauge,
    pub(super) fenced: IntCounter,
    pub(super) reaped: IntCounter,
    pub(super) reap_seconds: Histogram,
    pub(super) false_leaves: IntCounter,
    pub(super) resyncs: IntCounterVec,
    pub(super) mismatches: IntCounter,
    pub(super) owners_ignored: IntCounter,
    pub(super) undecoded: IntCounter,
    pub(super) hooks_pending: IntGauge,
    pub(super) hooks_settled: IntGauge,
}

impl Metrics {
    /// Creates and registers them. Fails if one of the names is taken; some may be registered then.
    pub(super) fn register(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let gauge = |(name, help): (&str, &str)| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |(name, help): (&str, &str)| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let [
            followed,
            unsaid,
            rows,
            fenced,
            reaped,
            reap_seconds,
            false_leaves,
            resyncs,
            mismatches,
            owners_ignored,
            undecoded,
            pending,
            settled,
        ] = METRICS;
        let buckets = vec![0.01, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
        let reap_seconds = Histogram::with_opts(HistogramOpts::new(reap_seconds.0, reap_seconds.1).buckets(buckets))?;
        registry.register(Box::new(reap_seconds.clone()))?;
        let resyncs = IntCounterVec::new(Opts::new(resyncs.0, resyncs.1), &["reason"])?;
        registry.register(Box::new(resyncs.clone()))?;
        ["log", "room"].iter().for_each(|what| _ = resyncs.with_label_values(&[*what]));
        let [_, _, _, _, grace_pending, joins, leaves, _] = crate::metrics::METRICS;
        Ok(Metrics {
            grace_pending: gauge(grace_pending)?,
            joins: counter(joins)?,
            leaves: counter(leaves)?,
            followed: gauge(followed)?,
            unsaid: gauge(unsaid)?,
            rows: gauge(rows)?,
            fenced: counter(fenced)?,
            reaped: counter(reaped)?,
            reap_seconds,
            false_leaves: counter(false_leaves)?,
            resyncs,
            mismatches: counter(mismatches)?,
            owners_ignored: counter(owners_ignored)?,
            undecoded: counter(undecoded)?,
            hooks_pending: gauge(pending)?,
            hooks_settled: gauge(settled)?,
        })
    }
}
