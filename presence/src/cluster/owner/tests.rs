//! What an owner writes, case by case.

use super::{
    At, Call, LIVES_APART, Outcome, Owner, What,
    schedule::{member, rooms},
};
use crate::{
    cluster::{CHANGE_EDGES_MAX, Edge, RoomId},
    member::Departure,
    roster::GRACES_PER_TICK_MAX,
};
use protocol::time::Now;
use ring_coordinator::slot::Slot;
use std::collections::BTreeSet;

const GRACE_MS: u64 = 1_000;
const NOW: Now = Now { mono_ms: 5_000, wall_ms: 1_000_000 };

fn owner() -> Owner {
    Owner::new("g1".into(), 17, GRACE_MS)
}

fn at(life: &str) -> At {
    At { node: "r1".into(), life: life.into() }
}

fn next(owner: &mut Owner) -> Option<Call> {
    owner.next(&|_| Some(at("a")), NOW)
}

/// Makes all calls there are to this life; the node answers with this generation.
fn calls(owner: &mut Owner, life: &str, generation: u64, now: Now) -> Vec<Call> {
    let next = |owner: &mut Owner| {
        let call = owner.next(&|_| Some(at(life)), now)?;
        owner.finished(call.slot, call.number, Outcome::Stored(generation), now);
        Some(call)
    };
    std::iter::from_fn(|| next(owner)).collect()
}

/// What calls say: `+c` a put, `~c` a drop, `-c` a gone, and whether the owner is ready.
fn said(calls: &[Call]) -> Vec<String> {
    let edge = |edge: &Edge| match edge {
        Edge::Put(member) => format!("+{}", member.client),
        Edge::Drop { client, .. } => format!("~{client}"),
        Edge::Gone { client, .. } => format!("-{client}"),
    };
    let call = |call: &Call| match &call.what {
        What::Write { edges, .. } => edges.iter().map(edge).collect::<Vec<_>>().join(" "),
        What::Ready { generation } => format!("ready {generation:?}"),
    };
    calls.iter().map(call).collect()
}

/// The statuses in what calls put.
fn written_statuses(calls: &[Call]) -> Vec<String> {
    let edges = calls.iter().flat_map(|call| if let What::Write { edges, .. } = &call.what { &edges[..] } else { &[] });
    let status = |edge: &Edge| match edge {
        Edge::Put(member) => Some(format!("{}: {}", member.client, std::str::from_utf8(&member.about().status).unwrap())),
        Edge::Drop { .. } | Edge::Gone { .. } => None,
    };
    edges.filter_map(status).collect()
}

/// Rooms with clients, or with some whose end is not confirmed.
fn kept(owner: &Owner) -> usize {
    let is_kept = |room: &&RoomId| owner.slots.get(&room.slot()).is_some_and(|of_slot| of_slot.room(room).is_some());
    rooms().iter().filter(is_kept).count()
}

/// One client, `a` of `ann`, in a room of a slot that is announced.
fn settled(room: &RoomId) -> Owner {
    let mut owner = owner();
    owner.join(room, member("a", "ann", ""));
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW)), ["+a", "ready Some(1)"]);
    owner
}

#[test]
fn who_came_and_went_before_anything_was_said_is_never_said() {
    let mut owner = owner();
    owner.join(&rooms()[0], member("a", "ann", ""));
    owner.leave(&rooms()[0], "a", Departure::Clean, NOW);
    assert_eq!((next(&mut owner), kept(&owner), owner.clients()), (None, 0, 0));
}

#[test]
fn clients_are_counted_room_by_room_and_partitions_are_no_rooms() {
    let (room, mut owner) = (&rooms()[0], owner());
    ["a", "b"].iter().for_each(|client| owner.join(room, member(client, "ann", "")));
    owner.join(&RoomId::users(0), member("a", "ann", ""));
    owner.leave(room, "b", Departure::Dropped, NOW);
    let counted: Vec<_> = owner.slots().flat_map(|slot| owner.rooms(slot)).collect();
    assert_eq!((counted, owner.clients_in(room), owner.clients_in(&rooms()[1])), (vec![(room, 2)], 2, 0));
}

