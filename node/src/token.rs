//! Pure: JSON Web Tokens for trying things out and for services without a library of their own.

use crate::config::secret::Secret;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use protocol::{
    limits::{MEMBER_INFO_BYTES_MAX, USER_BYTES_MAX},
    name::Name,
    time::Now,
};
use serde_json::{Value, json};

/// What a token says.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Claims {
    /// Empty: anonymous.
    pub user: String,
    /// With a channel it is a subscription token for that channel, without one a connection token.
    pub channel: Option<String>,
    /// Any JSON, shown to everybody in the channel.
    pub info: Option<Value>,
    pub ttl_s: u64,
    pub audience: Option<String>,
    pub issuer: Option<String>,
}

/// What is wrong with the claims; a server would refuse such a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadClaims(String);

/// Signs `claims` with HS256; valid from `now` on.
pub fn sign(claims: &Claims, secret: &Secret, now: Now) -> Result<String, BadClaims> {
    if claims.user.len() > USER_BYTES_MAX {
        return Err(BadClaims(format!("--user is longer than {USER_BYTES_MAX} bytes")));
    }
    if claims.info.as_ref().is_some_and(|info| info.to_string().len() > MEMBER_INFO_BYTES_MAX) {
        return Err(BadClaims(format!("--info is longer than {MEMBER_INFO_BYTES_MAX} bytes")));
    }
    let now_s = now.wall_s();
    let mut body = json!({ "sub": claims.user, "iat": now_s, "exp": now_s.saturating_add(claims.ttl_s) });
    if let Some(channel) = &claims.channel {
        Name::parse(channel).map_err(|error| BadClaims(format!("--channel: {error}")))?;
        body["channel"] = json!(channel);
    }
    let optional =
        [("info", claims.info.clone()), ("aud", claims.audience.clone().map(Value::from)), ("iss", claims.issuer.clone().map(Value::from))];
    for (claim, value) in optional.into_iter().filter_map(|(claim, value)| Some((claim, value?))) {
        body[claim] = value;
    }
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &body, &key).map_err(|error| BadClaims(error.to_string()))
}

/// A duration in seconds, written `90`, `90s`, `15m`, `1h` or `7d`; at least one second.
pub fn parse_ttl(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let unit_s = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        _ => None,
    };
    let seconds = digits.parse().ok().zip(unit_s).and_then(|(number, unit_s): (u64, u64)| number.checked_mul(unit_s));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| "write a duration such as 90s, 15m, 1h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    fn claims() -> Claims {
        Claims { user: "alice".into(), channel: None, info: None, ttl_s: 60, audience: None, issuer: None }
    }

    #[test]
    fn a_token_carries_what_was_asked_and_only_that() {
        let (secret, now) = (Secret::new("secret".into()), Now { mono_ms: 0, wall_ms: 4_000_000_000_000 });
        let body = |claims: &Claims| {
            let mut validation = Validation::new(Algorithm::HS256);
            validation.validate_aud = false;
            let key = DecodingKey::from_secret(b"secret");
            jsonwebtoken::decode::<Value>(sign(claims, &secret, now).unwrap(), &key, &validation).unwrap().claims
        };
        assert_eq!(body(&claims()), json!({ "sub": "alice", "iat": 4_000_000_000_u64, "exp": 4_000_000_060_u64 }));
        let full = Claims {
            channel: Some("chat:1".into()),
            info: Some(json!({ "name": "Alice" })),
            audience: Some("app".into()),
            issuer: Some("us".into()),
            ..claims()
        };
        let extra = json!({ "sub": "alice", "iat": 4_000_000_000_u64, "exp": 4_000_000_060_u64, "channel": "chat:1",
            "info": { "name": "Alice" }, "aud": "app", "iss": "us" });
        assert_eq!(body(&full), extra);
    }

    #[test]
    fn claims_that_a_server_would_refuse_are_refused() {
        let refused = |claims: Claims| sign(&claims, &Secret::new("s".into()), Now::default()).unwrap_err().to_string();
        assert_eq!(refused(Claims { user: "x".repeat(256), ..claims() }), "--user is longer than 255 bytes");
        assert_eq!(refused(Claims { channel: Some(String::new()), ..claims() }), "--channel: name is empty");
        assert_eq!(refused(Claims { info: Some("x".repeat(5000).into()), ..claims() }), "--info is longer than 4096 bytes");
    }

    #[test]
    fn a_duration_has_one_unit() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)] {
            assert_eq!(parse_ttl(text), Ok(seconds));
        }
        for bad in ["", "h", "0", "0s", "-1s", "1.5h", "1w", "1hh", "99999999999999999d"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }
}
