//! Pure: application data, which Headcount carries and never looks into.
//!
//! Protobuf carries it as bytes; JSON embeds it as it stands. Bytes that are not JSON (an SDK may send any over
//! Protobuf) appear to JSON readers as `{"b64":"…"}`.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Serialises bytes as embedded JSON. Newlines are dropped, because they frame the messages around it; inside JSON
/// they can only stand between tokens (which is why the bytes are checked first: `1\n2` is no JSON, and not twelve).
pub fn serialize<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let Ok(json) = serde_json::from_slice::<&RawValue>(payload) else {
        return Binary { b64: BASE64.encode(payload) }.serialize(serializer);
    };
    if !json.get().contains(NEWLINES) {
        return json.serialize(serializer);
    }
    let line = RawValue::from_string(json.get().replace(NEWLINES, ""));
    line.map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// Takes the text of any JSON value as bytes, `null` included.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(Bytes::from(Box::<str>::from(raw).into_string()))
}

const NEWLINES: [char; 2] = ['\n', '\r'];

#[derive(Serialize)]
struct Binary {
    b64: String,
}
