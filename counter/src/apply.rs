//! Pure: from records to a replica and back: what a log, a snapshot or another stream says is taken in, and a snapshot is written.

use crate::{
    cell::{Cell, Floor, OriginIndex, Slot},
    inclusion::Inclusion,
    origin::{Held, OriginId, weight},
    record::{Fact, Malformed, Record},
    replica::Replica,
    table::{CellId, Place},
};

impl Replica {
    /// Takes in one record of a log, a snapshot or another replica's stream; only its format can be wrong.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        match *record {
            Record::Origin { index, own, epoch, region, node } => {
                let id = OriginId { region: region.to_owned(), node: node.to_owned(), epoch };
                if self.origins.know(&id, own) != Some(index) {
                    return Err(Malformed);
                }
                if own {
                    self.own = index;
                }
            }
            Record::Cursor { origin, seq, as_of_ms } => {
                self.known(origin)?;
                let origin = &mut self.origins[origin];
                origin.seq = origin.seq.max(seq);
                origin.as_of_ms = origin.as_of_ms.max(as_of_ms);
            }
            Record::Fact { by, seq, fact } => {
                self.known(by)?;
                fact.origin().map_or(Ok(()), |origin| self.known(origin))?;
                self.apply_fact(by, seq, fact)?;
                self.origins[by].ahead = self.origins[by].ahead.max(seq);
                if by == self.own {
                    self.know_seq(by, seq);
                }
            }
            Record::Dropped { origin, by, seq, upto } => {
                self.known(origin)?;
                self.known(by)?;
                self.drop_absorbed(origin, (by, seq, upto));
            }
            Record::Included { origin, by, seq } => {
                self.known(origin)?;
                self.known(by)?;
                self.include(Inclusion { origin, by, seq });
            }
            Record::Forgotten { .. } => {}
        }
        Ok(())
    }

    pub(crate) fn apply_fact(&mut self, by: OriginIndex, seq: u64, fact: Fact<'_>) -> Result<(), Malformed> {
        match fact {
            Fact::Slot { key, sums } => {
                if self.origins[by].absorbed.is_none() {
                    let (id, slot) = (self.insert_slot(key, by, sums)?, Slot { p: sums.p, n: sums.n, seq });
                    if self.is_included(id, by) {
                        return Ok(());
                    }
                    self.settle(id);
                    let by_law = self.law.merge(Cell::new(&self.table, id), by, slot);
                    self.merge_slot(id, key, by, slot);
                    self.law.compare(by_law, Cell::new(&self.table, id));
                    self.drop_included(id, by, seq);
                }
            }
            Fact::Floor { origin, key, sums } => {
                let id = self.insert_counter(key, self.own)?;
                self.merge_floor(id, key, (by, origin), sums, seq);
            }
            Fact::Retired { origin, heir } => {
                self.origins[origin].retired.insert(by, (seq, heir.to_owned()));
            }
            Fact::Holds { origin, upto, digest, heir } => {
                let known = self.origins[origin].holds.get(&by).map_or(0, |(seq, _)| *seq);
                if known <= seq {
                    self.origins[origin].holds.insert(by, (seq, Held { upto, digest, heir: heir.to_owned() }));
                }
            }
            Fact::AbsorbedKey { origin, key, sums } => {
                let id = self.insert_counter(key, by)?;
                self.merge_slot(id, key, by, Slot { p: sums.p, n: sums.n, seq });
                self.drop_slot(id, origin);
                self.drop_included(id, by, seq);
            }
            Fact::Absorbed { origin, upto } => self.absorb(origin, (by, seq, upto)),
            Fact::Address(address) => {
                if self.origins[by].address.as_ref().is_none_or(|(known, _)| *known <= seq) {
                    self.origins[by].address = Some((seq, address.to_owned()));
                }
            }
            // These are kept beside the counters.
            Fact::Token(_) | Fact::TakenBack { .. } | Fact::Produced { .. } => {}
        }
        Ok(())
    }

    /// Appends the records of all origins to `out`, and again that of the own one, because the last own one holds.
    pub fn copy_origins(&self, out: &mut Vec<u8>) {
        self.origins.iter().for_each(|(index, _)| self.origins.record(index).encode(out));
        if self.origins.contains(self.own) {
            self.origins.record(self.own).encode(out);
        }
        for (origin, known) in self.origins.iter() {
            Record::Cursor { origin, seq: known.seq, as_of_ms: known.as_of_ms }.encode(out);
            if let Some((by, seq, upto)) = known.absorbed {
                Record::Dropped { origin, by, seq, upto }.encode(out);
            }
        }
        self.inclusions.iter().for_each(|inclusion| inclusion.record().encode(out));
        self.copy_notices(|_, _| true, out);
    }

    /// Appends the records, once [`Replica::fold_all`] is done, of at most `count` counters from `place` on, and moves it behind them; returns whether there may be more.
    pub fn copy_counters(&self, place: &mut Place, count: usize, out: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 256];
        for _ in 0..count {
            let Some(id) = self.table.walk(place) else { return false };
            let key = self.table.key(id, &mut buffer);
            self.table.entries(id).for_each(|entry| Record::from_entry(entry, key).encode(out));
        }
        true
    }

    #[inline]
    pub(crate) fn merge_slot(&mut self, id: CellId, key: &str, by: OriginIndex, slot: Slot) {
        self.settle(id);
        let (before, is_only) = self.slot_by(id, by);
        let after = before.join(slot);
        if after != before {
            self.tallied(id, |table| if is_only { table.put_only_slot(id, after) } else { table.put_slot(id, by, after) });
            self.origins[by].weigh(weight(key), before.sums(), after.sums());
            self.rights_changed(id, key, by);
        }
    }

    /// `by`'s slot, and whether the cell has no other entry.
    #[inline]
    pub(crate) fn slot_by(&self, id: CellId, by: OriginIndex) -> (Slot, bool) {
        match self.table.only_slot(id) {
            Some((only, slot)) if only == by => (slot, true),
            _ => (Cell::new(&self.table, id).slot(by), false),
        }
    }

    pub(crate) fn merge_floor(&mut self, id: CellId, key: &str, (by, origin): (OriginIndex, OriginIndex), floor: Floor, seq: u64) {
        self.settle(id);
        self.floored.insert(id);
        let known = Cell::new(&self.table, id).floor_by(by, origin);
        let sums = known.sums().join(floor);
        self.table.put_floor(id, by, origin, sums, known.seq.max(seq));
        let epoch = self.origins[origin].id.epoch;
        self.origins[by].weigh_floor(weight(key), epoch, known.sums(), sums);
    }

    fn known(&self, origin: OriginIndex) -> Result<(), Malformed> {
        if self.origins.contains(origin) { Ok(()) } else { Err(Malformed) }
    }
}
