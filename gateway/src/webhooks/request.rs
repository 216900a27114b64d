//! Pure: a request to a service, by Standard Webhooks (<https://www.standardwebhooks.com>): its body, its id and what signs it.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use presence::Hook;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{fmt, ops::RangeInclusive, sync::Arc};

/// What a secret's text begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES: RangeInclusive<usize> = 24..=64;
/// Bytes of the hash that an id shows.
const ID_BYTES: usize = 16;

/// What signs requests. `Debug` prints `***`.
#[derive(Clone)]
pub struct SigningSecret(Arc<[u8]>);

/// The text is no secret of Standard Webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be whsec_ and the base64 of 24 to 64 random bytes, as `echo whsec_$(openssl rand -base64 32)` prints")]
pub struct BadSecret;

impl SigningSecret {
    /// Reads a secret as Standard Webhooks writes them.
    pub fn parse(text: &str) -> Result<SigningSecret, BadSecret> {
        let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|base64| STANDARD.decode(base64).ok());
        bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len())).map(|bytes| SigningSecret(bytes.into())).ok_or(BadSecret)
    }

    fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Events of one queue in order, as they are sent; the same however often.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// `webhook-id`: it follows from the first and the last event, between which a queue has always the same ones. It holds no
    /// `.`, which would make it unclear what is signed.
    pub(super) id: String,
    /// `{"events":[…]}`
    pub(super) body: Bytes,
}

#[derive(Serialize)]
struct Body<'a> {
    events: &'a [&'a Hook],
}

impl Request {
    /// `None` if there is nothing to tell.
    pub(super) fn of(hooks: &[&Hook]) -> Option<Request> {
        let (first, last) = (hooks.first()?, hooks.last()?);
        let hash = Sha256::new().chain_update(&*first.id).chain_update("\n").chain_update(&*last.id).finalize();
        let hex: String = hash[..ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Request { id: format!("msg_{hex}"), body: serde_json::to_vec(&Body { events: hooks }).unwrap_or_default().into() })
    }

    /// `webhook-signature` of a try at this time: one for each secret.
    pub(super) fn signatures(&self, secrets: &[SigningSecret], timestamp_s: u64) -> String {
        secrets.iter().map(|secret| secret.sign(&self.id, timestamp_s, &self.body)).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use presence::{HookKind, Stamp};
    use serde_json::{Value, json};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn hook(id: &str, kind: HookKind, name: &str) -> Hook {
        Hook { id: id.into(), kind, name: name.into(), stamp: Stamp { generation: 0x9f3a, seq: 17 }, time_ms: 1_700_000_000_123 }
    }

    #[test]
    fn a_signature_is_that_of_the_published_example() {
        let secret = SigningSecret::parse(SECRET).unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_secret_signs_id_time_and_body() {
        let [old, new] =
            [SECRET.to_owned(), format!("whsec_{}", STANDARD.encode([7; 64]))].map(|text| SigningSecret::parse(&text).unwrap());
        let hook = hook("1", HookKind::Online, "ann");
        let request = Request::of(&[&hook]).unwrap();
        let signatures = request.signatures(&[old.clone(), new.clone()], 5);
        let each: Vec<String> = [&old, &new].iter().map(|secret| secret.sign(&request.id, 5, &request.body)).collect();
        assert_eq!(signatures, each.join(" "));
        let others = [old.sign("msg_x", 5, &request.body), old.sign(&request.id, 6, &request.body), old.sign(&request.id, 5, b"{}")];
        assert!(others.iter().all(|other| *other != each[0]) && each[0] != each[1]);
    }

    #[test]
    fn a_body_has_the_events_in_order_each_with_what_it_is_about() {
        let hooks =
            [hook("a-1", HookKind::Occupied, "chat:\"1\""), hook("a-2", HookKind::Offline, "ann"), hook("a-3", HookKind::ResyncNeeded, "")];
        let request = Request::of(&hooks.iter().collect::<Vec<_>>()).unwrap();
        let told = |id: &str, kind: &str| json!({ "id": id, "type": kind, "gen": "9f3a", "seq": 17, "time_ms": 1_700_000_000_123_u64 });
        let with = |mut told: Value, key: &str, name: &str| {
            told[key] = json!(name);
            told
        };
        let events = [
            with(told("a-1", "occupied"), "channel", "chat:\"1\""),
            with(told("a-2", "offline"), "user", "ann"),
            told("a-3", "resync_needed"),
        ];
        assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), json!({ "events": events }));
        assert_eq!(Request::of(&[]), None);
    }

    #[test]
    fn an_id_is_that_of_the_same_events_again_and_of_no_others() {
        let [a, b, c] = ["a.1", "a.2", "a.3"].map(|id| hook(id, HookKind::Online, "ann"));
        let id = |hooks: &[&Hook]| Request::of(hooks).unwrap().id;
        assert_eq!(id(&[&a, &b, &c]), id(&[&a, &b, &c]));
        let ids = [id(&[&a]), id(&[&b]), id(&[&a, &b]), id(&[&b, &c]), id(&[&a, &b, &c])];
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| id.len() == 36 && !id.contains('.')), "{ids:?}");
    }

    #[test]
    fn a_secret_is_base64_of_enough_bytes_and_never_shows() {
        for bytes in [24, 32, 64] {
            assert!(SigningSecret::parse(&format!("whsec_{}", STANDARD.encode(vec![1; bytes]))).is_ok(), "{bytes}");
        }
        for bytes in [0, 23, 65] {
            assert!(SigningSecret::parse(&format!("whsec_{}", STANDARD.encode(vec![1; bytes]))).is_err(), "{bytes}");
        }
        for text in ["", "whsec_", &SECRET[6..], &SECRET.replace("whsec_", "whsk_"), &SECRET[..SECRET.len() - 1], "whsec_****************"]
        {
            assert!(matches!(SigningSecret::parse(text), Err(BadSecret)), "{text}");
        }
        assert_eq!(format!("{:?}", SigningSecret::parse(SECRET).unwrap()), "***");
    }
}
