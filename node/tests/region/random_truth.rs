//! Who was where in a random run, what was broken when, and whether watchers were told just that. All times in milliseconds
//! from the beginning of the run.
//!
//! A guest's user *must* be shown from its gateway's word on until the guest goes, and *may* be shown from its first try on
//! until what it left behind is cleaned up. What a watcher was told lies between the two: so nobody is told gone who is here,
//! nobody stays for long who is not, and each time that somebody is here is told as one join and one leave.

use std::collections::BTreeSet;

pub(crate) const LEASE_MS: u64 = 2_000;
pub(crate) const GRACE_MS: u64 = 3_000;
/// A gateway is dead that was not heard for so long, if its lease is over; …
const SILENT_MS: u64 = 5_000;
/// … so long after its end its rows are gone.
const CRASH_MS: u64 = LEASE_MS + SILENT_MS + 2_000;
/// After trouble of etcd, of Redis, or of a reaper: until all judge again, look at the owners again, and have taken rows away.
const AFTER_MS: u64 = (LEASE_MS + 2_000) + SILENT_MS + 5_000 + 2_000;
/// A gateway that goes on has announced all its clients as those of a new incarnation after so long.
const RETURN_MS: u64 = 8_000;
/// What is done is told within so long, and a machine that does a lot may be late by so much more.
const TOLD_MS: u64 = 3_000;
const SLOW_MS: u64 = 4_000;

pub(crate) type Span = (u64, u64);

/// How a guest's presence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a word.
    Left,
    /// Without one, by itself or because it was not let in to the end.
    Dropped,
}

/// A guest at a gateway.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    pub(crate) user: String,
    pub(crate) room: usize,
    pub(crate) gateway: usize,
    pub(crate) asked_ms: u64,
    /// Everybody can see it, by its gateway's word.
    pub(crate) here_ms: Option<u64>,
    pub(crate) end: Option<(u64, End)>,
}

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Killed(usize),
    Still(usize),
    Cut(usize),
    Etcd,
    Redis,
    /// Its data is gone.
    Data,
    /// Slots move, which is the same to presence.
    Slots,
}

/// From when to when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    pub(crate) part: Part,
    pub(crate) from_ms: u64,
    /// `None`: still.
    pub(crate) to_ms: Option<u64>,
}

/// What one watcher was told of a room, until its gateway was broken or the run was over.
#[derive(Clone, Debug)]
pub(crate) struct Testimony {
    pub(crate) gateway: usize,
    pub(crate) room: usize,
    pub(crate) until_ms: u64,
    /// When, who, and whether they came.
    pub(crate) told: Vec<(u64, String, bool)>,
    /// Who was seen to go by the roster's diffs.
    pub(crate) left: Vec<(u64, String)>,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) stays: Vec<Stay>,
    pub(crate) troubles: Vec<Trouble>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) wrongs: Vec<String>,
    /// For how long somebody was shown after the end at most; …
    pub(crate) ghost_ms: u64,
    /// … where nothing else was broken; …
    pub(crate) calm_ghost_ms: u64,
    /// … and else after that was mended.
    pub(crate) mended_ghost_ms: u64,
}

/// Until when somebody may be shown, and what that is measured from.
#[derive(Clone, Copy, Debug)]
struct Limit {
    to_ms: u64,
    from_ms: u64,
    end_ms: u64,
    is_after_trouble: bool,
}

impl Truth {
    pub(crate) fn begin(&mut self, part: Part, now_ms: u64) {
        self.troubles.push(Trouble { part, from_ms: now_ms, to_ms: None });
    }

    pub(crate) fn end(&mut self, part: Part, now_ms: u64) {
        self.troubles.iter_mut().filter(|trouble| trouble.part == part && trouble.to_ms.is_none()).for_each(|t| t.to_ms = Some(now_ms));
    }

    /// Whether a gateway stood still for so long that it may have been taken for dead.
    pub(crate) fn may_be_taken_for_dead(&self, gateway: usize) -> bool {
        self.overlapping((0, u64::MAX)).any(|(trouble, to_ms)| trouble.part == Part::Still(gateway) && to_ms - trouble.from_ms >= SILENT_MS)
    }

