use super::*;
use crate::{blocks::InMemory, record::Record, table::shard_of};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LIKES: &str = "likes";

fn key(text: &str) -> NameRef<'_> {
    NameRef::parse(text.as_bytes()).unwrap()
}

fn replica(epoch: u64) -> (Replica, Group) {
    let (mut replica, mut group) = (Replica::new(epoch), Group::new(1, 1));
    replica.count_as("eu", &format!("c{epoch}"), epoch, &mut group);
    (replica, group)
}

fn vote(replica: &mut Replica, user: &str, is_on: bool, group: &mut Group) -> Result<bool, AddRefusal> {
    let op = crate::engine::Op { key: key(LIKES), change: crate::ledger::Change::Vote { user, is_on }, token: None };
    replica.vote(replica.locate_for(&op), user, is_on, group).map(|voted| voted.is_news)
}

#[test]
fn a_user_counts_once_however_often_and_whatever_a_replay_repeats() {
    let (mut here, mut group) = replica(7);
    for (user, is_on, turned, value) in [
        ("ann", false, false, None),
        ("ann", true, true, Some(1)),
        ("ann", true, false, Some(1)),
        ("bob", true, true, Some(2)),
        ("ann", false, true, Some(1)),
    ] {
        assert_eq!(vote(&mut here, user, is_on, &mut group), Ok(turned));
        assert_eq!(here.value(key(LIKES)), value);
    }
    assert!(!here.has_voted(key(LIKES), "ann") && here.has_voted(key(LIKES), "bob") && !here.has_voted(key("other"), "bob"));
    let mut snapshot = Vec::new();
    here.copy_origins(&mut snapshot);
    let mut place = Place::default();
    while here.copy_counters(&mut place, 1, &mut snapshot) {}
    for bytes in [group.records().to_vec(), [group.records(), group.records()].concat(), snapshot] {
        let mut copy = Replica::new(9);
        Record::decode_all(&bytes).for_each(|record| copy.apply(&record.unwrap()).unwrap());
        assert_eq!((copy.value(key(LIKES)), copy.session(), copy.cut()), (Some(1), here.session(), here.cut()));
        assert_eq!(copy.voters(key(LIKES), None, 10).unwrap().users, ["bob"]);
    }
}

#[test]
fn votes_of_a_batch_count_as_if_each_had_come_alone() {
    let (mut here, mut group) = replica(7);
    let votes = [(LIKES, "ann", true), (LIKES, "ann", true), ("other", "ann", true), (LIKES, "bob", true), (LIKES, "ann", false)];
    let ops =
        votes.map(|(of, user, is_on)| crate::engine::Op { key: key(of), change: crate::ledger::Change::Vote { user, is_on }, token: None });
    for expected in [[true, false, true, true, true], [true, false, false, false, true]] {
        let located = here.locate_all(&ops).into_iter().flatten();
        let voted = located.zip(votes).map(|(at, (_, user, is_on))| here.vote(at, user, is_on, &mut group).unwrap());
        assert_eq!(voted.map(|voted| voted.is_news).collect::<Vec<_>>(), expected);
        assert_eq!((here.value(key(LIKES)), here.value(key("other"))), (Some(1), Some(1)));
    }
}

#[test]
fn a_vote_that_is_worn_out_stays_as_it_is_and_a_bad_one_leaves_no_trace() {
    let (mut here, mut group) = replica(7);
    for turn in 0..LENGTH_MAX {
        assert_eq!(vote(&mut here, "ann", turn % 2 == 0, &mut group), Ok(true));
    }
    assert_eq!(vote(&mut here, "ann", true, &mut group), Err(AddRefusal::WornOut));
    assert_eq!(vote(&mut here, "ann", false, &mut group), Ok(false));
    assert_eq!(here.value(key(LIKES)), Some(0));
    let size = group.byte_count();
    assert!(matches!(vote(&mut here, "", true, &mut group), Err(AddRefusal::BadVote(_))));
    assert_eq!((group.byte_count(), here.value(key(LIKES))), (size, Some(0)));
}

