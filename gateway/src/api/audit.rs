//! I/O: records the calls of services: who, from where, what, of which names, with which result. Bodies are looked into for names and
//! tokens, and nothing else of them is kept.

use super::{
    error::{ApiError, RefusedAs},
    offered_key, place,
};
use crate::{admission::Peer, gateway::Gateway, server::SERVICE_BODY_BYTES_MAX};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{MatchedPath, RawPathParams, Request, State},
    http::{HeaderMap, Method, Response, StatusCode, Uri},
    middleware::Next,
    response::IntoResponse,
};
use protocol::{
    audit::{Entry, fingerprint, shortened},
    trace::Traceparent,
};
use serde::Deserialize;
use std::sync::Arc;

/// Calls that change nothing although their method is POST.
const READS: [&str; 6] = ["/v1/presence/query", "/api/presence", "/api/presence_stats", "/api/history", "/api/channels", "/api/info"];

/// What a body may name.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    channel: Option<String>,
    channels: Vec<String>,
    user: Option<String>,
    client: Option<String>,
    token: Option<String>,
    idempotency_key: Option<String>,
    ops: Vec<NamedOp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedOp {
    key: String,
    token: Option<String>,
}

/// Answers as the route does, and records it. A refused key is recorded also where the call would only have read.
pub(crate) async fn record(
    State(gateway): State<Arc<Gateway>>,
    route: MatchedPath,
    path: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let Some(sink) = &gateway.settings.audit else { return next.run(request).await };
    let changes = !is_read(request.method(), route.as_str());
    let (parts, body) = request.into_parts();
    let mut entry = entry(&gateway, &parts.headers, &parts.uri);
    entry.method = parts.method.to_string();
    entry.route = route.as_str().to_owned();
    entry.remote = parts.extensions.get::<Peer>().map(|Peer(peer)| *peer);
    for (kind, name) in path.iter().flatten() {
        let kind = match kind {
            "channel" => "channels",
            "user" => "users",
            _ => "counters",
        };
        entry.name(kind, name);
    }
    let response = match to_bytes(body, SERVICE_BODY_BYTES_MAX).await {
        Ok(body) => {
            look_into(&body, &mut entry);
            next.run(Request::from_parts(parts, Body::from(body))).await
        }
        Err(error) => ApiError::TooLarge(error.to_string()).into_response(),
    };
    if changes || sink.reads || response.status() == StatusCode::UNAUTHORIZED {
        entry.time_ms = (gateway.clock)().wall_ms;
        entry.status = Some(response.status().as_u16());
        entry.error = response.extensions().get::<RefusedAs>().map(|RefusedAs(code)| code.clone());
        (sink.record)(entry);
    }
    response
}

fn is_read(method: &Method, route: &str) -> bool {
    method == Method::GET || method == Method::HEAD || READS.contains(&route)
}

/// Who calls, and what the head says besides.
fn entry(gateway: &Gateway, headers: &HeaderMap, uri: &Uri) -> Entry {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = offered_key(headers, uri).filter(|key| place(&gateway.settings.api_keys, key).is_some());
    let mut entry = Entry {
        door: "http",
        api_key: key.map(|key| fingerprint(&key)),
        forwarded_for: text("x-forwarded-for").map(shortened),
        trace_id: text("traceparent").and_then(Traceparent::parse).map(|parent| parent.trace_id.to_owned()),
        ..Entry::default()
    };
    entry.token(text("idempotency-key").unwrap_or_default());
    #[derive(Deserialize)]
    struct InQuery {
        token: String,
    }
    if let Ok(axum::extract::Query(query)) = axum::extract::Query::<InQuery>::try_from_uri(uri) {
        entry.token(&query.token);
    }
    entry
}

/// Of a body that is not what the route wants the route says so.
fn look_into(body: &Bytes, entry: &mut Entry) {
    let Ok(named) = serde_json::from_slice::<Named>(body) else { return };
    for (kind, names) in [("channels", named.channel), ("users", named.user), ("clients", named.client)] {
        names.iter().for_each(|name| entry.name(kind, name));
    }
    named.channels.iter().for_each(|channel| entry.name("channels", channel));
    [named.token, named.idempotency_key].iter().flatten().for_each(|token| entry.token(token));
    for op in &named.ops {
        entry.name("counters", &op.key);
        entry.token(op.token.as_deref().unwrap_or_default());
    }
}
