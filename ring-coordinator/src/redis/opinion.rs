//! Pure: what this gateway votes about a node: the connections say what became of them, and hysteresis makes a vote of it.

use super::end::End;
use serde::{Deserialize, Serialize};

/// A node without both connections for so long, in milliseconds, is voted down, whatever the reason.
pub const DOWN_AFTER_MS: u64 = 3_000;
/// So many tries in a row that failed for certain: at once.
const FAILURES_CERTAIN: u32 = 2;
/// A node that was down is voted up when all has been well for so long.
pub const UP_AFTER_MS: u64 = 2_000;

/// Whether a node serves, as one gateway sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// The value of `votes/<node>/<gateway>`: written when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opinion {
    /// The vote.
    pub vote: Vote,
    /// Since when, in milliseconds since 1970 by the gateway's clock; for people.
    pub since_ms: u64,
    /// Why; for people.
    #[serde(default)]
    pub reason: String,
}

/// Of one node.
#[derive(Debug, Default)]
pub struct Judge {
    sides: [Side; 2],
    /// Since when it has been as well, or as ill, as it is.
    well_since_ms: Option<u64>,
    ill_since_ms: Option<u64>,
    opinion: Option<Opinion>,
}

/// One of the two connections.
#[derive(Debug, Default)]
struct Side {
    is_well: bool,
    /// In a row.
    failures: u32,
    last: Option<End>,
}

impl Judge {
    /// A connection does what it is for.
    pub fn well(&mut self, side: usize) {
        self.sides[side] = Side { is_well: true, failures: 0, last: None };
    }

    /// A connection ended, or did not come about.
    pub fn ended(&mut self, side: usize, end: &End) {
        let side = &mut self.sides[side];
        side.is_well = false;
        // That we changed our mind says nothing about the node.
        if !matches!(end, End::Changed | End::LetGo) {
            side.failures += 1;
            side.last = Some(end.clone());
        }
    }

    /// Some times a second. Says whether the opinion has changed.
    pub fn look(&mut self, mono_ms: u64, wall_ms: u64) -> bool {
        let vote = self.opinion.as_ref().map(|opinion| opinion.vote);
        let Some(ill) = self.sides.iter().find(|side| !side.is_well) else {
            self.ill_since_ms = None;
            let well_since_ms = *self.well_since_ms.get_or_insert(mono_ms);
            let is_up = vote.is_none() || mono_ms >= well_since_ms + UP_AFTER_MS;
            if vote == Some(Vote::Up) || !is_up {
                return false;
            }
            self.opinion = Some(Opinion { vote: Vote::Up, since_ms: wall_ms, reason: "its canary is heard".to_owned() });
            return true;
        };
        self.well_since_ms = None;
        let ill_since_ms = *self.ill_since_ms.get_or_insert(mono_ms);
        let has_waited = matches!(ill.last, Some(End::Silent | End::Canary));
        let is_certain = ill.last.as_ref().is_some_and(End::is_certain) && ill.failures >= FAILURES_CERTAIN;
        let is_down = has_waited || is_certain || mono_ms >= ill_since_ms + DOWN_AFTER_MS;
        if vote == Some(Vote::Down) || !is_down {
            return false;
        }
        let reason = ill.last.as_ref().map_or_else(|| "its canary is not heard".to_owned(), End::to_string);
        self.opinion = Some(Opinion { vote: Vote::Down, since_ms: wall_ms, reason });
        true
    }

    /// The opinion, once there is one.
    #[must_use]
    pub fn opinion(&self) -> Option<&Opinion> {
        self.opinion.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(judge: &Judge) -> Option<Vote> {
        judge.opinion().map(|opinion| opinion.vote)
    }

    fn well() -> Judge {
        let mut judge = Judge::default();
        judge.well(0);
        assert!(!judge.look(0, 0));
        judge.well(1);
        assert!(judge.look(0, 1_000));
        assert_eq!(vote(&judge), Some(Vote::Up));
        judge
    }

    #[test]
    fn a_node_that_refuses_twice_is_down_at_once() {
        let mut judge = well();
        judge.ended(0, &End::Closed);
        assert!(!judge.look(100, 1_100));
        judge.ended(0, &End::Refused);
        assert!(judge.look(200, 1_200));
        let opinion = Opinion { vote: Vote::Down, since_ms: 1_200, reason: "connection refused".to_owned() };
        assert_eq!(judge.opinion(), Some(&opinion));
        assert!(!judge.look(300, 1_300));
    }

    #[test]
    fn silence_has_waited_already_and_everything_else_waits_three_seconds() {
        let mut judge = well();
        judge.ended(1, &End::Silent);
        assert!(judge.look(100, 0));
        let mut judge = well();
        judge.ended(1, &End::Slow);
        assert!(!judge.look(100, 0) && !judge.look(3_099, 0) && judge.look(3_100, 0));
        let mut judge = Judge::default();
        assert!(!judge.look(0, 0) && judge.look(3_000, 0));
        assert_eq!(judge.opinion().unwrap().reason, "its canary is not heard");
    }

    #[test]
    fn a_cut_that_is_made_good_changes_nothing_and_a_change_of_the_document_is_no_failure() {
        let mut judge = well();
        judge.ended(1, &End::Closed);
        judge.look(100, 0);
        judge.well(1);
        assert!(!judge.look(200, 0) && !judge.look(10_000, 0));
        judge.ended(0, &End::Changed);
        judge.ended(0, &End::Changed);
        assert!(!judge.look(10_100, 0));
    }

    #[test]
    fn it_is_up_again_after_two_good_seconds_in_a_row() {
        let mut judge = well();
        judge.ended(0, &End::Silent);
        assert!(judge.look(0, 0));
        judge.well(0);
        assert!(!judge.look(1_000, 0) && !judge.look(2_900, 0));
        judge.ended(0, &End::Closed);
        judge.look(2_950, 0);
        judge.well(0);
        assert!(!judge.look(3_100, 0) && !judge.look(5_099, 0) && judge.look(5_100, 0));
        assert_eq!(vote(&judge), Some(Vote::Up));
    }
}