#[test]
fn who_went_while_it_is_not_known_whether_it_was_stored_is_said_to_be_gone() {
    for outcome in [Outcome::Retry, Outcome::Stored(1)] {
        let mut owner = owner();
        owner.join(&rooms()[0], member("a", "ann", ""));
        let call = next(&mut owner).unwrap();
        assert_eq!(next(&mut owner), None);
        owner.leave(&rooms()[0], "a", Departure::Clean, NOW);
        assert_eq!((next(&mut owner), owner.clients(), kept(&owner)), (None, 0, 1));
        owner.finished(call.slot, call.number, outcome, NOW);
        let said = said(&calls(&mut owner, "a", 1, NOW.plus_ms(10_000)));
        assert!(said.contains(&"-a".to_owned()) && kept(&owner) == 0, "{said:?}");
    }
}

#[test]
fn a_dropped_client_costs_one_write_at_the_drop_and_one_at_the_end_of_the_grace() {
    for (room, seen_ms) in [(&rooms()[0], None), (&RoomId::users(0), Some(NOW.wall_ms))] {
        let mut owner = settled(room);
        owner.leave(room, "a", Departure::Dropped, NOW);
        assert_eq!(said(&calls(&mut owner, "a", 1, NOW)), ["~a"]);
        let later = NOW.plus_ms(GRACE_MS - 1);
        assert_eq!(owner.tick(later), Some(NOW.mono_ms + GRACE_MS));
        owner.leave(room, "a", Departure::Clean, later);
        owner.moved();
        assert_eq!((said(&calls(&mut owner, "a", 1, later)), owner.held(), owner.clients()), (vec![], 1, 1));
        assert_eq!(owner.tick(NOW.plus_ms(GRACE_MS)), None);
        let call = next(&mut owner).unwrap();
        let gone = Edge::Gone { client: "a".into(), seen_ms };
        assert_eq!((call.what, owner.held(), owner.clients()), (What::Write { room: room.clone(), edges: vec![gone] }, 0, 0));
    }
}

#[test]
fn without_a_grace_a_dropped_client_is_gone_at_once() {
    let mut owner = Owner { grace_ms: 0, ..settled(&rooms()[0]) };
    owner.leave(&rooms()[0], "a", Departure::Dropped, NOW);
    assert_eq!((said(&calls(&mut owner, "a", 1, NOW)), kept(&owner)), (vec!["-a".to_owned()], 0));
}

#[test]
fn who_comes_back_within_the_grace_is_live_and_its_grace_never_ends() {
    let mut owner = settled(&rooms()[0]);
    owner.leave(&rooms()[0], "a", Departure::Dropped, NOW);
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW)), ["~a"]);
    owner.join(&rooms()[0], member("a", "ann", ""));
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW)), ["+a"]);
    assert_eq!(owner.tick(NOW.plus_ms(GRACE_MS)), None);
    assert_eq!((next(&mut owner), owner.clients()), (None, 1));
}

#[test]
fn who_comes_back_before_the_drop_was_said_costs_nothing_and_so_does_one_who_says_nothing_new() {
    let mut owner = settled(&rooms()[0]);
    owner.leave(&rooms()[0], "a", Departure::Dropped, NOW);
    owner.join(&rooms()[0], member("a", "ann", ""));
    owner.join(&rooms()[0], member("a", "ann", ""));
    owner.set_status(&rooms()[0], "a", "".into());
    owner.set_status(&rooms()[0], "nobody", "1".into());
    owner.leave(&rooms()[0], "nobody", Departure::Clean, NOW);
    assert_eq!(next(&mut owner), None);
    owner.set_status(&rooms()[0], "a", "1".into());
    owner.set_status(&rooms()[0], "a", "2".into());
    assert_eq!(written_statuses(&calls(&mut owner, "a", 1, NOW)), ["a: 2"], "the newest only");
    owner.set_status(&rooms()[0], "a", "2".into());
    assert_eq!(next(&mut owner), None);
}

