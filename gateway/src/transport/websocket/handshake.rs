//! I/O: the handshake of WebSocket (RFC 6455, section 4), which is tungstenite's.

use super::WebSocket;
use crate::{
    api::error::ApiError,
    connection::{self, Opening},
    gateway::Gateway,
    takeover::Takeover,
};
use axum::{
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, Request, Response, header},
    response::IntoResponse,
};
use bytes::Bytes;
use protocol::frame::Format;
use serde::Deserialize;
use std::sync::Arc;
use tokio::net::TcpStream;
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

/// What a client that can have a WebSocket wants of it.
pub(crate) struct Accepted {
    format: Format,
    native_ping: bool,
}

impl Accepted {
    /// Begins the connection, in a task of its own: one that has spoken HTTP would keep the room for that.
    pub(crate) fn connect(self, gateway: Arc<Gateway>, socket: TcpStream, read_already: &[u8]) {
        let transport = WebSocket::new(gateway.clone(), socket, read_already, self.format);
        tokio::spawn(connection::run(gateway, transport, Opening { native_ping: self.native_ping, ..Opening::default() }));
    }
}

/// Reads the client's side of the handshake and makes ours; an error is what is answered instead.
pub(crate) fn accept(request: &Request<Body>) -> Result<(Response<Body>, Accepted), ApiError> {
    let Query(options) = Query::<Options>::try_from_uri(request.uri()).map_err(|error| ApiError::BadRequest(error.body_text()))?;
    let mut response = create_response_with_body(request, Body::empty)
        .map_err(|error| ApiError::BadRequest(format!("not a WebSocket handshake: {error}")))?;
    let (format, subprotocol) = negotiate(&options, request.headers());
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    Ok((response, Accepted { format, native_ping: options.cf_ws_frame_ping_pong.as_deref() == Some("true") }))
}

/// `GET /connection/websocket`, where it did not come first on its connection.
pub(crate) async fn upgrade(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Response<Body> {
    match accept(&request) {
        Ok((response, accepted)) => Takeover::after(response, Bytes::new(), move |socket, read| accepted.connect(gateway, socket, read)),
        Err(refused) => refused.into_response(),
    }
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
