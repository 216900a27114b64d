//! I/O: spans of what a service or a client asks for. Who is traced, the node decides; within a span that there is, further ones
//! are made where they belong.

use crate::{api::error::RefusedAs, gateway::Gateway, hub::topic::ConnectionId, session::Task};
use axum::{
    body::Body,
    extract::MatchedPath,
    http::{Method, Request, Response},
};
use protocol::trace::{LINES, Traceparent};
use std::{fmt, sync::Arc};
use tracing::{Span, info_span};

/// What may have a span of its own, with nothing around it in this process.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// A service's request: its method, and its route's pattern.
    Request(&'a Method, &'a str),
    /// A client's command, by its name, and the connection that it came over.
    Command(&'static str, ConnectionId),
}

/// Makes the span of some work, which may have a caller's trace.
type Begin = dyn Fn(Work<'_>, Option<Traceparent<'_>>) -> Span + Send + Sync;

/// Who makes such spans.
#[derive(Clone)]
pub struct Traces {
    /// The span, or a disabled one if it is not to be recorded. A caller who has a trace decides that, else chance does.
    pub begin: Arc<Begin>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Traces")
    }
}

impl Gateway {
    /// The span of a request. One whose caller has a trace that is not recorded gets one that only the log sees.
    pub(crate) fn span_of_request(&self, request: &Request<Body>) -> Span {
        let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).and_then(Traceparent::parse);
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let span = self.settings.traces.as_ref().map(|traces| (traces.begin)(Work::Request(request.method(), route), parent));
        match (span.filter(|span| !span.is_disabled()), parent) {
            (Some(span), _) => span,
            (None, Some(parent)) => info_span!(target: LINES, "request", trace_id = parent.trace_id),
            (None, None) => Span::none(),
        }
    }

    /// The span of a client's command. Only those have one that change something, or begin something.
    pub(crate) fn span_of_task(&self, task: &Task, connection: ConnectionId) -> Span {
        let Some(traces) = &self.settings.traces else { return Span::none() };
        let name = match task {
            Task::VerifyConnection(_) => "connect",
            Task::Subscribe(_) => "subscribe",
            Task::Publish(..) => "publish",
            Task::CounterAdd { .. } => "counter.add",
            Task::CounterVote { .. } => "counter.vote",
            _ => return Span::none(),
        };
        (traces.begin)(Work::Command(name, connection), None)
    }
}

/// Notes in the span of a request, and in the log, how it was answered.
pub(crate) fn note_answer(span: &Span, response: &Response<Body>) {
    let error = response.extensions().get::<RefusedAs>().map(|RefusedAs(code)| code.as_str());
    if let Some(error) = error {
        span.in_scope(|| tracing::debug!(error, status = response.status().as_u16(), "a request was refused"));
    }
    span.record("http.response.status_code", response.status().as_u16());
    span.record("error.type", error);
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