    /// Compares what a watcher was told with what was true.
    pub(crate) fn judge(&self, testimony: &Testimony, verdict: &mut Verdict) {
        let Testimony { gateway, room, until_ms, told, left } = testimony;
        let told: Vec<_> = told.iter().filter(|(at_ms, ..)| at_ms <= until_ms).collect();
        let users: BTreeSet<&String> = self.stays.iter().filter(|stay| stay.room == *room).map(|stay| &stay.user).collect();
        let mut blame = |user: &str, what: String| verdict.wrongs.push(format!("told at g{gateway} of {user} in room {room}: {what}"));
        for user in users {
            let (must, limits) = (self.must_be_shown(user, *room), self.limits(user, *room));
            let may = united(limits.iter().map(|(stay, limit)| (stay.asked_ms, limit.to_ms)).collect());
            let mut shown: Vec<Span> = Vec::new();
            for (at_ms, _, is_join) in told.iter().filter(|(_, member, _)| member == user) {
                match (is_join, shown.last_mut()) {
                    (true, _) => shown.push((*at_ms, *until_ms)),
                    (false, Some((_, to_ms))) => *to_ms = *at_ms,
                    (false, None) => {}
                }
            }
            let pushed = told.iter().filter(|(_, member, is_join)| member == user && !is_join).map(|(at_ms, ..)| *at_ms);
            let by_diffs = left.iter().filter(|(at_ms, member)| member == user && at_ms <= until_ms).map(|(at_ms, _)| *at_ms);
            for at_ms in pushed.chain(by_diffs) {
                // What is told was so a moment ago.
                if must.iter().any(|(from_ms, to_ms)| from_ms + TOLD_MS <= at_ms && at_ms <= *to_ms) {
                    blame(user, format!("gone at {at_ms}, and was here {must:?}"));
                }
            }
            for (from_ms, to_ms) in &shown {
                if !may.iter().any(|(may_ms, end_ms)| may_ms <= from_ms && to_ms <= end_ms) {
                    blame(user, format!("here from {from_ms} to {to_ms}, and could be {may:?}"));
                }
            }
            for (from_ms, to_ms) in &must {
                let seen_ms = self.seen_ms(*from_ms);
                if seen_ms <= (*to_ms).min(*until_ms)
                    && !shown.iter().any(|(join_ms, leave_ms)| join_ms <= &seen_ms && &seen_ms <= leave_ms)
                {
                    blame(user, format!("not here at {seen_ms}, and was {must:?}; shown {shown:?}"));
                }
            }
            for (_, leave_ms) in shown.iter().filter(|(_, to_ms)| to_ms < until_ms) {
                let begun = limits.iter().filter(|(stay, _)| stay.asked_ms <= *leave_ms);
                let Some((_, last)) = begun.max_by_key(|(_, limit)| limit.end_ms) else { continue };
                let longest_ms = if last.is_after_trouble { &mut verdict.mended_ghost_ms } else { &mut verdict.calm_ghost_ms };
                *longest_ms = leave_ms.saturating_sub(last.from_ms).max(*longest_ms);
                verdict.ghost_ms = leave_ms.saturating_sub(last.end_ms).max(verdict.ghost_ms);
            }
        }
    }

    /// Whether it is one of the run's guests.
    pub(crate) fn knows(&self, member: &str) -> bool {
        self.stays.iter().any(|stay| stay.user == member)
    }

    /// Troubles that touch the span, with their ends.
    fn overlapping(&self, (from_ms, to_ms): Span) -> impl Iterator<Item = (&Trouble, u64)> {
        let ended = self.troubles.iter().map(|trouble| (trouble, trouble.to_ms.unwrap_or(u64::MAX)));
        ended.filter(move |(trouble, end_ms)| trouble.from_ms <= to_ms && from_ms <= *end_ms)
    }

    /// When a user of whom that must be so from some time on is shown at the latest.
    fn seen_ms(&self, from_ms: u64) -> u64 {
        let is_late = |trouble: &Trouble| matches!(trouble.part, Part::Redis | Part::Data | Part::Slots);
        let late = self.overlapping((from_ms, from_ms + TOLD_MS)).filter(|(trouble, _)| is_late(trouble));
        late.map(|(_, end_ms)| end_ms.saturating_add(AFTER_MS)).max().unwrap_or(0).max(from_ms + TOLD_MS + SLOW_MS)
    }

    /// When a member must be shown, whatever is broken.
    fn must_be_shown(&self, user: &str, room: usize) -> Vec<Span> {
        let stays = self.stays.iter().filter(|stay| stay.user == user && stay.room == room);
        united(stays.flat_map(|stay| self.must(stay)).collect())
    }

