//! I/O: the HTTP API: one table of routes, and who may use them. What the routes take and give is described in
//! `openapi.json`, which a test compares with the table.

pub(crate) mod audit;
mod centrifugo;
pub(crate) mod cluster;
mod counters;
mod development;
pub mod error;
pub(crate) mod extract;
pub(crate) mod feed;
mod messages;
#[cfg(test)]
mod openapi;
pub(crate) mod operators;
mod pattern;
pub(crate) mod presence;
pub(crate) mod top;
mod votes;
mod windows;

use crate::{
    auth::Secret,
    gateway::{Gateway, Settings},
    traces,
    transport::events,
};
use axum::{
    body::Body,
    extract::{Query, Request, State},
    handler::Handler,
    http::{HeaderMap, Method, Response, Uri, header},
    middleware::Next,
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, on},
};
use error::ApiError;
use serde::Deserialize;
use std::sync::Arc;
use tracing::Instrument;

/// Who a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Clients, which bring a token if they must.
    Client,
    /// The same, whose session it opens: the door lets them in.
    Session,
    /// Services, which bring an API key.
    Service,
    /// Everybody, on every listener.
    Public,
}

/// One method of one path.
pub(crate) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "the handler knows it too; the test of the document reads it here"))]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) audience: Audience,
    pub(crate) handler: MethodRouter<Arc<Gateway>>,
}

/// Every route of the API.
#[rustfmt::skip] // a table
pub(crate) fn routes() -> Vec<Route> {
    use Audience::{Client, Public, Service, Session};
    vec![
        route(Method::POST, "/v1/channels/{channel}/messages", Service, messages::publish),
        route(Method::GET, "/v1/channels/{channel}/messages", Service, messages::list),
        route(Method::GET, "/v1/channels/{channel}/presence", Service, presence::roster),
        route(Method::GET, "/v1/channels/{channel}/presence/stats", Service, presence::channel_stats),
        route(Method::GET, "/v1/channels/{channel}/events", Session, events::one),
        route(Method::PUT, "/v1/channels/{channel}/subscriptions", Session, events::subscription),
        route(Method::GET, "/v1/events", Session, events::several),
        route(Method::GET, "/v1/presence/stats", Service, presence::totals),
        route(Method::GET, "/v1/presence/rooms", Service, operators::rooms),
        route(Method::POST, "/v1/presence/query", Service, presence::query),
        route(Method::GET, "/v1/users/{user}/presence", Service, presence::user),
        route(Method::PUT, "/v1/users/{user}/contacts", Service, presence::set_contacts),
        route(Method::GET, "/v1/users/{user}/contacts/online", Service, presence::contacts_online),
        route(Method::DELETE, "/v1/users/{user}", Service, presence::erase),
        route(Method::GET, "/v1/counters", Service, counters::read_several),
        route(Method::POST, "/v1/counters/batch", Service, counters::batch),
        route(Method::GET, "/v1/counters/{key}", Service, counters::read),
        route(Method::DELETE, "/v1/counters/{key}", Service, counters::reset),
        route(Method::POST, "/v1/counters/{key}/add", Service, counters::add),
        route(Method::GET, "/v1/counters/{key}/windows", Service, windows::read),
        route(Method::GET, "/v1/counters/{key}/voters", Service, votes::list),
        route(Method::GET, "/v1/counters/{key}/voters/{user}", Service, votes::has_voted),
        route(Method::PUT, "/v1/counters/{key}/voters/{user}", Service, votes::cast),
        route(Method::DELETE, "/v1/counters/{key}/voters/{user}", Service, votes::take_back),
        route(Method::GET, "/v1/hot/counters", Service, operators::hottest),
        route(Method::GET, "/v1/feed", Service, feed::read),
        route(Method::GET, "/v1/top", Service, top::read),
        route(Method::GET, "/v1/ring", Service, cluster::ring),
        route(Method::GET, "/v1/regions", Service, cluster::regions),
        route(Method::POST, "/v1/development/token", Client, development::token),
        route(Method::POST, "/api/publish", Service, centrifugo::publish),
        route(Method::POST, "/api/broadcast", Service, centrifugo::broadcast),
        route(Method::POST, "/api/presence", Service, centrifugo::presence),
        route(Method::POST, "/api/presence_stats", Service, centrifugo::presence_stats),
        route(Method::POST, "/api/history", Service, centrifugo::history),
        route(Method::POST, "/api/channels", Service, centrifugo::channels),
        route(Method::POST, "/api/info", Service, centrifugo::info),
        route(Method::POST, "/api/disconnect", Service, centrifugo::disconnect),
        route(Method::POST, "/api/unsubscribe", Service, centrifugo::unsubscribe),
        route(Method::GET, "/openapi.json", Public, document),
    ]
}

