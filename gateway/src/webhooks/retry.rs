//! Pure: how long to wait before a request is tried again.

/// The longest that the first wait may be; it doubles with each failure.
const FIRST_MS: u64 = 1_000;
/// The longest that any wait may be. Events are told within that time after the endpoint works again.
const LAST_MS: u64 = 60_000;

/// The wait after so many failures (1 and more), anything up to 1 s · 2ⁿ and 60 s: gateways that have failed together do not
/// come again together. It is not shorter than what the endpoint has asked for in `Retry-After`, if that is in seconds; of those
/// 60 at most count.
pub(super) fn pause_ms(failures: u32, retry_after: Option<&str>, random: u64) -> u64 {
    let bound_ms = FIRST_MS.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(LAST_MS).min(LAST_MS);
    let asked_ms = retry_after.and_then(|seconds| seconds.trim().parse::<u64>().ok()).map_or(0, |seconds| seconds.saturating_mul(1_000));
    (random % (bound_ms + 1)).max(asked_ms.min(LAST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_anything_up_to_a_bound_that_doubles_to_a_minute() {
        for (failures, bound_ms) in [(1, 1_000), (2, 2_000), (3, 4_000), (6, 32_000), (7, 60_000), (8, 60_000), (u32::MAX, 60_000)] {
            assert_eq!(pause_ms(failures, None, bound_ms), bound_ms);
            assert_eq!(pause_ms(failures, None, bound_ms + 1), 0);
            assert!(pause_ms(failures, None, u64::MAX) <= bound_ms);
        }
    }

    #[test]
    fn what_the_endpoint_asks_for_is_waited_but_no_longer_than_a_minute() {
        for (asked, expected_ms) in [
            ("0", 7),
            ("5", 5_000),
            (" 5 ", 5_000),
            ("60", 60_000),
            ("3600", 60_000),
            ("18446744073709551615", 60_000),
            ("-1", 7),
            ("soon", 7),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 7),
        ] {
            assert_eq!(pause_ms(1, Some(asked), 7), expected_ms, "{asked}");
        }
        assert_eq!(pause_ms(7, Some("5"), 40_000), 40_000);
    }
}
