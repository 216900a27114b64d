//! Pure: how another region is known here.

use parking_lot::Mutex;
use protocol::{region::Totals, time::Now};
use serde::Serialize;
use std::sync::Arc;

/// What is known of a region's totals is old when it was told so long ago: they are told every second.
const TOTALS_STALE_MS: u64 = 3_000;

/// What one gateway knows of another region's being there.
#[derive(Debug)]
pub(super) struct State {
    region: Arc<str>,
    /// Milliseconds of silence after which what is known of the region is old, and after which nothing is said of it any more.
    stale_ms: u64,
    gone_ms: u64,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    is_up: bool,
    /// When the link was last there; `None`: never.
    last: Option<Now>,
    /// When anything was heard of it last, or since when it is waited for.
    heard: Now,
    totals: Option<(Totals, Now)>,
    trouble: String,
}

/// A region in `GET /v1/regions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sight {
    /// Its name.
    pub name: Arc<str>,
    /// `live`; `stale` if there was no link for `regions.stale_s`, `gone` after `regions.gone_s` or if it was never reached.
    pub state: &'static str,
    /// As of when it is known here, in milliseconds since 1970; left out if it was never reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of_ms: Option<u64>,
    /// Why there is no link to it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trouble: String,
}

/// A region in `GET /v1/presence/stats`: how many are online there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RegionStats {
    /// Connections, those in grace included.
    pub num_clients: u64,
    /// Users, and clients without a user id.
    pub num_users: u64,
    /// As of when that is known here, in milliseconds since 1970.
    pub as_of_ms: u64,
    /// Whether it may have changed since; left out if not.
    #[serde(rename = "stale", skip_serializing_if = "std::ops::Not::not")]
    pub is_stale: bool,
}

impl State {
    pub(super) fn new(region: Arc<str>, stale_ms: u64, gone_ms: u64, now: Now) -> State {
        let seen = Seen { is_up: false, last: None, heard: now, totals: None, trouble: "not connected yet".to_owned() };
        State { region, stale_ms, gone_ms, seen: Mutex::new(seen) }
    }

    pub(super) fn region(&self) -> &Arc<str> {
        &self.region
    }

    pub(super) fn up(&self, now: Now) {
        let mut seen = self.seen.lock();
        (seen.is_up, seen.last, seen.heard, seen.trouble) = (true, Some(now), now, String::new());
    }

    pub(super) fn down(&self, now: Now, trouble: String) {
        let mut seen = self.seen.lock();
        (seen.is_up, seen.last, seen.trouble) = (false, Some(now), trouble);
    }

    /// The region lives: something was heard of it.
    pub(super) fn heard(&self, now: Now) {
        self.seen.lock().heard = now;
    }

    /// How many are online there.
    pub(super) fn told(&self, totals: Totals, now: Now) {
        self.seen.lock().totals = Some((totals, now));
    }

    /// Milliseconds since anything was heard of it, or since it is waited for.
    pub(super) fn silence_ms(&self, now: Now) -> u64 {
        now.mono_ms.saturating_sub(self.seen.lock().heard.mono_ms)
    }

    /// How many were online there when it told that last; `None` if it never has, or is gone.
    pub(super) fn stats(&self, now: Now) -> Option<RegionStats> {
        let (Totals { num_clients, num_users }, told) = self.seen.lock().totals?;
        let age_ms = now.mono_ms.saturating_sub(told.mono_ms);
        let stats = RegionStats { num_clients, num_users, as_of_ms: told.wall_ms, is_stale: age_ms >= TOTALS_STALE_MS };
        (age_ms < self.gone_ms).then_some(stats)
    }

    /// It could not be reached; says whether that is another reason than before.
    pub(super) fn refused(&self, trouble: &str) -> bool {
        let mut seen = self.seen.lock();
        let is_new = seen.trouble != trouble;
        if is_new {
            trouble.clone_into(&mut seen.trouble);
        }
        is_new
    }

    pub(super) fn sight(&self, now: Now) -> Sight {
        let seen = self.seen.lock();
        let last = if seen.is_up { Some(now) } else { seen.last };
        let state = match last.map(|last| now.mono_ms.saturating_sub(last.mono_ms)) {
            Some(silent_ms) if silent_ms < self.stale_ms => "live",
            Some(silent_ms) if silent_ms < self.gone_ms => "stale",
            _ => "gone",
        };
        Sight { name: self.region.clone(), state, as_of_ms: last.map(|last| last.wall_ms), trouble: seen.trouble.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE_MS: u64 = 30_000;
    const GONE_MS: u64 = 300_000;

    fn at(ms: u64) -> Now {
        Now { mono_ms: ms, wall_ms: 1_000_000 + ms }
    }

    #[test]
    fn a_region_is_live_then_stale_then_gone_and_live_again() {
        let state = State::new("eu".into(), STALE_MS, GONE_MS, at(0));
        let seen = |ms| {
            let Sight { state, as_of_ms, .. } = state.sight(at(ms));
            (state, as_of_ms)
        };
        assert_eq!(seen(0), ("gone", None), "never reached");
        state.up(at(10));
        assert_eq!(seen(1_000_000), ("live", Some(2_000_000)), "as long as the link is there");
        state.down(at(1_000_000), "closed".to_owned());
        assert_eq!(seen(1_000_000 + STALE_MS - 1), ("live", Some(2_000_000)));
        assert_eq!(seen(1_000_000 + STALE_MS), ("stale", Some(2_000_000)));
        assert!(state.refused("no route") && !state.refused("no route"), "said once");
        assert_eq!(seen(1_000_000 + GONE_MS), ("gone", Some(2_000_000)));
        state.up(at(2_000_000));
        assert_eq!((seen(2_000_001).0, state.sight(at(2_000_001)).trouble), ("live", String::new()));
    }

    #[test]
    fn totals_are_old_when_none_come_any_more_and_go_with_the_region() {
        let state = State::new("eu".into(), STALE_MS, GONE_MS, at(0));
        state.up(at(10));
        assert_eq!(state.stats(at(10)), None, "a region that tells none");
        state.told(Totals { num_clients: 3, num_users: 2 }, at(1_000));
        let told = RegionStats { num_clients: 3, num_users: 2, as_of_ms: at(1_000).wall_ms, is_stale: false };
        assert_eq!(state.stats(at(1_000 + TOTALS_STALE_MS - 1)), Some(told));
        let old = Some(RegionStats { is_stale: true, ..told });
        assert_eq!(state.stats(at(1_000 + TOTALS_STALE_MS)), old, "also while the link is there");
        state.down(at(20_000), "closed".to_owned());
        state.up(at(30_000));
        assert_eq!(state.stats(at(1_000 + GONE_MS - 1)), old);
        assert_eq!(state.stats(at(1_000 + GONE_MS)), None);
        state.told(Totals { num_clients: 1, num_users: 1 }, at(400_000));
        assert_eq!(state.stats(at(400_001)).map(|stats| (stats.num_clients, stats.is_stale)), Some((1, false)));
    }

    #[test]
    fn silence_is_counted_from_what_was_heard_last_whatever_becomes_of_the_link() {
        let state = State::new("eu".into(), STALE_MS, GONE_MS, at(100));
        assert_eq!(state.silence_ms(at(600)), 500, "never heard");
        state.up(at(1_000));
        state.heard(at(2_000));
        state.down(at(4_000), "closed".to_owned());
        assert_eq!(state.silence_ms(at(5_000)), 3_000);
        state.up(at(6_000));
        assert_eq!(state.silence_ms(at(6_000)), 0);
    }
}
