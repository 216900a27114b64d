//! I/O: counters for services. Every answer carries the session, which a later read may ask to be covered.

use super::{
    error::ApiError,
    extract::{self, Json, MaybeJson, Path, Query, bounded},
};
use crate::{answers::added_json, gateway::Gateway, live};
use axum::extract::State;
use counter::{Ack, AddOp, Adding, Counted, ReadOne, Seen, Token, replica::Entry};
use protocol::{
    code::ErrorCode,
    counting::Does,
    limits::{COUNTER_BATCH_MAX, COUNTER_KEYS_PER_READ_MAX},
    object::Object,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a read waits for what its session has seen elsewhere.
const COVER_WAIT: Duration = Duration::from_secs(1);

/// How to read one counter.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    detail: Option<Detail>,
    max_staleness_ms: Option<u64>,
    min: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Detail {
    /// What each node has counted.
    Replicas,
}

/// A counter's value.
#[derive(Serialize)]
pub(crate) struct Counter {
    #[serde(flatten)]
    reading: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<BTreeMap<String, Entry>>,
    session: String,
}

/// Which counters to read, by comma.
#[derive(Deserialize)]
pub(crate) struct WantedSeveral {
    keys: String,
}

/// An addition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Addition {
    #[serde(default = "one")]
    by: i64,
    at: Option<u64>,
    token: Option<String>,
    ack: Option<String>,
}

impl Default for Addition {
    fn default() -> Addition {
        Addition { by: one(), at: None, token: None, ack: None }
    }
}

/// Additions to several counters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    ops: Vec<Object<Operation>>,
    ack: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    key: String,
    #[serde(default = "one")]
    by: i64,
    at: Option<u64>,
    token: Option<String>,
}

/// The token of a reset, in the query or in the body.
#[derive(Default, Deserialize)]
pub(crate) struct Reset {
    token: Option<String>,
}

