//! Pure: what etcd says of the gateways, and since when that can be relied upon.

use protocol::time::Now;
use std::{collections::BTreeMap, sync::Arc};

/// A lease is gone for good so long after its time, for whoever measures it.
pub(super) const MARGIN_MS: u64 = 2_000;
/// Nothing was told for so long: that is a gap, too, for this process did not run.
const UNTOLD_MS: u64 = 3_000;

/// A gateway's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Under which it writes; 0 while it does not.
    pub(super) incarnation: u64,
    /// When the record was first seen to say so.
    pub(super) since: Now,
}

/// All records, as they were when etcd was fresh last. As many as it has gateways.
#[derive(Debug)]
pub(super) struct Leases {
    /// After a gap nobody is judged for so long: who lost its lease only because etcd was not there has it again by then.
    steady_ms: u64,
    held: BTreeMap<Arc<str>, Held>,
    steady_since_ms: Option<u64>,
    told_ms: u64,
}

impl Leases {
    /// Knows nothing yet. `ttl_ms`: how long a gateway's lease lives.
    pub(super) fn new(ttl_ms: u64) -> Leases {
        Leases { steady_ms: ttl_ms + MARGIN_MS, held: BTreeMap::new(), steady_since_ms: None, told_ms: 0 }
    }

    /// What etcd has now. What is not fresh only ends the steady time.
    pub(super) fn told(&mut self, gateways: BTreeMap<Arc<str>, u64>, is_fresh: bool, now: Now) {
        let was_told = now.mono_ms.saturating_sub(std::mem::replace(&mut self.told_ms, now.mono_ms)) <= UNTOLD_MS;
        let before = self.steady_since_ms.take().filter(|_| was_told);
        if is_fresh {
            self.steady_since_ms = Some(before.unwrap_or(now.mono_ms));
            let mut known = std::mem::take(&mut self.held);
            let held = |(name, incarnation)| {
                let since = known.remove(&name).filter(|held| held.incarnation == incarnation).map_or(now, |held| held.since);
                (name, Held { incarnation, since })
            };
            self.held = gateways.into_iter().map(held).collect();
        }
    }

    /// Whether it has been fresh for long enough, and still is.
    pub(super) fn is_steady(&self, now: Now) -> bool {
        let is_told = now.mono_ms.saturating_sub(self.told_ms) <= UNTOLD_MS;
        is_told && self.steady_since_ms.is_some_and(|since_ms| now.mono_ms >= since_ms + self.steady_ms)
    }

    /// Whether it was fresh when it was told last.
    pub(super) fn is_fresh(&self) -> bool {
        self.steady_since_ms.is_some()
    }

    /// A gateway's record.
    pub(super) fn get(&self, gateway: &str) -> Option<Held> {
        self.held.get(gateway).copied()
    }

    /// How many gateways are before this one: those that write first, and not only since a moment, for they may not judge yet;
    /// then by name. `None`: it has no record.
    pub(super) fn rank(&self, gateway: &str, now: Now) -> Option<u64> {
        let is_new = |held: &Held| held.incarnation == 0 || now.mono_ms < held.since.mono_ms + self.steady_ms;
        let place = |name: &str, held: &Held| (is_new(held), held.incarnation == 0, name.to_owned());
        let own = place(gateway, self.held.get(gateway)?);
        Some(self.held.iter().map(|(name, held)| u64::from(place(name, held) < own)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::default().plus_ms(ms)
    }

    fn records(records: &[(&str, u64)]) -> BTreeMap<Arc<str>, u64> {
        records.iter().map(|(name, incarnation)| ((*name).into(), *incarnation)).collect()
    }

    #[test]
    fn the_steady_time_begins_anew_after_every_gap_also_one_in_which_nothing_was_told() {
        let mut leases = Leases::new(10_000);
        let mut tell = |from_s: u64, to_s: u64, is_fresh| {
            (from_s..=to_s).for_each(|s| leases.told(records(&[("g1", 1)]), is_fresh, at(s * 1_000)));
            (leases.is_steady(at(to_s * 1_000)), leases.is_steady(at(to_s * 1_000 + 3_001)))
        };
        assert_eq!(tell(100, 111, true), (false, false), "it was fresh for eleven seconds");
        assert_eq!(tell(112, 112, true), (true, false));
        assert_eq!(tell(113, 113, false), (false, false));
        assert_eq!(tell(114, 125, true), (false, false));
        assert_eq!(tell(126, 126, true), (true, false));
        assert_eq!(tell(130, 141, true), (false, false), "four seconds were lost");
        assert_eq!(tell(142, 142, true), (true, false));
    }

    #[test]
    fn the_steady_time_is_a_lease_and_the_margin() {
        for ttl_ms in [2_000, 60_000] {
            let mut leases = Leases::new(ttl_ms);
            let mut is_steady = |after_ms| {
                (0..=after_ms / 1_000).for_each(|s| leases.told(records(&[]), true, at(s * 1_000)));
                leases.is_steady(at(after_ms))
            };
            assert_eq!([ttl_ms + 1_999, ttl_ms + 2_000].map(&mut is_steady), [false, true]);
        }
    }

    #[test]
    fn a_record_is_as_old_as_its_incarnation_and_what_is_not_fresh_changes_none() {
        let mut leases = Leases::new(10_000);
        for (s, incarnation) in [(1, 0), (2, 7), (3, 7)] {
            leases.told(records(&[("g1", incarnation)]), true, at(s * 1_000));
        }
        leases.told(records(&[]), false, at(4_000));
        assert_eq!(leases.get("g1"), Some(Held { incarnation: 7, since: at(2_000) }));
        leases.told(records(&[]), true, at(5_000));
        leases.told(records(&[("g1", 7)]), true, at(6_000));
        assert_eq!(leases.get("g1"), Some(Held { incarnation: 7, since: at(6_000) }));
    }

    #[test]
    fn those_that_write_come_before_those_that_do_not_and_those_that_have_just_begun() {
        let mut leases = Leases::new(10_000);
        leases.told(records(&[("a", 0), ("b", 1), ("c", 1), ("d", 0)]), true, at(0));
        let ranks = |leases: &Leases, ms| ["a", "b", "c", "d", "e"].map(|name| leases.rank(name, at(ms)));
        for ms in [0, 60_000] {
            assert_eq!(ranks(&leases, ms), [Some(2), Some(0), Some(1), Some(3), None]);
        }
        // One is another one now.
        leases.told(records(&[("a", 0), ("b", 2), ("c", 1), ("d", 0)]), true, at(60_000));
        assert_eq!(ranks(&leases, 71_999), [Some(2), Some(1), Some(0), Some(3), None]);
        assert_eq!(ranks(&leases, 72_000), [Some(2), Some(0), Some(1), Some(3), None]);
    }
}
