//! I/O: what webhooks count. Labels come from closed sets, never from channels or users.

use super::KINDS;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

/// Every metric of webhooks: name, help.
pub const METRICS: [(&str, &str); 4] = [
    ("headcount_webhook_events_total", "Events that the endpoint has taken, by type"),
    ("headcount_webhook_requests_total", "Requests to the endpoint, by outcome"),
    ("headcount_webhook_delay_seconds", "Time from an event until the endpoint had taken it"),
    ("headcount_webhook_up", "1 unless something that was tried is not taken yet"),
];

/// What becomes of a request: taken, answered otherwise, not answered in time, or not even that.
pub(super) const OUTCOMES: [&str; 4] = ["ok", "refused", "timeout", "error"];
/// Seconds. Usually it is the way there and back; after a failure as long as that has lasted.
const DELAYS_S: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0];

pub(super) struct Metrics {
    pub(super) events: IntCounterVec,
    pub(super) requests: IntCounterVec,
    pub(super) delay: Histogram,
    pub(super) up: IntGauge,
}

impl Metrics {
    /// Registers all of them; an error means that a name is taken.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let [events, requests, delay, up] = METRICS;
        // Every label value is there from the start, so that a rate is known before the first event.
        let counters = |(name, help): (&str, &str), label, values: &mut dyn Iterator<Item = &'static str>| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            values.for_each(|value| drop(counters.with_label_values(&[value])));
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let delay = Histogram::with_opts(HistogramOpts::new(delay.0, delay.1).buckets(DELAYS_S.to_vec()))?;
        registry.register(Box::new(delay.clone()))?;
        let up = IntGauge::new(up.0, up.1)?;
        up.set(1);
        registry.register(Box::new(up.clone()))?;
        Ok(Metrics {
            events: counters(events, "type", &mut KINDS.iter().map(|(label, _)| *label))?,
            requests: counters(requests, "outcome", &mut OUTCOMES.into_iter())?,
            delay,
            up,
        })
    }
}
