//! Pure: places of walks that callers keep as text, and walks over counters alone.

use super::{CellId, Place, SHARDS, Table};
use crate::shard::split;

impl Place {
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
        let Some(words) = shard.blocks.get(block).filter(|words| offset <= words.len()) else { return offset == 0 };
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
        assert!((1..=4).all(|at| !is_place(0, at, 0)) && is_place(0, table.shards[0].record_words(&table.shards[0].blocks[0]), 0));
        for (shard, at, until) in [(0, end + 1, 0), (0, u32::MAX, 0), (0, 0, end + 1), (1, 0, 0), (128, 0, 0), (u32::MAX, 0, 0)] {
            assert!(!is_place(shard, at, until), "{shard} {at} {until}");
        }
    }
}