#[test]
fn a_status_is_announced_with_its_client_and_ends_with_it() {
    let mut owner = settled(&rooms()[0]);
    owner.set_status(&rooms()[0], "a", "1".into());
    assert_eq!(written_statuses(&calls(&mut owner, "a", 1, NOW)), ["a: 1"]);
    owner.moved();
    assert_eq!(written_statuses(&calls(&mut owner, "b", 7, NOW)), ["a: 1"]);
    owner.leave(&rooms()[0], "a", Departure::Clean, NOW);
    owner.set_status(&rooms()[0], "a", "2".into());
    owner.join(&rooms()[0], member("a", "ann", ""));
    assert_eq!(written_statuses(&calls(&mut owner, "b", 7, NOW)), ["a: "], "who comes again says it again");
}

#[test]
fn another_client_of_a_held_member_takes_its_place_in_one_call() {
    let mut owner = settled(&rooms()[0]);
    owner.leave(&rooms()[0], "a", Departure::Dropped, NOW);
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW)), ["~a"]);
    owner.join(&rooms()[0], member("b", "ann", ""));
    assert_eq!((said(&calls(&mut owner, "a", 1, NOW)), owner.held()), (vec!["+b -a".to_owned()], 0));
    owner.leave(&rooms()[0], "b", Departure::Dropped, NOW);
    owner.join(&rooms()[0], member("c", "ann", ""));
    owner.leave(&rooms()[0], "c", Departure::Clean, NOW);
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW)), ["-b"]);
}

#[test]
fn in_another_life_of_the_node_all_is_announced_anew_the_held_ones_as_held() {
    let mut owner = settled(&rooms()[0]);
    owner.join(&rooms()[0], member("b", "bob", ""));
    owner.join(&rooms()[0], member("c", "cid", ""));
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW)), ["+b +c"]);
    owner.leave(&rooms()[0], "a", Departure::Dropped, NOW);
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW)), ["~a"]);
    owner.leave(&rooms()[0], "b", Departure::Clean, NOW);
    owner.moved();
    let calls = calls(&mut owner, "b", 7, NOW);
    assert_eq!(said(&calls), ["+c +a ~a", "ready Some(7)"]);
    assert_eq!(calls.iter().map(|call| call.is_first).collect::<Vec<_>>(), [true, false]);
    assert!(calls.iter().all(|call| call.at == at("b")));
}

#[test]
fn who_left_the_last_row_of_a_slot_behind_still_says_that_all_has_been_written() {
    let mut owner = settled(&rooms()[0]);
    owner.leave(&rooms()[0], "a", Departure::Clean, NOW);
    owner.moved();
    assert_eq!(said(&calls(&mut owner, "b", 7, NOW)), ["ready None"]);
}

#[test]
fn another_generation_and_a_doubt_make_everything_be_written_again() {
    let mut owner = settled(&rooms()[0]);
    owner.join(&rooms()[1], member("b", "bob", ""));
    assert_eq!(said(&calls(&mut owner, "a", 2, NOW)).len(), 4, "b, then all: a, b, ready");
    assert!(owner.is_stored(&rooms()[0], owner.asked()));
    owner.doubt(rooms()[0].slot());
    let calls = calls(&mut owner, "a", 2, NOW);
    assert_eq!(said(&calls)[2], "ready Some(2)");
    assert!(calls[0].is_first, "the list of owners is lost with the rest");
    assert_eq!(next(&mut owner), None);
}

#[test]
fn a_fenced_owner_goes_on_under_a_higher_name_in_all_slots() {
    for least in [18, NOW.wall_ms + 5] {
        let mut owner = settled(&rooms()[0]);
        owner.join(&rooms()[2], member("b", "bob", ""));
        let call = next(&mut owner).unwrap();
        owner.finished(call.slot, call.number, Outcome::Fenced(least), NOW);
        let incarnation = owner.id().incarnation;
        assert!(incarnation >= NOW.wall_ms.max(least) && incarnation < NOW.wall_ms + 5 + LIVES_APART);
        owner.finished(call.slot, call.number, Outcome::Fenced(u64::MAX), NOW);
        assert_eq!(owner.id().incarnation, incarnation, "a call ends once");
        let calls = calls(&mut owner, "a", 1, NOW.plus_ms(10_000));
        assert_eq!(calls.len(), 4);
        assert!(calls.iter().all(|call| call.owner == *owner.id()));
        owner.join(&rooms()[2], member("c", "cid", ""));
        let call = next(&mut owner).unwrap();
        owner.finished(call.slot, call.number, Outcome::Fenced(least), NOW.plus_ms(10));
        assert_eq!(owner.id().incarnation, incarnation, "this name is not meant");
    }
}

