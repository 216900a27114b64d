//! I/O: what links between regions count. Labels are regions of the configuration, and closed sets.

use crate::bus::import::Imported;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Every metric of links between regions: name, help.
pub const METRICS: [(&str, &str); 5] = [
    ("headcount_region_up", "Whether this gateway has a link to the region: 1, or 0"),
    ("headcount_region_channels", "Channels that this gateway follows in the region"),
    ("headcount_region_publications_total", "Publications of the region that this gateway has brought, by what became of them"),
    ("headcount_region_served_links", "Links over which gateways of other regions follow this one"),
    ("headcount_region_silence_seconds", "Seconds since anything was heard of the region over a link of this gateway"),
];

/// What becomes of a publication that was brought.
const RESULTS: [&str; 4] = ["taken", "known", "behind", "lost"];

/// The metrics of all regions.
#[derive(Clone)]
pub(super) struct Metrics {
    up: IntGaugeVec,
    channels: IntGaugeVec,
    publications: IntCounterVec,
    pub(super) served: IntGauge,
    silence: GaugeVec,
}

/// Those of one region.
#[derive(Clone)]
pub(super) struct RegionMetrics {
    pub(super) up: IntGauge,
    pub(super) channels: IntGauge,
    taken: IntCounter,
    known: IntCounter,
    behind: IntCounter,
    pub(super) lost: IntCounter,
}

impl Metrics {
    /// Registers all of them; an error means that a name is taken.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let [up, channels, publications, served, silence] = METRICS.map(|(name, help)| Opts::new(name, help));
        let metrics = Metrics {
            up: IntGaugeVec::new(up, &["region"])?,
            channels: IntGaugeVec::new(channels, &["region"])?,
            publications: IntCounterVec::new(publications, &["region", "result"])?,
            served: IntGauge::with_opts(served)?,
            silence: GaugeVec::new(silence, &["region"])?,
        };
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.channels.clone()))?;
        registry.register(Box::new(metrics.publications.clone()))?;
        registry.register(Box::new(metrics.served.clone()))?;
        registry.register(Box::new(metrics.silence.clone()))?;
        Ok(metrics)
    }

    pub(super) fn silent(&self, region: &str, ms: u64) {
        self.silence.with_label_values(&[region]).set(f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0);
    }

    pub(super) fn of(&self, region: &str) -> RegionMetrics {
        let [taken, known, behind, lost] = RESULTS.map(|result| self.publications.with_label_values(&[region, result]));
        let (up, channels) = (self.up.with_label_values(&[region]), self.channels.with_label_values(&[region]));
        RegionMetrics { up, channels, taken, known, behind, lost }
    }
}

impl RegionMetrics {
    pub(super) fn imported(&self, imported: &Imported) {
        match imported {
            Imported::Taken => self.taken.inc(),
            Imported::Known => self.known.inc(),
            Imported::Behind => self.behind.inc(),
        }
    }
}
