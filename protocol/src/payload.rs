//! Pure: application data, which Headcount carries and never looks into.
//!
//! Protobuf carries it as bytes; JSON embeds it as it stands. Bytes that are not JSON (an SDK may send any over
//! Protobuf) appear to JSON readers as `{"b64":"…"}`.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Serialises bytes as embedded JSON. Newlines are dropped, because they frame the messages around it; inside JSON
/// they can only stand between tokens.
pub fn serialize<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    match to_json(payload) {
        Some(json) => json.serialize(serializer),
        None => Binary { b64: BASE64.encode(payload) }.serialize(serializer),
    }
}

/// Takes the text of any JSON value as bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(Bytes::from(Box::<str>::from(raw).into_string()))
}

fn to_json(payload: &Bytes) -> Option<Box<RawValue>> {
    let mut text = std::str::from_utf8(payload).ok()?.to_owned();
    text.retain(|c| c != '\n' && c != '\r');
    RawValue::from_string(text).ok()
}

#[derive(Serialize)]
struct Binary {
    b64: String,
}
