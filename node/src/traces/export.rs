//! I/O: sends spans to a collector (OTLP over HTTP, as Protobuf), batch after batch. What it does not take is lost, and counted: a
//! span is not worth memory or patience.

use gateway::outbound;
use opentelemetry::KeyValue;
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{
        common::tonic::{Attributes, ResourceAttributesWithSchema},
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::trace::SpanData;
use prometheus::{IntCounterVec, Opts, Registry};
use prost::Message;
use reqwest::{Client, Response, Url, header};
use std::{error::Error, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// How long the end of the node waits for what is still to be sent.
pub(super) const FINISH: Duration = Duration::from_secs(2);
/// Spans sent at once.
const BATCH_MAX: usize = 512;
/// How long a span waits for others to be sent with.
const GATHER: Duration = Duration::from_millis(200);
/// Time for an export, from connecting to the answer's last byte; then it has failed.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of that, for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read; of a longer one nothing is believed but its status.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What has become of spans, and why exports have failed.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    spans: IntCounterVec,
    failures: IntCounterVec,
}

/// What the task has.
pub(super) struct Exporter {
    client: Client,
    url: Url,
    resource: ResourceAttributesWithSchema,
    spans: mpsc::Receiver<SpanData>,
    tally: Tally,
    failing: bool,
}

/// An export that has failed: the reason that is counted, and what the log says.
struct Failure(&'static str, String);

impl Tally {
    pub(super) fn new() -> prometheus::Result<Tally> {
        let spans = Opts::new("headcount_trace_spans_total", "Spans, by what became of them (sent, queue_full, failed, rejected).");
        let failures =
            Opts::new("headcount_trace_export_failures_total", "Exports that failed, by reason (unreachable, timeout, refused).");
        let tally = Tally { spans: IntCounterVec::new(spans, &["result"])?, failures: IntCounterVec::new(failures, &["reason"])? };
        ["sent", "queue_full", "failed", "rejected"].iter().for_each(|result| tally.spans(result, 0));
        for reason in ["unreachable", "timeout", "refused"] {
            tally.failures.with_label_values(&[reason]);
        }
        Ok(tally)
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.spans.clone()))?;
        registry.register(Box::new(self.failures.clone()))
    }

    pub(super) fn spans(&self, result: &str, count: u64) {
        self.spans.with_label_values(&[result]).inc_by(count);
    }

    #[cfg(test)]
    pub(super) fn count(&self, result: &str) -> u64 {
        self.spans.with_label_values(&[result]).get()
    }
}

impl Exporter {
    /// Contacts nobody yet. The process must have installed a rustls crypto provider before.
    pub(super) fn new(url: Url, (node, region): (&str, &str), spans: mpsc::Receiver<SpanData>, tally: Tally) -> reqwest::Result<Exporter> {
        let client = outbound::client(&url).timeout(EXPORT_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).pool_max_idle_per_host(1).build()?;
        let attributes = [
            ("service.name", "headcount".to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", node.to_owned()),
            ("headcount.region", region.to_owned()),
        ];
        let attributes = Attributes::from(attributes.map(|(key, value)| KeyValue::new(key, value)));
        let resource = ResourceAttributesWithSchema { attributes, schema_url: None };
        Ok(Exporter { client, url, resource, spans, tally, failing: false })
    }

    /// Sends what there is, until it is `ended` and nothing is left.
    pub(super) async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        let (mut batch, mut is_ending) = (Vec::new(), false);
        loop {
            tokio::select! {
                count = self.spans.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
                _ = &mut ended, if !is_ending => {
                    is_ending = true;
                    self.spans.close();
                    continue;
                }
            }
            if batch.len() < BATCH_MAX && !is_ending {
                tokio::select! {
                    () = tokio::time::sleep(GATHER) => {}
                    _ = &mut ended => {
                        is_ending = true;
                        self.spans.close();
                    }
                }
                while batch.len() < BATCH_MAX
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
            }
            self.export(std::mem::take(&mut batch)).await;
        }
    }

    async fn export(&mut self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        match self.send(ExportTraceServiceRequest { resource_spans }.encode_to_vec()).await {
            Ok(rejected) => {
                self.tally.spans("rejected", rejected.min(count));
                self.tally.spans("sent", count.saturating_sub(rejected));
                if std::mem::take(&mut self.failing) {
                    tracing::info!("spans are taken again");
                }
            }
            Err(Failure(reason, error)) => {
                self.tally.spans("failed", count);
                self.tally.failures.with_label_values(&[reason]).inc();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(reason, error, "spans are not taken by traces.endpoint; requests go on, and what is lost is counted");
                }
            }
        }
    }

    /// How many of the spans the collector does not want.
    async fn send(&self, body: Vec<u8>) -> Result<u64, Failure> {
        let request = self.client.post(self.url.clone()).header(header::CONTENT_TYPE, "application/x-protobuf").body(body);
        let response = request.send().await.map_err(Failure::of)?;
        if !response.status().is_success() {
            return Err(Failure("refused", response.status().to_string()));
        }
        let answer = bounded(response).await.map_err(Failure::of)?;
        let answer = answer.and_then(|answer| ExportTraceServiceResponse::decode(&*answer).ok()).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or_default())
    }
}

impl Failure {
    fn of(error: reqwest::Error) -> Failure {
        let reason = if error.is_timeout() { "timeout" } else { "unreachable" };
        let error = error.without_url();
        let (mut text, mut cause) = (error.to_string(), error.source());
        while let Some(deeper) = cause {
            text = format!("{text}: {deeper}");
            cause = deeper.source();
        }
        Failure(reason, text)
    }
}

/// An answer's body; `None` if it is too long.
async fn bounded(mut response: Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
