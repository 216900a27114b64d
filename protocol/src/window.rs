//! Pure: the buckets by which a windowed counter is read, and how many of them are kept.

use std::ops::Range;

/// Buckets of one unit that may be kept.
pub const KEPT_MAX: u16 = 4_000;

/// What a bucket spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours, in UTC.
    Day,
}

impl Unit {
    /// Each, with its name.
    pub const NAMES: [(&'static str, Unit); 3] = [("minute", Unit::Minute), ("hour", Unit::Hour), ("day", Unit::Day)];

    /// The unit with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Unit> {
        Unit::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, unit)| unit)
    }

    /// The unit of this length.
    #[must_use]
    pub fn of_seconds(seconds: u64) -> Option<Unit> {
        Unit::NAMES.into_iter().map(|(_, unit)| unit).find(|unit| unit.seconds() == seconds)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Unit::NAMES[self as usize].0
    }

    /// How long it is.
    #[must_use]
    pub fn seconds(self) -> u64 {
        match self {
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
        }
    }
}

/// How many buckets of each unit can be read, that of now among them; 0: there are none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// At most [`KEPT_MAX`], like the others.
    pub minutes: u16,
    /// Of hours.
    pub hours: u16,
    /// Of days.
    pub days: u16,
}

impl Kept {
    /// Of one unit.
    #[must_use]
    pub fn of(self, unit: Unit) -> u16 {
        match unit {
            Unit::Minute => self.minutes,
            Unit::Hour => self.hours,
            Unit::Day => self.days,
        }
    }

    /// The units that there are buckets of.
    pub fn units(self) -> impl Iterator<Item = Unit> {
        Unit::NAMES.into_iter().map(|(_, unit)| unit).filter(move |unit| self.of(*unit) > 0)
    }

    /// The buckets of a unit that can be read at this time, in seconds since 1970: the first, and the one behind the last.
    #[must_use]
    pub fn readable(self, unit: Unit, now_s: u64) -> Range<u64> {
        let end = now_s / unit.seconds() + 1;
        end.saturating_sub(self.of(unit).into())..end
    }
}
