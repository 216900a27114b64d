//! I/O: the change feed for services, as pages and as an event stream. Each event is a page, and its id the cursor behind it, so that an
//! EventSource that comes back goes on where it was.

use super::{error::ApiError, extract::Query};
use crate::{gateway::Gateway, takeover::Takeover};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Response, header},
    response::IntoResponse,
};
use bytes::Bytes;
use counter::{ChangeCursor, ChangePage, Engine};
use protocol::limits::CHANGES_PER_PAGE_MAX;
use serde::{Deserialize, Serialize};
use std::{io::ErrorKind, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

/// Streams of the feed at once; one more is answered 503.
pub(crate) const STREAMS_MAX: usize = 32;
/// Counters in a page, unless the caller says how many.
const PAGE: usize = 1_000;
/// Pause behind the newest page, in which changes of one counter become one.
const PACE: Duration = Duration::from_millis(100);
/// A stream that has nothing to tell says so.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a consumer may take for what is written to it; then its stream ends, and it may come back.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// What an EventSource is told first: when to come back.
const OPENING: &[u8] = b"retry: 1000\n\n";

/// From where on.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    after: Option<String>,
    limit: Option<usize>,
}

/// The body of `GET /v1/feed`, and the data of an event.
#[derive(Serialize)]
pub(crate) struct Page {
    counters: Vec<Changed>,
    next: String,
    seq: u64,
    walk: bool,
    more: bool,
}

/// A value outside of the range of `value` stands in `value_s` alone.
#[derive(Serialize)]
struct Changed {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<i64>,
    value_s: String,
    seq: u64,
}

/// `GET /v1/feed?after=&limit=`
pub(crate) async fn read(
    State(gateway): State<Arc<Gateway>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let engine = gateway.counters.engine().ok_or_else(elsewhere)?;
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if !text(header::ACCEPT).is_some_and(|accept| accept.contains("text/event-stream")) {
        return Ok(axum::Json(page_of(engine, &wanted).await?).into_response());
    }
    let (after, limit) = (cursor(text(header::HeaderName::from_static("last-event-id")).or(wanted.after.as_deref()))?, limit(&wanted));
    let too_many = |_| ApiError::Unavailable("too many streams of the feed are open here");
    let (engine, room) = (engine.clone(), gateway.feeds.clone().try_acquire_owned().map_err(too_many)?);
    let mut response = Response::new(Body::empty());
    let lines = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache, no-store, no-transform")];
    response.headers_mut().extend(lines.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    // What the consumer sends behind its request is nothing that we read.
    Ok(Takeover::after(response, Bytes::from_static(OPENING), move |socket, _| {
        tokio::spawn(async move {
            tell(socket, &engine, after, limit).await;
            drop(room);
        });
    }))
}

/// This gateway has no feed.
fn elsewhere() -> ApiError {
    ApiError::Elsewhere("this gateway keeps no counters: ask the admin listener of a node that does, or one that is both")
}

/// The page of a node that is no gateway.
pub(crate) async fn page_of(engine: &Engine, wanted: &Wanted) -> Result<Page, ApiError> {
    Ok(Page::from(engine.changes(cursor(wanted.after.as_deref())?, limit(wanted)).await?))
}

/// Tells page after page until the consumer is gone, or does not read, or the counters end.
async fn tell(mut socket: TcpStream, engine: &Engine, mut after: Option<ChangeCursor>, limit: usize) {
    loop {
        let page = match engine.changes(after, limit).await {
            Ok(page) => page,
            Err(error) => return tracing::debug!(%error, "a stream of the change feed ends"),
        };
        let (next, is_more) = (page.next, page.is_more);
        if after.replace(next) != Some(next) && !write(&mut socket, &event(page)).await {
            return;
        }
        if is_more {
            continue;
        }
        let is_there = loop {
            tokio::select! {
                is_there = engine.changed(&next) => break is_there,
                () = gone(&socket) => return,
                () = sleep(HEARTBEAT) => if !write(&mut socket, b":\n\n").await { return },
            }
        };
        if !is_there {
            return;
        }
        sleep(PACE).await;
    }
}

async fn write(socket: &mut TcpStream, bytes: &[u8]) -> bool {
    matches!(timeout(WRITE_TIMEOUT, socket.write_all(bytes)).await, Ok(Ok(())))
}

/// Completes when the other side has closed the connection.
async fn gone(socket: &TcpStream) {
    while socket.readable().await.is_ok() {
        match socket.try_read(&mut [0; 512]) {
            Ok(read) if read > 0 => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

fn event(page: ChangePage) -> Vec<u8> {
    let page = Page::from(page);
    // Texts and numbers always serialise, and hold no line breaks.
    let data = serde_json::to_string(&page).unwrap_or_default();
    format!("id: {}\nevent: changes\ndata: {data}\n\n", page.next).into_bytes()
}

fn cursor(text: Option<&str>) -> Result<Option<ChangeCursor>, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|bad: counter::BadCursor| ApiError::BadRequest(bad.to_string()))).transpose()
}

fn limit(wanted: &Wanted) -> usize {
    wanted.limit.unwrap_or(PAGE).clamp(1, CHANGES_PER_PAGE_MAX)
}

impl From<ChangePage> for Page {
    fn from(page: ChangePage) -> Page {
        let ChangePage { counters, seq, next, is_walk, is_more, .. } = page;
        let changed = |counter: counter::ChangedCounter| Changed {
            key: counter.key.as_str().to_owned(),
            value: i64::try_from(counter.value).ok(),
            value_s: counter.value.to_string(),
            seq,
        };
        Page { counters: counters.into_iter().map(changed).collect(), next: next.to_string(), seq, walk: is_walk, more: is_more }
    }
}
