use super::*;
use crate::blocks::{InMemory, Pages, Paging, Placed};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Put { key: usize, origin: OriginIndex, by: Option<OriginIndex>, p: u64 },
    Remove { key: usize, origin: OriginIndex },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = proptest::option::weighted(0.3, 0..3_u16);
    let put = (0..40_usize, 0..4_u16, by, 1..9_u64).prop_map(|(key, origin, by, p)| Step::Put { key, origin, by, p });
    let remove = (0..40_usize, 0..4_u16).prop_map(|(key, origin)| Step::Remove { key, origin });
    proptest::collection::vec(prop_oneof![4 => put, 1 => remove], 1..300)
}

proptest! {
    #[test]
    fn a_table_holds_what_was_put_and_not_removed(steps in steps()) {
        let keys: Vec<String> = (0..40).map(|at| "k".repeat(at * 6 + 1)).collect();
        let (mut table, mut model) = (Table::new(7), BTreeMap::new());
        for step in steps {
            match step {
                Step::Put { key, origin, by, p } => {
                    let id = table.insert(table.hash(&keys[key]), &keys[key], origin);
                    let slot = Slot { p, n: p + 1, seq: p + 2 };
                    match by {
                        None => table.put_slot(id, origin, slot),
                        Some(by) => table.put_floor(id, by, origin, Floor { p: slot.p, n: slot.n }, slot.seq),
                    }
                    model.insert((key, origin, by), slot);
                }
                Step::Remove { key, origin } => {
                    if let Some(id) = table.find(table.hash(&keys[key]), &keys[key]) {
                        table.remove(id, |entry| entry.origin == origin);
                    }
                    model.retain(|(at, of, _), _| (*at, *of) != (key, origin));
                }
            }
        }
        let mut found = BTreeMap::new();
        let mut place = Place::default();
        while let Some(id) = table.walk(&mut place) {
            let mut buffer = [0; 256];
            let key = keys.iter().position(|key| key == table.key(id, &mut buffer)).unwrap();
            prop_assert_eq!(table.find(table.hash(&keys[key]), &keys[key]), Some(id));
            let entries = table.entries(id).filter(|entry| entry.slot != Slot::default());
            found.extend(entries.map(|entry| ((key, entry.origin, entry.by), entry.slot)));
        }
        prop_assert_eq!(found, model);
    }
}

#[test]
fn a_counter_that_one_origin_counts_costs_a_record_and_an_index_entry() {
    let mut table = Table::new(7);
    for at in 0..200_000_u64 {
        let key = format!("key_{at:012}");
        let id = table.insert(table.hash(&key), &key, 0);
        table.put_slot(id, 0, Slot { p: at, n: 0, seq: at });
    }
    assert_eq!(table.count(), 200_000);
    let records: usize = table.shards.iter().map(|shard| shard.blocks.byte_count()).sum();
    let index: usize = table.shards.iter().map(|shard| shard.index.byte_count()).sum();
    assert!((records + index) / 200_000 <= 60, "{records} bytes of records, {index} of index");
    assert!(table.shards.iter().all(|shard| shard.lists.is_empty()));
}

fn vote_key(counter: &str, user: &str) -> String {
    crate::vote::VoteKey::new(protocol::name::NameRef::parse(counter.as_bytes()).unwrap(), user).unwrap().as_str().to_owned()
}

/// How many blocks of votes may be in memory; `None`: all.
fn paged() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![Just(None), (0..4_usize).prop_map(Some)]
}

proptest! {
    /// Votes of several counters, whose users and whose records are of any length, with what several origins say of them.
    #[test]
    fn votes_are_found_by_their_key_listed_by_their_counter_and_walked_like_any_cell(
        puts in proptest::collection::vec((0..3_usize, 0..400_usize, 0..3_u16, 1..9_u64), 1..800), paged in paged()
    ) {
        let counters = ["a", "likes:post-17", "x"];
        let (mut table, mut model) = (Table::new(7), BTreeMap::new());
        let paging = paged.map(|here_max| Paging::new(Box::<InMemory>::default(), here_max));
        paging.iter().for_each(|paging| table.page_votes(paging));
        for (counter, user, origin, p) in puts {
            let user = format!("{user}{}", "u".repeat(user / 2));
            let key = vote_key(counters[counter], &user);
            let hash = table.hash(&key);
            prop_assert_eq!(hash, table.hash_vote(counters[counter], &user));
            let id = table.insert(hash, &key, origin);
            prop_assert!(id.is_vote());
            prop_assert_eq!(table.find_vote(hash, table.counter_of(id), &user), Some(id));
            let mut buffer = [0; 256];
            prop_assert_eq!(table.key(table.counter_of(id), &mut buffer), counters[counter]);
            table.put_slot(id, origin, Slot { p, n: 0, seq: p + 2 });
            model.insert((key, origin), Slot { p, n: 0, seq: p + 2 });
            table.put_votes_away();
            prop_assert!(table.paging().is_none_or(|paging| paging.placed().here <= paged.unwrap_or_default()));
        }
        let (mut found, mut place, mut keys) = (BTreeMap::new(), Place::default(), Vec::new());
        while let Some(id) = table.walk(&mut place) {
            let key = table.key(id, &mut [0; 256]).to_owned();
            prop_assert_eq!(table.find(table.hash(&key), &key), Some(id));
            prop_assert_eq!(id.is_vote(), crate::vote::is_vote(&key));
            let entries = table.entries(id).filter(|entry| entry.slot != Slot::default());
            found.extend(entries.map(|entry| ((key.clone(), entry.origin), entry.slot)));
            if id.is_vote() {
                keys.push(key);
            }
        }
        prop_assert_eq!(found, model);
        prop_assert_eq!(table.votes(), keys.len());
        if let Some(paging) = &paging {
            prop_assert!(paging.placed().unwritten == 0 && (paging.reads() > 0 || paged > Some(0)), "{:?}", paging);
        }
        let mut listed = Vec::new();
        for counter in counters {
            let Some(id) = table.find(table.hash(counter), counter) else { continue };
            let votes: Vec<_> = table.votes_of(id, None).collect();
            for (at, vote) in votes.iter().enumerate() {
                prop_assert_eq!(table.counter_of(*vote), id);
                prop_assert_eq!(table.votes_of(id, Some(*vote)).collect::<Vec<_>>(), &votes[at + 1..]);
                listed.push(vote_key(counter, table.voter(*vote)));
            }
        }
        listed.sort();
        keys.sort();
        prop_assert_eq!(listed, keys);
    }
}