/// `GET /v1/counters/{key}?detail=&max_staleness_ms=&min=`
pub(crate) async fn read(
    State(gateway): State<Arc<Gateway>>,
    Path(key): Path,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<Counter>, ApiError> {
    let key = extract::counter_key(&gateway, &key)?;
    let how = counter::Wanted { min: wanted.min.as_deref().map(|session| (session, COVER_WAIT)), detail: wanted.detail.is_some() };
    let Seen { counters, covered, session } = gateway.counters.read(&[key], how).await?;
    if !covered {
        return Err(ApiError::PreconditionFailed("this node has not yet seen everything that the session has"));
    }
    let read = counters.into_iter().next().ok_or(ErrorCode::Internal)?;
    let reading = reading(&read)?;
    if reading["lag_ms"].as_u64() > wanted.max_staleness_ms.or(Some(u64::MAX)) {
        return Err(ApiError::PreconditionFailed("a region lags by more than max_staleness_ms"));
    }
    let replicas = wanted.detail.map(|Detail::Replicas| read.entries);
    Ok(axum::Json(Counter { reading, replicas, session }))
}

/// `GET /v1/counters?keys=a,b`
pub(crate) async fn read_several(
    State(gateway): State<Arc<Gateway>>,
    Query(wanted): Query<WantedSeveral>,
) -> Result<axum::Json<Value>, ApiError> {
    let keys = bounded("keys", wanted.keys.split(',').collect(), COUNTER_KEYS_PER_READ_MAX)?;
    let keys = keys.into_iter().map(|key| extract::counter_key(&gateway, key)).collect::<Result<Vec<_>, _>>()?;
    let Seen { counters, session, .. } = gateway.counters.read(&keys, counter::Wanted::default()).await?;
    let counter = |read: &ReadOne| reading(read).unwrap_or_else(|error| failed(read.key.as_str(), &error));
    let counters: Vec<Value> = counters.iter().map(counter).collect();
    Ok(axum::Json(json!({ "counters": counters, "session": session })))
}

/// `POST /v1/counters/{key}/add`
pub(crate) async fn add(
    State(gateway): State<Arc<Gateway>>,
    Path(key): Path,
    MaybeJson(addition): MaybeJson<Addition>,
) -> Result<axum::Json<Value>, ApiError> {
    let Addition { by, at, token, ack } = addition;
    let op = operation(&gateway, &key, (by, at), token.as_deref(), level(ack.as_deref())?)?;
    let Counted { added, session } = gateway.counters.add(&op).await?;
    Ok(answer(added_json(&op.key, &added), &session))
}

/// `POST /v1/counters/batch`: each operation has its own result; a bad one does not stop the others.
pub(crate) async fn batch(State(gateway): State<Arc<Gateway>>, Json(batch): Json<Batch>) -> Result<axum::Json<Value>, ApiError> {
    let ack = level(batch.ack.as_deref())?;
    let operations = bounded("operations", batch.ops, COUNTER_BATCH_MAX)?;
    let checked: Vec<Result<AddOp, ApiError>> =
        operations.iter().map(|Object(op)| operation(&gateway, &op.key, (op.by, op.at), op.token.as_deref(), ack)).collect();
    let (answers, session) = gateway.counters.add_many(checked.iter().flatten().cloned().collect()).await;
    let mut answers = answers.into_iter();
    let results = operations.iter().zip(checked).map(|(Object(op), checked)| {
        // The engine has one answer for each operation that passed the check, in the same order.
        let answer = checked.and_then(|op| Ok((op.key, answers.next().ok_or(ErrorCode::Internal)??)));
        answer.map_or_else(|error| failed(&op.key, &error), |(key, added)| added_json(&key, &added))
    });
    let results: Vec<Value> = results.collect();
    Ok(answer(json!({ "results": results }), &session))
}

/// `DELETE /v1/counters/{key}?token=`: what this node knows of the counter no longer counts.
pub(crate) async fn reset(
    State(gateway): State<Arc<Gateway>>,
    Path(key): Path,
    Query(in_query): Query<Reset>,
    MaybeJson(in_body): MaybeJson<Reset>,
) -> Result<axum::Json<Value>, ApiError> {
    let key = extract::counter_key(&gateway, &key)?;
    let token = in_query.token.or(in_body.token).ok_or(ApiError::TokenRequired)?;
    let ack = extract::changed(&gateway, &key, Does::Reset)?.ack;
    let Counted { added, session } = gateway.counters.reset(&key, Some(Token::parse(&token)?), Some(ack)).await?;
    Ok(answer(added_json(&key, &added), &session))
}

pub(super) fn reading(read: &ReadOne) -> Result<Value, ApiError> {
    if read.reading.is_err() { Err(ErrorCode::CounterOverflow.into()) } else { Ok(live::reading(read)) }
}

/// `at` is when it happened, in milliseconds since 1970: now, unless it is said.
fn operation(gateway: &Gateway, key: &str, (by, at): (i64, Option<u64>), token: Option<&str>, ack: Option<Ack>) -> Result<AddOp, ApiError> {
    let (key, token) = (extract::counter_key(gateway, key)?, token.map(Token::parse).transpose()?);
    let namespace = extract::changed(gateway, &key, Does::Add)?;
    let how = Adding::to(namespace, || at.unwrap_or_else(|| (gateway.clock)().wall_ms) / 1_000);
    if at.is_some() && !matches!(how, Adding::Windowed(_)) {
        return Err(ApiError::BadRequest("at is for counters of type windowed: others keep nothing by time".to_owned()));
    }
    Ok(AddOp { key, by, how, token, ack: Some(ack.unwrap_or(namespace.ack)) })
}

pub(super) fn level(name: Option<&str>) -> Result<Option<Ack>, ApiError> {
    let unknown = || ApiError::BadRequest(format!("ack is one of {}", Ack::NAMES.map(|(name, _)| name).join(", ")));
    name.map(|name| Ack::parse(name).ok_or_else(unknown)).transpose()
}

pub(super) fn answer(mut body: Value, session: &str) -> axum::Json<Value> {
    body["session"] = session.into();
    axum::Json(body)
}

/// `{"key","error":{…}}`, beside the results of others.
fn failed(key: &str, error: &ApiError) -> Value {
    let mut failed = error.to_json();
    failed["key"] = key.into();
    failed
}

fn one() -> i64 {
    1
}
