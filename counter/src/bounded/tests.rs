//! Of bounded counters by themselves; the simulation has them with crashes, cuts and lost disks.

use super::*;
use crate::{cell::Floor, fact::Fact, origin::OriginId, record::Record, table::Place};
use proptest::prelude::*;

const STOCK: &str = "stock:7";

fn key() -> NameRef<'static> {
    NameRef::parse(STOCK.as_bytes()).unwrap()
}

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, wall_ms: mono_ms }
}

fn add(replica: &mut Replica, by: i64, now: Now, group: &mut Group) -> Result<i64, AddRefusal> {
    replica.add_bounded(replica.locate(key()), by, false, now, group)
}

fn short(here: u64, elsewhere: u64) -> Result<i64, AddRefusal> {
    Err(AddRefusal::Short(Shortage { here, elsewhere }))
}

/// Replicas that know the origins of all, each counting as one of them, and one origin more that nobody counts as.
fn replicas(count: usize) -> Vec<(Replica, Group)> {
    let origins: Vec<_> =
        (0..=count).map(|at| OriginId { region: "eu".to_owned(), node: format!("c{at}"), epoch: at as u64 + 1 }).collect();
    let one = |at: usize| {
        let (mut replica, mut group) = (Replica::new(at as u64), Group::new(1, 1));
        let known: Vec<OriginIndex> = origins.iter().map(|id| replica.origins.know(id, false).unwrap()).collect();
        replica.home = origins[at].clone();
        replica.own = known[at];
        group.turn_to(1);
        (replica, group)
    };
    (0..count).map(one).collect()
}

/// Tells `to` all that `from` knows.
fn tell(replicas: &mut [(Replica, Group)], from: usize, to: usize) {
    let (mut bytes, mut place) = (Vec::new(), Place::default());
    replicas[from].0.fold_all();
    while replicas[from].0.copy_counters(&mut place, 9, &mut bytes) {}
    Record::decode_all(&bytes).for_each(|record| replicas[to].0.apply(&record.unwrap()).unwrap());
}

#[test]
fn what_is_left_elsewhere_comes_to_where_it_is_missed_and_never_twice() {
    let mut both = replicas(2);
    let (here, group) = &mut both[0];
    assert_eq!(add(here, -1, at(0), group), short(0, 0), "nobody has any");
    assert_eq!(add(here, 10, at(0), group), Ok(10));
    assert_eq!(add(here, -3, at(0), group), Ok(7));
    tell(&mut both, 0, 1);
    let (there, group) = &mut both[1];
    assert_eq!(there.value(key()), Some(7));
    assert_eq!(add(there, -5, at(1), group), short(0, 7));
    tell(&mut both, 1, 0);
    let (here, group) = &mut both[0];
    here.give(at(1), group);
    assert_eq!(here.rights(key()), 3, "half of what there was");
    here.give(at(1), group);
    assert_eq!((here.rights(key()), here.value(key())), (2, Some(7)), "what was wished for, and no more");
    here.give(at(1), group);
    assert_eq!((here.rights(key()), here.wishes.len()), (2, 0));
    tell(&mut both, 0, 1);
    tell(&mut both, 0, 1);
    let (there, group) = &mut both[1];
    assert_eq!(there.rights(key()), 5);
    assert_eq!(add(there, -5, at(2), group), Ok(2));
    assert_eq!(add(there, -1, at(2), group), short(0, 2));
    tell(&mut both, 1, 0);
    let (here, group) = &mut both[0];
    assert_eq!((here.value(key()), add(here, -3, at(3), group)), (Some(2), short(2, 0)));
    assert_eq!(add(here, -2, at(3), group), Ok(0));
}

#[test]
fn of_two_who_gather_rights_to_take_something_back_one_gets_them() {
    let mut both = replicas(2);
    for (replica, group) in &mut both {
        assert_eq!(replica.add_bounded(replica.locate(key()), 10, true, at(0), group), Ok(10));
    }
    let used = |replica: &Replica| Used::new(replica.own, 1, replica.locate(key()).id.unwrap(), Some(15), 15);
    let may_take_back = |(replica, group): &mut (Replica, Group), now_ms| replica.may_take_back(&used(replica), at(now_ms), group);
    // They hear of each other twice as often as they look.
    let tick = |both: &mut [(Replica, Group)], now_ms: u64| {
        tell(both, 0, 1);
        tell(both, 1, 0);
        both.iter_mut().for_each(|(replica, group)| replica.give(at(now_ms), group));
    };
    let looks = (0..40).map(|look| look * 100).find(|now_ms| {
        tick(&mut both, *now_ms);
        tick(&mut both, now_ms + 50);
        let [may, may_too] = [0, 1].map(|which| may_take_back(&mut both[which], *now_ms));
        assert!(!may_too, "the other one has the smaller epoch");
        may
    });
    assert!(looks.is_some());
}

