//! Pure: bounded counters, which never go below zero anywhere. A node takes from one only what it has rights to (see [`crate::escrow`]),
//! so it asks nobody; one that has too few says in its own stream that it wishes for more, ahead of need if it can, and whoever
//! has some gives some away in its own. A right is somebody's alone from the moment that it is on the giver's disk, and what is not known yet
//! of what one was given only makes one take less: no order of messages, no crash and no cut takes the counter below zero.

use crate::{
    cell::{OriginIndex, Slot},
    escrow::{self, BOUNDED_KEY_BYTES_MAX, EscrowKey, Kind, Parts},
    group::Group,
    locating::Located,
    refusal::AddRefusal,
    replica::Replica,
    table::CellId,
    tokens::Used,
};
use protocol::{name::NameRef, time::Now};

/// How often a node wishes for more of one counter.
const WISH_EVERY_MS: u64 = 100;
/// Rights for what was taken in so long are wished for ahead of need.
const AHEAD_MS: u64 = 1_000;
/// So long after rights were missed for something that is to be taken back they stay here if others gather them too. It is looked at more
/// often than that.
const GATHERS_MS: u64 = 1_000;
/// Counters of which it is known how much is taken of them; at the bound all of that is forgotten, and rights are wished for when they are missed.
pub(crate) const DEMANDS_MAX: usize = 10_000;
/// Wishes of others that are still to be fulfilled; at the bound further ones wait until they are made anew.
pub(crate) const WISHES_MAX: usize = 10_000;

/// There is not enough to be taken here; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{here} can be taken here now, and {elsewhere} elsewhere, as far as is known here")]
pub struct Shortage {
    /// What can be taken here now.
    pub here: u64,
    /// What is left besides, as far as is known here. Some of it comes here if there is demand: retry.
    pub elsewhere: u64,
}

impl Shortage {
    /// What is left in all, as far as is known here.
    #[must_use]
    pub fn left(self) -> u64 {
        self.here.saturating_add(self.elsewhere)
    }

    /// Where `here` of `left` can be taken.
    #[must_use]
    pub fn of(left: u64, here: u64) -> Shortage {
        Shortage { here, elsewhere: left.saturating_sub(here) }
    }
}

/// How much is taken here of a counter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    since_ms: u64,
    taken: u64,
    before: u64,
    wished_ms: Option<u64>,
    /// When rights were last missed for something that is to be taken back.
    missed_ms: Option<u64>,
}

impl Demand {
    fn passes(&mut self, now_ms: u64) {
        if self.since_ms + AHEAD_MS <= now_ms {
            let is_next = now_ms < self.since_ms + 2 * AHEAD_MS;
            *self = Demand { since_ms: now_ms, taken: 0, before: if is_next { self.taken } else { 0 }, ..*self };
        }
    }

    /// Whether rights come here to take something back with them.
    fn gathers(&self, now_ms: u64) -> bool {
        self.missed_ms.is_some_and(|last_ms| now_ms < last_ms + GATHERS_MS)
    }

    fn expected(&self) -> u64 {
        self.taken.max(self.before)
    }
}

impl Replica {
    /// Adds `by` to a bounded counter; of what is taken away this node must have rights. `has_token`: the same token may have been used
    /// for the same elsewhere.
    pub fn add_bounded(&mut self, at: Located<'_>, by: i64, has_token: bool, now: Now, out: &mut Group) -> Result<i64, AddRefusal> {
        if at.key.as_str().len() > BOUNDED_KEY_BYTES_MAX {
            return Err(AddRefusal::LongKey);
        }
        if by < 0 {
            self.take(at, by, now, out)
        } else {
            let value = self.add(at, by, out)?;
            if has_token && by > 0 {
                self.mark_bounded(at.key, out);
            }
            Ok(value)
        }
    }

    fn take(&mut self, at: Located<'_>, by: i64, now: Now, out: &mut Group) -> Result<i64, AddRefusal> {
        let (amount, here) = (by.unsigned_abs(), self.rights_of(at));
        let left = u64::try_from(self.value(at.key).unwrap_or(0)).unwrap_or(0);
        let shortage = Shortage::of(left, here);
        let is_short = here < amount;
        let expected = self.expect(at, if is_short { 0 } else { amount }, now);
        // Of what is nowhere nobody can give.
        let missing = amount.saturating_sub(here).max(expected.saturating_sub(here - if is_short { 0 } else { amount }));
        if missing > 0 && shortage.elsewhere > 0 {
            self.wish(at, missing.min(shortage.elsewhere), now, out);
        }
        if is_short {
            return Err(AddRefusal::Short(shortage));
        }
        // Of what it has rights to there may be more than is known here, where others' additions are still on their way.
        self.add(at, by, out).map(|value| value.max(0))
    }

