//! I/O: the one place that reads the clocks. Everything else is handed a [`protocol::time::Clock`].

use protocol::time::Now;
use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Both clocks now; the monotonic one counts from the first call in this process.
#[allow(clippy::disallowed_methods)] // This is the place that the lint sends everybody else to.
pub fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    let milliseconds = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map(milliseconds).unwrap_or_default();
    Now { mono_ms: milliseconds(start.elapsed()), wall_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back_and_the_wall_clock_is_in_this_century() {
        let (first, second) = (now(), now());
        assert!(first.mono_ms <= second.mono_ms);
        assert!((1_700_000_000_000..4_000_000_000_000).contains(&second.wall_ms));
    }
}
