//! The figures that `ring/v1` promises, over a million channels and several ways to name nodes.

use crate::{layout, reference::owners};
use ring_coordinator::{
    document::VNODES,
    slot::{SLOTS, Slot},
};
use std::{collections::BTreeMap, sync::LazyLock};

/// Ways to name node number `i`.
const NAMES: [fn(usize) -> String; 4] =
    [|i| format!("redis-{i}"), |i| format!("r{i:03}"), |i| format!("eu-west-1.cache.{i}"), |i| format!("shard-{}", i * 7 + 1000)];

/// How many of the channels `chat:room:0` to `chat:room:999999` each slot has.
static CHANNELS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut channels = vec![0; usize::from(SLOTS)];
    for i in 0..1_000_000 {
        channels[usize::from(Slot::of_bytes(format!("chat:room:{i}").as_bytes()).number())] += 1;
    }
    channels
});

fn table(ids: &[String]) -> Vec<String> {
    owners(&layout(ids.iter().map(String::as_str)), VNODES)
}

/// The greatest number of channels of a node, over the mean.
fn unevenness(table: &[String], nodes: usize) -> f64 {
    let mut channels: BTreeMap<&str, u32> = BTreeMap::new();
    for (id, count) in table.iter().zip(CHANNELS.iter()) {
        *channels.entry(id).or_default() += count;
    }
    f64::from(*channels.values().max().unwrap()) * nodes as f64 / 1e6
}

#[test]
fn no_node_has_more_than_its_share_and_little_over() {
    for (nodes, bound) in [(3, 1.06), (10, 1.06), (100, 1.10)] {
        for name in NAMES {
            let ids: Vec<String> = (0..nodes).map(name).collect();
            let unevenness = unevenness(&table(&ids), nodes);
            assert!(unevenness <= bound, "{nodes} nodes like {}: {unevenness}", ids[0]);
        }
    }
}

#[test]
fn one_of_a_hundred_moves_at_most_half_more_than_it_must() {
    for name in NAMES {
        let ids: Vec<String> = (0..101).map(name).collect();
        let (hundred, one_more) = (table(&ids[..100]), table(&ids));
        let moved = hundred.iter().zip(&one_more).filter(|(before, after)| before != after).count();
        let must = one_more.iter().filter(|id| **id == ids[100]).count();
        assert!(moved as f64 <= 1.5 * f64::from(SLOTS) / 101.0, "{moved} slots moved for {} of {must}", ids[100]);
        // And it is a share that comes, not a token.
        assert!(must as f64 >= 0.7 * f64::from(SLOTS) / 101.0, "{} got {must} slots", ids[100]);
    }
}
