//! Pure: who counts. An origin is a node in one of its lives; its stream of facts is written by it alone, and every replica
//! holds each stream up to a position.

use crate::{
    cell::{Floor, OriginIndex},
    record::Record,
    table::ORIGINS_MAX,
};
use std::collections::{BTreeMap, HashMap};
use xxhash_rust::xxh3::xxh3_64;

/// A node of a region in one of its lives. The epoch is random; a node whose disk is gone takes a new one, so that what
/// it counts anew cannot hide under what others remember of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginId {
    /// The region's name, at most 127 bytes.
    pub region: String,
    /// The node's name, at most 127 bytes.
    pub node: String,
    /// The random number of this life.
    pub epoch: u64,
}

impl OriginId {
    /// `region/node`: the member that counts, in whatever life.
    #[must_use]
    pub fn member(&self) -> String {
        format!("{}/{}", self.region, self.node)
    }
}

/// What is known of an origin here.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who it is.
    pub id: OriginId,
    /// `region/node`.
    pub member: String,
    /// Whether this disk counts, or once counted, as it.
    pub own: bool,
    /// How far its stream is known in memory.
    pub seq: u64,
    /// The newest position of any of its facts that are known, which may be ahead of that.
    pub ahead: u64,
    /// How far its stream is on this disk.
    pub durable_seq: u64,
    /// What it acknowledged before this moment, in milliseconds since 1970, is known here.
    pub as_of_ms: u64,
    /// Of its slots; see [`weight`].
    pub(crate) slots_digest: u64,
    /// Of the floors that it has set.
    floors_digest: u64,
    /// Who said that it counts no more: the writer, where in its stream, and the heir.
    pub retired: BTreeMap<OriginIndex, (u64, String)>,
    /// Who holds how much of it: the writer, where in its stream, and what it said.
    pub holds: BTreeMap<OriginIndex, (u64, Held)>,
    /// It is part of another origin now: whose, where in that stream, and how long its own stream was.
    pub absorbed: Option<(OriginIndex, u64, u64)>,
    /// Where to reach its node, and where in its stream it said so.
    pub address: Option<(u64, String)>,
}

/// What a replica has said of a stream that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Up to where.
    pub upto: u64,
    /// The digest of what it holds of a retired origin; 0 for one that counts.
    pub digest: u64,
    /// The heir that it knew of.
    pub heir: String,
}

impl Origin {
    /// An origin of which nothing is known yet.
    #[must_use]
    pub fn new(id: OriginId, own: bool) -> Origin {
        let member = id.member();
        let (retired, holds) = (BTreeMap::new(), BTreeMap::new());
        Origin {
            id,
            member,
            own,
            seq: 0,
            ahead: 0,
            durable_seq: 0,
            as_of_ms: 0,
            slots_digest: 0,
            floors_digest: 0,
            retired,
            holds,
            absorbed: None,
            address: None,
        }
    }

    /// Whether its node may still count as it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.retired.is_empty() && self.absorbed.is_none()
    }

    /// Counts a change of a floor that it has set under a slot of the origin with this epoch into its digest.
    pub fn weigh_floor(&mut self, weight: Weight, epoch: u64, before: Floor, after: Floor) {
        self.floors_digest = self.floors_digest.wrapping_add(weighed(weight, before, after).wrapping_mul(epoch | 1));
    }

    /// Counts a change of one of its slots into its digest.
    pub fn weigh(&mut self, weight: Weight, before: Floor, after: Floor) {
        self.slots_digest = self.slots_digest.wrapping_add(weighed(weight, before, after));
    }

    /// The digest of all that it says of counters; see [`weight`].
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.slots_digest.wrapping_add(self.floors_digest)
    }

    /// Counts what another replica of the same stream holds of other counters.
    pub(crate) fn weigh_too(&mut self, other: &Origin) {
        self.slots_digest = self.slots_digest.wrapping_add(other.slots_digest);
        self.floors_digest = self.floors_digest.wrapping_add(other.floors_digest);
    }
}

fn weighed(weight: Weight, before: Floor, after: Floor) -> u64 {
    let Weight(hash) = weight;
    let (of_p, of_n) = (hash | 1, hash.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let p = after.p.wrapping_sub(before.p).wrapping_mul(of_p);
    p.wrapping_add(after.n.wrapping_sub(before.n).wrapping_mul(of_n))
}

/// How much a key weighs in digests.
#[derive(Clone, Copy, Debug)]
pub struct Weight(u64);

/// The weight of `key`, the same everywhere. The digest of an origin is Σ over its slots, and the floors that it has set,
/// of p·a(key) + n·b(key), modulo 2^64, with odd factors: it is kept up by one multiplication a change, and two replicas that hold a stream up to the
/// same position and differ in any slot differ in it, but for one chance in 2^63 or so.
#[must_use]
pub fn weight(key: &str) -> Weight {
    Weight(xxh3_64(key.as_bytes()))
}

/// All origins, by index and by epoch.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    list: Vec<Origin>,
    by_epoch: HashMap<u64, OriginIndex>,
}

impl Origins {
    /// The index of an origin, which is added if it is new; `None` if another origin has its epoch, or none is left.
    pub fn know(&mut self, id: &OriginId, own: bool) -> Option<OriginIndex> {
        if let Some(known) = self.by_epoch.get(&id.epoch) {
            return (self[*known].id == *id).then_some(*known);
        }
        let index = OriginIndex::try_from(self.list.len()).ok().filter(|index| *index < ORIGINS_MAX)?;
        self.list.push(Origin::new(id.clone(), own));
        self.by_epoch.insert(id.epoch, index);
        Some(index)
    }