/// Lets requests pass that bring an API key, and in development mode without keys all.
pub(crate) async fn service_only(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response<Body> {
    let Settings { api_keys, development, .. } = &gateway.settings;
    let is_open = *development && api_keys.is_empty();
    let offered = offered_key(request.headers(), request.uri()).and_then(|key| place(api_keys, &key)).or(is_open.then_some(0));
    let Some(key) = offered else {
        return ApiError::Unauthorized("service routes need an API key: send it as `X-API-Key`").into_response();
    };
    match gateway.admission.request(key, (gateway.clock)()) {
        Ok(()) => {
            let span = gateway.span_of_request(&request);
            let response = next.run(request).instrument(span.clone()).await;
            traces::note_answer(&span, &response);
            response
        }
        Err(refused) => ApiError::Refused(refused).into_response(),
    }
}

/// For paths that are not in the table.
pub(crate) async fn not_found() -> ApiError {
    ApiError::NotFound("there is nothing under this path; see /openapi.json")
}

/// For paths that are in the table with other methods.
pub(crate) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../../openapi.json"))
}

fn route<H: Handler<T, Arc<Gateway>>, T: 'static>(method: Method, path: &'static str, audience: Audience, handler: H) -> Route {
    let filter = MethodFilter::try_from(method.clone()).expect("the table has standard methods only");
    Route { method, path, audience, handler: on(filter, handler) }
}

/// The key in `X-API-Key: …`, `Authorization: apikey …` or `?api_key=…`, in this order.
fn offered_key(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    #[derive(Deserialize)]
    struct InQuery {
        api_key: String,
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = || text("authorization")?.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("apikey"));
    let in_headers = text("x-api-key").or_else(|| authorization().map(|(_, key)| key.trim()));
    in_headers.map(str::to_owned).or_else(|| Query::<InQuery>::try_from_uri(uri).ok().map(|Query(query)| query.api_key))
}

/// Which of the keys it is, if any. Compares with every one, so that the time does not tell.
fn place(keys: &[Secret], offered: &str) -> Option<usize> {
    keys.iter().enumerate().fold(None, |found, (place, key)| if key.matches(offered) { Some(place) } else { found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_from_the_header_the_authorization_or_the_query() {
        let offered = |headers: &[(&'static str, &'static str)], uri: &'static str| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            offered_key(&headers, &Uri::from_static(uri))
        };
        assert_eq!(offered(&[("x-api-key", "a")], "/?api_key=b").as_deref(), Some("a"));
        assert_eq!(offered(&[("authorization", "apikey a")], "/").as_deref(), Some("a"));
        assert_eq!(offered(&[("authorization", "ApiKey a")], "/").as_deref(), Some("a"));
        assert_eq!(offered(&[], "/x?limit=1&api_key=a%2Bb").as_deref(), Some("a+b"));
        for (headers, uri) in [(&[][..], "/"), (&[("authorization", "Bearer a")], "/"), (&[], "/?api_keys=a")] {
            assert_eq!(offered(headers, uri), None);
        }
    }

    #[test]
    fn any_of_several_keys_opens_and_no_keys_open_nothing() {
        let keys = [Secret::new("old"), Secret::new("new")];
        assert_eq!((place(&keys, "old"), place(&keys, "new")), (Some(0), Some(1)));
        assert_eq!((place(&keys, ""), place(&keys, "ol"), place(&[], "")), (None, None, None));
    }
}
