//! Pure: what a verified token says, and whether it holds now.

use super::{TokenError, visibility::Visibility};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use protocol::limits::{MEMBER_INFO_BYTES_MAX, USER_BYTES_MAX};
use protocol::name::{Channel, Name};
use protocol::time::Now;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Seconds by which another machine's clock may be ahead of ours in `nbf` and `iat`. `exp` has none: it is ours to judge.
const CLOCK_LEEWAY_S: u64 = 60;

/// What a connection token grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionClaims {
    /// The user's id; empty for anonymous clients.
    pub user: String,
    /// Shown to other members as `conn_info`: JSON, or the bytes of `b64info`. Empty when absent.
    pub info: Bytes,
    /// Channels to subscribe the client to on connecting.
    pub channels: Vec<Channel>,
    /// The same with options for each.
    pub subs: BTreeMap<Channel, SubOptions>,
    /// Whether others see the client.
    pub visibility: Visibility,
    /// Wall-clock second at which the connection ends unless refreshed: `expire_at`, else `exp`. `None`: never.
    pub expires_at_s: Option<u64>,
    /// JSON kept with the connection for the server's eyes only. Empty when absent.
    pub meta: Bytes,
}

/// What a subscription token grants. The caller checks `user` and `channel` against the connection and the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionClaims {
    /// The user's id; empty for anonymous clients.
    pub user: String,
    /// The channel, as checked by the grammar of names.
    pub channel: Channel,
    /// Shown to other members as `chan_info`. Empty when absent.
    pub info: Bytes,
    /// Handed to the client in the subscribe result. Empty when absent.
    pub data: Bytes,
    /// Settings of the namespace that are replaced for this subscription.
    pub overrides: Overrides,
    /// Wall-clock second at which the subscription ends unless refreshed: `expire_at`, else `exp`. `None`: never.
    pub expires_at_s: Option<u64>,
}

/// The options of one subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubOptions {
    /// Shown to other members as `chan_info`. Empty when absent.
    pub info: Bytes,
    /// Handed to the client in the subscribe result. Empty when absent.
    pub data: Bytes,
    /// Settings of the namespace that are replaced for this subscription.
    pub overrides: Overrides,
}

/// Settings of the namespace that a token replaces for one subscription; `None` leaves a setting as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Put the client on the channel's roster.
    #[serde(deserialize_with = "switch")]
    pub presence: Option<bool>,
    /// Announce its joining and leaving.
    #[serde(deserialize_with = "switch")]
    pub join_leave: Option<bool>,
    /// Push joins and leaves to it without being asked.
    #[serde(deserialize_with = "switch")]
    pub force_push_join_leave: Option<bool>,
    /// Let it recover what it missed without being asked.
    #[serde(deserialize_with = "switch")]
    pub force_recovery: Option<bool>,
    /// Keep its position in the stream without being asked.
    #[serde(deserialize_with = "switch")]
    pub force_positioning: Option<bool>,
}

/// The claims of a token whose signature is good and whose time is now.
pub(super) struct Claims {
    payload: Payload,
    options: Options,
    expires_at_s: Option<u64>,
}

impl Claims {
    /// Reads a verified payload and judges the claims that do not depend on its purpose. `exp` is the token's end;
    /// `expire_at`, when present, replaces it as the end of what the token grants, 0 meaning never.
    pub(super) fn judge(bytes: &[u8], audience: Option<&str>, issuer: Option<&str>, now: Now) -> Result<Claims, TokenError> {
        let payload: Payload = serde_json::from_slice(bytes).map_err(|_| TokenError::Invalid("malformed claims"))?;
        // Read by themselves, because raw JSON cannot pass through serde's `flatten`.
        let options: Options = serde_json::from_slice(bytes).map_err(|_| TokenError::Invalid("malformed claims"))?;
        if issuer.is_some() && payload.iss.as_deref() != issuer {
            return Err(TokenError::Invalid("wrong issuer"));
        }
        if audience.is_some_and(|audience| !payload.aud.as_ref().is_some_and(|claimed| claimed.contains(audience))) {
            return Err(TokenError::Invalid("wrong audience"));
        }
        let now_s = now.wall_s();
        if [payload.nbf, payload.iat].into_iter().flatten().any(|Second(start)| start > now_s + CLOCK_LEEWAY_S) {
            return Err(TokenError::Invalid("not valid yet"));
        }
        let token_end = payload.exp.map(|Second(end)| end);
        let expires_at_s = match payload.expire_at {
            Some(Second(0)) => None,
            Some(Second(end)) => Some(end),
            None => token_end,
        };
        if [token_end, expires_at_s].into_iter().flatten().any(|end| end <= now_s) {
            return Err(TokenError::Expired);
        }
        Ok(Claims { payload, options, expires_at_s })
    }

