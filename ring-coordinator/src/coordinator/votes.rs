//! Pure: whether a node is down: what the gateways say, what the leader's own probe says, and for how long.

use super::timing::Timing;
use crate::etcd::record::{Gateway, Opinion, Vote};
use std::collections::BTreeMap;

/// What the registered gateways say of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// It is down.
    pub down: usize,
    /// It is up.
    pub up: usize,
    /// How many there are, with an opinion or without.
    pub gateways: usize,
}

impl Tally {
    /// Counts the votes of those who are registered.
    #[must_use]
    pub fn of(votes: Option<&BTreeMap<String, Opinion>>, gateways: &BTreeMap<String, Gateway>) -> Tally {
        let votes = votes.into_iter().flatten().filter(|(gateway, _)| gateways.contains_key(*gateway));
        votes.fold(Tally { gateways: gateways.len(), ..Tally::default() }, |tally, (_, vote)| match vote.vote {
            Vote::Down => Tally { down: tally.down + 1, ..tally },
            Vote::Up => Tally { up: tally.up + 1, ..tally },
        })
    }

    /// There are too few to ask; the leader's own probe decides.
    #[must_use]
    pub fn is_alone(self) -> bool {
        self.gateways <= 1
    }

    fn majority(self) -> usize {
        self.gateways / 2 + 1
    }

    fn says_down(self) -> bool {
        self.down >= self.majority().max(2)
    }

    fn says_up(self) -> bool {
        self.is_alone() || self.up >= self.majority()
    }
}

/// One node, watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// What the own probe found last, and since when it has found that.
    probe: Option<(bool, u64)>,
    alone: bool,
    voted_down_since: Option<u64>,
    /// Since when the gateways and the own probe find it well.
    up_since: Option<u64>,
    voted_up: bool,
}

impl Watch {
    /// The own probe came back.
    pub fn probed(&mut self, well: bool, now: u64) {
        let since = self.probe.filter(|(was_well, _)| *was_well == well).map_or(now, |(_, since)| since);
        self.probe = Some((well, since));
        self.note_up(now);
    }

    /// The gateways' opinions were counted.
    pub fn counted(&mut self, tally: Tally, now: u64) {
        self.alone = tally.is_alone();
        self.voted_down_since = tally.says_down().then(|| self.voted_down_since.unwrap_or(now));
        self.voted_up = tally.says_up();
        self.note_up(now);
    }

    /// What was seen has a gap: all that takes time begins anew.
    pub fn forget(&mut self) {
        *self = Watch::default();
    }

