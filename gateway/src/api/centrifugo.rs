//! I/O: the server API of Centrifugo, so that its libraries for services work unchanged: `POST /api/<method>`, unknown
//! fields are ignored, and the answer is HTTP 200 with `{"result":…}` or `{"error":{"code","message"}}`, unless the
//! caller asks for statuses with `X-Centrifugo-Error-Mode: transport`.

use super::{
    error::{ApiError, RefusedAs, status_of},
    extract::{self, LenientJson},
    messages, pattern,
};
use crate::{
    answers::not_known,
    bus::{Post, stream::Range},
    gateway::Gateway,
};
use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, State},
    http::{Response, request::Parts},
    response::IntoResponse,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use protocol::{
    code::{self, ErrorCode},
    control,
    limits::HISTORY_PAGE_MAX,
    message::{self, HistoryRequest, StreamPosition},
    name::Channel,
    namespace::Namespace,
    object::Object,
    payload,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    sync::Arc,
};

/// The arguments of `publish` and, with `channels`, of `broadcast`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Publishing {
    channel: String,
    channels: Vec<String>,
    #[serde(deserialize_with = "payload::deserialize")]
    data: Bytes,
    b64data: String,
    tags: BTreeMap<String, String>,
    skip_history: bool,
    idempotency_key: String,
}

/// The arguments of `presence` and `presence_stats`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Watching {
    channel: String,
}

/// The arguments of `channels`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Listing {
    pattern: String,
}

/// `info` has no arguments.
#[derive(Deserialize)]
pub(crate) struct Nothing {}

/// The arguments of `disconnect` and `unsubscribe`: a user, or one client or session of a user.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Leaving {
    user: String,
    client: String,
    session: String,
    channel: String,
    whitelist: HashSet<String>,
    code: Option<u16>,
    disconnect: Option<Object<Reason>>,
}

#[derive(Deserialize)]
struct Reason {
    code: u16,
}