    /// As a connection token. One that names a channel was issued for a subscription.
    pub(super) fn connection(self) -> Result<ConnectionClaims, TokenError> {
        let Claims { payload, options, expires_at_s } = self;
        if payload.channel.is_some() {
            return Err(TokenError::Invalid("a subscription token"));
        }
        let subs = payload.subs.unwrap_or_default().into_iter();
        let subscription = |(text, options): (String, Option<Options>)| Ok((channel(&text)?, options.unwrap_or_default().read()?));
        Ok(ConnectionClaims {
            user: user(payload.sub)?,
            info: options.read()?.info,
            channels: payload.channels.unwrap_or_default().iter().map(|text| channel(text)).collect::<Result<_, _>>()?,
            subs: subs.map(subscription).collect::<Result<_, TokenError>>()?,
            visibility: visibility(payload.visibility)?,
            expires_at_s,
            meta: json(payload.meta),
        })
    }

    /// As a subscription token.
    pub(super) fn subscription(self) -> Result<SubscriptionClaims, TokenError> {
        let Claims { payload, options, expires_at_s } = self;
        let text = payload.channel.ok_or(TokenError::Invalid("names no channel"))?;
        let SubOptions { info, data, overrides } = options.read()?;
        Ok(SubscriptionClaims { user: user(payload.sub)?, channel: channel(&text)?, info, data, overrides, expires_at_s })
    }
}

#[derive(Deserialize)]
struct Payload {
    sub: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<Second>,
    nbf: Option<Second>,
    iat: Option<Second>,
    expire_at: Option<Second>,
    channel: Option<String>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, Option<Options>>>,
    meta: Option<Box<RawValue>>,
    /// Of connection tokens only: in others it is a claim that is not ours.
    visibility: Option<Box<RawValue>>,
}

/// In a subscription token and in each entry of `subs`; a connection token has only the info.
#[derive(Default, Deserialize)]
struct Options {
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    r#override: Option<Overrides>,
}