    /// What this node may take of a bounded counter now.
    #[must_use]
    pub fn rights(&self, counter: NameRef<'_>) -> u64 {
        let rights = self.counted(self.locate(counter)) + self.moved(counter);
        if self.may_take() { u64::try_from(rights).unwrap_or(0) } else { 0 }
    }

    /// As [`Replica::rights`], which looks at every life of this node and of those whose heir it is, and keeps what it finds.
    fn rights_of(&mut self, at: Located<'_>) -> u64 {
        let Some(id) = self.cell_id(at).filter(|_| self.may_take()) else { return 0 };
        let counted = self.counted(at);
        let Some(kept) = self.table.moved(id) else { return u64::try_from(counted).unwrap_or(0) };
        let holds = self.absorptions << 16 | u64::from(self.own) | 1 << 55;
        let moved = if kept.seq == holds {
            i128::from(kept.p) - i128::from(kept.n)
        } else {
            let moved = self.moved(at.key);
            let half = |moved: i128| u64::try_from(moved).unwrap_or(0);
            self.table.keep_moved(id, Slot { p: half(moved), n: half(-moved), seq: holds });
            moved
        };
        u64::try_from(counted + moved).unwrap_or(0)
    }

    /// While a disk may be older than what its node once took, nothing is taken; nor by a life that is over.
    fn may_take(&self) -> bool {
        !self.provisional && self.origins.contains(self.own) && self.origins[self.own].is_live()
    }

    /// The lives that are this node's now.
    fn lives(&self) -> impl Iterator<Item = OriginIndex> {
        self.origins.iter().map(|(at, _)| at).filter(|at| self.origins.resolve(*at) == self.own)
    }

    /// What this node, and those that it has absorbed, have added less what they have taken.
    fn counted(&self, at: Located<'_>) -> i128 {
        let Some(id) = self.cell_id(at) else { return 0 };
        match self.table.only_slot(id) {
            Some((origin, slot)) if origin == self.own => slot.sums().balance(),
            _ => {
                let mine = self.look(id).slots().filter(|(origin, _)| self.origins.resolve(*origin) == self.own);
                mine.map(|(_, slot)| slot.sums().balance()).sum()
            }
        }
    }

    /// The rights that this node was given, less those that it has given away, in all its lives.
    fn moved(&self, counter: NameRef<'_>) -> i128 {
        self.lives().filter_map(|of| self.beside(counter, Kind::Rights, of)).map(|id| self.look(id).value()).sum()
    }

    fn beside(&self, counter: NameRef<'_>, kind: Kind, of: OriginIndex) -> Option<CellId> {
        let key = EscrowKey::new(counter, kind, self.origins[of].id.epoch)?;
        self.table.find(self.table.hash(key.as_str()), key.as_str())
    }

    /// Raises the own slot of a cell beside a counter.
    fn raise(&mut self, counter: NameRef<'_>, (kind, of): (Kind, OriginIndex), (p, n): (u64, u64), out: &mut Group) {
        let Some(key) = EscrowKey::new(counter, kind, self.origins[of].id.epoch) else { return };
        let key = key.as_str();
        let id = self.table.insert(self.table.hash(key), key, self.own);
        self.settle(id);
        let slot = self.look(id).slot(self.own);
        self.put_own(id, key, Slot { p: slot.p.saturating_add(p), n: slot.n.saturating_add(n), seq: slot.seq }, out);
    }

    /// That the counter is bounded must be known to whoever may have to take an addition back.
    fn mark_bounded(&mut self, counter: NameRef<'_>, out: &mut Group) {
        if self.locate(counter).id.is_some_and(|id| !self.table.is_bounded(id)) {
            self.raise(counter, (Kind::Rights, self.own), (1, 1), out);
        }
    }

    /// Whether what a token did a second time can be taken back now: an addition to a bounded counter only once this node has rights to
    /// as much, which it wishes for.
    pub(crate) fn may_take_back(&mut self, used: &Used, now: Now, out: &mut Group) -> bool {
        let amount = used.by.and_then(|by| u64::try_from(by).ok()).unwrap_or(0);
        if amount == 0 || !self.table.is_bounded(used.cell) {
            return true;
        }
        let mut buffer = [0; 256];
        let Ok(key) = NameRef::parse(self.table.key(used.cell, &mut buffer).as_bytes()) else { return true };
        let at = self.locate(key);
        let here = self.rights_of(at);
        // As long as there is not as much anywhere, it would only be passed to and fro.
        if here < amount && self.look(used.cell).value() >= i128::from(amount) {
            self.expect(at, 0, now);
            if let Some(demand) = self.demands.get_mut(&used.cell) {
                demand.missed_ms = Some(now.mono_ms);
            }
            self.wish(at, amount - here, now, out);
        }
        here >= amount
    }

