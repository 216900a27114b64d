//! Pure: what was made durable lately, by stream, for the replicas that follow. Whoever lags further behind gets the state instead.

#[cfg(test)]
mod tests;

use crate::{
    cell::OriginIndex,
    record::{Fact, Record},
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Bytes of changes kept at most, their bookkeeping included; at the bound the oldest of the stream with the most pieces go.
pub const FEED_BYTES_MAX: usize = 32 << 20;
/// Where the state is small so many are enough.
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
#[derive(Debug, Default)]
pub struct Feed {
    streams: BTreeMap<OriginIndex, VecDeque<Piece>>,
    byte_count: usize,
    bytes_max: usize,
}

impl Feed {
    /// Keeps no more than a state of so many counters and tokens is large: whoever lags further behind gets that sooner.
    pub fn keep_for(&mut self, counters: usize) {
        self.bytes_max = counters.saturating_mul(STATE_BYTES_EACH).min(FEED_BYTES_MAX);
    }

    /// Adds the newest piece of a stream. One that does not follow the last one takes the place of all before it.
    pub fn push(&mut self, origin: OriginIndex, piece: Piece) {
        let pieces = self.streams.entry(origin).or_default();
        if pieces.back().is_some_and(|last| last.upto != piece.after) {
            self.byte_count -= pieces.drain(..).map(|piece| piece.weight()).sum::<usize>();
        }
        self.byte_count += piece.weight();
        pieces.push_back(piece);
        while self.byte_count > self.bytes_max.max(FEED_BYTES_LEAST) {
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
