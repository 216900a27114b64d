//! Pure: how long to wait after a failure.

/// The longest that the first wait may be; it doubles with each failure.
const FIRST_MS: u64 = 500;
/// The longest that any wait may be. A table is written again within that time after the database works again.
const LAST_MS: u64 = 15_000;

/// The wait after so many failures (1 and more): between half and all of 0.5 s · 2ⁿ, and of 15 s at most.
pub(crate) fn pause_ms(failures: u32, random: u64) -> u64 {
    let bound_ms = FIRST_MS.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(LAST_MS).min(LAST_MS);
    bound_ms / 2 + random % (bound_ms / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_bound_and_are_never_short() {
        for (failures, bound_ms) in [(1, 500), (2, 1_000), (5, 8_000), (6, 15_000), (7, 15_000), (u32::MAX, 15_000)] {
            assert_eq!((pause_ms(failures, 0), pause_ms(failures, bound_ms / 2)), (bound_ms / 2, bound_ms));
            assert!(pause_ms(failures, u64::MAX) <= bound_ms);
        }
    }
}
