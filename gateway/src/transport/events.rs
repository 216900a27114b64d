//! I/O: events for browsers without any SDK: `GET /v1/events`, `GET /v1/channels/{channel}/events`, and
//! `PUT /v1/channels/{channel}/subscriptions` for callers that can set headers. See the EventSource chapter of the
//! HTML standard (9.2, server-sent events).

use super::stream::Stream;
use crate::{
    api::error::ApiError,
    connection::{self, Opening, Verdict},
    gateway::Gateway,
    hub::broadcast::Wire,
};
use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, Response, StatusCode, header},
    response::IntoResponse,
};
use protocol::{
    code::{Disconnect, ErrorCode},
    frame::{self, Format},
    limits::CHANNELS_PER_CLIENT_MAX,
    message::{Command, ConnectRequest, SubscribeRequest},
    name::{Channel, Name},
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// `GET /v1/events?channel=a&channel=b&token=…`
pub(crate) async fn several(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let channels = query.iter().filter(|(key, _)| key == "channel").map(|(_, channel)| channel.clone()).collect();
    events(gateway, channels, token(&query, &headers), last_event_id(&query, &headers)).await
}

/// `GET /v1/channels/{channel}/events?token=…`
pub(crate) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(channel): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    events(gateway, vec![channel], token(&query, &headers), last_event_id(&query, &headers)).await
}

/// `PUT /v1/channels/{channel}/subscriptions` with `Accept: text/event-stream` and `Authorization: Bearer …`
pub(crate) async fn subscription(
    State(gateway): State<Arc<Gateway>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accepts.contains("text/event-stream") {
        return Err(ApiError::NotAcceptable("this route answers `Accept: text/event-stream` only"));
    }
    events(gateway, vec![channel], token(&[], &headers), last_event_id(&[], &headers)).await
}

async fn events(gateway: Arc<Gateway>, names: Vec<String>, token: String, last_event_id: String) -> Result<Response<Body>, ApiError> {
    if names.is_empty() {
        return Err(ApiError::BadRequest("name at least one channel: ?channel=…".into()));
    }
    if names.len() > CHANNELS_PER_CLIENT_MAX {
        return Err(ErrorCode::LimitExceeded.into());
    }
    let channels = names.iter().map(|name| Name::parse(name)).collect::<Result<Vec<Channel>, _>>()?;
    let mut places = last_event_id.split(',').map(place);
    let subs = channels.iter().map(|channel| {
        let request = match places.next().flatten() {
            Some((epoch, offset)) => SubscribeRequest { recover: true, epoch, offset, join_leave: true, ..SubscribeRequest::default() },
            None => SubscribeRequest { join_leave: true, ..SubscribeRequest::default() },
        };
        (channel.as_str().to_owned(), request)
    });
    let connect = ConnectRequest { token, subs: subs.collect(), ..ConnectRequest::default() };
    let command = Command { id: 1, connect: Some(connect), ..Command::default() };
    let (stream, entrance) = Stream::of_events(&gateway, channels);
    let (verdict, heard) = oneshot::channel();
    let opening =
        Opening { unidirectional: true, first: Some(frame::encode(Format::Json, &command)), verdict: Some(verdict), ..Opening::default() };
    tokio::spawn(connection::run(gateway, stream, opening));
    match heard.await {
        // What a token grants besides has no place in the ids, so that they are the same for all only where it grants nothing.
        Ok(Verdict::Accepted { channels }) => Ok(entrance.response((names.len() == 1 && channels == 1).then_some(Wire::EventWithId))),
        // The only status that tells an EventSource not to come back.
        Ok(Verdict::Refused(ErrorCode::TokenExpired)) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Verdict::Refused(code)) => Err(code.into()),
        Ok(Verdict::Closed(Disconnect::InvalidToken)) => Err(ApiError::Unauthorized("invalid token")),
        Ok(Verdict::Closed(Disconnect::ConnectionLimit)) => Err(ApiError::Unavailable("too many connections")),
        Ok(Verdict::Closed(_)) | Err(_) => Err(ApiError::Unavailable("the connection ended")),
    }
}

/// EventSource cannot set headers, so that these routes, and no others, take the token from the query.
fn token(query: &[(String, String)], headers: &HeaderMap) -> String {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    let in_query = query.iter().find(|(key, _)| key == "token").map(|(_, token)| token.as_str());
    bearer.or(in_query).unwrap_or_default().to_owned()
}

/// By header as browsers send it, or by query for the first request of a page that knows its place.
fn last_event_id(query: &[(String, String)], headers: &HeaderMap) -> String {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let in_query = query.iter().find(|(key, _)| key == "last_event_id" || key == "lastEventId").map(|(_, id)| id.as_str());
    header.or(in_query).unwrap_or_default().to_owned()
}

/// `epoch.offset`
pub(crate) fn place(text: &str) -> Option<(String, u64)> {
    let (epoch, offset) = text.trim().rsplit_once('.')?;
    Some((epoch.to_owned(), offset.parse().ok()?))
}
