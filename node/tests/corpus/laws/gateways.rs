//! Pure: what clients, issuers and other gateways say to a gateway, beside commands.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::FutureExt;
use gateway::{
    auth::{AuthConfig, Secret, Verifier},
    fuzzing,
};
use hmac::{Hmac, KeyInit, Mac};
use protocol::{control::Control, envelope, envelope::Envelope, time::Now};
use sha2::Sha256;

const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
const NOW: Now = Now { mono_ms: 5_000, wall_ms: 1_800_000_000_000 };
/// Bytes of a WebSocket message here.
const MESSAGE_BYTES_MAX: usize = 1000;

/// Any bytes are a publication on its way, or are refused; what was read is written in no more bytes, and reads back the same.
pub(crate) fn bus_envelope(bytes: &[u8]) {
    _ = envelope::kept(Bytes::copy_from_slice(bytes), 7);
    let Ok(read) = Envelope::decode(Bytes::copy_from_slice(bytes)) else { return };
    let written = read.encode();
    assert!(written.len() <= bytes.len(), "{} bytes became {}", bytes.len(), written.len());
    assert_eq!(Envelope::decode(written), Ok(read));
}

/// Any bytes are an order between gateways, or are refused; the same.
pub(crate) fn bus_control(bytes: &[u8]) {
    let Ok(read) = Control::from_bytes(Bytes::copy_from_slice(bytes)) else { return };
    let written = read.to_bytes();
    assert!(written.len() <= bytes.len(), "{} bytes became {}", bytes.len(), written.len());
    assert_eq!(Control::from_bytes(written), Ok(read));
}

/// Any document has at most a hundred keys, or is refused in words.
pub(crate) fn jwks(bytes: &[u8]) {
    match fuzzing::keys(bytes) {
        Ok(keys) => assert!(keys <= 100),
        Err(refused) => assert!(!refused.is_empty()),
    }
}

/// No text is a token of ours, unless it was signed with our secret; as what was not, it is refused in words.
pub(crate) fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let refused = verifier().connection(text, NOW).now_or_never().expect("no issuer is asked").err();
    assert!(!refused.expect("nobody has signed it").to_string().is_empty());
    assert!(verifier().subscription(text, NOW).now_or_never().expect("no issuer is asked").is_err());
}

/// Any signed payload grants something, or is refused in words; never both a connection and a subscription.
pub(crate) fn claims(bytes: &[u8]) {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(bytes));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any key");
    mac.update(signed.as_bytes());
    let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    let connection = verifier().connection(&text, NOW).now_or_never().expect("no issuer is asked");
    let subscription = verifier().subscription(&text, NOW).now_or_never().expect("no issuer is asked");
    assert!(connection.is_err() || subscription.is_err(), "{connection:?} {subscription:?}");
    for refused in [connection.err(), subscription.err()].into_iter().flatten() {
        assert!(!refused.to_string().is_empty());
    }
}

fn verifier() -> Verifier {
    let secret = Secret::new(str::from_utf8(SECRET).expect("text"));
    Verifier::new(AuthConfig { hmac_secrets: vec![secret], ..AuthConfig::default() }).expect("a good configuration")
}

/// Only a whole head that asks for a stream is taken, and no more than it: not one that brings a body.
pub(crate) fn first_request(bytes: &[u8]) {
    let Some((path, headers, length)) = fuzzing::first_request(bytes) else { return };
    let head = bytes.get(..length).expect("no more than there is");
    // Empty lines may come before it (RFC 9112, section 2.2).
    assert!(head.trim_ascii_start().starts_with(b"GET ") && head.ends_with(b"\n"), "{path}");
    assert!(headers <= 32 && fuzzing::first_request(head).is_some_and(|again| again == (path, headers, length)));
    let lower = head.to_ascii_lowercase();
    for name in [&b"\ncontent-length:"[..], b"\ntransfer-encoding:"] {
        assert!(!lower.windows(name.len()).any(|found| found == name), "it has a body");
    }
}

/// A place is read back from what it is written as; the list of an event's id likewise.
pub(crate) fn event_place(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for part in text.split(',') {
        let Some((epoch, offset)) = fuzzing::place(part) else { continue };
        assert_eq!(fuzzing::place(&format!("{epoch}.{offset}")), Some((epoch.trim_start().to_owned(), offset)));
    }
}

/// The commands of an emulation request are no longer than the request.
pub(crate) fn emulation(bytes: &[u8]) {
    let Some((session, commands)) = fuzzing::emulation(bytes) else { return };
    assert!(session.len() + commands.len() <= bytes.len());
}

/// What frames say is the same however their bytes are cut, and not more than the bytes; no message is larger than allowed; and who
/// breaks the rules hears one of three codes.
pub(crate) fn websocket_frames(bytes: &[u8]) {
    let whole = fuzzing::frames(bytes, bytes.len(), MESSAGE_BYTES_MAX);
    for piece_bytes in [1, 5, 60] {
        assert_eq!(fuzzing::frames(bytes, piece_bytes, MESSAGE_BYTES_MAX), whole, "in pieces of {piece_bytes}");
    }
    let (said, end) = whole;
    assert!(said.iter().map(|(_, payload)| payload.len()).sum::<usize>() <= bytes.len());
    for (kind, payload) in said {
        assert!(payload.len() <= if kind == "message" { MESSAGE_BYTES_MAX } else { 125 }, "{kind}");
    }
    assert!(end.is_none_or(|code| [1002, 1007, 1008, 1009].contains(&code)), "{end:?}");
}