    /// The origin with this epoch.
    #[must_use]
    pub fn find(&self, epoch: u64) -> Option<OriginIndex> {
        self.by_epoch.get(&epoch).copied()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether no index is left for another one: nobody who begins a new life is known any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.list.len() >= usize::from(ORIGINS_MAX)
    }

    /// Whether there is such an index.
    #[must_use]
    pub fn contains(&self, index: OriginIndex) -> bool {
        usize::from(index) < self.list.len()
    }

    /// All, by index.
    pub fn iter(&self) -> impl Iterator<Item = (OriginIndex, &Origin)> {
        (0..).zip(&self.list)
    }

    /// All, by index, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (OriginIndex, &mut Origin)> {
        (0..).zip(&mut self.list)
    }

    /// The same, as if nothing was known yet of their slots and floors; see [`Origin::weigh_too`].
    pub(crate) fn unweighed(&self) -> Origins {
        let mut origins = self.clone();
        origins.list.iter_mut().for_each(|origin| (origin.slots_digest, origin.floors_digest) = (0, 0));
        origins
    }

    /// The record of an origin's identity.
    #[must_use]
    pub fn record(&self, index: OriginIndex) -> Record<'_> {
        let Origin { id: OriginId { region, node, epoch }, own, .. } = &self[index];
        Record::Origin { index, own: *own, epoch: *epoch, region, node }
    }

    /// Who takes over what a retired origin has counted: of the members that were named, the first in order.
    #[must_use]
    pub fn heir(&self, index: OriginIndex) -> Option<&str> {
        let is_member = |heir: &&str| self.list.iter().any(|origin| origin.is_live() && origin.member == *heir);
        self[index].retired.values().map(|(_, heir)| heir.as_str()).filter(is_member).min()
    }

    /// Whether a fact at `seq` of `by`'s stream is part of what `origin` has said after position `after` and up to `upto`: in
    /// its own stream, or in that of one that it has absorbed since. Positions in that other stream are not its own.
    #[must_use]
    pub fn is_said_by(&self, origin: OriginIndex, (after, upto): (u64, u64), by: OriginIndex, seq: u64) -> bool {
        let at = if by == origin { Some(seq) } else { self.absorbed_at(by, origin) };
        at.is_some_and(|at| after < at && at <= upto)
    }

    /// Where in the stream of `into` an origin, or one that had absorbed it before, became part of it.
    #[must_use]
    pub fn absorbed_at(&self, origin: OriginIndex, into: OriginIndex) -> Option<u64> {
        let mut at = origin;
        // See `resolve`.
        for _ in 0..self.list.len() {
            match self[at].absorbed? {
                (by, seq, _) if by == into => return Some(seq),
                (by, _, _) => at = by,
            }
        }
        None
    }

    /// Follows an absorbed origin to the one that it is part of now.
    #[must_use]
    pub fn resolve(&self, mut index: OriginIndex) -> OriginIndex {
        // An origin is absorbed by one that counts then, so there are no circles; the bound is for bad data.
        for _ in 0..self.list.len() {
            match self[index].absorbed {
                Some((by, _, _)) => index = by,
                None => break,
            }
        }
        index
    }
}

impl std::ops::Index<OriginIndex> for Origins {
    type Output = Origin;

    fn index(&self, index: OriginIndex) -> &Origin {
        &self.list[usize::from(index)]
    }
}

impl std::ops::IndexMut<OriginIndex> for Origins {
    fn index_mut(&mut self, index: OriginIndex) -> &mut Origin {
        &mut self.list[usize::from(index)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(epoch: u64) -> OriginId {
        OriginId { region: "eu".to_owned(), node: "c1".to_owned(), epoch }
    }

    #[test]
    fn an_epoch_belongs_to_one_origin() {
        let mut origins = Origins::default();
        assert_eq!(origins.know(&id(7), true), Some(0));
        assert_eq!(origins.know(&id(8), false), Some(1));
        assert_eq!(origins.know(&id(7), false), Some(0));
        assert_eq!(origins.know(&OriginId { node: "c2".to_owned(), ..id(7) }, false), None);
        assert_eq!((origins.find(8), origins.find(9)), (Some(1), None));
    }

    proptest! {
        /// Whatever way the slots came about.
        #[test]
        fn a_digest_depends_on_the_slots_alone_and_on_each_of_them(ends in proptest::collection::vec((0..5_usize, 0..1000_u64, 0..1000_u64), 1..20)) {
            let keys = ["a", "b", "c", "d", "e"];
            let mut slots = [Floor::default(); 5];
            let mut origin = Origin::new(id(7), true);
            for (at, p, n) in ends {
                let after = Floor { p: slots[at].p + p, n: slots[at].n + n };
                origin.weigh(weight(keys[at]), slots[at], after);
                slots[at] = after;
            }
            let mut at_once = Origin::new(id(7), true);
            for (key, slot) in keys.iter().zip(slots) {
                at_once.weigh(weight(key), Floor::default(), slot);
            }
            prop_assert_eq!(origin.digest(), at_once.digest());
            at_once.weigh(weight("a"), slots[0], Floor { p: slots[0].p + 1, n: slots[0].n });
            prop_assert_ne!(origin.digest(), at_once.digest());
        }
    }
}
