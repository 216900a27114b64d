//! Pure: patterns for names of channels.

/// Whether `text` is `pattern`, in which each `*` stands for any run of bytes.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place leaves most for what follows.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_pattern_stands_for_anything() {
        for (pattern, text) in [("a", "a"), ("*", ""), ("*", "a"), ("chat:*", "chat:"), ("*:1", "x:1"), ("a*b*c", "axbybc"), ("a**b", "ab")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a", ""), ("chat:*", "chat"), ("a*a", "a"), ("a*b*c", "acb"), ("*b*b", "ab")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
