//! I/O: reads the golden cases, whose Protobuf bytes Google's implementation made and whose JSON was written by hand.

use bytes::Bytes;
use protocol::frame::Format;
use serde::Deserialize;

/// What holds for a case; `cases.toml` says it at length.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Law {
    /// Both forms read as one message, which is written as exactly these forms.
    Canonical,
    /// Reads as the case named in `reads_as`.
    Read,
    /// The Protobuf form, written as JSON, looks like the JSON form.
    Shown,
}

/// One message in both forms. A form that cannot say the same is absent.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) law: Law,
    pub(crate) reads_as: Option<String>,
    json: Option<String>,
    protobuf_hex: Option<String>,
}

impl Case {
    /// The case as a frame of one message.
    pub(crate) fn frame(&self, format: Format) -> Option<Bytes> {
        match format {
            Format::Json => self.json.clone().map(Bytes::from),
            Format::Protobuf => self.protobuf_hex.as_deref().map(from_hex),
        }
    }
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("cases.json")).expect("cases.json is a list of cases")
}

fn from_hex(text: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("two hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}
