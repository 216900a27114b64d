//! I/O: tokens for trying things out on one's own machine.

use super::{
    error::ApiError,
    extract::{self, Json},
};
use crate::gateway::Gateway;
use axum::extract::State;
use protocol::limits::MEMBER_INFO_BYTES_MAX;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Seconds for which a token is good, unless the request says otherwise.
const TTL_S: u64 = 3600;

/// What the token is to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    user: String,
    info: Option<Value>,
    ttl_s: Option<u64>,
}

/// `POST /v1/development/token`: a connection token for whoever the caller wants to be; nowhere but in development mode.
pub(crate) async fn token(
    State(gateway): State<Arc<Gateway>>,
    wanted: Result<Json<Wanted>, ApiError>,
) -> Result<axum::Json<Value>, ApiError> {
    if !gateway.settings.development {
        return Err(ApiError::NotFound("only in development mode"));
    }
    let Json(Wanted { user, info, ttl_s }) = wanted?;
    let now_s = (gateway.clock)().wall_s();
    let mut claims = json!({ "sub": extract::user(&user)?, "iat": now_s, "exp": now_s.saturating_add(ttl_s.unwrap_or(TTL_S)) });
    if let Some(info) = info {
        if info.to_string().len() > MEMBER_INFO_BYTES_MAX {
            return Err(ApiError::TooLarge(format!("info has at most {MEMBER_INFO_BYTES_MAX} bytes")));
        }
        claims["info"] = info;
    }
    let token = gateway.verifier.sign(&claims).ok_or(ApiError::NotFound("there is no secret to sign with"))?;
    Ok(axum::Json(json!({ "token": token })))
}
