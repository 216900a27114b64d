//! Pure: how far somebody has come in the change feed, as a text that says nothing to anybody else.
//!
//! `1.LIFE.AFTER`, and of a walk over all counters `.SHARD.AT.END` behind that, each in hexadecimal.

use crate::table::Place;
use std::{fmt, str::FromStr};

/// A place in the change feed of one life of one node. Anywhere else it is good for a walk over all counters from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeCursor {
    /// Of which life of which node.
    pub(crate) life: u64,
    /// The changes up to this number are known, or will be once the walk is over.
    pub(crate) after: u64,
    /// The walk that is not over yet.
    pub(crate) walk: Option<Place>,
}

impl ChangeCursor {
    /// Whether it stands within a walk over all counters.
    #[must_use]
    pub fn is_walking(&self) -> bool {
        self.walk.is_some()
    }
}

/// The text is no cursor. Nothing changed; retrying it never helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that this service gave out: begin without one")]
pub struct BadCursor;

impl fmt::Display for ChangeCursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "1.{:x}.{:x}", self.life, self.after)?;
        self.walk.iter().flat_map(|place| place.numbers()).try_for_each(|number| write!(out, ".{number:x}"))
    }
}

impl FromStr for ChangeCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<ChangeCursor, BadCursor> {
        let parts: Vec<&str> = text.split('.').take(7).collect();
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok().filter(|_| is_number(digits)).ok_or(BadCursor);
        let small = |digits: &str| number(digits).and_then(|number| u32::try_from(number).map_err(|_| BadCursor));
        match parts[..] {
            ["1", life, after] => Ok(ChangeCursor { life: number(life)?, after: number(after)?, walk: None }),
            ["1", life, after, shard, at, end] => {
                let walk = Some(Place::of_numbers([small(shard)?, small(at)?, small(end)?]));
                Ok(ChangeCursor { life: number(life)?, after: number(after)?, walk })
            }
            _ => Err(BadCursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_and_needs_no_escaping(life: u64, after: u64, walk: Option<[u32; 3]>) {
            let cursor = ChangeCursor { life, after, walk: walk.map(Place::of_numbers) };
            let text = cursor.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'));
            prop_assert_eq!(text.parse(), Ok(cursor));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "1", "1.7", "2.7.8", "1.7.8.9", "1.7.8.1.2", "1.7.8.1.2.3.4", "1.+7.8", "1..8", "1.x.8", "1.7.8.1.2.100000000"] {
            assert_eq!(bad.parse::<ChangeCursor>(), Err(BadCursor), "{bad:?}");
        }
        assert_eq!(format!("1.7.{}", "f".repeat(17)).parse::<ChangeCursor>(), Err(BadCursor));
    }
}
