//! Pure: from when to when each client was here, as far as that is needed to say whether somebody was told gone who was here.

use std::collections::VecDeque;

/// Who was here for so long, and still is, must not be told gone: it is longer than any fault lasts, and what follows from it. A leave
/// that is told late, because a link was cut or a Redis node was down, is of before.
pub(super) const SURE_MS: u64 = 90_000;
/// Who comes back within so long without having said that they go was never away: less than the grace, and than a lease.
pub(super) const BACK_MS: u64 = 3_000;
/// Stays that are remembered of one client; older ones end before what may still be asked.
const STAYS_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    from_ms: u64,
    /// When it ended, and whether that was said.
    end: Option<(u64, bool)>,
}

/// Of one client, the last one last.
#[derive(Clone, Debug)]
pub(super) struct Stays {
    stays: VecDeque<Stay>,
    /// For how long it may be away without a word: not at all, where its user has other clients. Only the last one of a user is held for the
    /// grace, so that a user with two is gone at once whose first one was cut off and whose second one then leaves with a word.
    back_ms: u64,
}

impl Stays {
    /// Of a client that is all that its user has, or not.
    pub(super) fn new(is_sole: bool) -> Stays {
        Stays { stays: VecDeque::new(), back_ms: if is_sole { BACK_MS } else { 0 } }
    }

    /// It is here, by its gateway's word.
    pub(super) fn begin(&mut self, now_ms: u64) {
        let back_ms = self.back_ms;
        match self.stays.back_mut() {
            Some(Stay { end: end @ Some((_, false)), .. })
                if end.is_some_and(|(ended_ms, _)| back_ms > 0 && now_ms <= ended_ms + back_ms) =>
            {
                *end = None;
            }
            _ => self.stays.push_back(Stay { from_ms: now_ms, end: None }),
        }
        while self.stays.len() > STAYS_MAX {
            self.stays.pop_front();
        }
    }

    /// It goes, or is cut off.
    pub(super) fn end(&mut self, now_ms: u64, is_said: bool) {
        if let Some(stay) = self.stays.back_mut() {
            stay.end.get_or_insert((now_ms, is_said));
        }
    }

    /// Whether it is wrong to say at that time that it has gone.
    pub(super) fn was_here(&self, at_ms: u64) -> bool {
        self.stays.iter().any(|stay| {
            let is_here = match stay.end {
                None => true,
                Some((ended_ms, true)) => at_ms < ended_ms,
                Some((ended_ms, false)) => at_ms < ended_ms + self.back_ms,
            };
            is_here && stay.from_ms + SURE_MS <= at_ms
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_here_for_long_must_not_be_told_gone() {
        let mut stays = Stays::new(true);
        stays.begin(1_000);
        assert!(!stays.was_here(SURE_MS) && stays.was_here(1_000 + SURE_MS));
        stays.end(200_000, true);
        assert!(stays.was_here(199_999) && !stays.was_here(200_000), "gone with a word");
    }

    #[test]
    fn who_comes_back_soon_was_never_away_unless_they_said_so() {
        for (is_said, back_ms, is_here) in [(false, BACK_MS, true), (false, BACK_MS + 1, false), (true, 100, false)] {
            let mut stays = Stays::new(true);
            stays.begin(0);
            stays.end(100_000, is_said);
            assert_eq!(stays.was_here(99_999 + BACK_MS), !is_said);
            assert!(!stays.was_here(100_001 + BACK_MS));
            stays.begin(100_000 + back_ms);
            assert_eq!(stays.was_here(110_000), is_here, "{back_ms} ms, said: {is_said}");
        }
    }

    #[test]
    fn nobody_holds_a_client_whose_user_has_others() {
        let mut stays = Stays::new(false);
        stays.begin(0);
        stays.end(100_000, false);
        assert!(stays.was_here(99_999) && !stays.was_here(100_000));
        stays.begin(100_001);
        assert!(!stays.was_here(110_000) && stays.was_here(100_001 + SURE_MS));
    }

    #[test]
    fn only_the_last_stays_are_remembered() {
        let mut stays = Stays::new(true);
        for number in 0..100 {
            stays.begin(number * 1_000);
            stays.end(number * 1_000 + 500, true);
        }
        assert_eq!(stays.stays.len(), STAYS_MAX);
    }
}