#[test]
fn two_lives_that_are_behind_the_same_name_do_not_go_on_under_one() {
    let ahead = NOW.wall_ms + 1_000_000;
    let lives: BTreeSet<u64> = (0..20)
        .map(|life| {
            let now = NOW.plus_ms(life * 1_000);
            let mut owner = owner();
            owner.surpass(ahead, now);
            owner.id().incarnation
        })
        .collect();
    assert!(lives.len() >= 19 && lives.iter().all(|life| *life > ahead), "{lives:?}");
}

#[test]
fn calls_are_bounded_and_rooms_take_turns() {
    let mut owner = settled(&rooms()[0]);
    (0..1_200).for_each(|n| owner.join(&rooms()[0], member(&format!("c{n}"), "", "")));
    owner.join(&rooms()[1], member("b", "bob", ""));
    let edges = |call: &Call| if let What::Write { edges, .. } = &call.what { edges.len() } else { 0 };
    let calls = calls(&mut owner, "a", 1, NOW);
    assert_eq!(calls.iter().map(edges).collect::<Vec<_>>(), [CHANGE_EDGES_MAX, 1, CHANGE_EDGES_MAX, 200]);
}

#[test]
fn a_busy_slot_gets_ready() {
    let mut owner = settled(&rooms()[0]);
    (0..1_200).for_each(|n| owner.join(&rooms()[0], member(&format!("c{n}"), "", "")));
    owner.moved();
    let is_ready = |tries: u32| {
        owner.join(&rooms()[0], member(&format!("late{tries}"), "", ""));
        let call = owner.next(&|_| Some(at("b")), NOW).unwrap();
        owner.finished(call.slot, call.number, Outcome::Stored(1), NOW);
        matches!(call.what, What::Ready { .. })
    };
    assert_eq!((0..10).map(is_ready).position(|is_ready| is_ready), Some(3));
}

#[test]
fn of_a_member_with_more_clients_than_a_call_takes_those_who_stay_are_said_first() {
    let mut owner = owner();
    (0..CHANGE_EDGES_MAX).for_each(|n| owner.join(&rooms()[0], member(&format!("c{n}"), "ann", "")));
    assert_eq!(calls(&mut owner, "a", 1, NOW).len(), 2);
    (0..CHANGE_EDGES_MAX).for_each(|n| owner.leave(&rooms()[0], &format!("c{n}"), Departure::Clean, NOW));
    owner.join(&rooms()[0], member("new", "ann", ""));
    let calls = said(&calls(&mut owner, "a", 1, NOW));
    assert!(calls.len() == 2 && calls[0].starts_with("+new -"), "{calls:?}");
}

#[test]
fn all_members_of_a_call_are_in_it_wholly() {
    let mut owner = settled(&rooms()[0]);
    (0..CHANGE_EDGES_MAX - 1).for_each(|n| owner.join(&rooms()[0], member(&format!("c{n}"), "", "")));
    owner.join(&rooms()[0], member("b", "ann", ""));
    owner.leave(&rooms()[0], "a", Departure::Clean, NOW);
    owner.leave(&rooms()[0], "b", Departure::Dropped, NOW);
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW))[1], "+b -a ~b");
}

#[test]
fn who_comes_back_while_it_is_not_known_whether_it_is_held_is_said_to_be_there() {
    let mut owner = settled(&rooms()[0]);
    owner.leave(&rooms()[0], "a", Departure::Dropped, NOW);
    let call = next(&mut owner).unwrap();
    owner.finished(call.slot, call.number, Outcome::Retry, NOW);
    owner.join(&rooms()[0], member("a", "ann", ""));
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW.plus_ms(10_000))), ["+a"]);
}

