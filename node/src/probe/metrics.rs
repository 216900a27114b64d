//! I/O: the probe's own metrics, and the page that serves them.

use super::outcome::{Outcome, Round, Step};
use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use prometheus::{CounterVec, Gauge, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;

/// Upper bounds of durations, in seconds: from a connection on one host to the slowest step that a deadline lets through.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What is counted of rounds; each is in `METRICS.md`.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    up: GaugeVec,
    seconds: HistogramVec,
    failures: CounterVec,
    rounds: CounterVec,
    last_success: Gauge,
    last_round: Gauge,
}

impl Metrics {
    /// Registers them, with all labels that there will be.
    pub(super) fn register(registry: &Registry, steps: &[(Step, String)]) -> prometheus::Result<Metrics> {
        let labels = ["step", "target"];
        let metrics = Metrics {
            up: GaugeVec::new(Opts::new("headcount_probe_up", "1 if the step was done in the last round."), &labels)?,
            seconds: HistogramVec::new(
                HistogramOpts::new("headcount_probe_step_seconds", "How long the step took, where it was done.").buckets(BUCKETS.to_vec()),
                &labels,
            )?,
            failures: CounterVec::new(Opts::new("headcount_probe_failures_total", "Rounds in which the step failed."), &labels)?,
            rounds: CounterVec::new(Opts::new("headcount_probe_rounds_total", "Rounds, by result."), &["result"])?,
            last_success: Gauge::new("headcount_probe_last_success_timestamp_seconds", "When the last round began that was well.")?,
            last_round: Gauge::new("headcount_probe_last_round_timestamp_seconds", "When the last round began.")?,
        };
        let Metrics { up, seconds, failures, rounds, last_success, last_round } = metrics.clone();
        for (step, target) in steps {
            let labels = [step.label(), target.as_str()];
            up.with_label_values(&labels);
            seconds.with_label_values(&labels);
            failures.with_label_values(&labels);
        }
        for result in ["ok", "failed"] {
            rounds.with_label_values(&[result]);
        }
        registry.register(Box::new(up))?;
        registry.register(Box::new(seconds))?;
        registry.register(Box::new(failures))?;
        registry.register(Box::new(rounds))?;
        registry.register(Box::new(last_success))?;
        registry.register(Box::new(last_round))?;
        Ok(metrics)
    }

    /// Counts a round. A step that was not reached is not up, and has not failed either.
    #[allow(clippy::cast_precision_loss)] // milliseconds since 1970 fit
    pub(super) fn count(&self, round: &Round) {
        for taken in &round.steps {
            let labels = [taken.step.label(), taken.target.as_str()];
            match &taken.outcome {
                Outcome::Took(took) => self.seconds.with_label_values(&labels).observe(took.as_secs_f64()),
                Outcome::Failed(_) => self.failures.with_label_values(&labels).inc(),
                Outcome::NotReached => {}
            }
            self.up.with_label_values(&labels).set(if matches!(taken.outcome, Outcome::Took(_)) { 1.0 } else { 0.0 });
        }
        let at_s = round.at_ms as f64 / 1000.0;
        self.last_round.set(at_s);
        if round.is_well() {
            self.last_success.set(at_s);
        }
        self.rounds.with_label_values(&[if round.is_well() { "ok" } else { "failed" }]).inc();
    }
}

/// Serves `/metrics` for ever.
pub(super) async fn serve(listener: TcpListener, registry: Registry) -> std::io::Result<()> {
    let page = move || async move {
        match TextEncoder::new().encode_to_string(&registry.gather()) {
            Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string()),
        }
    };
    axum::serve(listener, Router::new().route("/metrics", get(page))).await
}