impl Options {
    fn read(self) -> Result<SubOptions, TokenError> {
        let info = json_or_base64(self.info, self.b64info)?;
        if info.len() > MEMBER_INFO_BYTES_MAX {
            return Err(TokenError::Invalid("info is too long"));
        }
        let data = json_or_base64(self.data, self.b64data)?;
        Ok(SubOptions { info, data, overrides: self.r#override.unwrap_or_default() })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn contains(&self, audience: &str) -> bool {
        match self {
            Audience::One(one) => one == audience,
            Audience::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

/// A NumericDate (RFC 7519, section 2): seconds since 1970, of which the fraction is dropped.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
struct Second(u64);

impl TryFrom<f64> for Second {
    type Error = &'static str;

    #[expect(clippy::cast_possible_truncation, reason = "in range, and the fraction is to go")]
    fn try_from(seconds: f64) -> Result<Second, &'static str> {
        (0.0..1e15).contains(&seconds).then_some(Second(seconds as u64)).ok_or("a time out of range")
    }
}

fn user(sub: Option<String>) -> Result<String, TokenError> {
    let user = sub.unwrap_or_default();
    if user.len() > USER_BYTES_MAX || user.chars().any(char::is_control) {
        return Err(TokenError::Invalid("sub is too long or not printable"));
    }
    Ok(user)
}

fn visibility(raw: Option<Box<RawValue>>) -> Result<Visibility, TokenError> {
    let read = raw.map(|raw| serde_json::from_str(raw.get())).transpose();
    read.map(Option::unwrap_or_default).map_err(|_| TokenError::Invalid("visibility is neither public nor invisible"))
}

fn channel(text: &str) -> Result<Channel, TokenError> {
    Name::parse(text).map_err(|_| TokenError::Invalid("names a bad channel"))
}

/// The base64 form wins, as it does in the published servers.
fn json_or_base64(raw: Option<Box<RawValue>>, base64: Option<String>) -> Result<Bytes, TokenError> {
    match base64.filter(|text| !text.is_empty()) {
        Some(text) => BASE64.decode(text).map(Bytes::from).map_err(|_| TokenError::Invalid("malformed base64")),
        None => Ok(json(raw)),
    }
}

fn json(raw: Option<Box<RawValue>>) -> Bytes {
    raw.map(|raw| Bytes::from(Box::<str>::from(raw).into_string())).unwrap_or_default()
}

/// Overrides are written `{"value": true}`, so that an absent one differs from `false`.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    struct Switch {
        value: bool,
    }
    Ok(Option::<Switch>::deserialize(deserializer)?.map(|switch| switch.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW_S: u64 = 1_700_000_000;

    fn judge(payload: &Value) -> Result<Claims, TokenError> {
        Claims::judge(payload.to_string().as_bytes(), None, None, Now { mono_ms: 0, wall_ms: NOW_S * 1000 })
    }

    fn connection(payload: &Value) -> Result<ConnectionClaims, TokenError> {
        judge(payload)?.connection()
    }

    fn subscription(payload: &Value) -> Result<SubscriptionClaims, TokenError> {
        judge(payload)?.subscription()
    }

    fn is_invalid<T>(result: Result<T, TokenError>) -> bool {
        result.is_err_and(|error| matches!(error, TokenError::Invalid(_)))
    }

    #[test]
    fn an_empty_token_is_an_anonymous_client_that_never_expires() {
        assert_eq!(connection(&json!({})), Ok(ConnectionClaims::default()));
        assert_eq!(
            connection(&json!({ "sub": null, "exp": null, "info": null, "channels": null, "subs": null })),
            Ok(ConnectionClaims::default())
        );
    }

    #[test]
    fn exp_ends_the_token_and_expire_at_what_it_grants() {
        let expiry = |payload: Value| connection(&payload).map(|claims| claims.expires_at_s);
        assert_eq!(expiry(json!({ "exp": NOW_S + 1 })), Ok(Some(NOW_S + 1)));
        assert_eq!(expiry(json!({ "exp": NOW_S as f64 + 1.75 })), Ok(Some(NOW_S + 1)));
        assert_eq!(expiry(json!({ "exp": NOW_S })), Err(TokenError::Expired));
        assert_eq!(expiry(json!({ "exp": 0 })), Err(TokenError::Expired));
        assert_eq!(expiry(json!({ "exp": NOW_S + 1, "expire_at": NOW_S + 900 })), Ok(Some(NOW_S + 900)));
        assert_eq!(expiry(json!({ "exp": NOW_S + 1, "expire_at": 0 })), Ok(None));
        assert_eq!(expiry(json!({ "exp": NOW_S, "expire_at": 0 })), Err(TokenError::Expired));
        assert_eq!(expiry(json!({ "expire_at": NOW_S })), Err(TokenError::Expired));
        for bad in [json!("1700000001"), json!(-1), json!(1e300), json!(true)] {
            assert!(is_invalid(expiry(json!({ "exp": bad }))), "{bad}");
        }
    }

    #[test]
    fn a_token_from_the_future_is_refused_beyond_a_minute() {
        for claim in ["nbf", "iat"] {
            assert!(connection(&json!({ claim: NOW_S + 60 })).is_ok());
            assert!(is_invalid(connection(&json!({ claim: NOW_S + 61 }))));
        }
    }

    #[test]
    fn a_user_id_is_bounded_and_printable() {
        let long = "u".repeat(USER_BYTES_MAX);
        assert_eq!(connection(&json!({ "sub": long })).unwrap().user, long);
        assert_eq!(connection(&json!({ "sub": "Zoë 7" })).unwrap().user, "Zoë 7");
        for bad in [json!(format!("{long}u")), json!("a\nb"), json!("a\u{0}"), json!("\u{85}"), json!(42)] {
            assert!(is_invalid(connection(&json!({ "sub": bad }))), "{bad}");
        }
    }

    #[test]
    fn info_is_json_as_it_stands_or_the_bytes_of_b64info() {
        let text = br#"{"sub":"ann","info":{"z":1.50, "a":"\u00e9"},"meta":[1, 2]}"#;
        let claims = Claims::judge(text, None, None, Now::default()).unwrap().connection().unwrap();
        assert_eq!((&claims.info[..], &claims.meta[..]), (&br#"{"z":1.50, "a":"\u00e9"}"#[..], &b"[1, 2]"[..]));
        assert_eq!(connection(&json!({ "info": 1, "b64info": "AP8=" })).unwrap().info, &[0, 255][..]);
        assert_eq!(connection(&json!({ "info": 1, "b64info": "" })).unwrap().info, "1");
        assert!(is_invalid(connection(&json!({ "b64info": "?" }))));
        assert!(connection(&json!({ "info": "i".repeat(MEMBER_INFO_BYTES_MAX - 2) })).is_ok());
        assert!(is_invalid(connection(&json!({ "info": "i".repeat(MEMBER_INFO_BYTES_MAX - 1) }))));
    }

    #[test]
    fn channels_and_subs_are_subscribed_to_with_their_options() {
        let options = json!({ "info": { "n": 1 }, "b64data": "aGk=", "override": { "join_leave": { "value": false }, "presence": { "value": true } } });
        let claims =
            connection(&json!({ "channels": ["news", "$chat:x"], "subs": { "room": options, "plain": {}, "null": null } })).unwrap();
        assert_eq!(claims.channels, ["news", "$chat:x"].map(|text| Name::parse(text).unwrap()));
        let overrides = Overrides { join_leave: Some(false), presence: Some(true), ..Overrides::default() };
        assert_eq!(claims.subs["room"], SubOptions { info: "{\"n\":1}".into(), data: "hi".into(), overrides });
        assert_eq!((&claims.subs["plain"], &claims.subs["null"]), (&SubOptions::default(), &SubOptions::default()));
        for bad in ["", "a b", "a*", &"c".repeat(256)] {
            assert!(is_invalid(connection(&json!({ "channels": [bad] }))), "{bad:?}");
            assert!(is_invalid(connection(&json!({ "subs": { bad: {} } }))), "{bad:?}");
        }
        assert!(is_invalid(connection(&json!({ "subs": { "room": { "override": { "presence": true } } } }))));
    }

    #[test]
    fn a_connection_is_public_unless_its_token_says_that_it_is_invisible() {
        let said = |payload: Value| connection(&payload).map(|claims| claims.visibility);
        assert_eq!(said(json!({ "visibility": "invisible" })), Ok(Visibility::Invisible));
        for public in [json!({}), json!({ "visibility": null }), json!({ "visibility": "public" })] {
            assert_eq!(said(public), Ok(Visibility::Public));
        }
        for bad in [json!("Invisible"), json!("contacts"), json!(""), json!(1), json!({ "invisible": null })] {
            assert!(is_invalid(said(json!({ "visibility": bad }))), "{bad}");
            assert!(subscription(&json!({ "channel": "room", "visibility": bad })).is_ok(), "not ours there: {bad}");
        }
    }

    #[test]
    fn a_subscription_token_carries_one_channel_and_its_options() {
        let claims =
            subscription(&json!({ "sub": "ann", "channel": "$chat:x", "info": [1], "override": { "force_recovery": { "value": true } } }))
                .unwrap();
        assert_eq!((claims.user.as_str(), claims.channel.as_str(), claims.expires_at_s), ("ann", "$chat:x", None));
        let overrides = Overrides { force_recovery: Some(true), ..Overrides::default() };
        assert_eq!((&claims.info[..], &claims.data[..], claims.overrides), (&b"[1]"[..], &b""[..], overrides));
        assert!(is_invalid(subscription(&json!({ "channel": "a b" }))));
        assert!(is_invalid(subscription(&json!({ "channel": "" }))));
        assert!(is_invalid(subscription(&json!({ "sub": "ann" }))));
    }

    #[test]
    fn claims_of_the_wrong_shape_are_refused() {
        for bad in ["", "null", "[]", "7", "{", r#"{"sub":"a","sub":"b"}"#, r#"{"channels":"room"}"#, r#"{"subs":[]}"#, r#"{"aud":{}}"#] {
            assert!(is_invalid(Claims::judge(bad.as_bytes(), None, None, Now::default()).and_then(Claims::connection)), "{bad}");
        }
    }
}
