//! Pure: how often a thing may be done: a bucket that fills as time passes, from which each time takes one. It is kept as the time at
//! which it is full again (the generic cell rate algorithm, ITU-T I.371), which is one number.

use protocol::time::Now;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many come back to a bucket in a second, and how many it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 0: there is no limit.
    pub per_s: u32,
    /// At least 1.
    pub burst: u32,
}

/// There is none left; so many milliseconds later there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later {
    /// At least 1.
    pub wait_ms: u64,
}

impl Rate {
    /// When a bucket that was full again at `full_us` is so after one more was taken.
    fn take(self, full_us: u64, now: Now) -> Result<u64, Later> {
        let Some(each_us) = 1_000_000_u64.checked_div(self.per_s.into()) else { return Ok(full_us) };
        let now_us = now.mono_ms * 1_000;
        let taken_us = full_us.max(now_us) + each_us.max(1);
        let most_us = now_us + each_us.max(1) * u64::from(self.burst.max(1));
        if taken_us <= most_us { Ok(taken_us) } else { Err(Later { wait_ms: (taken_us - most_us).div_ceil(1_000) }) }
    }
}

/// A bucket; full at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When it is full again, on the monotonic clock.
    full_us: u64,
}

impl Pace {
    /// Takes one, if there is one.
    pub fn take(&mut self, rate: Rate, now: Now) -> Result<(), Later> {
        self.full_us = rate.take(self.full_us, now)?;
        Ok(())
    }

    /// Whether it is as if it were new.
    #[must_use]
    pub fn is_full(&self, now: Now) -> bool {
        self.full_us <= now.mono_ms * 1_000
    }
}

/// A bucket from which several take.
#[derive(Debug, Default)]
pub struct SharedPace {
    full_us: AtomicU64,
}

impl SharedPace {
    /// Takes one, if there is one.
    pub fn take(&self, rate: Rate, now: Now) -> Result<(), Later> {
        if rate.per_s == 0 {
            return Ok(());
        }
        let mut later = Later { wait_ms: 1 };
        let taken = self.full_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_us| match rate.take(full_us, now) {
            Ok(taken_us) => Some(taken_us),
            Err(wait) => {
                later = wait;
                None
            }
        });
        taken.map(drop).map_err(|_| later)
    }

    /// Whether less than half of what it holds is left: more are taken than come back, or were a moment ago.
    pub fn is_low(&self, rate: Rate, now: Now) -> bool {
        let Some(each_us) = 1_000_000_u64.checked_div(rate.per_s.into()) else { return false };
        let taken_us = self.full_us.load(Ordering::Relaxed).saturating_sub(now.mono_ms * 1_000);
        taken_us * 2 > each_us.max(1) * u64::from(rate.burst.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    #[test]
    fn a_burst_comes_at_once_and_then_each_has_to_come_back() {
        let (mut pace, rate) = (Pace::default(), Rate { per_s: 10, burst: 20 });
        let mut admitted = |mono_ms| (0..100).filter(|_| pace.take(rate, at(mono_ms)).is_ok()).count();
        assert_eq!(admitted(5_000), 20);
        assert_eq!(admitted(5_099), 0);
        assert_eq!(admitted(5_100), 1, "refused ones have not made it longer");
        assert_eq!(admitted(5_350), 2);
        assert_eq!(admitted(60_000), 20, "no more than that is saved up");
    }

    #[test]
    fn who_waits_as_long_as_was_said_is_admitted_and_not_before() {
        let (mut pace, rate) = (Pace::default(), Rate { per_s: 4, burst: 1 });
        assert_eq!(pace.take(rate, at(1_000)), Ok(()));
        assert_eq!(pace.take(rate, at(1_010)), Err(Later { wait_ms: 240 }));
        assert_eq!(pace.take(rate, at(1_249)), Err(Later { wait_ms: 1 }));
        assert!(!pace.is_full(at(1_249)) && pace.is_full(at(1_250)));
        assert_eq!(pace.take(rate, at(1_250)), Ok(()));
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let (mut pace, rate) = (Pace::default(), Rate { per_s: 0, burst: 1 });
        assert!((0..10_000).all(|_| pace.take(rate, at(0)).is_ok() && SharedPace::default().take(rate, at(0)).is_ok()));
    }

    #[test]
    fn a_bucket_is_low_while_less_than_half_is_left() {
        let (shared, rate) = (SharedPace::default(), Rate { per_s: 10, burst: 20 });
        let take = |count| (0..count).for_each(|_| shared.take(rate, at(1_000)).unwrap());
        take(10);
        assert!(!shared.is_low(rate, at(1_000)));
        take(1);
        assert!(shared.is_low(rate, at(1_000)) && !shared.is_low(rate, at(1_100)));
        assert!(!shared.is_low(Rate { per_s: 0, burst: 1 }, at(1_000)), "there is no limit");
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_its_rate_and_one_burst(
            per_s in 1..2_000_u32,
            burst in 1..500_u32,
            pauses in prop::collection::vec(0..200_u64, 1..2_000),
        ) {
            let (shared, rate) = (SharedPace::default(), Rate { per_s, burst });
            let mut mono_ms = 1_000;
            let mut admitted = Vec::new();
            for pause in pauses {
                mono_ms += pause;
                admitted.extend(shared.take(rate, at(mono_ms)).is_ok().then_some(mono_ms));
            }
            for (index, begin) in admitted.iter().enumerate().step_by(37) {
                for (count, end) in admitted[index..].iter().enumerate() {
                    let most = u64::from(burst) + (end - begin) * u64::from(per_s) / 1_000 + 1;
                    // Each is a whole number of microseconds, so that up to 1 in 500 more come.
                    prop_assert!(count as u64 <= most + most / 500, "{count} within {} ms", end - begin);
                }
            }
        }
    }
}
