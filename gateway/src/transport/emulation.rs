//! I/O: the client protocol where WebSocket does not pass: a stream down, requests up. And its unidirectional form.

use super::{inbound::Inbound, stream::Stream};
use crate::{
    connection::{self, Opening},
    gateway::Gateway,
    hub::broadcast::Wire,
    orders::Undelivered,
};
use axum::{
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use prost::Message;
use protocol::{
    control::Emulation,
    frame::{self, Format},
    message::{Command, ConnectRequest, EmulationRequest},
};
use serde::Deserialize;
use std::sync::Arc;

/// The query of `/connection/sse` and `/connection/uni_sse`.
#[derive(Deserialize)]
pub(crate) struct Options {
    #[serde(default)]
    cf_connect: String,
}

/// `POST /connection/http_stream`: the body is the first frame.
pub(crate) async fn http_stream(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let wire = if is_binary(&headers) { Wire::Protobuf } else { Wire::Json };
    emulated(gateway, wire, body)
}

/// `GET /connection/sse?cf_connect=…`
pub(crate) async fn sse_get(State(gateway): State<Arc<Gateway>>, Query(options): Query<Options>) -> Response<Body> {
    emulated(gateway, Wire::JsonData, options.cf_connect.into())
}

/// `POST /connection/sse`
pub(crate) async fn sse_post(State(gateway): State<Arc<Gateway>>, body: Bytes) -> Response<Body> {
    emulated(gateway, Wire::JsonData, body)
}

/// `GET /connection/uni_sse?cf_connect=…`
pub(crate) async fn uni_sse_get(State(gateway): State<Arc<Gateway>>, Query(options): Query<Options>) -> Response<Body> {
    unidirectional(gateway, options.cf_connect.as_bytes())
}

/// `POST /connection/uni_sse`
pub(crate) async fn uni_sse_post(State(gateway): State<Arc<Gateway>>, body: Bytes) -> Response<Body> {
    unidirectional(gateway, &body)
}

/// `POST /emulation`: a frame for a session of this node, or of another gateway.
pub(crate) async fn forward(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let request = if is_binary(&headers) { EmulationRequest::decode(body).ok() } else { from_json(&body) };
    let Some(request) = request else { return (StatusCode::BAD_REQUEST, "malformed emulation request\n").into_response() };
    let frame = Emulation { session: request.session, data: request.data };
    let Err(why) = gateway.emulate(&request.node, frame).await else { return StatusCode::NO_CONTENT.into_response() };
    let status = match why {
        Undelivered::UnknownNode | Undelivered::UnknownSession => StatusCode::NOT_FOUND,
        Undelivered::Full | Undelivered::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{why}\n")).into_response()
}

fn emulated(gateway: Arc<Gateway>, wire: Wire, first: Bytes) -> Response<Body> {
    let inbound = Arc::<Inbound>::default();
    let (stream, entrance) = Stream::new(&gateway, wire, Some(inbound.clone()));
    tokio::spawn(connection::run(gateway, stream, Opening { inbound: Some(inbound), first: Some(first), ..Opening::default() }));
    entrance.response(Some(wire))
}

fn unidirectional(gateway: Arc<Gateway>, connect: &[u8]) -> Response<Body> {
    let connect = if connect.is_empty() { b"{}" } else { connect };
    let connect: ConnectRequest = match serde_json::from_slice(connect) {
        Ok(connect) => connect,
        Err(error) => {
            return (StatusCode::BAD_REQUEST, format!("malformed connect request: {}\n", frame::json_fault(&error))).into_response();
        }
    };
    let command = Command { id: 1, connect: Some(connect), ..Command::default() };
    let (stream, entrance) = Stream::new(&gateway, Wire::BareJson, None);
    let first = Some(frame::encode(Format::Json, &command));
    tokio::spawn(connection::run(gateway, stream, Opening { unidirectional: true, first, ..Opening::default() }));
    entrance.response(Some(Wire::BareJson))
}

/// In JSON the commands are the text of a string.
pub(crate) fn from_json(body: &[u8]) -> Option<EmulationRequest> {
    let request: EmulationRequest = serde_json::from_slice(body).ok()?;
    let commands: String = serde_json::from_slice(&request.data).ok()?;
    Some(EmulationRequest { data: commands.into(), ..request })
}

fn is_binary(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/octet-stream"))
}
