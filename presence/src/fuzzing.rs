//! Pure: decoders of this crate that are private otherwise, for the fuzz targets and their tests alone.

use crate::page::{BadCursor, cursor_after, parse_cursor};

/// A cursor as it is written again after it was read.
pub fn cursor(text: &str) -> Result<String, BadCursor> {
    parse_cursor(text).map(|key| cursor_after(&key))
}
