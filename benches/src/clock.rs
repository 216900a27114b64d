//! I/O: the time and the chance that gateways in this process are given.

use protocol::time::Now;
use std::{sync::LazyLock, time::Instant};

#[allow(clippy::disallowed_methods)] // The clock of these measurements.
pub(crate) fn clock() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let mono_ms = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX);
    Now { mono_ms, wall_ms: mono_ms }
}

pub(crate) fn random_u64() -> u64 {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    high
}
