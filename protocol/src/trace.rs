//! Pure: the trace that a request belongs to, as its caller says (W3C Trace Context), and how spans are told from all else.

/// The target of spans that are exported. They are seen by nobody unless traces are configured.
pub const SPANS: &str = "trace";
/// The target of a span that only gives lines of the log the trace id of their request.
pub const LINES: &str = "request";

/// What a `traceparent` says (section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent<'a> {
    /// 32 hexadecimal digits, not all of them 0.
    pub trace_id: &'a str,
    /// The caller's span: 16 hexadecimal digits, not all of them 0.
    pub parent_id: &'a str,
    /// The caller records its spans, and wants ours.
    pub is_sampled: bool,
}

impl Traceparent<'_> {
    /// Reads a header's value; `None` if it is none, and then it counts as not there.
    #[must_use]
    pub fn parse(text: &str) -> Option<Traceparent<'_>> {
        let is_hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.split('-');
        let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_whole = is_hex(version, 2) && version != "ff" && is_hex(trace_id, 32) && is_hex(parent_id, 16) && is_hex(flags, 2);
        let is_alone = version != "00" || parts.next().is_none();
        let is_set = trace_id.bytes().any(|byte| byte != b'0') && parent_id.bytes().any(|byte| byte != b'0');
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (is_whole && is_alone && is_set).then_some(Traceparent { trace_id, parent_id, is_sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_tells_the_trace_the_callers_span_and_whether_it_is_recorded() {
        for (text, is_sampled) in [
            (format!("00-{TRACE}-{PARENT}-01"), true),
            (format!("00-{TRACE}-{PARENT}-00"), false),
            // Other flags than the first are not ours to read.
            (format!("00-{TRACE}-{PARENT}-fe"), false),
            (format!("00-{TRACE}-{PARENT}-ff"), true),
            // Later versions may say more.
            (format!("01-{TRACE}-{PARENT}-01-more"), true),
        ] {
            assert_eq!(Traceparent::parse(&text), Some(Traceparent { trace_id: TRACE, parent_id: PARENT, is_sampled }), "{text}");
        }
    }

    #[test]
    fn what_is_no_traceparent_counts_as_not_there() {
        for bad in [
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{PARENT}-+1"),
            TRACE.to_owned(),
            String::new(),
        ] {
            assert_eq!(Traceparent::parse(&bad), None, "{bad}");
        }
    }
}