#[test]
fn rights_are_wished_for_before_they_are_missed() {
    let mut both = replicas(2);
    let (here, group) = &mut both[0];
    add(here, 1_000, at(0), group).unwrap();
    tell(&mut both, 0, 1);
    let (there, group) = &mut both[1];
    assert_eq!(add(there, -40, at(0), group), short(0, 1_000));
    tell(&mut both, 1, 0);
    let (here, group) = &mut both[0];
    here.give(at(1), group);
    tell(&mut both, 0, 1);
    let (there, group) = &mut both[1];
    // Thirty of forty are gone within the second: ten are not enough for the next.
    assert_eq!(add(there, -30, at(200), group), Ok(970));
    assert_eq!((there.rights(key()), there.unfulfilled(key(), there.own)), (10, 20));
    tell(&mut both, 1, 0);
    let (here, group) = &mut both[0];
    here.give(at(1), group);
    tell(&mut both, 0, 1);
    assert_eq!(both[1].0.rights(key()), 30);
}

#[test]
fn a_disk_that_may_be_old_takes_nothing_and_a_new_life_has_what_its_old_one_had_once_it_is_absorbed() {
    let mut both = replicas(2);
    let (here, group) = &mut both[0];
    add(here, 10, at(0), group).unwrap();
    here.doubt();
    let bytes = group.byte_count();
    assert_eq!(add(here, -1, at(0), group), short(0, 10), "its peers may know of more that it took");
    assert_eq!(group.byte_count(), bytes, "nor does it write anything");
    here.trust();
    assert_eq!(add(here, -1, at(0), group), Ok(9));
    let old = here.own;
    here.home.epoch = 77;
    here.begin_life(group);
    assert_eq!(add(here, -1, at(0), group), short(0, 9));
    let (by, seq) = (here.own, here.own_seq() + 1);
    here.absorb(old, (by, seq, 9));
    assert_eq!((here.rights(key()), add(here, -4, at(0), group)), (9, Ok(5)), "before slots are added");
    here.fold_all();
    assert_eq!((here.rights(key()), add(here, -6, at(0), group), add(here, -5, at(0), group)), (5, short(5, 0), Ok(0)));
}

#[test]
fn an_addition_that_is_taken_back_waits_for_as_much_to_be_here() {
    let mut both = replicas(2);
    let (here, group) = &mut both[0];
    here.add_bounded(here.locate(key()), 10, true, at(0), group).unwrap();
    let cell = here.locate(key()).id.unwrap();
    let used = Used::new(here.own, here.own_seq(), cell, Some(10), 10);
    assert!(here.may_take_back(&used, at(0), group));
    add(here, -1, at(0), group).unwrap();
    assert!(!here.may_take_back(&used, at(0), group), "one of them is sold");
    assert_eq!(here.unfulfilled(key(), here.own), 0, "nobody has another");
    let (there, group) = &mut both[1];
    add(there, 1, at(0), group).unwrap();
    tell(&mut both, 1, 0);
    let (here, group) = &mut both[0];
    assert!(!here.may_take_back(&used, at(0), group));
    assert_eq!(here.unfulfilled(key(), here.own), 1);
    assert!(here.may_take_back(&Used::new(here.own, 1, cell, Some(-10), 10), at(0), group), "what was taken is given back at any time");
    add(here, 1, at(0), group).unwrap();
    assert!(here.may_take_back(&used, at(0), group));
}

#[test]
fn a_counter_that_was_taken_from_before_it_is_known_to_hold_anything_shows_zero() {
    let mut three = replicas(3);
    let (here, group) = &mut three[0];
    add(here, 10, at(0), group).unwrap();
    tell(&mut three, 0, 1);
    let (there, group) = &mut three[1];
    _ = add(there, -5, at(0), group);
    tell(&mut three, 1, 0);
    let (here, group) = &mut three[0];
    here.give(at(1), group);
    tell(&mut three, 0, 1);
    let (there, group) = &mut three[1];
    assert_eq!(add(there, -5, at(1), group), Ok(5));
    // The third one hears of the second's stream only.
    let (mut bytes, mut place) = (Vec::new(), Place::default());
    while three[1].0.copy_counters(&mut place, 9, &mut bytes) {}
    for record in Record::decode_all(&bytes).map(Result::unwrap) {
        if matches!(record, Record::Fact { by: 1, .. }) {
            three[2].0.apply(&record).unwrap();
        }
    }
    assert_eq!(three[2].0.value(key()), Some(0));
}

