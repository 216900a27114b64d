//! I/O: what the Redis bus counts. Labels come from closed sets, and from the names of the ring's nodes.

use super::scripts::Answer;
use crate::bus::feed::Note;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use ring_coordinator::{
    document::Document,
    redis::{CallError, HandedOver},
};

/// Every metric of the bus: name, help.
pub const METRICS: [(&str, &str); 11] = [
    ("headcount_redis_publish_total", "Tries to publish, by node and result"),
    ("headcount_redis_publish_duration_seconds", "Time of a try to publish, by node"),
    ("headcount_delivery_dropped_total", "Messages from nodes that reached nobody, by node and reason"),
    ("headcount_pubsub_lag_seconds", "Time from the publisher to this gateway, by their clocks"),
    ("headcount_delivery_gaps_total", "Gaps in a channel's publications, by how they were resolved"),
    ("headcount_delivery_duplicates_dropped_total", "Publications that came twice and were dropped"),
    ("headcount_delivery_reordered_total", "Publications that came before an earlier one"),
    ("headcount_channel_epoch_changes_total", "Streams that began anew, by whether something was lost"),
    ("headcount_ring_handover_channels_total", "Channels taken over from a slot's old owner, by result"),
    ("headcount_ring_stale_publish_refused_total", "Publications refused because this gateway's ring was too old, by node"),
    ("headcount_redis_joined_channels", "Channels that this gateway listens to for its subscribers"),
];

const DROPPED: [&str; 3] = ["decode", "no_local_subscriber", "queue_full"];
const PUBLISHED: [&str; 5] = ["ok", "stale", "not_sent", "unknown", "refused"];

pub(super) struct Metrics {
    publishes: IntCounterVec,
    publish_duration: HistogramVec,
    dropped: IntCounterVec,
    lag: Histogram,
    gaps: IntCounterVec,
    duplicates: IntCounter,
    reordered: IntCounter,
    epoch_changes: IntCounterVec,
    handovers: IntCounterVec,
    stale: IntCounterVec,
    pub(super) joined: IntGauge,
}

impl Metrics {
    /// Registers all of them; an error means that a name is taken.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let [publishes, publish_duration, dropped, lag, gaps, duplicates, reordered, epoch_changes, handovers, stale, joined] = METRICS;
        // Every label value of a closed set is there from the start, so that a rate is known before the first event.
        let counters = |(name, help): (&str, &str), labels: &[&str], values: &[&str]| -> prometheus::Result<IntCounterVec> {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            values.iter().for_each(|value| drop(counters.with_label_values(&[value])));
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let counter = |(name, help): (&str, &str)| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let of = |(name, help): (&str, &str)| {
            HistogramOpts::new(name, help).buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
        };
        let publish_duration = HistogramVec::new(of(publish_duration), &["node"])?;
        registry.register(Box::new(publish_duration.clone()))?;
        let lag = Histogram::with_opts(of(lag))?;
        registry.register(Box::new(lag.clone()))?;
        let joined = IntGauge::new(joined.0, joined.1)?;
        registry.register(Box::new(joined.clone()))?;
        Ok(Metrics {
            publishes: counters(publishes, &["node", "result"], &[])?,
            publish_duration,
            dropped: counters(dropped, &["node", "reason"], &[])?,
            lag,
            gaps: counters(gaps, &["resolved"], &["history", "lost"])?,
            duplicates: counter(duplicates)?,
            reordered: counter(reordered)?,
            epoch_changes: counters(epoch_changes, &["reason"], &["expired", "lost"])?,
            handovers: counters(handovers, &["result"], &["copied", "already", "empty", "too_large", "failed"])?,
            stale: counters(stale, &["node"], &[])?,
            joined,
        })
    }

    /// Shows the nodes of a ring before anything has happened with them.
    pub(super) fn know(&self, document: &Document) {
        for node in document.nodes().map(|node| node.id.as_str()) {
            PUBLISHED.iter().for_each(|result| _ = self.publishes.with_label_values(&[node, result]));
            DROPPED.iter().for_each(|reason| _ = self.dropped.with_label_values(&[node, reason]));
            self.publish_duration.with_label_values(&[node]);
            self.stale.with_label_values(&[node]);
        }
    }

    pub(super) fn published(&self, node: &str, asked: &Result<Option<Answer>, CallError>, took_ms: u64) {
        let [ok, stale, not_sent, unknown, refused] = PUBLISHED;
        let result = match asked {
            Ok(_) => ok,
            Err(CallError::StaleRing { .. }) => {
                self.stale.with_label_values(&[node]).inc();
                stale
            }
            Err(CallError::NotSent(_)) => not_sent,
            Err(CallError::Unknown(_)) => unknown,
            Err(CallError::Refused { .. }) => refused,
        };
        self.publishes.with_label_values(&[node, result]).inc();
        #[allow(clippy::cast_precision_loss)] // milliseconds of a call
        self.publish_duration.with_label_values(&[node]).observe(took_ms as f64 / 1000.0);
    }

    pub(super) fn handed_over(&self, handed: Option<HandedOver>) {
        let result = match handed {
            Some(HandedOver::Copied) => "copied",
            Some(HandedOver::Already) => "already",
            Some(HandedOver::Empty) => "empty",
            Some(HandedOver::TooLarge) => "too_large",
            None => "failed",
        };
        self.handovers.with_label_values(&[result]).inc();
    }

    pub(super) fn dropped(&self, node: &str, reason: &'static str) {
        self.dropped.with_label_values(&[node, reason]).inc();
    }

    pub(super) fn arrived(&self, published_ms: i64, now_ms: u64) {
        let lag_ms = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_sub(published_ms).max(0);
        #[allow(clippy::cast_precision_loss)] // milliseconds of a message's way
        self.lag.observe(lag_ms as f64 / 1000.0);
    }

    pub(super) fn noted(&self, note: Note) {
        match note {
            Note::Duplicate => self.duplicates.inc(),
            Note::Reordered => self.reordered.inc(),
            Note::Filled => self.gaps.with_label_values(&["history"]).inc(),
            Note::Lost => self.gaps.with_label_values(&["lost"]).inc(),
            Note::Renewed => self.epoch_changes.with_label_values(&["expired"]).inc(),
            Note::Replaced => self.epoch_changes.with_label_values(&["lost"]).inc(),
        }
    }
}
