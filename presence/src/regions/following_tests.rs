//! Pure: how one region is followed, and what it makes of the union's diffs, in examples.

use super::{
    reader::diffs,
    world::{MANY, NAMED, World},
    *,
};
use crate::{BATCH_MS, Entry, Member, MemberKey, Stamp, member::About};
use protocol::time::Now;

const NOW: Now = Now { mono_ms: 1_000_000, wall_ms: 2_000_000 };

struct Follower {
    union: Union,
    out: Vec<Output>,
}

impl Follower {
    /// Of region `us`, which has been asked once.
    fn new(names_max: usize) -> Follower {
        let rules = Rules { names_max, ..Rules::new("eu".into()) };
        let mut follower = Follower { union: Union::new(Arc::new(rules), &["us".into()], 0, NOW), out: vec![] };
        follower.hear(Word::Up);
        assert_eq!(follower.asks(), [Ask { follow: 1, since: None }]);
        follower
    }

    fn hear(&mut self, word: Word) -> &mut Follower {
        self.union.handle(Input::Heard("us", word), NOW, &mut self.out);
        self
    }

    fn page(&mut self, index: u32, seq: u64, users: &[&str], is_last: bool) -> &mut Follower {
        let entries = users.iter().map(|user| entry(user)).collect();
        self.hear(Word::Page(RosterPage { follow: 1, index, stamp: stamp(seq), entries, is_last }))
    }

    /// `users` join.
    fn delta(&mut self, from: u64, to: u64, users: &[&str], count: usize) -> &mut Follower {
        let changes = users.iter().map(|user| (entry(user).key(), Some(entry(user)))).collect();
        let (from, to, clients) = (stamp(from), stamp(to), 2 * count);
        self.hear(Word::Delta(Delta { follow: 1, from, to, changes, users: count, clients, counts_only: false }))
    }

    fn asks(&mut self) -> Vec<Ask> {
        let ask = |output| if let Output::Ask(_, ask) = output { Some(ask) } else { None };
        std::mem::take(&mut self.out).into_iter().filter_map(ask).collect()
    }

    fn names(&self) -> Vec<String> {
        self.union.page(None, 100).snapshot.iter().map(|entry| entry.user().to_string()).collect()
    }

    fn stats(&self) -> (usize, usize, bool) {
        let UnionStats { stats, is_upper_bound } = self.union.stats(crate::Stats::default());
        (stats.users, stats.clients, is_upper_bound)
    }
}

fn entry(user: &str) -> Entry {
    Entry::new(Arc::new(Member::new(format!("c-{user}").into(), user.into(), About::default())), 2, None)
}

fn stamp(seq: u64) -> Stamp {
    Stamp { generation: 1, seq }
}

#[test]
fn pages_of_several_stamps_are_told_when_the_changes_in_between_are_known() {
    let mut us = Follower::new(MANY);
    us.page(0, 3, &["a"], false).delta(3, 4, &["b"], 2).page(1, 5, &["b", "c"], true);
    assert!(us.out.is_empty() && us.names().is_empty());
    us.delta(4, 5, &["c"], 3);
    let told: Vec<_> = diffs(&us.out).map(|diff| (diff.version.to_string(), diff.join.len())).collect();
    assert_eq!(told, [("eu=0:0,us=1:5".to_owned(), 3)]);
    us.delta(5, 6, &["d"], 4);
    assert_eq!((us.names(), us.stats()), (vec!["a".into(), "b".into(), "c".into(), "d".into()], (4, 8, false)));
}

#[test]
fn what_has_come_before_changes_nothing_and_what_is_missing_is_asked_for() {
    let mut us = Follower::new(MANY);
    us.page(0, 3, &["a"], true).delta(3, 4, &["b"], 2);
    us.out.clear();
    us.delta(3, 4, &["b"], 2).page(0, 3, &["x"], true).delta(2, 3, &["x"], 2);
    assert_eq!(us.out, []);
    us.delta(5, 6, &["d"], 4);
    assert_eq!((us.asks(), us.names()), (vec![Ask { follow: 2, since: Some(stamp(4)) }], vec!["a".into(), "b".into()]));
    let mut us = Follower::new(MANY);
    us.page(0, 3, &["a"], false).page(2, 3, &["c"], true);
    assert_eq!(us.asks(), [Ask { follow: 2, since: None }]);
}

