//! Pure: what is kept of a service's call, or of an operator's order: who, from where, what, of which names, with which result.

use core::net::SocketAddr;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, fmt::Write, sync::Arc};

/// Names of one kind that an entry has; of more, the first, and how many there were.
pub const NAMES_MAX: usize = 32;
/// Characters of a text that came with a call; the rest is left out.
pub const TEXT_CHARS_MAX: usize = 256;

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When it was answered, in milliseconds since 1970.
    pub time_ms: u64,
    /// By which door it came: `http`, `resp` or `admin`.
    pub door: &'static str,
    /// Which API key, by its fingerprint; none where there was none that is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    /// What `X-Forwarded-For` says, unchecked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_for: Option<String>,
    /// The method of HTTP, or the command.
    pub method: String,
    /// The route's pattern, such as `/v1/counters/{key}/add`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// What it concerned, by kind: `channels`, `counters`, `users`, `clients`, `members`.
    #[serde(flatten)]
    pub names: BTreeMap<&'static str, Vec<String>>,
    /// How many names there were, if not all are here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names_total: Option<usize>,
    /// What makes its retry exact.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// The status of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The error's code; none: it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl Entry {
    /// Adds a name of a kind, as far as there is room.
    pub fn name(&mut self, kind: &'static str, name: &str) {
        if name.is_empty() {
            return;
        }
        let names = self.names.entry(kind).or_default();
        if names.len() < NAMES_MAX {
            names.push(shortened(name));
        } else {
            let shown = self.names.values().map(Vec::len).sum();
            *self.names_total.get_or_insert(shown) += 1;
        }
    }

    /// Adds what makes a retry exact, as far as there is room.
    pub fn token(&mut self, token: &str) {
        if !token.is_empty() && self.tokens.len() < NAMES_MAX {
            self.tokens.push(shortened(token));
        }
    }
}

/// Where entries go. It never blocks.
#[derive(Clone)]
pub struct Sink {
    /// Takes an entry.
    pub record: Arc<dyn Fn(Entry) + Send + Sync>,
    /// Whether calls that change nothing are wanted, too.
    pub reads: bool,
}

impl fmt::Debug for Sink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sink").field("reads", &self.reads).finish_non_exhaustive()
    }
}

/// By which a key can be told from others and not be had: eight hexadecimal digits of its SHA-256.
#[must_use]
pub fn fingerprint(key: &str) -> String {
    Sha256::digest(key.as_bytes())[..4].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The beginning of a text that came with a call.
#[must_use]
pub fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_beginning_of_the_sha_256() {
        // FIPS 180-2, B.1.
        assert_eq!(fingerprint("abc"), "ba7816bf");
    }

    #[test]
    fn names_and_texts_are_bounded_and_what_is_left_out_is_counted() {
        let mut entry = Entry::default();
        entry.name("users", "");
        (0..NAMES_MAX + 5).for_each(|_| entry.name("channels", &"é".repeat(TEXT_CHARS_MAX + 1)));
        assert_eq!((entry.names.len(), entry.names["channels"].len(), entry.names_total), (1, NAMES_MAX, Some(NAMES_MAX + 5)));
        assert_eq!(entry.names["channels"][0].chars().count(), TEXT_CHARS_MAX);
    }
}