/// How the caller wants errors.
#[derive(Clone, Copy)]
pub(crate) enum ErrorMode {
    /// In the body of an HTTP 200.
    Body,
    /// As HTTP statuses.
    Transport,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Reply<T> {
    Result(T),
    Error(message::Error),
}

/// `POST /api/publish`
pub(crate) async fn publish(
    State(gateway): State<Arc<Gateway>>,
    mode: ErrorMode,
    LenientJson(request): LenientJson<Publishing>,
) -> Response<Body> {
    let published = async { publish_one(&gateway, &request.channel, post(&gateway, &request)?).await };
    mode.answer(published.await)
}

/// `POST /api/broadcast`: a result for each channel.
pub(crate) async fn broadcast(
    State(gateway): State<Arc<Gateway>>,
    mode: ErrorMode,
    LenientJson(request): LenientJson<Publishing>,
) -> Response<Body> {
    #[derive(Serialize)]
    struct Responses {
        responses: Vec<Reply<StreamPosition>>,
    }
    let post = match post(&gateway, &request) {
        Ok(post) if !request.channels.is_empty() => post,
        Ok(_) => return mode.answer::<()>(Err(ErrorCode::BadRequest)),
        Err(code) => return mode.answer::<()>(Err(code)),
    };
    let mut responses = Vec::with_capacity(request.channels.len());
    for channel in &request.channels {
        responses.push(publish_one(&gateway, channel, post.clone()).await.into());
    }
    mode.answer(Ok(Responses { responses }))
}

/// `POST /api/presence`
pub(crate) async fn presence(
    State(gateway): State<Arc<Gateway>>,
    mode: ErrorMode,
    LenientJson(request): LenientJson<Watching>,
) -> Response<Body> {
    let read = async {
        let channel = available(&gateway, &request.channel, |namespace| namespace.presence)?;
        let presence = gateway.roster_clients(&channel).await.map_err(|error| not_known(&error))?;
        Ok(BTreeMap::from([("presence", presence)]))
    };
    mode.answer(read.await)
}

/// `POST /api/presence_stats`
pub(crate) async fn presence_stats(
    State(gateway): State<Arc<Gateway>>,
    mode: ErrorMode,
    LenientJson(request): LenientJson<Watching>,
) -> Response<Body> {
    let read = async {
        let channel = available(&gateway, &request.channel, |namespace| namespace.presence)?;
        Ok(gateway.presence_stats(&channel).await.map_err(|error| not_known(&error))?.value)
    };
    mode.answer(read.await)
}

/// `POST /api/history`: without a limit only the stream's top.
pub(crate) async fn history(
    State(gateway): State<Arc<Gateway>>,
    mode: ErrorMode,
    LenientJson(request): LenientJson<HistoryRequest>,
) -> Response<Body> {
    let read = async {
        let channel = available(&gateway, &request.channel, |namespace| namespace.history_size > 0)?;
        let limit = usize::try_from(request.limit).unwrap_or(HISTORY_PAGE_MAX);
        let epoch = request.since.as_ref().map_or("", |since| &since.epoch);
        // Some libraries send the offset 0 for "from the end".
        let since = request.since.as_ref().map(|since| since.offset).filter(|offset| *offset > 0);
        gateway.history(&channel, Range { since, limit, reverse: request.reverse }, epoch).await
    };
    mode.answer(read.await)
}

/// `POST /api/channels`: those with subscribers at this gateway; in `pattern`, `*` stands for anything.
pub(crate) async fn channels(
    State(gateway): State<Arc<Gateway>>,
    mode: ErrorMode,
    LenientJson(Listing { pattern }): LenientJson<Listing>,
) -> Response<Body> {
    let found = gateway.hub.channels(|channel| pattern.is_empty() || pattern::fits(&pattern, channel.as_str()));
    let channels: BTreeMap<String, Value> =
        found.into_iter().map(|(channel, clients)| (channel.as_str().to_owned(), json!({ "num_clients": clients }))).collect();
    mode.answer(Ok(json!({ "channels": channels })))
}

/// `POST /api/info`: of this gateway
pub(crate) async fn info(State(gateway): State<Arc<Gateway>>, mode: ErrorMode, _: LenientJson<Nothing>) -> Response<Body> {
    let (clients, users) = gateway.registry.counts();
    let node = json!({
        "uid": gateway.rules.node,
        "name": gateway.rules.node,
        "version": env!("CARGO_PKG_VERSION"),
        "num_clients": clients,
        "num_users": users,
        "num_subs": gateway.hub.channels(|_| true).iter().map(|(_, clients)| clients).sum::<usize>(),
        "num_channels": gateway.hub.channel_count(),
        "uptime": (gateway.clock)().mono_ms / 1000,
    });
    mode.answer(Ok(json!({ "nodes": [node] })))
}

/// `POST /api/disconnect`, at every gateway: with 3503, or another code that clients know. The reason is always the code's own.
pub(crate) async fn disconnect(
    State(gateway): State<Arc<Gateway>>,
    mode: ErrorMode,
    LenientJson(request): LenientJson<Leaving>,
) -> Response<Body> {
    let number = request.code.or(request.disconnect.as_ref().map(|Object(reason)| reason.code));
    let code = number.map_or(Some(code::Disconnect::ForceDisconnect), code::Disconnect::from_number);
    let Some(code) = code else { return mode.answer::<()>(Err(ErrorCode::BadRequest)) };
    let Leaving { user, client, session, whitelist, .. } = request;
    if user.is_empty() {
        return mode.answer::<()>(Err(ErrorCode::BadRequest));
    }
    let wanted = control::Disconnect { user, client, session, whitelist: whitelist.into_iter().collect(), code: code.number().into() };
    mode.answer(gateway.disconnect(wanted).await.map(|()| json!({})))
}

/// `POST /api/unsubscribe`, at every gateway
pub(crate) async fn unsubscribe(
    State(gateway): State<Arc<Gateway>>,
    mode: ErrorMode,
    LenientJson(request): LenientJson<Leaving>,
) -> Response<Body> {
    let Leaving { user, client, session, channel, .. } = request;
    if user.is_empty() || Channel::parse(&channel).is_err() {
        return mode.answer::<()>(Err(ErrorCode::BadRequest));
    }
    let wanted = control::Unsubscribe { user, client, session, channel };
    mode.answer(gateway.end_subscriptions(wanted).await.map(|()| json!({})))
}

impl<S: Send + Sync> FromRequestParts<S> for ErrorMode {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<ErrorMode, Infallible> {
        let is_transport = parts.headers.get("x-centrifugo-error-mode").is_some_and(|mode| mode.as_bytes() == b"transport");
        Ok(if is_transport { ErrorMode::Transport } else { ErrorMode::Body })
    }
}

impl ErrorMode {
    fn answer<T: Serialize>(self, result: Result<T, ErrorCode>) -> Response<Body> {
        let refused = result.as_ref().err().map(|code| RefusedAs(code.parts().1.replace(' ', "_")));
        let mut response = match (self, result) {
            (ErrorMode::Transport, Err(code)) => (status_of(code), Json(code.to_message())).into_response(),
            (_, result) => Json(Reply::from(result)).into_response(),
        };
        if let Some(refused) = refused {
            response.extensions_mut().insert(refused);
        }
        response
    }
}

impl<T> From<Result<T, ErrorCode>> for Reply<T> {
    fn from(result: Result<T, ErrorCode>) -> Reply<T> {
        result.map_or_else(|code| Reply::Error(code.to_message()), Reply::Result)
    }
}

fn post(gateway: &Gateway, request: &Publishing) -> Result<Post, ErrorCode> {
    let data = match given(&request.b64data) {
        Some(text) => BASE64.decode(text).map_err(|_| ErrorCode::BadRequest)?.into(),
        None => request.data.clone(),
    };
    if data.is_empty() {
        return Err(ErrorCode::BadRequest);
    }
    let idempotency_key = given(&request.idempotency_key).map(str::to_owned);
    let post = Post { data, info: None, tags: request.tags.clone(), skip_history: request.skip_history, idempotency_key };
    messages::check(gateway, &post).map_err(|error| error.nearest())?;
    Ok(post)
}

async fn publish_one(gateway: &Gateway, channel: &str, post: Post) -> Result<StreamPosition, ErrorCode> {
    gateway.publish(&available(gateway, channel, |_| true)?, post).await
}

/// A channel whose namespace offers what is asked for.
fn available(gateway: &Gateway, channel: &str, offers: impl Fn(&Namespace) -> bool) -> Result<Channel, ErrorCode> {
    let (channel, namespace) = extract::channel(gateway, channel).map_err(|error: ApiError| error.nearest())?;
    if offers(namespace) { Ok(channel) } else { Err(ErrorCode::NotAvailable) }
}

/// Optional texts are empty when they are not there.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
