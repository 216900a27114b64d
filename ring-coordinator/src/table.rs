//! Pure: which node owns which slot: `ring/v1`. It follows from the document alone, so that all who hold the same document
//! agree; `testkit/ring_vectors.py` is a second implementation of it.
//!
//! Of the nodes that take slots, node `id` has the points XXH3-64 (seed 0) of `"{id}#{i}"` for `i` in
//! `0..vnodes × weight`, on a ring of 64 bits; of equal points only that of the smaller id counts. Slot `s` stands at
//! `s << 50`. Pins come first. Then each other slot, in ascending order, goes to the first node clockwise (its own place
//! included, and round the end) that owns less than `ceil(105 · slots · weight / (100 · weights))` slots, pins included
//! (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016). Ids are compared by their bytes.
//!
//! There is always such a node: the bounds add up to more than all slots, and a pin takes one from both, or only from the
//! slots where a node has more pins than its bound. A node's slots are never more than its bound or its pins, whichever is
//! more. Should a node have no point left, because others have the same, and no other node have room, the smallest id with
//! room takes the slot.
//!
//! A slot *spills* if its owner is not that of the first point. A change of one node moves slots between other nodes only
//! if they spill before it or after it, which at a hundred nodes are about one in a hundred. Slots stand evenly because
//! that halves what spills at a hundred nodes, against places by a hash.

use crate::{
    document::Layout,
    slot::{SLOTS, Slot},
};
use hashring::HashRing;
use std::{
    fmt::Write,
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};
use xxhash_rust::xxh3::xxh3_64;

/// What a node may own, in percent of its even share.
const BOUND_PERCENT: u64 = 105;

/// The owner of every slot. A lookup is one array read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Ids of the nodes that take slots, ascending.
    nodes: Vec<Arc<str>>,
    /// Indices into `nodes`; empty where there are none.
    owners: Vec<u16>,
}

impl Table {
    /// The table of a layout that is checked. Without nodes that take slots, nobody owns anything. Takes time and, while it
    /// works, memory by the points: 10 ms for 100 nodes, and see benches/reports/ring.md.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // at most NODES_MAX nodes
    pub fn new(layout: &Layout, vnodes: u32) -> Table {
        let mut serving: Vec<_> = layout.serving().map(|node| (node.id.as_str(), u64::from(node.weight))).collect();
        serving.sort_unstable();
        let nodes: Vec<Arc<str>> = serving.iter().map(|(id, _)| Arc::from(*id)).collect();
        if nodes.is_empty() {
            return Table { nodes, owners: Vec::new() };
        }
        let weights: u64 = serving.iter().map(|(_, weight)| weight).sum();
        let bound = |weight: u64| (BOUND_PERCENT * u64::from(SLOTS) * weight).div_ceil(100 * weights);
        let mut room: Vec<u64> = serving.iter().map(|(_, weight)| bound(*weight)).collect();

        let mut owners = vec![u16::MAX; usize::from(SLOTS)];
        for (slot, id) in &layout.pins {
            if let (Some(slot), Ok(node)) = (Slot::new(*slot), nodes.binary_search_by(|node| node.as_ref().cmp(id))) {
                owners[usize::from(slot.number())] = node as u16;
                room[node] = room[node].saturating_sub(1);
            }
        }
        let ring = ring(&serving, vnodes);
        for (slot, owner) in owners.iter_mut().enumerate().filter(|(_, owner)| **owner == u16::MAX) {
            let node = first_with_room(&ring, (slot as u64) << 50, &room);
            room[usize::from(node)] -= 1;
            *owner = node;
        }
        Table { nodes, owners }
    }

    /// The id of the slot's owner; `None` without nodes.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<&Arc<str>> {
        self.owners.get(usize::from(slot.number())).and_then(|owner| self.nodes.get(usize::from(*owner)))
    }
}

/// The points of these nodes, which are ascending.
#[allow(clippy::cast_possible_truncation)] // at most NODES_MAX nodes
fn ring(nodes: &[(&str, u64)], vnodes: u32) -> HashRing<Point, AsItIs> {
    let mut points: Vec<Point> = Vec::new();
    let mut label = String::new();
    for (index, (id, weight)) in nodes.iter().enumerate() {
        for i in 0..u64::from(vnodes) * weight {
            label.clear();
            // A string takes all that is written.
            let _ = write!(label, "{id}#{i}");
            points.push(Point { at: xxh3_64(label.as_bytes()), node: index as u16 });
        }
    }
    points.sort_unstable_by_key(|point| (point.at, point.node));
    points.dedup_by_key(|point| point.at);
    let mut ring = HashRing::with_hasher(AsItIs);
    ring.batch_add(points);
    ring
}

/// The first node from `at` on that has room. Walks few points in all: of 16384 slots only the last go past many full nodes.
#[allow(clippy::cast_possible_truncation)] // at most NODES_MAX nodes
fn first_with_room(ring: &HashRing<Point, AsItIs>, mut at: u64, room: &[u64]) -> u16 {
    for _ in 0..ring.len() {
        match ring.get(&Point { at, node: 0 }) {
            Some(point) if room[usize::from(point.node)] > 0 => return point.node,
            Some(point) => at = point.at.wrapping_add(1),
            None => break,
        }
    }
    room.iter().position(|room| *room > 0).unwrap_or_default() as u16
}

/// A point of the ring, hashed as what it is.
#[derive(Clone, Copy)]
struct Point {
    at: u64,
    node: u16,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.at);
    }
}

#[derive(Clone, Copy)]
struct AsItIs;

struct Taken(u64);

impl BuildHasher for AsItIs {
    type Hasher = Taken;

    fn build_hasher(&self) -> Taken {
        Taken(0)
    }
}

impl Hasher for Taken {
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("points are hashed by write_u64 alone");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
