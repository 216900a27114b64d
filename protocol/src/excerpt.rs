//! Pure: as much of what cannot be read as goes into a log.

/// Bytes of a payload that are shown.
pub const EXCERPT_BYTES_MAX: usize = 64;

/// The beginning of `bytes` in printable ASCII, everything else escaped, and how long they are if there is more: nothing in it breaks a
/// line of the log or speaks to a terminal.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    let (shown, rest) = bytes.split_at(bytes.len().min(EXCERPT_BYTES_MAX));
    match rest.len() {
        0 => shown.escape_ascii().to_string(),
        more => format!("{} and {more} bytes more", shown.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_printable_whatever_it_is_of() {
        assert_eq!(excerpt(b"ab\n\x1b[31m\xff\""), r#"ab\n\x1b[31m\xff\""#);
        let long = excerpt(&[0; 1 << 20]);
        assert!(long.len() <= 4 * EXCERPT_BYTES_MAX + 30 && long.ends_with(" and 1048512 bytes more"), "{long}");
    }
}
