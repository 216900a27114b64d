//! I/O: votes for services: who has voted for a counter, on behalf of whom.

use super::{
    counters::{answer, level},
    error::ApiError,
    extract::{self, Paths, Query},
};
use crate::{answers::added_json, gateway::Gateway};
use axum::extract::State;
use counter::{Counted, voting::Voters};
use protocol::{counting::Does, limits::VOTERS_PER_PAGE_MAX};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// How safe a vote must be.
#[derive(Deserialize)]
pub(crate) struct Safe {
    ack: Option<String>,
}

/// Which page of voters.
#[derive(Deserialize)]
pub(crate) struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `PUT /v1/counters/{key}/voters/{user}?ack=`: as often as one likes.
pub(crate) async fn cast(gateway: State<Arc<Gateway>>, paths: Paths, safe: Query<Safe>) -> Result<axum::Json<Value>, ApiError> {
    turn(gateway, paths, safe, true).await
}

/// `DELETE /v1/counters/{key}/voters/{user}?ack=`
pub(crate) async fn take_back(gateway: State<Arc<Gateway>>, paths: Paths, safe: Query<Safe>) -> Result<axum::Json<Value>, ApiError> {
    turn(gateway, paths, safe, false).await
}

async fn turn(
    State(gateway): State<Arc<Gateway>>,
    Paths([key, user]): Paths,
    Query(Safe { ack }): Query<Safe>,
    is_on: bool,
) -> Result<axum::Json<Value>, ApiError> {
    let key = extract::counter_key(&gateway, &key)?;
    let standard = extract::changed(&gateway, &key, Does::Vote { is_on })?.ack;
    let ack = level(ack.as_deref())?.unwrap_or(standard);
    let Counted { added, session } = gateway.counters.vote(&key, &user, is_on, Some(ack)).await?;
    Ok(answer(added_json(&key, &added), &session))
}

/// `GET /v1/counters/{key}/voters/{user}`
pub(crate) async fn has_voted(State(gateway): State<Arc<Gateway>>, Paths([key, user]): Paths) -> Result<axum::Json<Value>, ApiError> {
    let key = extract::counter_key(&gateway, &key)?;
    let voted = gateway.counters.voted(std::slice::from_ref(&key), &user).await?;
    Ok(axum::Json(json!({ "key": key.as_str(), "user": user, "voted": voted.first() == Some(&true) })))
}

/// `GET /v1/counters/{key}/voters?cursor=&limit=`: those who voted last first.
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    extract::Path(key): extract::Path,
    Query(Page { cursor, limit }): Query<Page>,
) -> Result<axum::Json<Value>, ApiError> {
    let key = extract::counter_key(&gateway, &key)?;
    let limit = limit.unwrap_or(VOTERS_PER_PAGE_MAX).clamp(1, VOTERS_PER_PAGE_MAX);
    let page = gateway.counters.voters(&key, cursor.as_deref(), limit).await?;
    let lost = || ApiError::BadRequest("this node knows of no vote of the user in cursor; begin without one".to_owned());
    let Voters { users, next } = page.ok_or_else(lost)?;
    Ok(axum::Json(json!({ "key": key.as_str(), "users": users, "next": next })))
}
