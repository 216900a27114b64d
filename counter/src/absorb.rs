//! Pure: how a retired origin becomes part of its heir. That it has is one fact in the heir's stream; from then on its slots
//! are added to the heir's, which leaves every value as it is. With millions of counters this takes a while, so it is done
//! some counters at a time, and of a counter that is about to change at once: nobody who changes a slot, or copies slots,
//! ever sees one that is still to be added.

use crate::{
    cell::{Cell, Floor, OriginIndex, Slot},
    group::Group,
    origin::weight,
    record::Fact,
    replica::Replica,
    table::{CellId, Place},
    window, windowing,
};

/// Counters looked at in one go: some milliseconds.
pub(crate) const FOLD_COUNTERS: usize = 1 << 14;

/// An absorbed origin whose slots are being added to the absorber's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folding {
    origin: OriginIndex,
    by: OriginIndex,
    /// Where in the absorber's stream.
    seq: u64,
    place: Place,
}

impl Replica {
    /// Absorbs a sealed origin, as its heir.
    pub(crate) fn take_over(&mut self, at: OriginIndex, out: &mut Group) {
        self.fold_all();
        let mut buffer = [0; 256];
        let floored: Vec<CellId> = self.floored.iter().copied().collect();
        let mut said = Vec::new();
        for id in &floored {
            let cell = Cell::new(&self.table, *id);
            let (slot, floor) = (cell.slot(at), cell.floor(at));
            if floor == Floor::default() || slot.sums() == Floor::default() {
                continue;
            }
            // With resets in it, what counts is known here alone; so is what has been taken off already.
            let sums = sum(cell.slot(self.own).sums(), slot.sums().above(floor));
            let key = self.table.key(*id, &mut buffer);
            self.say(Fact::AbsorbedKey { origin: at, key, sums }, out);
            self.say(Fact::Floor { origin: at, key, sums: floor }, out);
            said.push(*id);
        }
        let upto = self.origins[at].seq;
        self.say(Fact::Absorbed { origin: at, upto }, out);
        out.seal_facts();
        // Every slot with the absorbed one in it is as new as that; see `inclusion`.
        for id in said {
            let slot = Cell::new(&self.table, id).slot(self.own);
            self.put_own(id, self.table.key(id, &mut buffer).to_owned().as_str(), slot, out);
        }
        // What the absorbed one had still to make up for is this origin's task now.
        floored.into_iter().for_each(|id| self.make_up(id, out));
    }

    /// Takes off what resets of absorbed origins, which came after they were absorbed, should have taken off.
    pub(crate) fn make_up(&mut self, id: CellId, out: &mut Group) {
        if self.table.only_slot(id).is_some() {
            return;
        }
        self.settle(id);
        for (origin, floor) in Cell::new(&self.table, id).floors() {
            if origin == self.own || self.origins.resolve(origin) != self.own {
                continue;
            }
            let cell = Cell::new(&self.table, id);
            let (mut at, mut done) = (origin, Floor::default());
            while at != self.own {
                at = self.origins[at].absorbed.map_or(self.own, |(by, _, _)| by);
                done = done.join(cell.floor_by(at, origin).sums());
            }
            let missed = floor.above(done);
            if missed != Floor::default() {
                let own = cell.slot(self.own);
                let sums = sum(own.sums(), Floor { p: missed.n, n: missed.p });
                let mut buffer = [0; 256];
                let key = self.table.key(id, &mut buffer);
                self.put_own(id, key, Slot { p: sums.p, n: sums.n, seq: own.seq }, out);
                self.say(Fact::Floor { origin, key, sums: floor }, out);
            }
        }
    }

    /// A retired origin is part of another one from now on.
    pub(crate) fn absorb(&mut self, at: OriginIndex, (by, seq, upto): (OriginIndex, u64, u64)) {
        if self.origins[at].absorbed.is_some() {
            return;
        }
        // One after another.
        self.fold_all();
        // Digests are sums over slots, so that of the absorber is what it will be, but for votes that both have turned, and buckets.
        let slots = std::mem::take(&mut self.origins[at].slots_digest);
        let absorber = &mut self.origins[by];
        absorber.slots_digest = absorber.slots_digest.wrapping_add(slots);
        self.set_absorbed(at, (by, seq, upto));
        self.folding = Some(Folding { origin: at, by, seq, place: Place::default() });
    }

