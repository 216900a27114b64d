//! I/O: the metrics of sinks.

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

const LAG: &str = "headcount_sink_lag_seconds";
const OWNED: &str = "headcount_sink_owned";
const ROWS: &str = "headcount_sink_rows_total";
const ERRORS: &str = "headcount_sink_errors_total";

/// Every metric of this crate with its help text.
pub const METRICS: &[(&str, &str)] = &[
    (LAG, "Seconds since the table had everything, 0 while it has or while another node writes it, by sink"),
    (OWNED, "1 while this node writes the table, by sink"),
    (ROWS, "Counters sent to the database in batches that it took, by sink"),
    (ERRORS, "Times that a table was not written, and will be tried again, by sink"),
];

/// Those of all sinks.
pub(crate) struct Families {
    lag: GaugeVec,
    owned: IntGaugeVec,
    rows: IntCounterVec,
    errors: IntCounterVec,
}

/// Those of one.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) lag: Gauge,
    pub(crate) owned: IntGauge,
    pub(crate) rows: IntCounter,
    pub(crate) errors: IntCounter,
}

impl Families {
    /// Creates and registers them; fails if one is registered already.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Families> {
        let opts = |name: &str| Opts::new(name, METRICS.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help));
        let families = Families {
            lag: GaugeVec::new(opts(LAG), &["sink"])?,
            owned: IntGaugeVec::new(opts(OWNED), &["sink"])?,
            rows: IntCounterVec::new(opts(ROWS), &["sink"])?,
            errors: IntCounterVec::new(opts(ERRORS), &["sink"])?,
        };
        registry.register(Box::new(families.lag.clone()))?;
        registry.register(Box::new(families.owned.clone()))?;
        registry.register(Box::new(families.rows.clone()))?;
        registry.register(Box::new(families.errors.clone()))?;
        Ok(families)
    }

    /// Those of the sink called `name`.
    pub(crate) fn of(&self, name: &str) -> Metrics {
        Metrics {
            lag: self.lag.with_label_values(&[name]),
            owned: self.owned.with_label_values(&[name]),
            rows: self.rows.with_label_values(&[name]),
            errors: self.errors.with_label_values(&[name]),
        }
    }
}
