//! I/O: a channel's messages: publishing, and reading what is kept.

use super::{
    error::ApiError,
    extract::{self, Json, Path, Query},
};
use crate::{
    bus::{Post, stream::Range},
    gateway::Gateway,
};
use axum::{extract::State, http::HeaderMap};
use bytes::Bytes;
use protocol::{
    code::ErrorCode,
    limits::HISTORY_PAGE_MAX,
    message::{ClientInfo, Publication},
    payload,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Bytes of an idempotency key; a longer one is refused.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A message to publish.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    #[serde(deserialize_with = "payload::deserialize")]
    data: Bytes,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    skip_history: bool,
}

/// Where a message stands in its channel; zero and empty where nothing is kept.
#[derive(Serialize)]
pub(crate) struct Position {
    offset: u64,
    epoch: String,
}

/// Which messages to list.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    limit: Option<usize>,
    since: Option<String>,
    #[serde(default)]
    reverse: bool,
}

/// Some of a channel's messages, the channel's top, and where to go on.
#[derive(Serialize)]
pub(crate) struct Page {
    messages: Vec<Message>,
    epoch: String,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Message {
    offset: u64,
    #[serde(serialize_with = "payload::serialize")]
    data: Bytes,
    time_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<ClientInfo>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    /// Where it was published, if in another region.
    #[serde(skip_serializing_if = "String::is_empty")]
    region: String,
}

/// `POST /v1/channels/{channel}/messages`
pub(crate) async fn publish(
    State(gateway): State<Arc<Gateway>>,
    Path(channel): Path,
    headers: HeaderMap,
    Json(message): Json<NewMessage>,
) -> Result<axum::Json<Position>, ApiError> {
    let (channel, _) = extract::channel(&gateway, &channel)?;
    let NewMessage { data, tags, skip_history } = message;
    let idempotency_key = idempotency_key(&headers)?;
    let post = Post { data, info: None, tags, skip_history, idempotency_key };
    check(&gateway, &post)?;
    let position = gateway.publish(&channel, post).await?;
    Ok(axum::Json(Position { offset: position.offset, epoch: position.epoch }))
}

/// `GET /v1/channels/{channel}/messages?limit=&since=&reverse=`
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Path(channel): Path,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<Page>, ApiError> {
    let (channel, namespace) = extract::channel(&gateway, &channel)?;
    if namespace.history_size == 0 {
        return Err(ErrorCode::NotAvailable.into());
    }
    let (epoch, since) = wanted.since.as_deref().map(place).transpose()?.unzip();
    let limit = wanted.limit.unwrap_or(HISTORY_PAGE_MAX).min(HISTORY_PAGE_MAX);
    let range = Range { since, limit, reverse: wanted.reverse };
    let history = gateway.history(&channel, range, epoch.unwrap_or_default()).await?;
    let (publications, epoch, offset) = (history.publications, history.epoch, history.offset);
    let last = publications.last().map(|publication| publication.offset).filter(|_| publications.len() == limit);
    let next = last.filter(|last| if wanted.reverse { *last > 1 } else { *last < offset }).map(|last| format!("{epoch}.{last}"));
    Ok(axum::Json(Page { messages: publications.into_iter().map(message).collect(), epoch, offset, next }))
}

/// Refuses what no client could be sent, or no retry be known by.
pub(super) fn check(gateway: &Gateway, post: &Post) -> Result<(), ApiError> {
    let most = gateway.settings.message_bytes_max;
    let tags: usize = post.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if post.data.len() + tags > most {
        return Err(ApiError::TooLarge(format!("data and tags of a message have at most {most} bytes")));
    }
    if post.idempotency_key.as_ref().is_some_and(|key| !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())) {
        return Err(ApiError::BadRequest(format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let key = headers.get("idempotency-key").map(|value| value.to_str().map(str::to_owned)).transpose();
    key.map_err(|_| ApiError::BadRequest("Idempotency-Key is not printable ASCII".into()))
}

/// `epoch.offset`, or the offset alone.
fn place(text: &str) -> Result<(&str, u64), ApiError> {
    let (epoch, offset) = text.rsplit_once('.').unwrap_or(("", text));
    let offset = offset.parse().map_err(|_| ApiError::BadRequest("since is `epoch.offset` or an offset".into()))?;
    Ok((epoch, offset))
}

fn message(publication: Publication) -> Message {
    let Publication { offset, data, time, info, tags, region, .. } = publication;
    Message { offset, data, time_ms: time, info, tags, region }
}
