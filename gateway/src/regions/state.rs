//! Pure: how another region is known here.

use parking_lot::Mutex;
use protocol::time::Now;
use serde::Serialize;
use std::sync::Arc;

/// What one gateway knows of another region's being there.
#[derive(Debug)]
pub(super) struct State {
    region: Arc<str>,
    /// Milliseconds of silence after which what is known of the region is old, and after which nothing is said of it any more.
    stale_ms: u64,
    gone_ms: u64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    is_up: bool,
    /// When the link was last there; `None`: never.
    last: Option<Now>,
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

impl State {
    pub(super) fn new(region: Arc<str>, stale_ms: u64, gone_ms: u64) -> State {
        State { region, stale_ms, gone_ms, seen: Mutex::new(Seen { trouble: "not connected yet".to_owned(), ..Seen::default() }) }
    }

    pub(super) fn up(&self, now: Now) {
        *self.seen.lock() = Seen { is_up: true, last: Some(now), trouble: String::new() };
    }

    pub(super) fn down(&self, now: Now, trouble: String) {
        *self.seen.lock() = Seen { is_up: false, last: Some(now), trouble };
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
        let state = State::new("eu".into(), STALE_MS, GONE_MS);
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
}