#[test]
fn a_vote_refers_to_its_counter_instead_of_repeating_its_key() {
    let (mut table, counter) = (Table::new(7), "likes:an-article-whose-name-is-long-as-names-are");
    for at in 0..200_000_u64 {
        let key = vote_key(counter, &format!("user_{at:011}"));
        let id = table.insert(table.hash(&key), &key, 0);
        table.put_slot(id, 0, Slot { p: 1, n: 0, seq: at });
    }
    assert_eq!((table.count(), table.votes()), (1, 200_000));
    let records: usize = table.shards.iter().map(|shard| shard.blocks.byte_count()).sum();
    let index: usize = table.shards.iter().map(|shard| shard.index.byte_count()).sum();
    assert!((records + index) / 200_000 <= 52, "{records} bytes of records, {index} of index");
}

#[test]
fn what_stands_beside_counters_goes_along_with_their_shards() {
    let mut table = Table::new(7);
    let counters: Vec<String> = (0..200).map(|at| format!("views:{at}")).collect();
    let insert = |table: &mut Table, counter: &str| {
        let key = format!("\u{1d}{counter}\u{1d}m04003f");
        table.insert(table.hash(&key), &key, 0)
    };
    let (old, new) = counters.split_at(100);
    let mut cells: Vec<CellId> = old.iter().map(|counter| insert(&mut table, counter)).collect();
    let mut lent = table.lend(0..SHARDS / 2);
    for counter in new {
        let is_lent = shard_of(table.hash(counter)) < SHARDS / 2;
        cells.push(insert(if is_lent { &mut lent } else { &mut table }, counter));
    }
    table.adopt(lent);
    for (counter, cell) in counters.iter().zip(cells) {
        let id = table.find(table.hash(counter), counter).unwrap();
        assert_eq!(table.beside(id), [cell], "{counter}");
    }
}

/// Pages that nothing can be written to.
#[derive(Debug)]
struct Full;

impl Pages for Full {
    fn write(&self, _: u32, _: &[u64]) -> bool {
        false
    }

    fn read(&self, _: u32, _: &mut [u64]) {
        unreachable!("nothing is there");
    }
}

fn vote_in(table: &mut Table, users: std::ops::Range<usize>) {
    for user in users {
        let key = vote_key("likes", &format!("user_{user:011}"));
        let id = table.insert(table.hash(&key), &key, 0);
        table.put_slot(id, 0, Slot { p: 1, n: 0, seq: 1 });
        table.put_votes_away();
    }
}

#[test]
fn votes_that_are_asked_for_stay_in_memory_and_the_others_go() {
    let mut table = Table::new(7);
    let paging = Paging::new(Box::<InMemory>::default(), 10);
    table.page_votes(&paging);
    let find = |table: &Table, user: usize| {
        let key = vote_key("likes", &format!("user_{user:011}"));
        let id = table.find(table.hash(&key), &key).unwrap();
        assert_eq!(table.only_slot(id), Some((0, Slot { p: 1, n: 0, seq: 1 })));
    };
    // Some 800 of them fit into a block.
    for thousand in 0..50 {
        vote_in(&mut table, thousand * 1_000..(thousand + 1) * 1_000);
        let before = paging.reads();
        (0..100).for_each(|user| find(&table, user));
        assert_eq!(paging.reads(), before, "they are asked for all the time");
    }
    let Placed { here, pages, .. } = paging.placed();
    assert!(here <= 10 && pages > 40, "{here} blocks here, {pages} pages");
    let before = paging.reads();
    find(&table, 20_000);
    find(&table, 20_001);
    assert_eq!(paging.reads(), before + 1, "read once");
}

#[test]
fn votes_stay_in_memory_where_they_cannot_be_put_away() {
    let mut table = Table::new(7);
    let paging = Paging::new(Box::new(Full), 1);
    table.page_votes(&paging);
    vote_in(&mut table, 0..5_000);
    let votes = table.find(table.hash("likes"), "likes").map(|id| table.votes_of(id, None).count());
    assert_eq!((votes, paging.placed().here > 4, paging.placed().unwritten > 0), (Some(5_000), true, true));
}