#[test]
fn a_drop_that_was_not_heard_of_is_said_again_and_brings_no_row_back() {
    let mut owner = settled(&rooms()[0]);
    owner.leave(&rooms()[0], "a", Departure::Dropped, NOW);
    let call = next(&mut owner).unwrap();
    owner.finished(call.slot, call.number, Outcome::Retry, NOW);
    assert_eq!(said(&calls(&mut owner, "a", 1, NOW.plus_ms(10_000))), ["~a"]);
}

#[test]
fn what_failed_is_tried_again_after_a_while_or_when_the_slot_may_have_moved() {
    let mut owner = settled(&rooms()[0]);
    owner.join(&rooms()[0], member("b", "bob", ""));
    let mut now = NOW;
    for tries in 0..8 {
        let call = owner.next(&|_| (tries % 2 == 0).then(|| at("a")), now);
        assert_eq!(call.is_some(), tries % 2 == 0);
        if let Some(call) = call {
            owner.finished(call.slot, call.number, Outcome::Retry, now);
        }
        let due_ms = owner.next_ms().unwrap();
        assert!(due_ms > now.mono_ms && due_ms <= now.mono_ms + 2_000);
        owner.join(&rooms()[0], member(&tries.to_string(), "", ""));
        assert_eq!(owner.next(&|_| Some(at("a")), now.plus_ms(due_ms - now.mono_ms - 1)), None);
        now = now.plus_ms(due_ms - now.mono_ms);
    }
    let call = owner.next(&|_| Some(at("a")), now).unwrap();
    owner.finished(call.slot, call.number, Outcome::Retry, now);
    owner.moved();
    assert_eq!((owner.next_ms(), said(&calls(&mut owner, "a", 1, now))), (None, vec!["+b +0 +1 +2 +3 +4 +5 +6 +7".to_owned()]));
    owner.join(&rooms()[0], member("c", "cid", ""));
    let call = owner.next(&|_| Some(at("a")), now).unwrap();
    owner.finished(call.slot, call.number, Outcome::Retry, now);
    assert!(owner.next_ms().is_some_and(|due_ms| due_ms <= now.mono_ms + 100), "the wait is short again");
}

#[test]
fn a_reader_waits_for_what_was_asked_before_it_and_for_nothing_later() {
    let mut owner = settled(&rooms()[0]);
    owner.join(&rooms()[0], member("b", "bob", ""));
    let asked = owner.asked();
    let call = next(&mut owner).unwrap();
    owner.set_status(&rooms()[0], "b", "1".into());
    owner.join(&rooms()[0], member("c", "cid", ""));
    assert!(!owner.is_stored(&rooms()[0], asked) && owner.is_stored(&rooms()[1], owner.asked()));
    owner.finished(call.slot, call.number, Outcome::Stored(1), NOW);
    assert!(owner.is_stored(&rooms()[0], asked) && !owner.is_stored(&rooms()[0], asked + 1));
    assert_eq!(owner.unsaid(), 2);
    calls(&mut owner, "a", 1, NOW);
    assert!(owner.is_stored(&rooms()[0], owner.asked()));
    assert_eq!((owner.clients(), kept(&owner), owner.slots().collect::<Vec<Slot>>()), (3, 1, vec![rooms()[0].slot()]));
}

#[test]
fn a_crowds_graces_end_in_portions() {
    let mut owner = owner();
    for n in 0..=GRACES_PER_TICK_MAX {
        owner.join(&rooms()[0], member(&format!("c{n}"), "", ""));
        owner.leave(&rooms()[0], &format!("c{n}"), Departure::Dropped, NOW);
    }
    let later = NOW.plus_ms(GRACE_MS);
    assert_eq!((owner.tick(later), owner.held()), (Some(later.mono_ms), 1));
    assert_eq!((owner.tick(later), owner.held()), (None, 0));
}
