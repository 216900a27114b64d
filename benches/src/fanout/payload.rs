//! Pure: what every message of a fan-out carries, whichever server carries it: 128 bytes of JSON with its number within its
//! channel, and the time at which it should have been sent.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// What the number stands behind; nothing that a server puts around a message holds it.
pub(super) const MARKER: &[u8] = br#""seq":""#;
/// Digits, with zeros in front: of a fixed width, and strings, because numbers of JSON do not begin with zeros.
const SEQ_DIGITS: usize = 10;
const NS_DIGITS: usize = 16;
/// What stands between the two.
const BETWEEN: &[u8] = br#"","ns":""#;
/// Bytes from the marker to the end of the time.
pub(super) const NEEDED: usize = MARKER.len() + SEQ_DIGITS + BETWEEN.len() + NS_DIGITS;
/// What fills a message up.
const PADDING: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARKER));

/// A message.
pub(super) fn body(seq: u64, ns: u64) -> String {
    format!(r#"{{"seq":"{seq:010}","ns":"{ns:016}","pad":"{PADDING}"}}"#)
}

/// Finds every message in `bytes`, and tells its number and time. Returns how many bytes are done with: what is left may be
/// the beginning of one, unless `is_last` says that nothing follows.
pub(super) fn find(bytes: &[u8], is_last: bool, mut found: impl FnMut(u64, u64)) -> usize {
    let mut done = 0;
    while let Some(place) = FINDER.find(&bytes[done..]) {
        let Some(message) = bytes[done + place..].get(..NEEDED) else {
            return if is_last { bytes.len() } else { done + place };
        };
        let (seq, ns) = (&message[MARKER.len()..][..SEQ_DIGITS], &message[NEEDED - NS_DIGITS..]);
        found(number(seq), number(ns));
        done += place + NEEDED;
    }
    if is_last {
        return bytes.len();
    }
    let rest = &bytes[done..];
    let kept = (1..MARKER.len()).rev().find(|length| rest.len() >= *length && MARKER.starts_with(&rest[rest.len() - length..]));
    bytes.len() - kept.unwrap_or(0)
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit.wrapping_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_json_of_128_bytes() {
        let text = body(7, 1_234_567_890);
        assert_eq!(text.len(), 128);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["seq"], &value["ns"]), (&"0000000007".into(), &"0000001234567890".into()));
    }

    #[test]
    fn messages_are_found_wherever_the_stream_is_cut() {
        let stream = format!("data: {}\n\nid: 5\n{} [\"m\",{}]", body(1, 10), body(2, 20), body(3, 30));
        let stream = stream.as_bytes();
        for cut in 0..=stream.len() {
            let mut found = Vec::new();
            let done = find(&stream[..cut], false, |seq, ns| found.push((seq, ns)));
            assert!(done <= cut && cut - done < NEEDED, "{done} of {cut}");
            assert_eq!(find(&stream[done..], true, |seq, ns| found.push((seq, ns))), stream.len() - done);
            assert_eq!(found, [(1, 10), (2, 20), (3, 30)], "cut at {cut}");
        }
    }
}