    /// Whether slots of an absorbed origin are still to be added to the absorber's.
    #[must_use]
    pub fn is_folding(&self) -> bool {
        self.folding.is_some()
    }

    /// Whether they are added to those of `by`, the digest of which is not what it will be before that is done.
    pub(crate) fn is_folding_into(&self, by: OriginIndex) -> bool {
        self.folding.is_some_and(|folding| folding.by == by)
    }

    /// Adds the slots of an absorbed origin to the absorber's, in the next `count` counters.
    pub fn fold(&mut self, count: usize) {
        for _ in 0..count {
            let Some(folding) = &mut self.folding else { return };
            match self.table.walk(&mut folding.place) {
                Some(id) => self.settle(id),
                None => self.folding = None,
            }
            self.table.put_votes_away();
        }
    }

    /// Adds all of them. Must come before slots are copied.
    pub fn fold_all(&mut self) {
        self.fold(usize::MAX);
    }

    /// Adds the slot of an absorbed origin, if the counter still has one, to the absorber's. Must come before slots of the
    /// counter change.
    #[inline]
    pub(crate) fn settle(&mut self, id: CellId) {
        if let Some(folding) = self.folding {
            self.settle_slot(id, folding);
        }
    }

    fn settle_slot(&mut self, id: CellId, Folding { origin, by, seq, .. }: Folding) {
        let cell = Cell::new(&self.table, id);
        let slot = cell.slot(origin);
        if slot == Slot::default() {
            return;
        }
        let known = cell.slot(by);
        // Of a vote nothing turns: the length is the longest before and after.
        self.table.remove(id, |entry| entry.origin == origin && entry.by.is_none());
        if slot.sums() == Floor::default() {
            return;
        }
        let mut sums = sum(known.sums(), slot.sums());
        let mut buffer = [0; 256];
        let key = self.table.key(id, &mut buffer);
        // The digest of the absorber was made as if these were sums.
        let not_a_sum = if id.is_vote() {
            Some((sums, known.sums().join(slot.sums())))
        } else {
            window::is_window(key).then(|| windowing::absorbed(known.sums(), slot.sums()))
        };
        if let Some((added, merged)) = not_a_sum {
            self.origins[by].weigh(weight(key), added, merged);
            sums = merged;
        }
        self.table.put_slot(id, by, Slot { p: sums.p, n: sums.n, seq: known.seq.max(seq) });
    }

    fn set_absorbed(&mut self, at: OriginIndex, absorbed: (OriginIndex, u64, u64)) {
        self.origins[at].absorbed = Some(absorbed);
        self.inclusions.retain(|inclusion| inclusion.origin != at);
        self.absorptions += 1;
        // What it had absorbed behind the end of its stream, as only a lost disk knew, it has not.
        for (_, origin) in self.origins.iter_mut() {
            if origin.absorbed.is_some_and(|(by, seq, _)| by == at && seq > absorbed.2) {
                (origin.absorbed, origin.seq, origin.durable_seq) = (None, 0, 0);
            }
        }
    }

    /// Drops what is left of an origin that was absorbed elsewhere.
    pub(crate) fn drop_absorbed(&mut self, at: OriginIndex, absorbed: (OriginIndex, u64, u64)) {
        if self.origins[at].absorbed.is_some() {
            return;
        }
        self.fold_all();
        let mut place = Place::default();
        while let Some(id) = self.table.walk(&mut place) {
            self.drop_slot(id, at);
            self.table.put_votes_away();
        }
        self.set_absorbed(at, absorbed);
    }

    pub(crate) fn drop_slot(&mut self, id: CellId, at: OriginIndex) {
        let slot = Cell::new(&self.table, id).slot(at);
        if slot != Slot::default() {
            let mut buffer = [0; 256];
            let key = self.table.key(id, &mut buffer);
            self.origins[at].weigh(weight(key), slot.sums(), Floor::default());
            self.tallied(id, |table| table.remove(id, |entry| entry.origin == at && entry.by.is_none()));
            self.rights_changed(id, key, at);
        }
    }
}

/// Sums of increments stay below 2^64: 584 years of a thousand million a second.
pub(crate) fn sum(one: Floor, other: Floor) -> Floor {
    Floor { p: one.p.saturating_add(other.p), n: one.n.saturating_add(other.n) }
}
