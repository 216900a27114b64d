//! Pure: text that no log, error or printed configuration may show.

use std::fmt;

/// What stands for a secret wherever one would be shown; refused as a value, so that a printed configuration cannot be
/// loaded with it.
pub const REDACTED: &str = "***";

/// A secret. Its `Debug` is [`REDACTED`]; it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(REDACTED)
    }
}