    fn must(&self, stay: &Stay) -> Vec<Span> {
        let Some(here_ms) = stay.here_ms else { return Vec::new() };
        let mut to_ms = match stay.end {
            None => u64::MAX,
            // Somewhat less, for its gateway's clock has begun before.
            Some((end_ms, End::Dropped)) if self.is_sole(stay, end_ms) => (end_ms + GRACE_MS - 500).min(self.taken_over_ms(stay, end_ms)),
            Some((end_ms, _)) => end_ms,
        };
        // Who came just before data was lost was not known everywhere.
        let is_loss = |part: Part| matches!(part, Part::Data | Part::Slots);
        let lost = self.overlapping((here_ms.saturating_sub(TOLD_MS), here_ms + TOLD_MS)).filter(|(trouble, _)| is_loss(trouble.part));
        let from_ms = lost.map(|(_, end_ms)| end_ms.saturating_add(RETURN_MS)).max().unwrap_or(0).max(here_ms);
        for (trouble, _) in self.overlapping((here_ms, to_ms)).filter(|(trouble, _)| trouble.part == Part::Killed(stay.gateway)) {
            to_ms = to_ms.min(trouble.from_ms);
        }
        let mut spans = vec![(from_ms, to_ms)];
        let still = self.troubles.iter().filter(|trouble| trouble.part == Part::Still(stay.gateway));
        for trouble in still.filter(|trouble| trouble.to_ms.is_none_or(|to_ms| to_ms - trouble.from_ms >= SILENT_MS)) {
            let (still_ms, back_ms) = (trouble.from_ms, trouble.to_ms.map_or(u64::MAX, |to_ms| to_ms + RETURN_MS));
            spans =
                spans.into_iter().flat_map(|(from_ms, to_ms)| [(from_ms, to_ms.min(still_ms)), (from_ms.max(back_ms), to_ms)]).collect();
        }
        spans.retain(|(from_ms, to_ms)| from_ms < to_ms);
        spans
    }

    /// Nobody else of the user may have had a row there, so that the grace holds the user.
    fn is_sole(&self, stay: &Stay, end_ms: u64) -> bool {
        let others = self.stays.iter().filter(|other| !std::ptr::eq(*other, stay) && other.user == stay.user && other.room == stay.room);
        !others.into_iter().any(|other| other.asked_ms <= end_ms && end_ms <= self.limit(other).to_ms)
    }

    /// When somebody else of the user has come, who is not held when going with a word.
    fn taken_over_ms(&self, stay: &Stay, end_ms: u64) -> u64 {
        let later = self.stays.iter().filter(|other| other.user == stay.user && other.room == stay.room && other.asked_ms >= end_ms);
        later.map(|other| other.here_ms.unwrap_or(other.asked_ms)).min().unwrap_or(u64::MAX)
    }

    fn limits(&self, user: &str, room: usize) -> Vec<(&Stay, Limit)> {
        let stays = self.stays.iter().filter(|stay| stay.user == user && stay.room == room);
        stays.map(|stay| (stay, self.limit(stay))).collect()
    }

    /// Until when its user may be shown for its sake.
    fn limit(&self, stay: &Stay) -> Limit {
        let killed = self.troubles.iter().filter(|trouble| trouble.part == Part::Killed(stay.gateway));
        let killed_ms = killed.map(|trouble| trouble.from_ms).filter(|at_ms| *at_ms >= stay.asked_ms).min();
        let (mut from_ms, mut lasts_ms) = match stay.end {
            None => (u64::MAX, 0),
            Some((end_ms, End::Left)) => (end_ms, TOLD_MS),
            Some((end_ms, End::Dropped)) => (end_ms + GRACE_MS, TOLD_MS),
        };
        // By then its row need not be gone.
        let is_crashed = killed_ms.is_some_and(|at_ms| at_ms <= from_ms.saturating_add(TOLD_MS));
        if let Some(at_ms) = killed_ms.filter(|_| is_crashed) {
            (from_ms, lasts_ms) = (at_ms, CRASH_MS);
        }
        let matters = |part: Part| match part {
            Part::Redis | Part::Data | Part::Slots => true,
            Part::Still(gateway) => is_crashed || gateway == stay.gateway,
            Part::Etcd | Part::Cut(_) | Part::Killed(_) => is_crashed,
        };
        let mut limit = Limit { to_ms: from_ms.saturating_add(lasts_ms + SLOW_MS), from_ms, end_ms: from_ms, is_after_trouble: false };
        loop {
            let touching = self.overlapping((from_ms, limit.to_ms)).filter(|(trouble, _)| matters(trouble.part));
            // Its own end is no other trouble.
            let others =
                touching.filter(|(trouble, _)| !(trouble.part == Part::Killed(stay.gateway) && Some(trouble.from_ms) == killed_ms));
            let Some(mended_ms) = others.map(|(_, end_ms)| end_ms).max() else { return limit };
            let later_ms = mended_ms.saturating_add(AFTER_MS + SLOW_MS);
            limit = Limit { from_ms: from_ms.max(mended_ms), is_after_trouble: true, ..limit };
            if later_ms <= limit.to_ms {
                return limit;
            }
            limit.to_ms = later_ms;
        }
    }
}