#[test]
fn a_user_who_is_erased_has_no_vote_left_and_others_keep_theirs() {
    let (mut here, mut group) = replica(7);
    for number in 0..50 {
        let counter = format!("likes:{number}");
        for user in ["ann", "bob", "anna"] {
            let op = crate::engine::Op { key: key(&counter), change: crate::ledger::Change::Vote { user, is_on: true }, token: None };
            here.vote(here.locate_for(&op), user, true, &mut group).unwrap();
        }
    }
    vote(&mut here, "ann", true, &mut group).unwrap();
    vote(&mut here, "ann", false, &mut group).unwrap();
    let (mut place, mut taken) = (Place::default(), 0);
    loop {
        let (some, is_more) = here.take_back_votes("ann", &mut place, 7, &mut group);
        taken += some;
        if !is_more {
            break;
        }
    }
    assert_eq!(taken, 50);
    for number in 0..50 {
        let counter = format!("likes:{number}");
        assert_eq!(here.value(key(&counter)), Some(2));
        assert!(!here.has_voted(key(&counter), "ann") && here.has_voted(key(&counter), "anna"));
    }
    assert_eq!(here.take_back_votes("ann", &mut Place::default(), usize::MAX, &mut group), (0, false), "again is harmless");
}

#[test]
fn voters_come_in_pages_without_those_who_took_it_back() {
    let (mut here, mut group) = replica(7);
    for user in 0..10 {
        vote(&mut here, &format!("u{user}"), true, &mut group).unwrap();
    }
    (0..10).step_by(2).for_each(|user| _ = vote(&mut here, &format!("u{user}"), false, &mut group).unwrap());
    let first = here.voters(key(LIKES), None, 2).unwrap();
    assert_eq!((&first.users[..], first.next.as_deref()), (&["u9".to_owned(), "u7".to_owned()][..], Some("u7")));
    let second = here.voters(key(LIKES), first.next.as_deref(), 3).unwrap();
    assert_eq!(second.users, ["u5", "u3", "u1"]);
    let end = here.voters(key(LIKES), second.next.as_deref(), 3).unwrap();
    assert_eq!(end, Voters::default());
    assert_eq!(here.voters(key(LIKES), Some("nobody"), 3), None);
    assert_eq!(here.voters(key("other"), None, 3), Some(Voters::default()));
}

#[test]
fn a_vote_that_is_dropped_with_its_origin_counts_again_as_part_of_anothers_slot() {
    let (mut here, _) = replica(7);
    let id = |epoch| crate::origin::OriginId { region: "eu".to_owned(), node: "c2".to_owned(), epoch };
    let (old, heir) = (here.origins.know(&id(8), false).unwrap(), here.origins.know(&id(9), false).unwrap());
    let ann = VoteKey::new(key(LIKES), "ann").unwrap();
    let slot = |by, seq| Record::Fact { by, seq, fact: crate::fact::Fact::Slot { key: ann.as_str(), sums: Floor { p: 1, n: 0 } } };
    here.apply(&slot(old, 1)).unwrap();
    assert_eq!(here.value(key(LIKES)), Some(1));
    here.apply(&Record::Dropped { origin: old, by: heir, seq: 5, upto: 1 }).unwrap();
    assert_eq!((here.value(key(LIKES)), here.has_voted(key(LIKES), "ann")), (Some(0), false));
    here.apply(&slot(heir, 6)).unwrap();
    assert_eq!((here.value(key(LIKES)), here.has_voted(key(LIKES), "ann")), (Some(1), true));
}

