//! I/O: what an operator can order over the admin listener: `POST /counters/forget/{region}/{node}`. Errors are
//! `{"error":{"code","message"}}`, as everywhere.

use crate::{admin::Admin, clock};
use axum::{
    Json, Router,
    extract::{ConnectInfo, MatchedPath, Path, Query, RawPathParams, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use core::net::SocketAddr;
use counter::{ForgetError, ForgetRefusal};
use protocol::{audit::Entry, trace::Traceparent};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The routes of orders.
pub fn routes(admin: &Admin) -> Router<Admin> {
    let orders = Router::new().route("/counters/forget/{region}/{node}", post(forget));
    let orders = orders.merge(admin.failpoints.routes()).route_layer(middleware::from_fn(refuse_pages));
    orders.route_layer(middleware::from_fn_with_state(admin.clone(), record))
}

/// Answers `{"heir":"eu/c1"}`; `?force=true` forgets a member that may still live.
async fn forget(
    State(admin): State<Admin>,
    Path((region, node)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let force = query.get("force").is_some_and(|force| force == "true");
    let member = format!("{region}/{node}");
    let Some(counters) = &admin.counters else {
        return error(StatusCode::CONFLICT, "no_counters", "this gateway's counters are elsewhere; give the order to a counter node");
    };
    match counters.forget(&member, force).await {
        Ok(heir) => {
            tracing::warn!(member, heir, force, "a member was forgotten");
            (StatusCode::OK, Json(json!({ "heir": heir })))
        }
        Err(refusal) => {
            let (status, code) = match &refusal {
                ForgetError::Refused(ForgetRefusal::Unknown(_)) => (StatusCode::NOT_FOUND, "unknown_member"),
                ForgetError::Refused(ForgetRefusal::Myself) => (StatusCode::CONFLICT, "myself"),
                ForgetError::Refused(ForgetRefusal::Full) => (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable"),
                ForgetError::Connected(_) | ForgetError::Heard(_) => (StatusCode::CONFLICT, "member_alive"),
                ForgetError::Storage(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable"),
            };
            error(status, code, &refusal.to_string())
        }
    }
}

/// Records every order, those that were refused, too.
async fn record(
    State(admin): State<Admin>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    route: MatchedPath,
    path: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let (method, trace) = (request.method().to_string(), request.headers().get("traceparent").and_then(|trace| trace.to_str().ok()));
    let trace_id = trace.and_then(Traceparent::parse).map(|parent| parent.trace_id.to_owned());
    let response = next.run(request).await;
    if let Some(sink) = &admin.audit {
        let (time_ms, status, route) = (clock::now().wall_ms, response.status(), route.as_str().to_owned());
        let error = (!status.is_success()).then(|| status.canonical_reason().unwrap_or_default().to_lowercase().replace(' ', "_"));
        let (remote, status) = (Some(remote), Some(status.as_u16()));
        let mut entry = Entry { time_ms, door: "admin", remote, method, route, status, error, trace_id, ..Entry::default() };
        let member: Vec<&str> = path.iter().map(|(_, part)| part).collect();
        entry.name("members", &member.join("/"));
        (sink.record)(entry);
    }
    response
}

/// A page in an operator's browser must not give orders. Browsers name the page of every POST in `Origin`, and ask first
/// before a page may send JSON, which nobody answers here (Fetch, 3.2 and 4.8).
async fn refuse_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return error(StatusCode::FORBIDDEN, "permission_denied", "orders are not taken from pages (Origin)").into_response();
    }
    if !is_json(headers) {
        return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "send `Content-Type: application/json`")
            .into_response();
    }
    next.run(request).await
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn error(status: StatusCode, code: &str, message: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({ "error": { "code": code, "message": message } })))
}