/// The same time in as few spans as can be.
fn united(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut united: Vec<Span> = Vec::new();
    for (from_ms, to_ms) in spans {
        match united.last_mut() {
            Some((_, last_ms)) if from_ms <= *last_ms => *last_ms = to_ms.max(*last_ms),
            _ => united.push((from_ms, to_ms)),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(gateway: usize, asked_ms: u64, end: Option<(u64, End)>) -> Stay {
        Stay { user: "ann".to_owned(), room: 0, gateway, asked_ms, here_ms: Some(asked_ms + 10), end }
    }

    /// What is wrong with a watcher's word that ann came and went then.
    fn wrongs(truth: &Truth, told: &[(u64, bool)]) -> Verdict {
        let told = told.iter().map(|(at_ms, is_join)| (*at_ms, "ann".to_owned(), *is_join)).collect();
        let mut verdict = Verdict::default();
        truth.judge(&Testimony { gateway: 2, room: 0, until_ms: 60_000, told, left: Vec::new() }, &mut verdict);
        verdict
    }

    #[test]
    fn only_what_was_so_may_be_told() {
        let left = Truth { stays: vec![stay(0, 100, Some((9_000, End::Left)))], ..Truth::default() };
        for (told, wrong) in [
            ([(120, true), (9_050, false)].as_slice(), ""),
            (&[(120, true), (5_000, false), (5_010, true), (9_050, false)], "gone at 5000"),
            (&[(120, true)], "here from 120"),
            (&[(120, true), (9_050, false), (40_000, true), (40_100, false)], "here from 40000"),
            (&[], "not here at"),
        ] {
            let Verdict { wrongs, .. } = wrongs(&left, told);
            assert!(
                if wrong.is_empty() { wrongs.is_empty() } else { wrongs.iter().any(|told| told.contains(wrong)) },
                "{told:?}: {wrongs:?}"
            );
        }
    }

    #[test]
    fn who_comes_back_within_the_grace_was_never_away_and_a_crash_takes_lease_and_silence() {
        let back = Truth { stays: vec![stay(0, 100, Some((9_000, End::Dropped))), stay(1, 10_000, None)], ..Truth::default() };
        assert_eq!(wrongs(&back, &[(120, true)]).wrongs, [""; 0]);
        assert_eq!(wrongs(&back, &[(120, true), (11_200, false), (11_300, true)]).wrongs.len(), 1);
        let mut killed = Truth { stays: vec![stay(0, 100, None)], ..Truth::default() };
        killed.begin(Part::Killed(0), 10_000);
        let verdict = wrongs(&killed, &[(120, true), (17_500, false)]);
        assert_eq!((verdict.wrongs, verdict.ghost_ms, verdict.calm_ghost_ms), (vec![], 7_500, 7_500));
        assert_eq!(wrongs(&killed, &[(120, true), (25_000, false)]).wrongs.len(), 1, "too late");
        killed.begin(Part::Etcd, 11_000);
        killed.end(Part::Etcd, 16_000);
        let verdict = wrongs(&killed, &[(120, true), (25_000, false)]);
        assert_eq!((verdict.wrongs, verdict.ghost_ms, verdict.mended_ghost_ms), (vec![], 15_000, 9_000));
    }

    #[test]
    fn a_gateway_that_stands_still_for_long_may_be_taken_for_dead_and_for_a_moment_may_not() {
        for (thawed_ms, wrong) in [(13_000, 1), (18_000, 0)] {
            let mut truth = Truth { stays: vec![stay(0, 100, None)], ..Truth::default() };
            truth.begin(Part::Still(0), 10_000);
            truth.end(Part::Still(0), thawed_ms);
            assert_eq!(wrongs(&truth, &[(120, true), (17_000, false), (18_500, true)]).wrongs.len(), wrong);
            assert_eq!(truth.may_be_taken_for_dead(0), wrong == 0);
        }
    }
}
