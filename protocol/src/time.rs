//! Pure: time as an argument. No module but `node/src/clock.rs` reads a clock.

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; every deadline and interval is measured on it.
    pub mono_ms: u64,
    /// Milliseconds since 1970-01-01 UTC; shown to people and judged against token times, never used for intervals.
    pub wall_ms: u64,
}

impl Now {
    /// The same instant moved `ms` later on both clocks.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Now {
        Now { mono_ms: self.mono_ms + ms, wall_ms: self.wall_ms + ms }
    }

    /// Wall time in whole seconds since 1970, the unit of JWT claims.
    #[must_use]
    pub fn wall_s(self) -> u64 {
        self.wall_ms / 1000
    }
}

/// How I/O code asks for the time: a plain function, so that tests can hand in their own.
pub type Clock = fn() -> Now;
