//! I/O: the handshake of WebSocket (RFC 6455, section 4), which is tungstenite's.

use super::WebSocket;
use crate::{
    connection::{self, Opening},
    gateway::Gateway,
    takeover::Takeover,
};
use axum::{
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use protocol::frame::Format;
use serde::Deserialize;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

/// The subprotocol of the binary form.
const PROTOBUF_SUBPROTOCOL: &str = "centrifuge-protobuf";
/// The subprotocol of the text form, which is also spoken without any.
const JSON_SUBPROTOCOL: &str = "centrifuge-json";

/// The query of `/connection/websocket`.
#[derive(Deserialize)]
pub(crate) struct Options {
    format: Option<String>,
    cf_protocol: Option<String>,
    #[serde(default)]
    cf_ws_frame_ping_pong: Option<String>,
}

/// `GET /connection/websocket`
pub(crate) async fn upgrade(State(gateway): State<Arc<Gateway>>, Query(options): Query<Options>, request: Request) -> Response<Body> {
    let (format, subprotocol) = negotiate(&options, request.headers());
    let head = {
        let mut head = axum::http::Request::new(());
        *head.method_mut() = request.method().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        head
    };
    let mut response = match create_response_with_body(&head, Body::empty) {
        Ok(response) => response,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("not a WebSocket handshake: {error}\n")).into_response(),
    };
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    let native_ping = options.cf_ws_frame_ping_pong.as_deref() == Some("true");
    Takeover::after(response, Bytes::new(), move |socket, read_already| {
        let transport = WebSocket::new(&gateway, socket, read_already, format);
        tokio::spawn(connection::run(gateway, transport, Opening { native_ping, ..Opening::default() }));
    })
}

/// The form of messages, and the subprotocol to answer with.
fn negotiate(options: &Options, headers: &HeaderMap) -> (Format, Option<&'static str>) {
    let mut offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    match offered.find(|name| [JSON_SUBPROTOCOL, PROTOBUF_SUBPROTOCOL].contains(name)) {
        Some(PROTOBUF_SUBPROTOCOL) => (Format::Protobuf, Some(PROTOBUF_SUBPROTOCOL)),
        Some(_) => (Format::Json, Some(JSON_SUBPROTOCOL)),
        None if [&options.format, &options.cf_protocol].into_iter().flatten().any(|format| format == "protobuf") => {
            (Format::Protobuf, None)
        }
        None => (Format::Json, None),
    }
}
