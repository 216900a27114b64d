//! Pure: what a replica does in single cases.

use super::{ASK_READY_MS, GAP_MS, HELD_ROWS_MAX, Input, Output, Replica, STALE_MS};
use crate::{
    Rules, Stamp, Stats, Tiers,
    cluster::{
        change::{Change, RowChange},
        row::{OwnerId, Row},
    },
    roster,
    world::member,
};
use protocol::time::Now;
use std::{collections::BTreeSet, sync::Arc};

/// A replica of a room that is read, at 7:1, with one client.
fn replica() -> Replica {
    let rules = Rules { region: "local".into(), grace_ms: 0, tiers: Tiers::default() };
    let mut replica = Replica::new(Arc::new(rules), 1);
    assert_eq!(told(&mut replica, Input::Listening, 0), [Output::Read]);
    let at = Stamp { generation: 7, seq: 1 };
    assert_eq!(told(&mut replica, Input::Snapshot { from: at, to: at, rows: vec![row(0)] }, 0), []);
    assert!(replica.is_current());
    replica
}

fn told(replica: &mut Replica, input: Input, mono_ms: u64) -> Vec<Output> {
    let mut out = vec![];
    replica.handle(input, Now { mono_ms, wall_ms: 0 }, &mut out);
    out
}

fn row(seq: u64) -> Row {
    let client = Arc::new(member(&format!("c{seq}"), &format!("u{seq}"), ""));
    Row { member: client, owner: OwnerId { gateway: "g".into(), incarnation: 1 }, arrival: seq }
}

fn change(generation: u64, seq: u64) -> Change {
    Change { stamp: Stamp { generation, seq }, stats: Stats::default(), rows: vec![RowChange::Put(row(seq))] }
}

#[test]
fn a_gap_may_close_by_itself_then_the_log_is_read_and_then_the_room() {
    let mut replica = replica();
    assert_eq!(told(&mut replica, Input::Heard(change(7, 3)), 1_000), []);
    assert_eq!(replica.next_wake(), Some(1_000 + GAP_MS));
    assert_eq!(told(&mut replica, Input::Heard(change(7, 2)), 1_100).len(), 4, "two joins, each with its diff");
    assert_eq!(replica.stamp(), Stamp { generation: 7, seq: 3 });

    told(&mut replica, Input::Heard(change(7, 6)), 2_000);
    assert_eq!(told(&mut replica, Input::Tick, 2_000 + GAP_MS - 1), []);
    assert_eq!(told(&mut replica, Input::Tick, 2_000 + GAP_MS), [Output::ReadLog(replica.stamp())]);
    assert!(!replica.is_current());
    told(&mut replica, Input::Log(vec![change(7, 4), change(7, 5)]), 2_300);
    assert_eq!((replica.stamp().seq, replica.is_current()), (6, true));

    for useless in [Input::NoLog, Input::Log(vec![])] {
        let mut replica = self::replica();
        told(&mut replica, Input::Heard(change(7, 6)), 0);
        told(&mut replica, Input::Tick, GAP_MS);
        assert_eq!(told(&mut replica, useless, GAP_MS), [Output::Read]);
    }
}

#[test]
fn what_cannot_be_read_is_tried_again_later_and_what_was_asked_before_a_deafness_is_not_heeded() {
    let mut replica = replica();
    told(&mut replica, Input::Deaf, 0);
    assert_eq!(told(&mut replica, Input::Listening, 0), [Output::Read]);
    assert_eq!(told(&mut replica, Input::NotRead { random: 0 }, 0), []);
    let retry_ms = replica.next_wake().unwrap();
    assert!(retry_ms > 0 && told(&mut replica, Input::Tick, retry_ms - 1).is_empty());
    assert_eq!(told(&mut replica, Input::Tick, retry_ms), [Output::Read]);

    told(&mut replica, Input::Deaf, retry_ms);
    assert_eq!(told(&mut replica, Input::Listening, retry_ms), [], "one read at a time");
    let at = Stamp { generation: 7, seq: 9 };
    assert_eq!(told(&mut replica, Input::Snapshot { from: at, to: at, rows: vec![] }, retry_ms), [Output::Read]);
    assert_eq!(replica.stats().clients, 1);
}

