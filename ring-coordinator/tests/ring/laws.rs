//! What holds for every layout.

use crate::{
    node,
    reference::{Reference, owners},
};
use proptest::prelude::*;
use ring_coordinator::{
    document::{Layout, NodeState},
    slot::SLOTS,
};
use std::collections::{BTreeMap, BTreeSet};

/// Few points, so that bounds, spills and empty nodes come up, and a case is quick.
const VNODES: u32 = 8;

fn layouts() -> impl Strategy<Value = Layout> {
    let ids = proptest::collection::btree_set("[a-z0-9._-]{1,12}", 1..12);
    let nodes = ids.prop_flat_map(|ids| {
        let count = ids.len();
        let facts = (proptest::collection::vec((1u32..=16, 0u8..6), count), proptest::collection::btree_map(0..SLOTS, 0..count, 0..40));
        (Just(Vec::from_iter(ids)), facts, any::<u64>())
    });
    nodes.prop_map(|(ids, (facts, pins), crowded)| {
        let mut nodes: Vec<_> = ids.iter().zip(&facts).map(|(id, (weight, _))| node(id, *weight)).collect();
        for (node, (_, state)) in nodes.iter_mut().zip(&facts) {
            node.state = match state {
                0 => NodeState::Drained,
                1 => NodeState::Down,
                _ => NodeState::Serving,
            };
        }
        let mut pins: BTreeMap<u16, String> = pins.into_iter().map(|(slot, node)| (slot, ids[node].clone())).collect();
        if crowded % 4 == 0 {
            // One node gets half of all slots by hand.
            pins.extend((0..SLOTS / 2).map(|slot| (slot * 2, ids[0].clone())));
        }
        Layout { nodes, pins }
    })
}

/// Slots whose owner differs, with both owners.
fn moved(before: &[String], after: &[String]) -> Vec<(usize, String, String)> {
    let pairs = before.iter().zip(after).enumerate().filter(|(_, (from, to))| from != to);
    pairs.map(|(slot, (from, to))| (slot, from.clone(), to.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_table_is_what_the_definition_says(layout in layouts()) {
        let table = owners(&layout, VNODES);
        if layout.serving().next().is_none() {
            prop_assert!(table.iter().all(String::is_empty));
        } else {
            prop_assert_eq!(table, Reference::new(&layout, VNODES).owners);
        }
    }

    #[test]
    fn all_slots_are_owned_by_nodes_that_take_slots_and_pins_hold(layout in layouts()) {
        let serving: BTreeSet<&str> = layout.serving().map(|node| node.id.as_str()).collect();
        prop_assume!(!serving.is_empty());
        let table = owners(&layout, VNODES);
        prop_assert!(table.iter().all(|id| serving.contains(id.as_str())));
        for (slot, id) in layout.pins.iter().filter(|(_, id)| serving.contains(id.as_str())) {
            prop_assert_eq!(&table[usize::from(*slot)], id);
        }
    }

    #[test]
    fn nobody_owns_more_than_its_bound_or_its_pins(layout in layouts()) {
        prop_assume!(layout.serving().next().is_some());
        let (table, reference) = (owners(&layout, VNODES), Reference::new(&layout, VNODES));
        for (id, bound) in &reference.bounds {
            let pins = layout.pins.values().filter(|pinned| *pinned == id).count();
            prop_assert!(table.iter().filter(|owner| *owner == id).count() <= *bound.max(&pins));
        }
    }

    #[test]
    fn the_order_of_nodes_and_what_takes_no_slots_make_no_difference(layout in layouts(), seed in any::<u64>()) {
        let table = owners(&layout, VNODES);
        let mut other = layout;
        other.nodes.sort_by_key(|node| xxhash_rust::xxh3::xxh3_64_with_seed(node.id.as_bytes(), seed));
        prop_assert_eq!(&owners(&other, VNODES), &table);
        other.nodes.retain(|node| node.state == NodeState::Serving);
        for node in &mut other.nodes {
            node.url = "redis://elsewhere:1".to_owned();
            node.incarnation += 1;
        }
        prop_assert_eq!(owners(&other, VNODES), table);
    }

    #[test]
    fn a_change_of_one_node_moves_between_others_only_what_spills(layout in layouts(), weight in 1u32..=16, which in any::<prop::sample::Index>()) {
        // The change is one of: a new node, a removed one, another weight.
        let serving: Vec<&str> = layout.serving().map(|node| node.id.as_str()).collect();
        prop_assume!(serving.len() > 1);
        let changed = serving[which.index(serving.len())].to_owned();
        let mut reweighted = layout.clone();
        reweighted.nodes.iter_mut().filter(|node| node.id == changed).for_each(|node| node.weight = weight);
        let mut removed = layout.clone();
        removed.nodes.iter_mut().filter(|node| node.id == changed).for_each(|node| node.state = NodeState::Drained);
        let mut added = layout.clone();
        added.nodes.push(node("added-node-beyond-12", weight));
        let before = Reference::new(&layout, VNODES);
        for (after, changed) in [(reweighted, changed.as_str()), (removed, changed.as_str()), (added, "added-node-beyond-12")] {
            let after_by_definition = Reference::new(&after, VNODES);
            for (slot, from, to) in moved(&owners(&layout, VNODES), &owners(&after, VNODES)) {
                let may = from == changed || to == changed || before.is_spilled[slot] || after_by_definition.is_spilled[slot];
                prop_assert!(may, "slot {} went from {} to {} when {} changed", slot, from, to, changed);
            }
        }
    }
}

#[test]
fn one_node_owns_all_and_none_owns_nothing() {
    let one = Layout { nodes: vec![node("a", 3)], ..Layout::default() };
    assert!(owners(&one, 1).iter().all(|id| id == "a"));
    assert!(owners(&Layout::default(), 512).iter().all(String::is_empty));
}