    /// The own probe has come back, and well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.probe.is_some_and(|(well, _)| well)
    }

    /// It is lost: by the gateways' votes and the own probe, or where there is nobody to ask, by the own probe alone.
    #[must_use]
    pub fn looks_down(&self, timing: &Timing, now: u64) -> bool {
        if self.alone { self.fails_for(timing.down_alone_ms, now) } else { self.is_voted_down(timing, now) && self.fails_for(0, now) }
    }

    /// Somebody finds it down: votes or the own probe. If that is so of many nodes at once, it is the network.
    #[must_use]
    pub fn is_suspicious(&self, timing: &Timing, now: u64) -> bool {
        self.is_voted_down(timing, now) || self.fails_for(timing.down_ms, now)
    }

    /// Something speaks against it just now. It may pass, or be the first that is seen of a greater trouble.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.voted_down_since.is_some() || self.probe.is_some_and(|(well, _)| !well)
    }

    /// The own probe fails and the gateways do not say so: this coordinator is the odd one out.
    #[must_use]
    pub fn fails_for_me_alone(&self, ms: u64, now: u64) -> bool {
        !self.alone && self.voted_down_since.is_none() && self.fails_for(ms, now)
    }

    /// It has been well for so long, all in all.
    #[must_use]
    pub fn is_up_for(&self, ms: u64, now: u64) -> bool {
        self.up_since.is_some_and(|since| now.saturating_sub(since) >= ms)
    }

    /// The own probe has failed for so long.
    #[must_use]
    pub fn fails_for(&self, ms: u64, now: u64) -> bool {
        self.probe.is_some_and(|(well, since)| !well && now.saturating_sub(since) >= ms)
    }

    fn is_voted_down(&self, timing: &Timing, now: u64) -> bool {
        self.voted_down_since.is_some_and(|since| now.saturating_sub(since) >= timing.down_ms)
    }

    fn note_up(&mut self, now: u64) {
        self.up_since = (self.voted_up && self.is_well()).then(|| self.up_since.unwrap_or(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(down: usize, up: usize, gateways: usize) -> Tally {
        Tally { down, up, gateways }
    }

    #[test]
    fn only_registered_gateways_have_a_vote() {
        let vote = |vote| Opinion { vote, since_ms: 0, reason: String::new() };
        let votes: BTreeMap<_, _> =
            [("g1", Vote::Down), ("g2", Vote::Up), ("gone", Vote::Down)].map(|(g, v)| (g.to_owned(), vote(v))).into();
        let gateways: BTreeMap<_, _> = ["g1", "g2", "g3"].map(|g| (g.to_owned(), Gateway::default())).into();
        assert_eq!(Tally::of(Some(&votes), &gateways), tally(1, 1, 3));
        assert_eq!(Tally::of(None, &gateways), tally(0, 0, 3));
    }

    #[test]
    fn a_node_is_down_by_a_majority_of_at_least_two_for_a_while_and_the_own_probe() {
        let timing = Timing::default();
        for (votes, probe_is_well, at, expected) in [
            (tally(2, 0, 2), false, 1_999, false),
            (tally(2, 0, 2), false, 2_000, true),
            (tally(2, 0, 2), true, 2_000, false),
            (tally(1, 1, 2), false, 60_000, false),
            (tally(2, 1, 3), false, 2_000, true),
            (tally(2, 2, 4), false, 60_000, false),
            (tally(3, 1, 4), false, 2_000, true),
            // One gateway's vote never counts; the own probe needs longer.
            (tally(1, 0, 1), false, 9_999, false),
            (tally(0, 1, 1), false, 10_000, true),
            (tally(0, 0, 0), false, 10_000, true),
            (tally(1, 0, 1), true, 60_000, false),
        ] {
            let mut watch = Watch::default();
            watch.probed(probe_is_well, 0);
            watch.counted(votes, 0);
            watch.counted(votes, at);
            assert_eq!(watch.looks_down(&timing, at), expected, "{votes:?} {probe_is_well} {at}");
        }
    }

    #[test]
    fn a_vote_that_is_taken_back_begins_anew() {
        let (timing, mut watch) = (Timing::default(), Watch::default());
        watch.probed(false, 0);
        for (votes, now) in [(tally(2, 0, 3), 0), (tally(1, 0, 3), 1_500), (tally(2, 0, 3), 1_600)] {
            watch.counted(votes, now);
        }
        assert!(!watch.looks_down(&timing, 3_599));
        assert!(watch.looks_down(&timing, 3_600));
    }

    #[test]
    fn being_well_takes_the_majority_and_the_own_probe_without_a_break() {
        let mut watch = Watch::default();
        watch.counted(tally(0, 2, 3), 0);
        assert!(!watch.is_up_for(0, 100));
        watch.probed(true, 100);
        assert!(watch.is_up_for(900, 1_000));
        watch.probed(false, 1_000);
        watch.probed(true, 1_100);
        assert!(!watch.is_up_for(900, 1_999));
        watch.counted(tally(0, 1, 3), 2_000);
        assert!(!watch.is_up_for(0, 2_000));
    }

    #[test]
    fn a_probe_that_fails_here_only_is_known_as_such() {
        let mut watch = Watch::default();
        watch.probed(false, 0);
        watch.counted(tally(0, 3, 3), 0);
        assert!(watch.fails_for_me_alone(5_000, 5_000));
        watch.counted(tally(2, 1, 3), 5_000);
        assert!(!watch.fails_for_me_alone(5_000, 6_000));
    }
}