#[test]
fn a_page_of_voters_fetches_so_many_blocks_at_most_and_the_next_one_goes_on() {
    let (mut here, mut group) = replica(7);
    here.table.page_votes(&Paging::new(Box::<InMemory>::default(), 1));
    // Votes of another counter lie between those of the first one, of which there is one in each block.
    let shard = |here: &Replica, counter: &str| shard_of(here.table.hash(counter));
    let other = (0..).map(|number| format!("o{number}")).find(|other| shard(&here, other) == shard(&here, LIKES)).unwrap();
    let mut cast = |counter: &str, user: &str| {
        let op = crate::engine::Op { key: key(counter), change: crate::ledger::Change::Vote { user, is_on: true }, token: None };
        here.vote(here.locate_for(&op), user, true, &mut group).unwrap();
        here.table.put_votes_away();
    };
    let name = "n".repeat(200);
    for number in 0..600 {
        cast(LIKES, &format!("u{number}"));
        (0..150).for_each(|at| cast(&other, &format!("{name}{number}_{at}")));
    }

    let (mut users, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let fetched = here.table.paging().unwrap().reads();
        let page = here.voters(key(LIKES), after.as_deref(), 1_000).unwrap();
        let fetches = here.table.paging().unwrap().reads() - fetched;
        // One more for where the page begins.
        assert!(fetches <= FETCHES_MAX + 1, "{fetches}");
        here.table.put_votes_away();
        pages += 1;
        users.extend(page.users);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(users, (0..600).rev().map(|number| format!("u{number}")).collect::<Vec<_>>());
    assert_eq!(pages, 3);
}

/// What three replicas do: vote, and hear from each other, late, twice and in any order.
#[derive(Clone, Debug)]
enum Step {
    Vote { at: usize, user: usize, is_on: bool },
    Merge { from: usize, to: usize },
    Absorb { at: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = 0..3_usize;
    let step = prop_oneof![
        6 => (at.clone(), 0..4_usize, any::<bool>()).prop_map(|(at, user, is_on)| Step::Vote { at, user, is_on }),
        4 => (at.clone(), at.clone()).prop_map(|(from, to)| Step::Merge { from, to }),
        1 => at.prop_map(|at| Step::Absorb { at }),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// The count is that of the set of causal lengths that all have told each other, and the voters are those of the set.
    #[test]
    fn replicas_that_know_the_same_count_the_set_that_each_length_is_the_longest_of(steps in steps()) {
        let users = ["ann", "bob", "cid", "dan"];
        // Every replica knows all origins, each under one index; a retired fourth one has voted before.
        let mut replicas: Vec<(Replica, Group)> = (0..3).map(|_| replica(90)).collect();
        let origins: Vec<_> = (0..4_u64).map(|at| crate::origin::OriginId { region: "eu".to_owned(), node: format!("n{at}"), epoch: at + 1 }).collect();
        for (at, (replica, _)) in replicas.iter_mut().enumerate() {
            let known: Vec<OriginIndex> = origins.iter().map(|id| replica.origins.know(id, false).unwrap()).collect();
            replica.own = known[at];
            for (user, length) in [(0, 3), (1, 2)] {
                let key = VoteKey::new(key(LIKES), users[user]).unwrap();
                let fact = crate::fact::Fact::Slot { key: key.as_str(), sums: crate::cell::Floor { p: length, n: 0 } };
                replica.apply(&Record::Fact { by: known[3], seq: user as u64 + 1, fact }).unwrap();
            }
        }
        let mut model: Vec<BTreeMap<&str, u64>> = vec![BTreeMap::from([("ann", 3), ("bob", 2)]); 3];
        for step in steps {
            match step {
                Step::Vote { at, user, is_on } => {
                    let (replica, group) = &mut replicas[at];
                    let turned = vote(replica, users[user], is_on, group).unwrap();
                    let length = model[at].entry(users[user]).or_default();
                    prop_assert_eq!(turned, (*length % 2 == 1) != is_on);
                    *length += u64::from(turned);
                }
                Step::Merge { from, to } => {
                    let (mut bytes, mut place) = (Vec::new(), Place::default());
                    replicas[from].0.fold_all();
                    while replicas[from].0.copy_counters(&mut place, 9, &mut bytes) {}
                    for record in Record::decode_all(&bytes) {
                        let record = record.unwrap();
                        // What is the own origin's here is known here.
                        replicas[to].0.apply(&record).unwrap();
                    }
                    let told = model[from].clone();
                    for (user, length) in told {
                        let known = model[to].entry(user).or_default();
                        *known = (*known).max(length);
                    }
                }
                Step::Absorb { at } => {
                    let (replica, _) = &mut replicas[at];
                    let (fourth, first) = (replica.origins.find(4).unwrap(), replica.origins.find(1).unwrap());
                    replica.absorb(fourth, (first, 1_000, 2));
                }
            }
        }
        for ((replica, _), lengths) in replicas.iter_mut().zip(&model) {
            let on: BTreeSet<&str> = lengths.iter().filter(|(_, length)| *length % 2 == 1).map(|(user, _)| *user).collect();
            let count = |replica: &Replica| replica.value(key(LIKES));
            prop_assert_eq!(count(replica), Some(on.len() as i128), "before slots are added");
            replica.fold_all();
            prop_assert_eq!(count(replica), Some(on.len() as i128));
            let listed = replica.voters(key(LIKES), None, 100).unwrap().users;
            prop_assert_eq!(listed.iter().map(String::as_str).collect::<BTreeSet<_>>(), on);
            // The digests are those of the slots, whatever way these came about.
            let (mut bytes, mut place) = (Vec::new(), Place::default());
            replica.copy_origins(&mut bytes);
            while replica.copy_counters(&mut place, 9, &mut bytes) {}
            let mut copy = Replica::new(3);
            Record::decode_all(&bytes).for_each(|record| copy.apply(&record.unwrap()).unwrap());
            for (index, origin) in replica.origins.iter() {
                prop_assert_eq!(copy.origins[index].digest(), origin.digest(), "{}", origin.member);
            }
        }
    }
}
