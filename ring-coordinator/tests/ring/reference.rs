//! `ring/v1` once more, as it is written down and without regard for speed: what the real table is tested against.

use ring_coordinator::{
    document::Layout,
    slot::{SLOTS, Slot},
    table::Table,
};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// The owners by the definition, and how many slots spill.
pub(crate) struct Reference {
    pub(crate) owners: Vec<String>,
    pub(crate) is_spilled: Vec<bool>,
    /// The most slots that each node may own, but for pins.
    pub(crate) bounds: BTreeMap<String, usize>,
}

impl Reference {
    pub(crate) fn new(layout: &Layout, vnodes: u32) -> Reference {
        let mut points: BTreeMap<u64, &str> = BTreeMap::new();
        let weights: u32 = layout.serving().map(|node| node.weight).sum();
        let mut bounds = BTreeMap::new();
        for node in layout.serving() {
            for i in 0..vnodes * node.weight {
                let point = points.entry(xxh3_64(format!("{}#{i}", node.id).as_bytes())).or_insert(&node.id);
                *point = (*point).min(&node.id);
            }
            bounds.insert(node.id.clone(), (105 * usize::from(SLOTS) * node.weight as usize).div_ceil(100 * weights as usize));
        }
        let mut owners = vec![String::new(); usize::from(SLOTS)];
        for (slot, id) in layout.pins.iter().filter(|(_, id)| bounds.contains_key(*id)) {
            owners[usize::from(*slot)].clone_from(id);
        }
        let mut owned: BTreeMap<&str, usize> = BTreeMap::new();
        for id in layout.pins.values() {
            *owned.entry(id).or_default() += 1;
        }
        let mut is_spilled = vec![false; usize::from(SLOTS)];
        for slot in 0..SLOTS {
            if !owners[usize::from(slot)].is_empty() {
                continue;
            }
            let at = u64::from(slot) * (1 << 50);
            let clockwise = || points.range(at..).chain(points.range(..at)).map(|(_, id)| *id);
            let owner = clockwise().find(|id| owned.get(id).is_none_or(|owned| *owned < bounds[*id])).unwrap();
            is_spilled[usize::from(slot)] = clockwise().next() != Some(owner);
            *owned.entry(owner).or_default() += 1;
            owner.clone_into(&mut owners[usize::from(slot)]);
        }
        Reference { owners, is_spilled, bounds }
    }
}

/// The owner of every slot by the table; empty where there is none.
pub(crate) fn owners(layout: &Layout, vnodes: u32) -> Vec<String> {
    let table = Table::new(layout, vnodes);
    Slot::all().map(|slot| table.owner(slot).map(ToString::to_string).unwrap_or_default()).collect()
}
