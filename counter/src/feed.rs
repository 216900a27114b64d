//! Pure: what was made durable lately, by stream, for the replicas that follow. Whoever lags further behind than this
//! reaches gets the state instead of the changes.

use crate::{
    cell::OriginIndex,
    record::{Fact, Record},
};

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Bytes of changes kept at most, their bookkeeping included; at the bound the oldest of the stream with the most pieces go.
pub const FEED_BYTES_MAX: usize = 32 << 20;
/// Fewer are kept where the state is small, see [`Feed::keep_for`]; but so many at least.
pub const FEED_BYTES_LEAST: usize = 4 << 20;
/// About what a counter, or a token, takes in a whole state.
const STATE_BYTES_EACH: usize = 128;

/// The changes of a stream between two positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Before them.
    pub after: u64,
    /// The last one.
    pub upto: u64,
    /// What the origin acknowledged before this moment is included.
    pub as_of_ms: u64,
    /// The digest of the origin's slots at `upto`, if it is known.
    pub digest: Option<u64>,
    /// Records, with this replica's origin indices, in the order of their positions.
    pub records: Vec<u8>,
    /// It does not lead from `after` to `upto` by itself: it is the last part of a whole state.
    pub whole: bool,
}

impl Piece {
    /// How much it counts of [`FEED_BYTES_MAX`]: small pieces are mostly bookkeeping.
    fn weight(&self) -> usize {
        size_of::<Piece>() + self.records.len()
    }
}

/// Pieces of all streams, newest last.
#[derive(Debug)]
pub struct Feed {
    streams: BTreeMap<OriginIndex, VecDeque<Piece>>,
    byte_count: usize,
    bytes_max: usize,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed { streams: BTreeMap::new(), byte_count: 0, bytes_max: FEED_BYTES_MAX }
    }
}

impl Feed {
    /// Keeps no more changes than a state of so many counters and tokens is large: whoever lags further behind gets that sooner. A
    /// node with few counters would fill all of [`FEED_BYTES_MAX`] within an hour otherwise, for nobody.
    pub fn keep_for(&mut self, counters: usize) {
        self.bytes_max = counters.saturating_mul(STATE_BYTES_EACH).clamp(FEED_BYTES_LEAST, FEED_BYTES_MAX);
    }

    /// Adds the newest piece of a stream. One that does not follow the last one takes the place of all before it.
    pub fn push(&mut self, origin: OriginIndex, piece: Piece) {
        let pieces = self.streams.entry(origin).or_default();
        if pieces.back().is_some_and(|last| last.upto != piece.after) {
            self.byte_count -= pieces.drain(..).map(|piece| piece.weight()).sum::<usize>();
        }
        self.byte_count += piece.weight();
        pieces.push_back(piece);
        while self.byte_count > self.bytes_max {
            let Some(longest) = self.streams.values_mut().max_by_key(|pieces| pieces.len()) else { return };
            self.byte_count -= longest.pop_front().map_or(0, |piece| piece.weight());
        }
    }

    /// The position up to which a stream is here; `None` if nothing of it is.
    #[must_use]
    pub fn end(&self, origin: OriginIndex) -> Option<u64> {
        self.streams.get(&origin)?.back().map(|last| last.upto)
    }

    /// How many bytes of changes of a stream are here after `after`.
    #[must_use]
    pub fn backlog(&self, origin: OriginIndex, after: u64) -> usize {
        let pieces = self.streams.get(&origin).into_iter().flatten().rev();
        pieces.take_while(|piece| piece.upto > after).map(|piece| piece.records.len()).sum()
    }

    /// The changes of a stream after `after` as one piece, each thing in its newest state: as many as come to about `bytes`
    /// bytes then. `None` if they are not all here, or there are none.
    #[must_use]
    pub fn gather(&self, origin: OriginIndex, after: u64, bytes: usize) -> Option<Piece> {
        let pieces = self.streams.get(&origin)?;
        let start = pieces.partition_point(|piece| piece.upto <= after);
        let first = pieces.get(start).filter(|first| first.after <= after)?;
        let (mut newest, mut last) = (Newest::default(), first);
        newest.add(&first.records);
        for piece in pieces.range(start + 1..) {
            if newest.byte_count >= bytes {
                break;
            }
            newest.add(&piece.records);
            last = piece;
        }
        let records = newest.records();
        Some(Piece { after: first.after, upto: last.upto, as_of_ms: last.as_of_ms, digest: last.digest, records, whole: false })
    }
}

/// Of records in the order of their positions, for each slot, promise and producer only the newest.
#[must_use]
pub fn newest(records: &[u8]) -> Vec<u8> {
    let mut newest = Newest::default();
    newest.add(records);
    newest.records()
}

/// Records of which newer ones take the place of older ones.
#[derive(Default)]
struct Newest<'a> {
    /// The bytes of each; none of one that was replaced.
    records: Vec<&'a [u8]>,
    last: HashMap<(OriginIndex, Subject<'a>), usize>,
    byte_count: usize,
}

impl<'a> Newest<'a> {
    fn add(&mut self, mut bytes: &'a [u8]) {
        while !bytes.is_empty() {
            let mut rest = bytes;
            let Ok(record) = Record::decode(&mut rest) else { return };
            let (one, after) = bytes.split_at(bytes.len() - rest.len());
            bytes = after;
            if let Some(before) = subject(&record).and_then(|subject| self.last.insert(subject, self.records.len())) {
                self.byte_count -= std::mem::take(&mut self.records[before]).len();
            }
            self.byte_count += one.len();
            self.records.push(one);
        }
    }