#[test]
fn more_held_back_than_the_bound_is_read_instead() {
    let mut replica = replica();
    let mut out = vec![];
    for seq in 3.. {
        out = told(&mut replica, Input::Heard(change(7, seq)), 0);
        if !out.is_empty() || seq > 2 * HELD_ROWS_MAX as u64 {
            assert_eq!(seq, HELD_ROWS_MAX as u64 + 3);
            break;
        }
    }
    assert_eq!(out, [Output::Read]);

    // During the read too: the first ones are dropped, which shows after it.
    for seq in 20_000..=20_000 + HELD_ROWS_MAX as u64 {
        told(&mut replica, Input::Heard(change(7, seq)), 0);
    }
    let at = Stamp { generation: 7, seq: 19_999 };
    told(&mut replica, Input::Snapshot { from: at, to: at, rows: vec![row(0)] }, 0);
    assert_eq!(replica.stamp(), at);
    assert_eq!(told(&mut replica, Input::Tick, GAP_MS), [Output::ReadLog(at)]);
}

#[test]
fn a_later_generation_is_followed_from_its_first_change_and_any_other_is_read() {
    let later = (1 << 32) | 5;
    let mut followed = replica();
    let out = told(&mut followed, Input::Heard(change(later, 1)), 0);
    assert_eq!((out.last(), followed.stamp()), (Some(&Output::AskReady), Stamp { generation: later, seq: 1 }));
    assert_eq!((followed.retained(), followed.stats().clients, followed.is_current()), (1, 2, true));
    for _ in 0..2 {
        assert_eq!(told(&mut followed, Input::Heard(change(7, 2)), 0), [], "late, and no way back");
    }
    for unknown in [change(later, 2), change(8, 1)] {
        let mut replica = replica();
        assert_eq!(told(&mut replica, Input::Heard(unknown.clone()), 0), [Output::Read]);
        let at = replica.stamp();
        assert_eq!(told(&mut replica, Input::Snapshot { from: at, to: at, rows: vec![row(0)] }, 0), []);
        assert_eq!(told(&mut replica, Input::Heard(unknown), 0), [], "the node knows better");
    }
}

#[test]
fn a_retained_row_goes_when_its_owner_is_ready_or_dead_and_all_is_here_that_was_written_before() {
    let later = |seq| Stamp { generation: (1 << 32) | 5, seq };
    let left = |out: &[Output]| out.iter().any(|output| matches!(output, Output::Told(roster::Output::Left(_))));
    for is_dead in [false, true] {
        let mut replica = replica();
        told(&mut replica, Input::Heard(change(later(1).generation, 1)), 0);
        let (owner, mut owners) = (row(0).owner, BTreeSet::new());
        if is_dead {
            assert_eq!(told(&mut replica, Input::Dead(owner), 0), []);
            let before = told(&mut replica, Input::Ready { stamp: later(1), owners: owners.clone() }, 0);
            assert!(!left(&before), "asked before it was known");
            assert_eq!(told(&mut replica, Input::Tick, ASK_READY_MS), [Output::AskReady]);
        } else {
            owners.insert(owner);
        }
        let early = told(&mut replica, Input::Ready { stamp: later(2), owners }, ASK_READY_MS);
        assert_eq!((left(&early), replica.retained()), (false, 1));
        let out = told(&mut replica, Input::Heard(change(later(1).generation, 2)), ASK_READY_MS);
        assert_eq!((left(&out), replica.retained(), replica.stats().clients), (true, 0, 2));
        assert_eq!(replica.page(None, 1).unwrap().version.stamp("local"), Some(later(2)));
    }
}

#[test]
fn who_was_dead_and_is_alive_is_retained_like_anybody() {
    let later = Stamp { generation: (1 << 32) | 5, seq: 1 };
    for is_back in [false, true] {
        let (mut replica, owner) = (replica(), row(0).owner);
        told(&mut replica, Input::Dead(owner.clone()), 0);
        if is_back {
            told(&mut replica, Input::Alive(owner), 0);
        }
        let out = told(&mut replica, Input::Heard(change(later.generation, 1)), 0);
        assert_eq!(out.last(), Some(&Output::AskReady));
        told(&mut replica, Input::Ready { stamp: later, owners: BTreeSet::new() }, 0);
        assert_eq!(replica.retained(), usize::from(is_back));
    }
}

