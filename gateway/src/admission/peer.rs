//! I/O: the door, for requests that open a session: from where they come, and the answer to those who are to come later.

use super::{Refused, addresses};
use crate::{api::error::ApiError, gateway::Gateway};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, Response, header},
    middleware::Next,
    response::IntoResponse,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Where a request's connection comes from: an extension of requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Peer {
    /// The client behind it.
    pub(crate) fn client(self, gateway: &Gateway, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
        addresses::client(self.0.ip(), forwarded, &gateway.admission.limits().trusted_proxies)
    }
}

/// Lets a request pass that opens a session, or says when to come back.
pub(crate) async fn let_in(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response<Body> {
    let client = request.extensions().get::<Peer>().map(|peer| peer.client(&gateway, request.headers()));
    match client.map_or(Ok(()), |client| gateway.admission.enter(client, (gateway.clock)())) {
        Ok(()) => next.run(request).await,
        Err(refused) if is_event_source(&request) => come_back(refused),
        Err(refused) => ApiError::Refused(refused).into_response(),
    }
}

/// A browser's EventSource, which takes any status but 200 for the end (HTML, 9.2.3).
fn is_event_source(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"));
    accepts && request.method() == Method::GET
}

/// A stream that ends at once, and says when to open it again.
pub(crate) fn come_back(refused: Refused) -> Response<Body> {
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, format!("retry: {}\n\n", refused.after_s * 1_000)).into_response()
}
