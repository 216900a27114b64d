//! Pure: versions of a roster: how far each region has told its changes. Clients treat the text as opaque.

use serde::{Serialize, Serializer};
use std::{cmp::Ordering, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// One region's part of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Another one for each life of a roster, 0 where there is no roster; compared by equality only.
    pub generation: u64,
    /// The place in this generation, from 1 on: of diffs in one process, of the room's changes in a cluster.
    pub seq: u64,
}

impl Stamp {
    /// Whether all that leads to it is in `later`, as far as their generations tell.
    #[must_use]
    pub fn is_covered_by(self, later: Stamp) -> bool {
        self.generation == later.generation && self.seq <= later.seq
    }
}

/// A version: by region, each once and in order. Text: `local=9f3a:17`, regions separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Box<[(Arc<str>, Stamp)]>);

/// The text is not a version. Nothing changed; read the roster's pages instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version of a roster")]
pub struct BadVersion;

/// Bytes of a version's text; longer ones are refused.
const VERSION_BYTES_MAX: usize = 4096;

impl Version {
    /// The version of a roster that one region writes.
    #[must_use]
    pub fn of(region: &Arc<str>, stamp: Stamp) -> Version {
        Version(Box::new([(region.clone(), stamp)]))
    }

    /// The version of a roster that several regions write, each named once.
    #[must_use]
    pub fn of_regions<'a>(parts: impl IntoIterator<Item = (&'a Arc<str>, Stamp)>) -> Version {
        let sorted: BTreeMap<_, _> = parts.into_iter().collect();
        Version(sorted.into_iter().map(|(region, stamp)| (region.clone(), stamp)).collect())
    }

    /// How many regions it speaks of.
    pub(crate) fn regions(&self) -> usize {
        self.0.len()
    }

    /// How far `region` had got.
    #[must_use]
    pub fn stamp(&self, region: &str) -> Option<Stamp> {
        self.0.iter().find(|(name, _)| **name == *region).map(|(_, stamp)| *stamp)
    }
}

/// Versions of different generations or regions have no order.
impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        let mut order = Ordering::Equal;
        for ((region, mine), (other_region, theirs)) in self.0.iter().zip(&*other.0) {
            if region != other_region || mine.generation != theirs.generation {
                return None;
            }
            match (order, mine.seq.cmp(&theirs.seq)) {
                (Ordering::Equal, here) => order = here,
                (before, here) if here != Ordering::Equal && here != before => return None,
                _ => {}
            }
        }
        (self.0.len() == other.0.len()).then_some(order)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (region, Stamp { generation, seq })) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{region}={generation:x}:{seq}")?;
        }
        Ok(())
    }
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Version, BadVersion> {
        if text.len() > VERSION_BYTES_MAX {
            return Err(BadVersion);
        }
        let parts: BTreeMap<_, _> = text.split(',').map(parse_part).collect::<Option<_>>().ok_or(BadVersion)?;
        Ok(Version(parts.into_iter().collect()))
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn parse_part(part: &str) -> Option<(Arc<str>, Stamp)> {
    let (region, stamp) = part.split_once('=')?;
    let (generation, seq) = stamp.split_once(':')?;
    Some((region.into(), Stamp { generation: u64::from_str_radix(generation, 16).ok()?, seq: seq.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_back_as_it_was_written_and_nothing_else_is_one() {
        for text in ["local=9f3a:17", "eu=1:0,us=ffffffffffffffff:18446744073709551615"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        let long = "a=1:1,".repeat(1000);
        for bad in ["", "local", "local=", "local=1", "local=1:", "local=:1", "local=1:x", "local=g:1", "local=1:1,", "local=1:-1", &long] {
            assert_eq!(bad.parse::<Version>(), Err(BadVersion), "{bad:?}");
        }
    }

    #[test]
    fn versions_are_ordered_within_the_same_generations_only() {
        let order = |a: &str, b: &str| a.parse::<Version>().unwrap().partial_cmp(&b.parse().unwrap());
        assert_eq!(order("a=1:2", "a=1:3"), Some(Ordering::Less));
        assert_eq!(order("a=1:3,b=2:9", "a=1:3,b=2:8"), Some(Ordering::Greater));
        assert_eq!(order("a=1:3", "a=1:3"), Some(Ordering::Equal));
        assert_eq!(order("a=1:3,b=2:7", "a=1:2,b=2:8"), None);
        for (a, b) in [("a=1:2", "a=2:3"), ("a=1:2", "b=1:2"), ("a=1:2", "a=1:2,b=1:1")] {
            assert_eq!(order(a, b), None, "{a} {b}");
        }
    }
}
