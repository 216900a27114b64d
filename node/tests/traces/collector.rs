//! A collector of OpenTelemetry, as small as can be: takes OTLP over HTTP, and keeps what came.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
};
use parking_lot::Mutex;
use prost::Message;
use std::{collections::BTreeMap, fmt::Write, future::pending, sync::Arc};
use tokio::{net::TcpListener, task::JoinHandle};

/// A span as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty: it has none.
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Of the node that sent it.
    pub(crate) resource: BTreeMap<String, String>,
}

type Bodies = Arc<Mutex<Vec<Bytes>>>;

/// It ends when it is dropped.
pub(crate) struct Collector {
    pub(crate) url: String,
    bodies: Bodies,
    serving: JoinHandle<()>,
}

impl Collector {
    /// One that takes everything, or takes everything and never answers.
    pub(crate) async fn start(answers: bool) -> Collector {
        let bodies = Bodies::default();
        let take = async move |State(bodies): State<Bodies>, headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            bodies.lock().push(body);
            if !answers {
                pending::<()>().await;
            }
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(bodies.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Collector { url, bodies, serving: tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }) }
    }

    /// All that came, as it was on the wire.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.bodies.lock().concat()
    }

    /// All spans that came, in the order in which they ended.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for body in self.bodies.lock().iter() {
            for of_node in ExportTraceServiceRequest::decode(body.clone()).unwrap().resource_spans {
                let resource = texts(&of_node.resource.unwrap().attributes);
                for span in of_node.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    assert!(span.events.is_empty() && span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
                    seen.push(Seen {
                        trace: hex(&span.trace_id),
                        id: hex(&span.span_id),
                        parent: hex(&span.parent_span_id),
                        name: span.name,
                        attributes: texts(&span.attributes),
                        resource: resource.clone(),
                    });
                }
            }
        }
        seen
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let pair = |pair: &KeyValue| (pair.key.clone(), text(pair.value.as_ref().unwrap().value.as_ref().unwrap()));
    attributes.iter().map(pair).collect()
}