    /// Notes how much is taken here; how much is expected to be taken in the next [`AHEAD_MS`].
    fn expect(&mut self, at: Located<'_>, amount: u64, now: Now) -> u64 {
        let Some(id) = self.cell_id(at) else { return 0 };
        if self.demands.len() >= DEMANDS_MAX && !self.demands.contains_key(&id) {
            self.demands.clear();
        }
        let demand = self.demands.entry(id).or_default();
        demand.passes(now.mono_ms);
        demand.taken = demand.taken.saturating_add(amount);
        demand.expected()
    }

    /// Says that this node wishes to be given `amount` more than it has been.
    fn wish(&mut self, at: Located<'_>, amount: u64, now: Now, out: &mut Group) {
        let known = self.cell_id(at).filter(|_| self.may_take());
        let Some(demand) = known.and_then(|id| self.demands.get_mut(&id)) else { return };
        if demand.wished_ms.is_some_and(|last_ms| last_ms + WISH_EVERY_MS > now.mono_ms) {
            return;
        }
        demand.wished_ms = Some(now.mono_ms);
        let missing = amount.saturating_sub(self.unfulfilled(at.key, self.own));
        // A wish that nobody could fulfil is made anew by making it greater.
        self.raise(at.key, (Kind::Wanted, self.own), (missing.max(1), 0), out);
    }

    /// What an origin has wished for and was not given.
    fn unfulfilled(&self, counter: NameRef<'_>, of: OriginIndex) -> u64 {
        let wanted = self.beside(counter, Kind::Wanted, of).map_or(0, |id| self.look(id).value());
        let rights = self.beside(counter, Kind::Rights, of);
        let given: i128 =
            rights.map_or(0, |id| self.look(id).slots().filter(|(by, _)| *by != of).map(|(_, slot)| i128::from(slot.p)).sum());
        u64::try_from(wanted - given).unwrap_or(0)
    }

    /// A cell has changed; of counters nothing more is to be done.
    #[inline]
    pub(crate) fn rights_changed(&mut self, id: CellId, key: &str, by: OriginIndex) {
        if escrow::is_escrow(key) {
            self.note_rights(id, key, by);
        }
    }

    fn note_rights(&mut self, id: CellId, key: &str, by: OriginIndex) {
        let Some(Parts { counter, kind, .. }) = escrow::split(key.as_bytes()) else { return };
        match kind {
            Kind::Wanted if by != self.own && self.wishes.len() < WISHES_MAX => _ = self.wishes.insert(id),
            Kind::Wanted => {}
            Kind::Rights => {
                // It is there: who puts something beside a counter makes it.
                if let Ok(counter) = NameRef::parse(counter)
                    && let Some(counter) = self.locate(counter).id
                {
                    self.table.keep_moved(counter, Slot::default());
                }
            }
        }
    }

    /// Gives rights away to those who have wished for some: half of what is here at most, so that they do not all go to and fro. Of those
    /// who gather some to take something back, who has the smaller epoch keeps them: halves would never be enough for either.
    pub fn give(&mut self, now: Now, out: &mut Group) {
        if self.wishes.is_empty() || !self.may_take() {
            return;
        }
        for id in std::mem::take(&mut self.wishes) {
            let mut buffer = [0; 256];
            let Some(Parts { counter, epoch, .. }) = escrow::split(self.table.key(id, &mut buffer).as_bytes()) else { continue };
            let (Ok(counter), Some(of)) = (NameRef::parse(counter), self.origins.find(epoch)) else { continue };
            let at = self.locate(counter);
            let gathers = at.id.and_then(|id| self.demands.get(&id)).is_some_and(|demand| demand.gathers(now.mono_ms));
            if gathers && self.origins[self.own].id.epoch < epoch {
                self.wishes.insert(id);
                continue;
            }
            let here = self.rights_of(at);
            let amount = self.unfulfilled(counter, of).min(here.div_ceil(2));
            if amount == 0 || !self.origins[of].is_live() || self.origins.resolve(of) == self.own {
                continue;
            }
            self.raise(counter, (Kind::Rights, self.own), (0, amount), out);
            self.raise(counter, (Kind::Rights, of), (amount, 0), out);
            self.wishes.insert(id);
        }
    }
}

#[cfg(test)]
mod tests;
