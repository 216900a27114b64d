//! I/O: traces: which work has spans, and the way of those to a collector. Crates only mark their spans (`protocol::trace`); without
//! `traces.endpoint` nobody looks at them, and they cost nothing.

mod export;
mod sample;

pub(crate) use self::sample::ROOTS;
pub use self::sample::Sample;
use self::{
    export::{Exporter, FINISH, Tally},
    sample::Sampled,
};
use crate::{config, failure::Failure};
use gateway::traces::Work;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan, SpanData, SpanProcessor},
};
use prometheus::Registry;
use protocol::trace::{SPANS, Traceparent};
use reqwest::Url;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tracing::{Span, Subscriber, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, registry::LookupSpan};

/// Spans that wait to be sent; at the bound new ones are lost, and counted.
const QUEUE_MAX: usize = 8_192;
/// What spans may tell. All else that is noted in one stays here.
const ATTRIBUTES: [&str; 8] =
    ["http.request.method", "http.route", "http.response.status_code", "error.type", "connection", "store", "place", "ops"];
/// With `traces.names`, these, too.
const NAMES: [&str; 2] = ["channel", "counter"];

/// Spans that nobody sends yet.
pub struct Unsent {
    url: Url,
    spans: mpsc::Receiver<SpanData>,
    tally: Tally,
}

/// The exporter while it runs.
pub struct Traces {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Takes spans as they end. Nobody whose span it is waits for it.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<SpanData>,
    names: bool,
    tally: Tally,
}

/// What makes spans of marks, and what it makes; `None` where nothing is to be traced.
pub fn prepare(config: &config::Traces) -> prometheus::Result<Option<(SdkTracer, Unsent)>> {
    let Some(url) = config.endpoint.clone() else { return Ok(None) };
    let (sender, spans) = mpsc::channel(QUEUE_MAX);
    let tally = Tally::new()?;
    let queue = Queue { spans: sender, names: config.names, tally: tally.clone() };
    // Who has no span is not asked about any more: `sample` has decided.
    let provider = SdkTracerProvider::builder().with_span_processor(queue).with_sampler(Sampler::AlwaysOn).build();
    Ok(Some((provider.tracer("headcount"), Unsent { url, spans, tally })))
}

/// Makes spans of what is marked as one, within a span that [`Sample::traces`] has begun.
pub(crate) fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(tracer: SdkTracer) -> impl Layer<S> {
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false).with_level(false);
    let layer = layer.with_target(false).with_tracked_inactivity(false).with_context_activation(false);
    layer.with_filter(Sampled)
}

impl Unsent {
    /// Sends them from now on, as those of `node` in `region`.
    pub fn start(self, node: &str, region: &str, registry: &Registry) -> Result<Traces, Failure> {
        self.tally.register(registry).map_err(anyhow::Error::from)?;
        let exporter = Exporter::new(self.url, (node, region), self.spans, self.tally).map_err(anyhow::Error::from)?;
        let (end, ended) = oneshot::channel();
        Ok(Traces { end, task: tokio::spawn(exporter.run(ended)) })
    }
}

impl Traces {
    /// Waits until all spans are sent, for two seconds at most.
    pub async fn finish(self) {
        let _ = self.end.send(());
        let stop = self.task.abort_handle();
        if tokio::time::timeout(FINISH, self.task).await.is_err() {
            stop.abort();
            tracing::warn!("the last spans were not sent");
        }
    }
}

impl Sample {
    /// Who makes spans for a gateway.
    #[must_use]
    pub fn traces(self: &Arc<Sample>) -> gateway::traces::Traces {
        let sample = Arc::clone(self);
        let begin = move |work: Work<'_>, parent: Option<Traceparent<'_>>| {
            if sample.wants(parent.as_ref(), rand::random()) { begin(work, parent) } else { Span::none() }
        };
        gateway::traces::Traces { begin: Arc::new(begin) }
    }
}

/// A span with nothing around it in this process. Its name there must be one of [`ROOTS`].
fn begin(work: Work<'_>, parent: Option<Traceparent<'_>>) -> Span {
    let span = match work {
        Work::Request(method, route) => info_span!(
            target: SPANS, "request", trace_id = Empty, otel.name = format!("{method} {route}"), otel.kind = "server",
            http.request.method = method.as_str(), http.route = route, http.response.status_code = Empty, error.type = Empty,
            otel.status_code = Empty,
        ),
        Work::Command(name, connection) => {
            info_span!(target: SPANS, "command", trace_id = Empty, otel.name = name, otel.kind = "server", connection)
        }
    };
    if let Some(context) = parent.and_then(context_of) {
        // A span that is new can be given a parent.
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
    // So that lines of the log have it.
    span.record("trace_id", span.context().span().span_context().trace_id().to_string());
    span
}

fn context_of(parent: Traceparent<'_>) -> Option<SpanContext> {
    let (trace, span) = (TraceId::from_hex(parent.trace_id).ok()?, SpanId::from_hex(parent.parent_id).ok()?);
    Some(SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE))
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut SdkSpan, _: &Context) {}

    fn on_end(&self, mut span: SpanData) {
        span.attributes.retain(|attribute| {
            let name = attribute.key.as_str();
            ATTRIBUTES.contains(&name) || (self.names && NAMES.contains(&name))
        });
        if self.spans.try_send(span).is_err() {
            self.tally.spans("queue_full", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::KeyValue;
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    fn span(attributes: &[&'static str]) -> SpanData {
        SpanData {
            span_context: SpanContext::NONE,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: opentelemetry::trace::SpanKind::Internal,
            name: "append".into(),
            start_time: std::time::UNIX_EPOCH,
            end_time: std::time::UNIX_EPOCH,
            attributes: attributes.iter().map(|key| KeyValue::new(*key, "x")).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: opentelemetry::trace::Status::Unset,
            instrumentation_scope: opentelemetry::InstrumentationScope::default(),
        }
    }

    #[test]
    fn a_full_queue_loses_new_spans_and_counts_them() {
        let (sender, mut spans) = mpsc::channel(2);
        let queue = Queue { spans: sender, names: false, tally: Tally::new().unwrap() };
        (0..5).for_each(|_| queue.on_end(span(&[])));
        assert_eq!(queue.tally.count("queue_full"), 3);
        assert!(spans.try_recv().is_ok() && spans.try_recv().is_ok() && spans.try_recv().is_err());
    }

    #[test]
    fn what_nobody_has_allowed_stays_here_and_so_do_names_unless_they_are_wanted() {
        for (names, expected) in [(false, &["store", "http.route"][..]), (true, &["store", "channel", "http.route", "counter"])] {
            let (sender, mut spans) = mpsc::channel(1);
            let queue = Queue { spans: sender, names, tally: Tally::new().unwrap() };
            queue.on_end(span(&["store", "data", "channel", "token", "http.route", "counter", "user", "trace_id"]));
            let sent = spans.try_recv().unwrap();
            assert_eq!(sent.attributes.iter().map(|attribute| attribute.key.as_str()).collect::<Vec<_>>(), expected);
        }
    }
}
