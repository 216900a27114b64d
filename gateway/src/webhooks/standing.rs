//! Pure: how it stands with the endpoint: whether it takes what it is sent, since when not, and what is worth a line in the log.

use protocol::time::Now;

/// For so long an endpoint may fail before the node says that something is wrong with it: one that is restarted is none.
const TROUBLE_AFTER_MS: u64 = 60_000;
/// Between two lines that say that it begins to fail. One that fails now and then would fill the log.
const LINE_PAUSE_MS: u64 = 60_000;

/// It fails while a batch has been tried and is not told.
#[derive(Debug, Default)]
pub(super) struct Standing {
    failing: usize,
    since_ms: u64,
    reason: String,
    /// When the log said last that it begins to fail.
    said_ms: Option<u64>,
    /// Whether the log still has to say that it works again.
    is_said: bool,
}

impl Standing {
    /// A try has failed, for a batch the first one or not. Says whether that is worth a line.
    pub(super) fn failed(&mut self, is_first: bool, reason: &str, now: Now) -> bool {
        reason.clone_into(&mut self.reason);
        if is_first {
            self.failing += 1;
        }
        if !is_first || self.failing > 1 {
            return false;
        }
        self.since_ms = now.mono_ms;
        let is_due = self.said_ms.is_none_or(|said_ms| now.mono_ms.saturating_sub(said_ms) >= LINE_PAUSE_MS);
        if is_due {
            (self.said_ms, self.is_said) = (Some(now.mono_ms), true);
        }
        is_due
    }

    /// A batch that had failed is told, or is for somebody else to tell. Returns after how many milliseconds the endpoint works
    /// again, if that is worth a line.
    pub(super) fn is_over(&mut self, is_told: bool, now: Now) -> Option<u64> {
        self.failing = self.failing.saturating_sub(1);
        if self.failing > 0 {
            return None;
        }
        let was_said = std::mem::take(&mut self.is_said);
        (is_told && was_said).then(|| now.mono_ms.saturating_sub(self.since_ms))
    }

    /// Whether everything that was tried is told.
    pub(super) fn works(&self) -> bool {
        self.failing == 0
    }

    /// What is wrong, if it is for long.
    pub(super) fn trouble(&self, now: Now) -> Option<String> {
        let for_ms = now.mono_ms.saturating_sub(self.since_ms);
        (!self.works() && for_ms > TROUBLE_AFTER_MS)
            .then(|| format!("the endpoint has not taken what it was sent for {} s: {}", for_ms / 1_000, self.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 5 }
    }

    #[test]
    fn an_endpoint_fails_from_the_first_failure_until_no_batch_has_failed_any_more_and_each_end_is_said_once() {
        let mut standing = Standing::default();
        assert!(standing.works());
        assert!(standing.failed(true, "503", at(1_000)));
        assert!(!standing.failed(false, "503", at(2_000)));
        assert!(!standing.failed(true, "timeout", at(3_000)), "another batch");
        assert_eq!(standing.is_over(true, at(4_000)), None);
        assert!(!standing.works());
        assert_eq!(standing.is_over(true, at(9_000)), Some(8_000));
        assert!(standing.works());
    }

    #[test]
    fn one_that_fails_now_and_then_gets_two_lines_in_a_minute() {
        let mut standing = Standing::default();
        let lines = (0..120).map(|second| {
            let began = standing.failed(true, "503", at(second * 1_000));
            usize::from(began) + usize::from(standing.is_over(true, at(second * 1_000 + 500)).is_some())
        });
        assert_eq!(lines.sum::<usize>(), 4);
    }

    #[test]
    fn what_is_given_to_somebody_else_fails_no_longer_and_works_no_sooner() {
        let mut standing = Standing::default();
        standing.failed(true, "503", at(0));
        assert_eq!(standing.is_over(false, at(1_000)), None);
        assert!(standing.works());
    }

    #[test]
    fn trouble_is_a_failure_for_more_than_a_minute_with_the_last_reason() {
        let mut standing = Standing::default();
        assert_eq!(standing.trouble(at(1_000_000)), None);
        standing.failed(true, "503", at(1_000));
        standing.failed(false, "no answer within 10 s", at(50_000));
        assert_eq!(standing.trouble(at(61_000)), None);
        let expected = "the endpoint has not taken what it was sent for 60 s: no answer within 10 s";
        assert_eq!(standing.trouble(at(61_001)).as_deref(), Some(expected));
        standing.is_over(true, at(70_000));
        assert_eq!(standing.trouble(at(1_000_000)), None);
        standing.failed(true, "503", at(1_000_000));
        assert_eq!(standing.trouble(at(1_060_000)), None, "it is another failure");
    }
}
