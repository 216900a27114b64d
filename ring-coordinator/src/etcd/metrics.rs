//! I/O: the metrics of the way to etcd, and the table that documents them.

use super::{snapshot::Skipped, watching::Why};
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

const UP: &str = "headcount_etcd_up";
const REQUESTS: &str = "headcount_etcd_request_duration_seconds";
const ERRORS: &str = "headcount_etcd_errors_total";
const RESTARTS: &str = "headcount_etcd_watch_restarts_total";
const PROGRESS: &str = "headcount_etcd_watch_last_progress_timestamp_seconds";
const ENTRIES: &str = "headcount_etcd_entries";
const SKIPPED: &str = "headcount_etcd_entries_skipped_total";
const REMAINING: &str = "headcount_etcd_lease_remaining_seconds";
const LOST: &str = "headcount_etcd_leases_lost_total";
const EXPELLED: &str = "headcount_etcd_expelled_total";

/// Every metric of this module with its help text.
pub const METRICS: &[(&str, &str)] = &[
    (UP, "1 while etcd answers and the watch of the region's keys is to be trusted"),
    (REQUESTS, "Seconds that a request to etcd took, by op, failed ones included"),
    (ERRORS, "Requests to etcd that failed, by op and code"),
    (
        RESTARTS,
        "Times that everything was read from etcd anew, by reason (failed, eof, canceled, compacted, timeout, revision, cluster, due); due is the routine",
    ),
    (PROGRESS, "When etcd said last that the watch is up to date, in seconds since 1970"),
    (ENTRIES, "Keys of the region that are held in memory"),
    (SKIPPED, "Keys of the region that were left out, by reason (undecodable, unknown, full); the log names them"),
    (REMAINING, "Seconds that the lease of this node's keys lasts if it is not renewed; 0 without one"),
    (LOST, "Times that the lease of this node's keys was lost and had to be had anew"),
    (EXPELLED, "Keys of this node that somebody else has taken away while its lease was held"),
];

/// The live metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) up: IntGauge,
    pub(super) requests: HistogramVec,
    pub(super) errors: IntCounterVec,
    pub(super) restarts: IntCounterVec,
    pub(super) progress: Gauge,
    pub(super) entries: IntGauge,
    pub(super) skipped: IntCounterVec,
    pub(super) remaining: Gauge,
    pub(super) lost: IntCounter,
    pub(super) expelled: IntCounter,
}

impl Metrics {
    /// Creates and registers them; fails if one is registered already.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let metrics = Metrics {
            up: IntGauge::with_opts(opts(UP))?,
            requests: HistogramVec::new(
                HistogramOpts::from(opts(REQUESTS)).buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5]),
                &["op"],
            )?,
            errors: IntCounterVec::new(opts(ERRORS), &["op", "code"])?,
            restarts: IntCounterVec::new(opts(RESTARTS), &["reason"])?,
            progress: Gauge::with_opts(opts(PROGRESS))?,
            entries: IntGauge::with_opts(opts(ENTRIES))?,
            skipped: IntCounterVec::new(opts(SKIPPED), &["reason"])?,
            remaining: Gauge::with_opts(opts(REMAINING))?,
            lost: IntCounter::with_opts(opts(LOST))?,
            expelled: IntCounter::with_opts(opts(EXPELLED))?,
        };
        // So that they are shown before anything happens.
        metrics.requests.with_label_values(&["list"]);
        metrics.errors.with_label_values(&["list", "transport"]);
        Why::ALL.iter().for_each(|why| _ = metrics.restarts.with_label_values(&[why.label()]));
        Skipped::ALL.iter().for_each(|why| _ = metrics.skipped.with_label_values(&[why.label()]));
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.restarts.clone()))?;
        registry.register(Box::new(metrics.progress.clone()))?;
        registry.register(Box::new(metrics.entries.clone()))?;
        registry.register(Box::new(metrics.skipped.clone()))?;
        registry.register(Box::new(metrics.remaining.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.expelled.clone()))?;
        Ok(metrics)
    }
}

/// The options of a metric, with the help of the table.
fn opts(name: &str) -> Opts {
    let help = METRICS.iter().find(|(found, _)| *found == name).map_or("", |(_, help)| *help);
    Opts::new(name, help)
}
