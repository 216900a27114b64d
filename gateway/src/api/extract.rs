//! I/O: reads requests, and says what is wrong with them as an [`ApiError`].

use super::error::ApiError;
use crate::gateway::Gateway;
use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use protocol::{
    code::ErrorCode,
    counting::Does,
    limits::USER_BYTES_MAX,
    name::{Channel, CounterKey},
    namespace::{Namespace, RESERVED},
    object::Object,
};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A JSON body that says so in its `Content-Type`.
pub(crate) struct Json<T>(pub T);
/// A JSON body, or none at all.
pub(crate) struct MaybeJson<T>(pub T);
/// JSON whatever its `Content-Type` says, except in development mode, where a page of anybody could send it.
pub(crate) struct LenientJson<T>(pub T);
/// The query; parameters that a route does not know are ignored.
pub(crate) struct Query<T>(pub T);
/// The one variable part of a path, decoded.
pub(crate) struct Path(pub String);

/// The two variable parts of a path, decoded.
pub(crate) struct Paths(pub [String; 2]);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, ApiError> {
        let axum::Json(Object(body)) = axum::Json::from_request(request, state).await?;
        Ok(Json(body))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<MaybeJson<T>, ApiError> {
        if request.body().is_end_stream() {
            return Ok(MaybeJson(T::default()));
        }
        Json::from_request(request, state).await.map(|Json(body)| MaybeJson(body))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Gateway>> for LenientJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Arc<Gateway>) -> Result<LenientJson<T>, ApiError> {
        if gateway.settings.development {
            return Json::from_request(request, gateway).await.map(|Json(body)| LenientJson(body));
        }
        let body = Bytes::from_request(request, gateway).await.map_err(|rejection| ApiError::TooLarge(rejection.body_text()))?;
        let axum::Json(Object(body)) = axum::Json::from_bytes(&body)?;
        Ok(LenientJson(body))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, ApiError> {
        let axum::extract::Query(query) = axum::extract::Query::try_from_uri(&parts.uri)?;
        Ok(Query(query))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path, ApiError> {
        let axum::extract::Path(text) = axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Path(text))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Paths {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Paths, ApiError> {
        let axum::extract::Path((one, other)) = axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Paths([one, other]))
    }
}

/// A channel that services may use, and its namespace: any that is configured, private and user-limited ones too, but
/// none of those that Headcount itself answers.
pub(super) fn channel<'a>(gateway: &'a Gateway, text: &str) -> Result<(Channel, &'a Namespace), ApiError> {
    let channel = Channel::parse(text)?;
    if channel.namespace().is_some_and(|namespace| RESERVED.contains(&namespace)) {
        return Err(ErrorCode::NotAvailable.into());
    }
    let namespace = gateway.rules.namespaces.of_channel(&channel)?;
    Ok((channel, namespace))
}

/// A counter's key in a namespace that is configured.
pub(super) fn counter_key(gateway: &Gateway, text: &str) -> Result<CounterKey, ApiError> {
    let key = CounterKey::parse(text)?;
    gateway.rules.namespaces.of_counter(key.by_ref())?;
    Ok(key)
}

/// How safe a change of a counter must be, where its namespace allows this one.
pub(super) fn changed<'a>(gateway: &'a Gateway, key: &CounterKey, does: Does) -> Result<&'a Namespace, ApiError> {
    let namespace = gateway.rules.namespaces.of_counter(key.by_ref())?;
    namespace.counter_type.check(does)?;
    Ok(namespace)
}

/// A user's id.
pub(super) fn user(text: &str) -> Result<&str, ApiError> {
    match text.len() {
        1..=USER_BYTES_MAX => Ok(text),
        _ => Err(ApiError::BadRequest(format!("a user id has 1 to {USER_BYTES_MAX} bytes"))),
    }
}

/// A list in a body that may have `most` elements.
pub(super) fn bounded<T>(what: &str, list: Vec<T>, most: usize) -> Result<Vec<T>, ApiError> {
    if list.len() > most { Err(ApiError::TooLarge(format!("at most {most} {what} in one request"))) } else { Ok(list) }
}
