//! Pure: places of walks, also as callers keep them as text, and walks over counters alone.

use super::{CellId, PARTS, SHARDS, Table};
use crate::shard::split;

/// A place in a walk over all counters. A walk ends even while counters are added as fast as it goes: of each shard it
/// sees what was there when it came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) shard: usize,
    pub(super) at: u32,
    pub(super) end: Option<u32>,
    /// The first shard that the walk does not come to.
    pub(super) until: usize,
}

impl Default for Place {
    fn default() -> Place {
        Place { shard: 0, at: 0, end: None, until: SHARDS }
    }
}

impl Place {
    /// The start of a walk over one of the [`PARTS`] of the table.
    #[must_use]
    pub fn of_part(part: usize) -> Place {
        Place { shard: part * SHARDS / PARTS, until: (part + 1) * SHARDS / PARTS, ..Place::default() }
    }

    /// The part that the walk began in.
    #[must_use]
    pub fn part(self) -> usize {
        (self.until - 1) * PARTS / SHARDS
    }

    /// The place as numbers, for text that comes back by [`Place::of_numbers`].
    pub(crate) fn numbers(self) -> [u32; 3] {
        [u32::try_from(self.shard).unwrap_or(u32::MAX), self.at, self.end.unwrap_or(0)]
    }

    /// The place of these numbers, wherever they are from: only [`Table::is_place`] says whether a walk can go on there.
    pub(crate) fn of_numbers([shard, at, end]: [u32; 3]) -> Place {
        Place { shard: shard as usize, at, end: (end > 0).then_some(end), until: SHARDS }
    }
}

impl Table {
    /// Whether a walk is over.
    #[must_use]
    pub fn is_end(&self, place: Place) -> bool {
        place.shard >= place.until
    }

    /// The next counter of a walk that leaves out what belongs to counters; `place` moves behind it.
    pub(crate) fn walk_counters(&self, place: &mut Place) -> Option<CellId> {
        loop {
            if place.shard % 2 == 1 {
                *place = Place { shard: place.shard + 1, at: 0, end: None, ..*place };
            }
            match self.walk(place)? {
                id if self.is_counter(id) => return Some(id),
                // It came into the votes, to the first of them, or to the rights of a bounded counter.
                _ => {}
            }
        }
    }

    /// Whether a walk over counters can go on here: at the begin of a record, or at the end of some.
    pub(crate) fn is_place(&self, place: Place) -> bool {
        let Some(shard) = self.shards.get(place.shard).filter(|shard| !shard.is_votes) else { return false };
        let (end, (block, offset)) = (shard.end(), split(place.at));
        if place.at > end || place.end.is_some_and(|until| until > end) {
            return false;
        }
        if shard.blocks.length(block).is_none_or(|length| offset > length) {
            return offset == 0;
        }
        let words = shard.blocks.words(block);
        let mut at = 0;
        while at < offset {
            at += shard.record_words(&words[at..]) as usize;
        }
        at == offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_over_counters_leaves_out_votes_and_rights_and_goes_on_from_its_numbers_alone() {
        let mut table = Table::new(7);
        for number in 0..3_000 {
            for key in [
                format!("likes:{number}"),
                format!("\u{1f}likes:{number}\u{1f}ann"),
                format!("\u{1e}likes:{number}\u{1e}r0123456789abcdef"),
                format!("\u{1f}votes\u{1f}user {number}"),
            ] {
                table.insert(table.hash(&key), &key, 0);
            }
        }
        let (mut place, mut found) = (Place::default(), Vec::new());
        while let Some(id) = table.walk_counters(&mut place) {
            found.push(table.key(id, &mut [0; 256]).to_owned());
            if table.is_end(place) {
                break;
            }
            let kept = Place::of_numbers(place.numbers());
            assert!(table.is_place(kept), "{kept:?}");
            place = kept;
        }
        found.sort();
        let mut expected: Vec<String> = (0..3_000).map(|number| format!("likes:{number}")).chain(["votes".to_owned()]).collect();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn no_walk_goes_on_within_a_record_or_where_there_is_none() {
        let mut table = Table::new(7);
        for number in 0..100_000 {
            let key = format!("likes:{number}");
            table.insert(table.hash(&key), &key, 0);
        }
        let is_place = |shard, at, end| table.is_place(Place::of_numbers([shard, at, end]));
        let end = table.shards[0].end();
        assert!(is_place(0, 0, 0) && is_place(0, end, end));
        // A record has four words and its key.
        assert!((1..=4).all(|at| !is_place(0, at, 0)) && is_place(0, table.shards[0].record_words(table.shards[0].blocks.words(0)), 0));
        for (shard, at, until) in [(0, end + 1, 0), (0, u32::MAX, 0), (0, 0, end + 1), (1, 0, 0), (128, 0, 0), (u32::MAX, 0, 0)] {
            assert!(!is_place(shard, at, until), "{shard} {at} {until}");
        }
    }
}