#[test]
fn a_region_with_too_many_names_is_counted_and_holds_none() {
    let mut us = Follower::new(4);
    us.page(0, 3, &["a", "b", "c"], false).page(1, 3, &["d", "e"], true);
    assert_eq!((us.names(), us.stats()), (vec![], (5, 10, true)));
    let mut us = Follower::new(4);
    us.page(0, 3, &["a", "b", "c"], true).delta(3, 4, &["d"], 4);
    assert_eq!((us.names().len(), us.stats()), (4, (4, 8, false)));
    us.delta(4, 5, &["e"], 5);
    assert_eq!((us.names(), us.stats()), (vec![], (5, 10, true)));
    assert_eq!(us.union.version().to_string(), "eu=0:0,us=0:0");
    let last = diffs(&us.out).last().unwrap();
    assert_eq!(serde_json::to_value(&**last).unwrap()["upper_bound"], true);
    // Not again for every change.
    us.out.clear();
    us.delta(5, 6, &["f"], 6);
    assert_eq!((us.stats(), us.asks()), ((6, 12, true), vec![]));
}

#[test]
fn a_region_says_itself_that_it_may_be_old() {
    let mut us = Follower::new(MANY);
    us.page(0, 3, &["a"], true);
    us.out.clear();
    us.hear(Word::Stale { follow: 1, is_stale: true }).hear(Word::Stale { follow: 0, is_stale: false });
    assert_eq!(us.out, [Output::Stale("us".into(), true)]);
    let as_of = us.union.as_of(NOW)["us"];
    assert_eq!((as_of.is_stale, as_of.is_gone, as_of.as_of_ms), (true, false, Some(NOW.wall_ms - 5_000)));
    us.hear(Word::Stale { follow: 1, is_stale: false });
    assert_eq!(us.out[1..], [Output::Stale("us".into(), false)]);
}

#[test]
fn changes_of_a_middling_union_are_told_in_batches_however_small_its_parts_are() {
    let mut world = World::new(NAMED, MANY);
    for region in [0, 1, 1, 2, 2] {
        world.enter(region, "");
    }
    world.calm();
    world.enter(1, "a");
    world.enter(2, "b");
    world.arrive();
    assert_eq!(diffs(&world.said()).map(|diff| diff.join.len()).collect::<Vec<_>>(), [1], "it was small before");
    world.wait(BATCH_MS - 1);
    world.enter(2, "c");
    world.arrive();
    assert_eq!(diffs(&world.said()).count(), 0);
    world.wait(1);
    assert_eq!(diffs(&world.said()).map(|diff| diff.join.len()).collect::<Vec<_>>(), [2]);
}

#[test]
fn where_names_stop_and_begin_again_a_diff_has_none_and_pages_name_nobody_in_between() {
    let mut world = World::new(Tiers { at_once_max: 2, batched_max: 4 }, MANY);
    (0..6).for_each(|user| world.enter(1, &format!("u{user}")));
    world.enter(0, "own");
    world.calm();
    let is_own = |entry: &Entry| entry.key() == MemberKey::User("own".into());
    assert!(world.union.page(None, 100).snapshot.iter().all(is_own));
    (0..4).for_each(|_| world.depart(0));
    let said = world.calm();
    assert!(diffs(&said).count() > 1 && diffs(&said).all(|diff| diff.counts_only && diff.is_empty()));
    assert_eq!(diffs(&said).last().map(|diff| (diff.count, diff.is_upper_bound)), Some((3, false)));
    world.enter(1, "new");
    let said = world.calm();
    assert_eq!(diffs(&said).map(|diff| (diff.counts_only, diff.join.len())).collect::<Vec<_>>(), [(false, 1)]);
}
