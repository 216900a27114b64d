//! Pure: a stream's state as it is now, in parts, for a replica that lags further behind than the feed reaches. The parts
//! are of different moments, but what is said of one counter, its slot, the cells beside it and the tokens used on it, stands in one part, so
//! that whoever gets only some of the parts knows no token without what it did. Of the own stream, what is still on its way
//! to the disk is left out; it comes with the last part, which brings everything that became durable since the first. Only
//! that one moves the follower's position. What this one has absorbed the follower drops counter by counter, with the slots
//! that have it in them, which the first part says: so it holds everything once, whatever part is the last to come. The marks of producers come with the last part, too: as of the first one,
//! and then as they changed, so that the follower never knows of less than its slots hold, nor of more.

use crate::{
    cell::OriginIndex,
    cell_key,
    feed::{Feed, Piece},
    ledger::Ledger,
    links::CHUNK_BYTES,
    record::Record,
    replica::Replica,
    table::{CellId, Entry, Place},
};
use std::collections::BTreeMap;

/// Counters looked at between two looks at how much has come together.
const STEP_COUNTERS: usize = 1024;

/// One walk over the counters for one follower.
#[derive(Clone, Debug)]
pub struct Scan {
    origin: OriginIndex,
    after: u64,
    /// What the feed must go on from.
    base: u64,
    place: Option<Place>,
    is_first: bool,
    /// The tokens to send, by the counter that they were used on.
    tokens: BTreeMap<CellId, Vec<u128>>,
    /// The marks to send, as records.
    marks: Vec<u8>,
    /// The newest position that was left out, and the counters that it was about.
    left_out: u64,
    left: Vec<CellId>,
    /// What is on the disk of counters of which something was left out, as records: it goes with the rest.
    older: Vec<u8>,
    absorptions: u64,
}

impl Scan {
    /// For a follower that holds `origin`'s stream up to `after`.
    #[must_use]
    pub fn begin(replica: &Replica, origin: OriginIndex, after: u64) -> Scan {
        let (base, absorptions) = (replica.origins[origin].durable_seq, replica.absorptions);
        let (tokens, marks, left, older) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        Scan { origin, after, base, place: Some(Place::default()), is_first: true, tokens, marks, left_out: 0, left, older, absorptions }
    }

