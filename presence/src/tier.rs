//! Pure: how a roster of a given size tells its changes.

/// Pause between two diffs of a middling room.
pub const BATCH_MS: u64 = 250;
/// Pause between two counts of a big room.
pub const COUNT_MS: u64 = 1_000;

/// The sizes, in members, at which rooms change their tier. To go back a room has to shrink a tenth below them, so
/// that one at the edge does not swing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// Up to here every change is told at once.
    pub at_once_max: usize,
    /// Up to here changes are told every [`BATCH_MS`]; above, only the count is, every [`COUNT_MS`] if somebody came, went or
    /// changed. Names and statuses are read as pages.
    pub batched_max: usize,
}

impl Default for Tiers {
    fn default() -> Tiers {
        Tiers { at_once_max: 200, batched_max: 5_000 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    AtOnce,
    Batched,
    Counted,
}

impl Tier {
    /// The tier of a room that was in `self` and now has `members`.
    pub(crate) fn at(self, members: usize, tiers: &Tiers) -> Tier {
        let is_below = |bound: usize| members < bound - bound / 10;
        let at_least = if members > tiers.batched_max {
            Tier::Counted
        } else if members > tiers.at_once_max {
            Tier::Batched
        } else {
            Tier::AtOnce
        };
        match self {
            Tier::Counted if !is_below(tiers.batched_max) => Tier::Counted,
            Tier::Batched | Tier::Counted if at_least == Tier::AtOnce && !is_below(tiers.at_once_max) => Tier::Batched,
            _ => at_least,
        }
    }

    /// The least time between two diffs.
    pub(crate) fn pause_ms(self) -> u64 {
        match self {
            Tier::AtOnce => 0,
            Tier::Batched => BATCH_MS,
            Tier::Counted => COUNT_MS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_changes_its_tier_above_a_bound_and_back_a_tenth_below_it() {
        let tiers = Tiers::default();
        let walk = [
            (200, Tier::AtOnce),
            (201, Tier::Batched),
            (180, Tier::Batched),
            (179, Tier::AtOnce),
            (5_000, Tier::Batched),
            (5_001, Tier::Counted),
            (4_500, Tier::Counted),
            (4_499, Tier::Batched),
            (6_000, Tier::Counted),
            (190, Tier::Batched),
            (6_000, Tier::Counted),
            (10, Tier::AtOnce),
            (6_000, Tier::Counted),
        ];
        let mut tier = Tier::AtOnce;
        for (members, expected) in walk {
            tier = tier.at(members, &tiers);
            assert_eq!(tier, expected, "at {members}");
        }
    }
}
