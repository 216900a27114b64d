//! Pure: which work is traced, and which marks become spans.

use protocol::trace::{SPANS, Traceparent};
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// Spans that begin what is traced. All others are within one.
pub(crate) const ROOTS: [&str; 2] = ["request", "command"];

/// How much is traced of what no caller has decided about; may be changed while the process runs.
#[derive(Debug, Default)]
pub struct Sample(AtomicU64);

/// Passes the marks of work that is traced, and nothing else.
pub(super) struct Sampled;

impl Sample {
    /// From 0 (nothing) to 1 (everything).
    #[must_use]
    pub fn new(sample: f64) -> Sample {
        Sample(AtomicU64::new(sample.to_bits()))
    }

    /// From here on it is `sample`, from 0 to 1.
    pub fn set(&self, sample: f64) {
        self.0.store(sample.to_bits(), Ordering::Relaxed);
    }

    /// Whether work is traced. A caller who has a trace has decided that.
    #[must_use]
    pub fn wants(&self, parent: Option<&Traceparent<'_>>, random: u64) -> bool {
        // From 0 to 1, and never 1: the upper 53 bits are as many as fit.
        let chance = || (random >> 11) as f64 / (1_u64 << 53) as f64;
        parent.map_or_else(|| chance() < f64::from_bits(self.0.load(Ordering::Relaxed)), |parent| parent.is_sampled)
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Filter<S> for Sampled {
    fn enabled(&self, mark: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        is_mark(mark) && (ROOTS.contains(&mark.name()) || context.lookup_current().is_some())
    }

    fn callsite_enabled(&self, mark: &'static Metadata<'static>) -> Interest {
        if is_mark(mark) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

fn is_mark(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == SPANS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_has_a_trace_decides_and_chance_does_for_all_others() {
        let parent = |is_sampled| Traceparent { trace_id: "1", parent_id: "1", is_sampled };
        for (sample, lowest, middle, highest) in [(0.0, false, false, false), (0.25, true, false, false), (1.0, true, true, true)] {
            let sample = Sample::new(sample);
            let wants = [0, u64::MAX / 2, u64::MAX].map(|random| sample.wants(None, random));
            assert_eq!(wants, [lowest, middle, highest], "{sample:?}");
            for random in [0, u64::MAX] {
                assert!(sample.wants(Some(&parent(true)), random) && !sample.wants(Some(&parent(false)), random));
            }
        }
        let sample = Sample::new(0.0);
        sample.set(1.0);
        assert!(sample.wants(None, u64::MAX));
    }
}