#[test]
fn a_member_s_retained_clients_come_before_the_others_whatever_their_places() {
    let of_ann = |seq: u64, arrival| Row { member: Arc::new(member(&format!("c{seq}"), "ann", "")), arrival, ..row(seq) };
    let mut replica = replica();
    let two = vec![RowChange::Put(of_ann(5, 5)), RowChange::Put(of_ann(6, 6))];
    told(&mut replica, Input::Heard(Change { rows: two, ..change(7, 2) }), 0);
    let first =
        |replica: &Replica| replica.page(None, 9).unwrap().snapshot.iter().find(|entry| **entry.user() == *"ann").unwrap().client().clone();
    assert_eq!(&*first(&replica), "c5");
    let again = |seq, row| Input::Heard(Change { rows: vec![RowChange::Put(row)], ..change((1 << 32) | 5, seq) });
    told(&mut replica, again(1, of_ann(6, 1)), 0);
    assert_eq!(&*first(&replica), "c5", "retained");
    told(&mut replica, again(2, of_ann(5, 2)), 0);
    assert_eq!(&*first(&replica), "c6", "both have places in the new generation");
}

#[test]
fn a_room_that_is_not_heard_for_a_while_is_stale_until_it_is_read_and_each_turn_is_told_once() {
    let at = |seq| Stamp { generation: 7, seq };
    let mut replica = replica();
    told(&mut replica, Input::Deaf, 1_000);
    assert_eq!(replica.next_wake(), Some(1_000 + STALE_MS));
    assert_eq!(told(&mut replica, Input::Deaf, 1_000 + STALE_MS - 1), [], "not yet, and from the first time on");
    assert_eq!(told(&mut replica, Input::Tick, 1_000 + STALE_MS), [Output::Stale(true)]);
    assert_eq!(told(&mut replica, Input::Tick, 1_000 + 2 * STALE_MS), []);
    // An own write may bring a change all the same.
    assert_eq!(told(&mut replica, Input::Heard(change(7, 2)), 20_000).len(), 2);
    assert_eq!(told(&mut replica, Input::Listening, 21_000), [Output::Read]);
    assert!(replica.is_stale());
    let out = told(&mut replica, Input::Snapshot { from: at(3), to: at(3), rows: vec![row(0), row(2), row(3)] }, 21_000);
    assert_eq!((out.len(), out.last()), (3, Some(&Output::Stale(false))), "after what is told with it: {out:?}");
    assert!(!replica.is_stale());
}

#[test]
fn a_room_is_not_stale_that_was_read_again_in_time_and_one_that_cannot_be_read_is() {
    let at = Stamp { generation: 7, seq: 1 };
    let mut replica = replica();
    told(&mut replica, Input::Deaf, 0);
    assert_eq!(told(&mut replica, Input::Listening, STALE_MS - 1), [Output::Read]);
    assert_eq!(told(&mut replica, Input::Snapshot { from: at, to: at, rows: vec![row(0)] }, STALE_MS - 1), []);
    assert_eq!(told(&mut replica, Input::Tick, 2 * STALE_MS), []);
    assert_eq!(replica.next_wake(), None);

    assert_eq!(told(&mut replica, Input::Listening, 20_000), [Output::Read], "it is heard, and not known");
    told(&mut replica, Input::NotRead { random: 0 }, 20_000 + STALE_MS - 1);
    assert!(told(&mut replica, Input::Tick, 20_000 + STALE_MS).contains(&Output::Stale(true)));
}

#[test]
fn a_room_that_was_never_known_is_not_said_to_be_stale() {
    let mut replica = Replica::new(Arc::new(Rules { region: "local".into(), grace_ms: 0, tiers: Tiers::default() }), 1);
    told(&mut replica, Input::Deaf, 0);
    assert_eq!(told(&mut replica, Input::Tick, 10 * STALE_MS), []);
    assert!(!replica.is_stale() && replica.next_wake().is_none());
}