    /// The next part, after a look at as many counters as `budget` allows, which becomes less. `None`: nothing more now,
    /// because the budget is used up, an absorbed origin's slots come first, or the last part has to wait for the feed,
    /// which reaches to `reach`.
    pub fn step(&mut self, ledger: &Ledger, feed: &Feed, reach: u64, budget: &mut usize) -> Option<Piece> {
        let replica = &ledger.replica;
        if self.absorptions != replica.absorptions {
            // What was sent and what would be now do not go together.
            *self = Scan::begin(replica, self.origin, self.after);
        }
        // The slots of what was absorbed a moment ago are newer than all that may be sent.
        let absorbs = |other| replica.origins.absorbed_at(other, self.origin).is_some_and(|seq| seq > reach);
        if replica.is_folding() || *budget == 0 || (self.is_first && replica.origins.iter().any(|(other, _)| absorbs(other))) {
            return None;
        }
        let (origin, after) = (self.origin, self.after);
        let is_wanted = |by, seq| replica.origins.is_said_by(origin, (after, u64::MAX), by, seq);
        let mut piece = Piece { after, upto: after, ..Piece::default() };
        if std::mem::take(&mut self.is_first) {
            self.base = reach;
            replica.inclusions_of(origin, after).iter().for_each(|inclusion| inclusion.record().encode(&mut piece.records));
            self.tokens = ledger.tokens.wanted(is_wanted);
            ledger.marks.copy(|by, seq| is_wanted(by, seq) && (by != origin || seq <= reach), &mut self.marks);
            // Newer ones are in the feed by then.
            self.left_out = ledger.marks.newest(origin).min(replica.origins[origin].seq);
        }
        let durable = if origin == replica.own { replica.origins[origin].durable_seq } else { u64::MAX };
        while let Some(mut place) = self.place.take() {
            for _ in 0..STEP_COUNTERS {
                let Some(id) = replica.table.walk(&mut place) else { break };
                let mut buffer = [0; 256];
                if cell_key::stands_beside(replica.table.key(id, &mut buffer)) {
                    continue;
                }
                let cells = [&[id], replica.table.beside(id)].concat();
                let entries = || cells.iter().flat_map(|id| replica.table.entries(*id).map(|entry| (*id, entry)));
                let said = |entry: &Entry| (entry.by.unwrap_or(entry.origin), entry.slot.seq);
                let newest = entries().map(|(_, entry)| said(&entry)).filter(|(by, _)| *by == origin).map(|(_, seq)| seq).max();
                let is_left = newest.is_some_and(|seq| seq > durable);
                for (cell, entry) in entries() {
                    let (by, seq) = said(&entry);
                    if is_wanted(by, seq) && !(by == origin && seq > durable) {
                        let out = if is_left && by == origin { &mut self.older } else { &mut piece.records };
                        Record::from_entry(entry, replica.table.key(cell, &mut buffer)).encode(out);
                    }
                }
                if is_left {
                    self.left_out = self.left_out.max(newest.unwrap_or_default());
                    self.left.extend(cells);
                } else {
                    cells.into_iter().for_each(|id| self.copy_tokens(ledger, id, u64::MAX, &mut piece.records));
                }
            }
            self.place = (!replica.table.is_end(place)).then_some(place);
            *budget = budget.saturating_sub(STEP_COUNTERS);
            if piece.records.len() >= CHUNK_BYTES || (*budget == 0 && self.place.is_some()) {
                return (!piece.records.is_empty()).then_some(piece);
            }
        }
        if piece.records.is_empty() { self.last(ledger, feed, reach) } else { Some(piece) }
    }

    fn last(&mut self, ledger: &Ledger, feed: &Feed, reach: u64) -> Option<Piece> {
        let end = feed.end(self.origin).unwrap_or(reach).max(reach);
        if end < self.left_out {
            return None;
        }
        let as_of_ms = ledger.replica.origins[self.origin].as_of_ms;
        // What is dropped is not there to be absorbed once more by what follows.
        let mut records = std::mem::take(&mut self.older);
        ledger.replica.absorbed_by(self.origin, self.after).iter().for_each(|record| record.encode(&mut records));
        let is_wanted = |by, seq| ledger.replica.origins.is_said_by(self.origin, (self.after, end), by, seq);
        ledger.replica.copy_notices(is_wanted, &mut records);
        records.extend_from_slice(&self.marks);
        if end <= self.base {
            // An origin that has said nothing yet has nothing to bring.
            let last = Piece { after: self.after, upto: self.base, as_of_ms, records, whole: true, ..Piece::default() };
            return (self.base > self.after).then_some(last);
        }
        match feed.gather(self.origin, self.base, usize::MAX) {
            Some(mut piece) => {
                records.append(&mut piece.records);
                piece.records = records;
                for id in std::mem::take(&mut self.left) {
                    self.copy_tokens(ledger, id, piece.upto, &mut piece.records);
                }
                Some(Piece { after: self.after, whole: true, ..piece })
            }
            None => {
                *self = Scan::begin(&ledger.replica, self.origin, self.after);
                Some(Piece { after: self.after, upto: self.after, ..Piece::default() })
            }
        }
    }

    /// Appends the tokens of a counter that the scan has to send.
    fn copy_tokens(&self, ledger: &Ledger, id: CellId, upto: u64, out: &mut Vec<u8>) {
        let is_wanted = |by, seq| ledger.replica.origins.is_said_by(self.origin, (self.after, upto), by, seq);
        for token in self.tokens.get(&id).into_iter().flatten() {
            ledger.tokens.copy_uses(*token, &ledger.replica.table, is_wanted, out);
        }
    }
}
