//! Pure: which node owns which slot: `ring/v1`. It follows from the document alone, so that all who hold the same document
//! agree.
//!
//! Node `id` has the points XXH3-64 of `"{id}#{i}"` for `i` in `0..vnodes × weight`. Pins come first. Then each slot, in
//! ascending order, goes to the first node clockwise from XXH3-64 of its decimal number that owns less than
//! `ceil(105 · slots · weight / (100 · weights))` slots (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded
//! Loads", 2016). Of equal points that of the smaller id counts.

use crate::{
    document::Layout,
    slot::{SLOTS, Slot},
};
use hashring::HashRing;
use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};
use xxhash_rust::xxh3::xxh3_64;

/// The owner of every slot. A lookup is one array read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Ids of the nodes that take slots, ascending.
    nodes: Vec<Arc<str>>,
    /// Indices into `nodes`; empty where there are none.
    owners: Vec<u16>,
}

impl Table {
    /// The table of a layout. Without nodes that take slots, nobody owns anything.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // at most NODES_MAX nodes
    pub fn new(layout: &Layout, vnodes: u32) -> Table {
        let mut serving: Vec<_> = layout.serving().collect();
        serving.sort_by(|one, other| one.id.cmp(&other.id));
        let nodes: Vec<Arc<str>> = serving.iter().map(|node| node.id.as_str().into()).collect();
        if nodes.is_empty() {
            return Table { nodes, owners: Vec::new() };
        }
        let weights: u64 = serving.iter().map(|node| u64::from(node.weight)).sum();
        let mut room: Vec<u64> =
            serving.iter().map(|node| (105 * u64::from(SLOTS) * u64::from(node.weight)).div_ceil(100 * weights)).collect();
        let mut points: Vec<Point> = Vec::new();
        for (index, node) in serving.iter().enumerate() {
            let numbers = 0..u64::from(vnodes) * u64::from(node.weight);
            points.extend(numbers.map(|i| Point { at: xxh3_64(format!("{}#{i}", node.id).as_bytes()), node: index as u16 }));
        }
        points.sort_by_key(|point| (point.at, point.node));
        points.dedup_by_key(|point| point.at);
        let mut ring = HashRing::with_hasher(AsItIs);
        ring.batch_add(points);

        let mut owners = vec![u16::MAX; usize::from(SLOTS)];
        for (slot, id) in &layout.pins {
            if let (Some(slot), Ok(node)) = (Slot::new(*slot), nodes.binary_search_by(|node| node.as_ref().cmp(id))) {
                owners[usize::from(slot.number())] = node as u16;
                room[node] = room[node].saturating_sub(1);
            }
        }
        for slot in Slot::all() {
            let owner = &mut owners[usize::from(slot.number())];
            if *owner != u16::MAX {
                continue;
            }
            let mut at = xxh3_64(slot.number().to_string().as_bytes());
            while let Some(point) = ring.get(&Point { at, node: 0 }) {
                if room[usize::from(point.node)] > 0 {
                    room[usize::from(point.node)] -= 1;
                    *owner = point.node;
                    break;
                }
                at = point.at.wrapping_add(1);
            }
        }
        Table { nodes, owners }
    }

    /// The id of the slot's owner; `None` without nodes.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<&Arc<str>> {
        self.owners.get(usize::from(slot.number())).and_then(|owner| self.nodes.get(usize::from(*owner)))
    }
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