    fn records(&self) -> Vec<u8> {
        self.records.concat()
    }
}

/// What a record replaces an older one of.
fn subject<'a>(record: &Record<'a>) -> Option<(OriginIndex, Subject<'a>)> {
    match *record {
        Record::Fact { by, fact: Fact::Slot { key, .. }, .. } => Some((by, Subject::Slot(key))),
        Record::Fact { by, fact: Fact::Holds { origin, .. }, .. } => Some((by, Subject::Promise(origin))),
        Record::Fact { by, fact: Fact::Produced { producer, .. }, .. } => Some((by, Subject::Producer(producer))),
        _ => None,
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Subject<'a> {
    Slot(&'a str),
    Promise(OriginIndex),
    Producer(u64),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::Floor, marks::Mark};

    fn slot(seq: u64, key: &'static str, p: u64) -> Record<'static> {
        Record::Fact { by: 0, seq, fact: Fact::Slot { key, sums: Floor { p, n: 0 } } }
    }

    fn piece(after: u64, upto: u64, records: &[Record<'_>]) -> Piece {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        Piece { after, upto, as_of_ms: upto * 10, digest: Some(upto), records: bytes, whole: false }
    }

    fn records(piece: &Piece) -> Vec<Record<'_>> {
        Record::decode_all(&piece.records).map(Result::unwrap).collect()
    }

    #[test]
    fn a_follower_that_lags_gets_each_slot_once() {
        let mut feed = Feed::default();
        let done = |seq, producer, upto| {
            let fact = Fact::Produced { producer, mark: Mark { upto, ..Mark::default() } };
            Record::Fact { by: 0, seq, fact }
        };
        let absorbed = Record::Fact { by: 0, seq: 4, fact: Fact::Absorbed { origin: 1, upto: 9 } };
        feed.push(0, piece(0, 2, &[slot(1, "a", 1), slot(2, "b", 1)]));
        feed.push(0, piece(2, 4, &[slot(3, "a", 2), absorbed]));
        feed.push(0, piece(4, 5, &[slot(5, "a", 3)]));
        feed.push(1, piece(0, 2, &[done(1, 7, 1), done(2, 8, 1)]));
        feed.push(1, piece(2, 3, &[done(3, 7, 2)]));
        assert_eq!(records(&feed.gather(1, 0, 1 << 20).unwrap()), [done(2, 8, 1), done(3, 7, 2)]);
        let all = feed.gather(0, 0, 1 << 20).unwrap();
        assert_eq!((all.after, all.upto, all.as_of_ms, all.digest), (0, 5, 50, Some(5)));
        assert_eq!(records(&all), [slot(2, "b", 1), absorbed, slot(5, "a", 3)]);
        assert_eq!(feed.gather(0, 2, 1).unwrap(), piece(2, 4, &[slot(3, "a", 2), absorbed]), "one at least");
        let size = feed.backlog(0, 4);
        assert_eq!(feed.gather(0, 0, 2 * size + 1).unwrap().upto, 4, "what was replaced does not count");
        assert!(feed.backlog(0, 3) > 2 * size && feed.backlog(0, 5) == 0, "the piece of 3 and 4, and that of 5");
        assert_eq!(feed.gather(0, 3, 1 << 20).unwrap().after, 2, "a follower in the middle of a piece gets all of it");
        assert_eq!(feed.gather(0, 5, 1 << 20), None);
        assert_eq!(feed.gather(2, 0, 1 << 20), None);
    }

    #[test]
    fn what_does_not_follow_replaces_and_what_is_too_old_is_gone() {
        let mut feed = Feed::default();
        feed.push(0, piece(0, 1, &[slot(1, "a", 1)]));
        feed.push(0, piece(7, 8, &[slot(8, "a", 1)]));
        assert_eq!((feed.gather(0, 0, 100), feed.end(0)), (None, Some(8)));
        let big = vec![0; FEED_BYTES_MAX / 2];
        for upto in 1..=3 {
            feed.push(1, Piece { after: upto - 1, upto, records: big.clone(), ..Piece::default() });
        }
        assert!(feed.gather(1, 0, 1).is_none() && feed.gather(1, 2, 1).is_some());
        assert!(feed.byte_count <= FEED_BYTES_MAX);
        for upto in 1..=FEED_BYTES_MAX as u64 / 64 {
            feed.push(2, Piece { after: upto - 1, upto, ..Piece::default() });
        }
        assert!(feed.streams[&2].len() * size_of::<Piece>() <= FEED_BYTES_MAX, "pieces without records are not free");
    }

    #[test]
    fn a_small_state_is_sent_sooner_than_many_changes_are_kept() {
        let mut feed = Feed::default();
        for (counters, most) in [(16, FEED_BYTES_LEAST), (100_000, 12_800_000), (usize::MAX, FEED_BYTES_MAX), (0, FEED_BYTES_LEAST)] {
            feed.keep_for(counters);
            let each = vec![0; 64 << 10];
            let from = feed.end(0).unwrap_or(0) + 1;
            for upto in from..from + 1_000 {
                feed.push(0, Piece { after: upto - 1, upto, records: each.clone(), ..Piece::default() });
            }
            assert!((most - (128 << 10)..=most).contains(&feed.byte_count), "{} of {most}", feed.byte_count);
        }
    }
}