#[test]
fn keys_that_leave_no_room_and_the_smallest_number_are_refused() {
    let (mut replica, mut group) = replicas(1).pop().unwrap();
    let long = "x".repeat(BOUNDED_KEY_BYTES_MAX + 1);
    let long = NameRef::parse(long.as_bytes()).unwrap();
    assert_eq!(replica.add_bounded(replica.locate(long), 1, false, at(0), &mut group), Err(AddRefusal::LongKey));
    add(&mut replica, i64::MAX, at(0), &mut group).unwrap();
    assert_eq!(add(&mut replica, i64::MIN, at(0), &mut group), short(i64::MAX.unsigned_abs(), 0));
    assert_eq!(add(&mut replica, -i64::MAX, at(0), &mut group), Ok(0));
    assert!(matches!(add(&mut replica, -1, at(0), &mut group), Err(AddRefusal::Short(_))));
}

/// What three replicas do: add, take, give, and hear from each other, late, twice and in any order.
#[derive(Clone, Debug)]
enum Step {
    Add { at: usize, by: i64 },
    Give { at: usize },
    Tell { from: usize, to: usize },
    Absorb,
    Pass,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = 0..3_usize;
    let step = prop_oneof![
        6 => (at.clone(), -9..=5_i64).prop_map(|(at, by)| Step::Add { at, by }),
        3 => at.clone().prop_map(|at| Step::Give { at }),
        5 => (at.clone(), at).prop_map(|(from, to)| Step::Tell { from, to }),
        1 => Just(Step::Absorb),
        1 => Just(Step::Pass),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Nothing is ever taken that nobody had added, and rights are neither lost nor doubled.
    #[test]
    fn what_is_taken_was_there_and_everything_that_is_left_is_somebodys(steps in steps()) {
        let mut all = replicas(3);
        let (mut left, mut now_ms) = (7_i64, 1);
        for (replica, _) in &mut all {
            // A retired origin has added this, and was given away two of it.
            let epoch = replica.origins[3].id.epoch;
            let put = |replica: &mut Replica, key: &str, sums, seq| {
                replica.apply(&Record::Fact { by: 3, seq, fact: Fact::Slot { key, sums } }).unwrap();
            };
            let account = |of| EscrowKey::new(key(), Kind::Rights, of).unwrap();
            put(replica, STOCK, Floor { p: 9, n: 2 }, 1);
            put(replica, account(epoch).as_str(), Floor { p: 0, n: 2 }, 2);
            put(replica, account(1).as_str(), Floor { p: 2, n: 0 }, 3);
        }
        let mut absorbed = false;
        for step in steps {
            match step {
                Step::Add { at: which, by } => {
                    let (replica, group) = &mut all[which];
                    let before = replica.rights(key());
                    let done = add(replica, by, at(now_ms), group);
                    prop_assert_eq!(done.is_ok(), by >= 0 || before >= by.unsigned_abs());
                    if let Ok(value) = done {
                        left += by;
                        prop_assert!(value >= 0);
                    }
                }
                Step::Give { at: which } => {
                    let (replica, group) = &mut all[which];
                    let before = replica.value(key());
                    replica.give(at(now_ms), group);
                    prop_assert_eq!(replica.value(key()), before);
                }
                Step::Tell { from, to } => tell(&mut all, from, to),
                // The first one is the heir; who absorbs it is known to all, as it would be from its stream.
                Step::Absorb => {
                    absorbed = true;
                    all.iter_mut().for_each(|(replica, _)| replica.absorb(3, (0, 1_000, 9)));
                }
                Step::Pass => now_ms += 150,
            }
            prop_assert!(left >= 0);
            let rights: u64 = all.iter().map(|(replica, _)| replica.rights(key())).sum();
            prop_assert!(i64::try_from(rights).unwrap() <= left);
            prop_assert!(all.iter().all(|(replica, _)| replica.value(key()) >= Some(0)));
        }
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            tell(&mut all, from, to);
        }
        let rights: u64 = all.iter().map(|(replica, _)| replica.rights(key())).sum();
        let retired = if absorbed { 0 } else { 5 };
        prop_assert_eq!(i64::try_from(rights).unwrap() + retired, left);
        for (replica, _) in &mut all {
            prop_assert_eq!(replica.value(key()), Some(left.into()));
        }
    }
}
