//! Pure: nodes of the cluster that send what cannot be read, or what breaks the rules. Each time costs such a node its connection; one
//! that goes on has none for a while, which grows. What it said is dropped, and what was known before stays in force.

use std::collections::BTreeMap;

/// So many offences put a node into quarantine: one may be an accident of a change of versions.
pub const OFFENCES_MAX: u32 = 3;
/// The first quarantine; each further one takes twice as long as the one before.
pub const FIRST_MS: u64 = 10_000;
/// The longest.
pub const LONGEST_MS: u64 = 10 * 60_000;
/// After so long without an offence, quarantine left out, nothing is held against a node any more.
pub const FORGIVEN_MS: u64 = 30 * 60_000;
/// Nodes that something is held against; at the bound the one whose last offence is longest ago is forgotten.
pub const OFFENDERS_MAX: usize = 1024;

/// What is held against whom.
#[derive(Debug, Default)]
pub struct Quarantine {
    offenders: BTreeMap<String, Offender>,
}

#[derive(Debug, Default)]
struct Offender {
    /// Offences since the last quarantine.
    offences: u32,
    /// Quarantines so far.
    quarantines: u32,
    /// Until when it is out; 0 if it never was.
    until_ms: u64,
    last_ms: u64,
}

impl Quarantine {
    /// A node has offended at `now_ms`; for how long it is out, if that was once too often. `random`: up to half of the time is added
    /// by it, so that nodes do not come back together.
    pub fn offended(&mut self, member: &str, random: u64, now_ms: u64) -> Option<u64> {
        self.offenders.retain(|_, offender| now_ms < offender.last_ms.max(offender.until_ms) + FORGIVEN_MS);
        if self.offenders.len() >= OFFENDERS_MAX && !self.offenders.contains_key(member) {
            let oldest = self.offenders.iter().min_by_key(|(_, offender)| offender.last_ms).map(|(member, _)| member.clone());
            oldest.and_then(|oldest| self.offenders.remove(&oldest));
        }
        let offender = self.offenders.entry(member.to_owned()).or_default();
        offender.last_ms = now_ms;
        offender.offences += 1;
        if offender.offences < OFFENCES_MAX {
            return None;
        }
        let long_ms = FIRST_MS.saturating_mul(1 << offender.quarantines.min(32)).min(LONGEST_MS);
        let long_ms = long_ms + random % (long_ms / 2);
        (offender.offences, offender.quarantines, offender.until_ms) = (0, offender.quarantines + 1, now_ms + long_ms);
        Some(long_ms)
    }

    /// For how long a node is out still.
    #[must_use]
    pub fn left_ms(&self, member: &str, now_ms: u64) -> Option<u64> {
        self.offenders.get(member)?.until_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0)
    }

    /// How many are out.
    #[must_use]
    pub fn count(&self, now_ms: u64) -> usize {
        self.offenders.values().filter(|offender| offender.until_ms > now_ms).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_offends_three_times_is_out_twice_as_long_each_time_up_to_a_bound() {
        let (mut quarantine, mut now_ms, mut times) = (Quarantine::default(), 5, Vec::new());
        while times.len() < 9 {
            assert_eq!(quarantine.left_ms("eu/c1", now_ms), None);
            for _ in 1..OFFENCES_MAX {
                assert_eq!(quarantine.offended("eu/c1", 0, now_ms), None);
            }
            let long_ms = quarantine.offended("eu/c1", 0, now_ms).unwrap();
            assert_eq!((quarantine.left_ms("eu/c1", now_ms + long_ms - 1), quarantine.count(now_ms)), (Some(1), 1));
            times.push(long_ms / 1000);
            now_ms += long_ms;
        }
        assert_eq!(times, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(quarantine.left_ms("eu/c2", 5), None, "nobody else is out");
    }

    #[test]
    fn chance_adds_up_to_half_and_never_takes_away() {
        for random in [0, 1, 4_999, 5_000, u64::MAX] {
            let mut quarantine = Quarantine::default();
            let long_ms = (0..OFFENCES_MAX).find_map(|_| quarantine.offended("eu/c1", random, 0)).unwrap();
            assert!((FIRST_MS..FIRST_MS + FIRST_MS / 2).contains(&long_ms), "{long_ms}");
        }
    }

    #[test]
    fn good_conduct_is_rewarded_and_what_is_remembered_is_bounded() {
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.offended("eu/c1", 0, 0), None);
        assert_eq!(quarantine.offended("eu/c1", 0, 0), None);
        assert_eq!(quarantine.offended("eu/c1", 0, FORGIVEN_MS), None, "it begins anew");
        for number in 0..2 * OFFENDERS_MAX as u64 {
            quarantine.offended(&format!("eu/{number}"), 0, FORGIVEN_MS + number);
        }
        assert_eq!(quarantine.offenders.len(), OFFENDERS_MAX);
        assert!(quarantine.offenders.contains_key(&format!("eu/{}", 2 * OFFENDERS_MAX - 1)), "the newest is there");
    }
}
