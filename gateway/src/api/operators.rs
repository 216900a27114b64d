//! I/O: what operators look for: the counters that are added to most often, and the rooms with the most clients.

use super::{error::ApiError, extract::Query};
use crate::gateway::Gateway;
use axum::extract::State;
use counter::{Engine, Hottest};
use presence::{LARGEST_MAX, LargeRoom, Largest, Size};
use protocol::name::NameRef;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Counters in one answer.
const HOTTEST_MAX: usize = 100;
/// How many are named unless the caller says how many.
const NAMED: usize = 20;

/// How many to name.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    limit: Option<usize>,
}

/// The body of `GET /v1/hot/counters`.
#[derive(Serialize)]
pub(crate) struct HotCounters {
    counters: Vec<HotCounter>,
    additions: u64,
    missed_max: u64,
    window_ms: u64,
}

/// A value outside of the range is left out.
#[derive(Serialize)]
struct HotCounter {
    key: Arc<str>,
    additions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_s: Option<String>,
}

/// The body of `GET /v1/presence/rooms`.
#[derive(Serialize)]
pub(crate) struct LargeRooms {
    rooms: Vec<CountedRoom>,
    complete: bool,
}

#[derive(Serialize)]
struct CountedRoom {
    channel: String,
    num_clients: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_users: Option<usize>,
    counted: &'static str,
}

/// `GET /v1/hot/counters?limit=`
pub(crate) async fn hottest(
    State(gateway): State<Arc<Gateway>>,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<HotCounters>, ApiError> {
    let engine = gateway.counters.engine().ok_or(ApiError::NotFound("this gateway keeps no counters itself: ask a node that does"))?;
    Ok(axum::Json(hottest_of(engine, &wanted)))
}

/// The same of a node that is no gateway.
pub(crate) fn hottest_of(engine: &Engine, wanted: &Wanted) -> HotCounters {
    let Hottest { counters, additions, missed_max, window_ms } = engine.hottest(wanted.limit.unwrap_or(NAMED).min(HOTTEST_MAX));
    let with_value = |(key, additions): (Arc<str>, u64)| {
        let read = NameRef::parse(key.as_bytes()).ok().and_then(|key| engine.get(key).ok());
        let value = read.map(Option::unwrap_or_default);
        HotCounter { value, value_s: value.map(|value| value.to_string()), key, additions }
    };
    HotCounters { counters: counters.into_iter().map(with_value).collect(), additions, missed_max, window_ms }
}

/// `GET /v1/presence/rooms?limit=`
pub(crate) async fn rooms(State(gateway): State<Arc<Gateway>>, Query(wanted): Query<Wanted>) -> axum::Json<LargeRooms> {
    let Largest { rooms, is_complete } = gateway.presence.largest(wanted.limit.unwrap_or(NAMED).min(LARGEST_MAX));
    let counted = |LargeRoom { channel, size }| {
        let (num_clients, num_users, counted) = match size {
            Size::Region(stats) => (stats.clients, Some(stats.users), "region"),
            Size::Gateway(clients) => (clients, None, "gateway"),
        };
        CountedRoom { channel: channel.as_str().to_owned(), num_clients, num_users, counted }
    };
    axum::Json(LargeRooms { rooms: rooms.into_iter().map(counted).collect(), complete: is_complete })
}
