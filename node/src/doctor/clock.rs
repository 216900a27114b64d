//! Pure: what to think of this host's clocks. How far others' clocks are, the checks of those others say.

use super::finding::Finding;
use protocol::time::Now;

/// When this was written, in milliseconds since 1970: a clock before it is wrong.
const WRITTEN_MS: u64 = 1_760_000_000_000;
/// While the doctor looks, both clocks should go equally far.
const DRIFT_MS: u64 = 250;

/// Judges two looks at both clocks.
#[must_use]
pub fn judge(first: Now, last: Now) -> Finding {
    const ID: &str = "clock";
    let advice = "let the host follow NTP (`timedatectl set-ntp true`); tokens, last-seen times and certificates go by this clock";
    if last.wall_ms < WRITTEN_MS {
        return Finding::fail(ID, "", "the clock stands before this program was written", advice);
    }
    let passed = last.mono_ms.saturating_sub(first.mono_ms);
    let jumped = i128::from(last.wall_ms) - i128::from(first.wall_ms) - i128::from(passed);
    if jumped.unsigned_abs() > u128::from(DRIFT_MS) {
        return Finding::warn(ID, "", format!("it was set by {jumped} ms while it was looked at for {passed} ms"), advice);
    }
    Finding::ok(ID, "", format!("goes as the clock that cannot be set, within {} ms in {passed} ms", jumped.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn a_clock_that_jumps_or_stands_in_the_past_is_told() {
        let at = |mono_ms, wall_ms| Now { mono_ms, wall_ms };
        let now = WRITTEN_MS + 10_000_000_000;
        for (first, last, status) in [
            (at(10, now), at(2_010, now + 2_000), Status::Ok),
            (at(10, now), at(2_010, now + 2_250), Status::Ok),
            (at(10, now), at(2_010, now + 2_251), Status::Warn),
            (at(10, now), at(2_010, now - 3_600_000), Status::Warn),
            (at(10, 5), at(2_010, 2_005), Status::Fail),
        ] {
            let finding = judge(first, last);
            assert!(finding.status == status && finding.advice.is_some() == (status >= Status::Warn), "{finding}");
        }
    }
}
