//! I/O: how the HTTP API says no: `{"error":{"code":"snake_case","message":"…"}}` with the fitting status.

use crate::admission::{Reason, Refused};
use axum::{
    Json,
    body::Body,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{Response, StatusCode},
    response::IntoResponse,
};
use counter::{AddError, NotYet, ReadError, Shortage, TokenInvalid, TopError};
use presence::Unavailable;
use protocol::{code::ErrorCode, counting::WrongType, name::NameError, namespace::UnknownNamespace};
use serde_json::{Value, json};
use std::sync::Arc;

/// Why a request was refused. Nothing changed; but whether it did is unknown where [`ApiError::Code`] is
/// `internal_server_error`, and with [`ApiError::Storage`].
#[derive(Debug)]
pub enum ApiError {
    /// An error of the client protocol, with its name as code.
    Code(ErrorCode),
    /// The request is malformed; the text says where.
    BadRequest(String),
    /// The channel or key breaks the grammar of names.
    BadName(NameError),
    /// The name's namespace is not configured.
    UnknownNamespace(UnknownNamespace),
    /// No API key or token, or a wrong one.
    Unauthorized(&'static str),
    /// Known, and not allowed.
    Forbidden(&'static str),
    /// There is nothing under this path or id.
    NotFound(&'static str),
    /// The method does not fit the path.
    MethodNotAllowed,
    /// The caller does not take what this route gives.
    NotAcceptable(&'static str),
    /// The body is not JSON by its own account.
    UnsupportedMediaType,
    /// The body did not come to its end in time.
    Late,
    /// The body or a list in it is too large.
    TooLarge(String),
    /// The same token came with another operation.
    Conflict(&'static str),
    /// The counters of the namespace are not changed so.
    WrongType(WrongType),
    /// There is not enough to be taken from a bounded counter here.
    Insufficient(Shortage),
    /// No bucket keeps an event of that time, or it is ahead of the clock.
    BadTime {
        /// The server's clock in milliseconds since 1970, which is part of the answer.
        server_time_ms: u64,
    },
    /// The token of an operation is no UUID version 7.
    TokenInvalid(TokenInvalid),
    /// The operation needs a token, so that a retry is recognised.
    TokenRequired,
    /// The token's time is over, or has not come yet.
    TokenExpired {
        /// The server's clock in milliseconds since 1970, which is part of the answer.
        server_time_ms: u64,
    },
    /// What the caller has seen, or how fresh it wants it, is not to be had here yet; retry, or ask for less.
    PreconditionFailed(&'static str),
    /// Not now; come back when it says.
    Refused(Refused),
    /// What is asked for is at other nodes; the text says which.
    Elsewhere(&'static str),
    /// For now; retry.
    Unavailable(&'static str),
    /// Counters or presence cannot be changed or read for now; whether a change was made is unknown, unless the text says so.
    Storage(Arc<str>),
}

impl ApiError {
    /// Status, code and message.
    #[must_use]
    pub fn parts(&self) -> (StatusCode, String, String) {
        let of = |status, code: &str, message: &str| (status, code.to_owned(), message.to_owned());
        match self {
            ApiError::Code(code) => {
                let text = code.parts().1;
                (status_of(*code), text.replace(' ', "_"), text.to_owned())
            }
            ApiError::BadRequest(message) => of(StatusCode::BAD_REQUEST, "bad_request", message),
            ApiError::BadName(error) => of(StatusCode::BAD_REQUEST, "bad_name", &error.to_string()),
            ApiError::UnknownNamespace(error) => of(StatusCode::NOT_FOUND, "unknown_channel", &error.to_string()),
            ApiError::Unauthorized(message) => of(StatusCode::UNAUTHORIZED, "unauthorized", message),
            ApiError::Forbidden(message) => of(StatusCode::FORBIDDEN, "permission_denied", message),
            ApiError::NotFound(message) => of(StatusCode::NOT_FOUND, "not_found", message),
            ApiError::MethodNotAllowed => of(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method"),
            ApiError::NotAcceptable(message) => of(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message),
            ApiError::UnsupportedMediaType => {
                of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "send `Content-Type: application/json`")
            }
            ApiError::Late => of(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not come to its end in time"),
            ApiError::TooLarge(message) => of(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message),
            ApiError::Conflict(message) => of(StatusCode::CONFLICT, "conflict", message),
            ApiError::WrongType(error) => of(StatusCode::CONFLICT, "wrong_type", &error.to_string()),
            ApiError::Insufficient(shortage) => of(StatusCode::CONFLICT, "insufficient", &shortage.to_string()),
            ApiError::TokenInvalid(error) => of(StatusCode::BAD_REQUEST, "token_invalid", &error.to_string()),
            ApiError::TokenRequired => of(
                StatusCode::BAD_REQUEST,
                "token_required",
                "give a token (a UUID version 7), so that a retry cannot erase later increments",
            ),
            ApiError::BadTime { .. } => {
                of(StatusCode::BAD_REQUEST, "bad_time", "no bucket keeps an event of that time any more, or it is ahead of the clock")
            }
            ApiError::TokenExpired { .. } => of(StatusCode::GONE, "token_expired", "the token is older than the window of exact retries"),
            ApiError::PreconditionFailed(message) => of(StatusCode::PRECONDITION_FAILED, "precondition_failed", message),
            ApiError::Storage(message) => of(StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable", message),
            ApiError::Refused(Refused { reason: Reason::Address | Reason::Requests, .. }) => {
                of(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "too many from here for now; come back after Retry-After seconds")
            }
            ApiError::Refused(_) => {
                of(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "too many at once; come back after Retry-After seconds")
            }
            ApiError::Elsewhere(message) => of(StatusCode::NOT_IMPLEMENTED, "counters_elsewhere", message),
            ApiError::Unavailable(message) => of(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message),
        }
    }

    /// `{"error":{"code","message"}}`, of an expired token with `server_time_ms`, of a shortage with `here` and `elsewhere`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (_, code, message) = self.parts();
        let mut error = json!({ "code": code, "message": message });
        match self {
            ApiError::TokenExpired { server_time_ms } | ApiError::BadTime { server_time_ms } => {
                error["server_time_ms"] = (*server_time_ms).into();
            }
            ApiError::Insufficient(Shortage { here, elsewhere }) => {
                (error["here"], error["elsewhere"]) = ((*here).into(), (*elsewhere).into());
            }
            _ => {}
        }
        json!({ "error": error })
    }

    /// The nearest error of the client protocol, for APIs with numbers.
    #[must_use]
    pub fn nearest(&self) -> ErrorCode {
        match self {
            ApiError::Code(code) => *code,
            ApiError::UnknownNamespace(_) => ErrorCode::UnknownChannel,
            ApiError::TooLarge(_) => ErrorCode::LimitExceeded,
            ApiError::Refused(_) => ErrorCode::TooManyRequests,
            ApiError::Elsewhere(_) => ErrorCode::NotAvailable,
            ApiError::Unavailable(_) => ErrorCode::Internal,
            ApiError::Storage(_) => ErrorCode::Storage,
            ApiError::Insufficient(_) => ErrorCode::Insufficient,
            _ => ErrorCode::BadRequest,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let (status, code, _) = self.parts();
        let mut response = (status, Json(self.to_json())).into_response();
        response.extensions_mut().insert(RefusedAs(code));
        let after_s = match self {
            ApiError::Refused(refused) => refused.after_s,
            _ => 1,
        };
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
            response.headers_mut().insert(axum::http::header::RETRY_AFTER, after_s.into());
        }
        response
    }
}

/// An extension of responses that say no: the error's code.
#[derive(Clone, Debug)]
pub(crate) struct RefusedAs(pub(crate) String);

/// The status that fits an error of the client protocol.
pub(super) fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unauthorized | ErrorCode::TokenExpired | ErrorCode::Expired => StatusCode::UNAUTHORIZED,
        ErrorCode::UnknownChannel | ErrorCode::MethodNotFound => StatusCode::NOT_FOUND,
        ErrorCode::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorCode::AlreadySubscribed | ErrorCode::ConcurrentPagination | ErrorCode::Insufficient => StatusCode::CONFLICT,
        ErrorCode::LimitExceeded | ErrorCode::BadRequest | ErrorCode::NotAvailable => StatusCode::BAD_REQUEST,
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::UnrecoverablePosition => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::CounterOverflow => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Storage => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> ApiError {
        ApiError::Code(code)
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> ApiError {
        ApiError::BadName(error)
    }
}

impl From<UnknownNamespace> for ApiError {
    fn from(error: UnknownNamespace) -> ApiError {
        ApiError::UnknownNamespace(error)
    }
}

impl From<TokenInvalid> for ApiError {
    fn from(error: TokenInvalid) -> ApiError {
        ApiError::TokenInvalid(error)
    }
}

impl From<WrongType> for ApiError {
    fn from(error: WrongType) -> ApiError {
        ApiError::WrongType(error)
    }
}

impl From<AddError> for ApiError {
    fn from(error: AddError) -> ApiError {
        match error {
            AddError::Overflow(_) => ErrorCode::CounterOverflow.into(),
            AddError::TokenExpired { server_time_ms } => ApiError::TokenExpired { server_time_ms },
            AddError::TokenReused => ApiError::Conflict("the token was used before for another key or amount"),
            AddError::TokensFull => ErrorCode::TooManyRequests.into(),
            AddError::KeysFull => ErrorCode::LimitExceeded.into(),
            AddError::BadVote(bad) => ApiError::BadRequest(bad.to_string()),
            AddError::LongKey => ApiError::BadRequest(error.to_string()),
            AddError::BadTime { server_time_ms } => ApiError::BadTime { server_time_ms },
            AddError::Short(shortage) => ApiError::Insufficient(shortage),
            AddError::VoteWornOut => ApiError::Conflict("the vote was turned as often as one can be, and stays as it is"),
            AddError::Storage(why) => ApiError::Storage(why),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> ApiError {
        match error {
            ReadError::BadSession(bad) => ApiError::BadRequest(bad.to_string()),
            ReadError::Unreachable(why) => ApiError::Storage(why.to_string().into()),
        }
    }
}

impl From<TopError> for ApiError {
    fn from(error: TopError) -> ApiError {
        match error {
            TopError::NotYet(NotYet) => ApiError::Unavailable("all counters are being looked at; ask again in a moment"),
            TopError::Unreachable(why) => ApiError::Storage(why.to_string().into()),
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> ApiError {
        tracing::debug!(%error, "presence");
        ApiError::Storage(error.to_string().into())
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> ApiError {
        match rejection.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::UnsupportedMediaType,
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge(rejection.body_text()),
            _ => ApiError::BadRequest(rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> ApiError {
        ApiError::BadRequest(rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> ApiError {
        ApiError::BadRequest(rejection.body_text())
    }
}
