//! What services are told of rooms, and from when on.

use crate::{
    node::{Node, ask, drop, gone, list, owner, put},
    room::Room,
};
use presence::{
    HookKind::{self, Occupied, Offline, Online, ResyncNeeded, Vacated},
    Stamp,
    cluster::{
        Edge, OwnerId,
        telling::{Held, Mark, Marked, Question},
    },
    redis::{self, Turn, WriteError, hold, hooks, hooks_done, mark, passed, pending, question, question_asked, reap, settle, write},
};
use ring_coordinator::{
    redis::{CallError, Link, fence},
    slot::Slot,
};
use std::collections::{BTreeSet, HashSet};
use testkit::Disk;

const RING: u64 = 3;

/// A node, and gateways that answer whatever is asked.
struct World {
    node: Node,
    link: Link,
    turns: u64,
    asked: u64,
}

impl World {
    async fn new() -> World {
        let node = Node::start(&[]).await;
        let link = node.link().await;
        World { node, link, turns: 0, asked: 0 }
    }

    fn room(&self, name: &str) -> Room {
        Room { ring_epoch: RING, ..Room::new(&self.link, name) }
    }

    async fn mark(&mut self, ring: u64) {
        self.asked += 1;
        mark_node(&self.link, self.asked, ring).await;
    }

    async fn write(&mut self, name: &str, by: &OwnerId, edges: &[Edge]) -> Stamp {
        self.turns += 1;
        let room = self.room(name);
        write(room.place(), by, Turn { number: self.turns, generation: None }, edges).await.unwrap().stamp
    }

    async fn settle(&self, slot: Slot) {
        while settle(&self.link, slot, RING).await.unwrap() {}
    }

    /// What is logged of a slot, in short.
    async fn logged(&self, slot: Slot) -> Vec<(HookKind, String)> {
        let logged = hooks(&self.link, slot, RING, 10_000).await.unwrap();
        logged.into_iter().map(|logged| logged.hook.unwrap()).map(|hook| (hook.kind, hook.name.to_string())).collect()
    }

    /// The same, which is forgotten with it.
    async fn take(&self, slot: Slot) -> Vec<(HookKind, String)> {
        let logged = self.logged(slot).await;
        if let Some(last) = hooks(&self.link, slot, RING, 10_000).await.unwrap().last() {
            hooks_done(&self.link, slot, RING, &last.id).await.unwrap();
        }
        logged
    }
}

/// Marks a node; then generations begin told, and the rest can be settled.
pub async fn mark_node(link: &Link, number: u64, ring: u64) {
    let asked = Question { number, ring, life: link.life().as_str().into() };
    assert!(matches!(hold(link, "g1").await, Ok(Held::Here(_))));
    question(link, "g1", &asked).await.unwrap();
    assert_eq!(question_asked(link).await, Ok(Some(asked.clone())));
    redis::answer(link, "g1", &asked).await.unwrap();
    assert_eq!(mark(link, "g1", &asked, &["g1"]).await, Ok(Marked::Yes));
}

fn say(kind: HookKind, name: &str) -> (HookKind, String) {
    (kind, name.to_owned())
}

#[tokio::test]
async fn the_first_and_the_last_member_of_a_channel_are_told_each_with_its_stamp() {
    let mut world = World::new().await;
    let (slot, one, other) = (world.room("chat:a").id.slot(), owner("g1", 7), owner("g2", 7));
    world.mark(RING).await;
    world.settle(slot).await;
    assert_eq!(world.take(slot).await, [say(ResyncNeeded, "")], "nobody knows what was told before");
    let first = world.write("chat:a", &one, &[put("u", "u1")]).await;
    world.write("chat:a", &other, &[put("u", "u2"), put("v", "v1")]).await;
    world.write("chat:a", &one, &[gone("u1")]).await;
    world.write("chat:a", &other, &[drop("u2"), drop("v1")]).await;
    world.write("chat:a", &other, &[gone("u2")]).await;
    let last = world.write("chat:a", &other, &[gone("v1")]).await;
    let logged = hooks(&world.link, slot, RING, 100).await.unwrap();
    let told: Vec<_> = logged.iter().map(|logged| logged.hook.clone().unwrap()).collect();
    assert_eq!(told.iter().map(|hook| (hook.kind, hook.stamp)).collect::<Vec<_>>(), [(Occupied, first), (Vacated, last)]);
    assert!(told.iter().all(|hook| *hook.name == *"chat:a" && hook.time_ms > 1_700_000_000_000));
    assert_eq!(*told[0].id, format!("{}-{:x}-{}", slot.number(), first.generation, logged[0].id));
    assert_eq!(pending(&world.link, &[Slot::new(0).unwrap(), slot]).await.unwrap(), [(slot, 2)]);
    // Done is done, up to there.
    hooks_done(&world.link, slot, RING, &logged[0].id).await.unwrap();
    assert_eq!(world.logged(slot).await, [say(Vacated, "chat:a")]);
    hooks_done(&world.link, slot, RING, &logged[1].id).await.unwrap();
    assert_eq!((world.logged(slot).await, pending(&world.link, &[slot]).await.unwrap()), (vec![], vec![]));
}

#[tokio::test]
async fn users_are_told_online_and_offline_whatever_channels_do_and_nobody_without_an_id_is() {
    let mut world = World::new().await;
    let (slot, by) = (world.room("users 5").id.slot(), owner("g1", 7));
    world.mark(RING).await;
    world.settle(slot).await;
    world.take(slot).await;
    world.write("users 5", &by, &[put("u", "u1"), put("", "anon"), put("v", "v1"), put("u", "u2")]).await;
    world.write("users 5", &by, &[gone("u1"), gone("anon"), drop("v1")]).await;
    assert_eq!(world.take(slot).await, [say(Online, "u"), say(Online, "v")]);
    // Who comes back within the grace is told nobody.
    world.write("users 5", &by, &[put("v", "v2")]).await;
    world.write("users 5", &by, &[gone("v2")]).await;
    assert_eq!(world.take(slot).await, [say(Offline, "v")]);
    reap(world.room("users 5").place(), &by, 77).await.unwrap();
    assert_eq!(world.take(slot).await, [say(Offline, "u")]);
}

#[tokio::test]
async fn without_a_mark_nothing_is_logged_and_nothing_can_be_settled() {
    let mut world = World::new().await;
    let slot = world.room("chat:a").id.slot();
    world.write("chat:a", &owner("g1", 7), &[put("u", "u1")]).await;
    let refused = settle(&world.link, slot, RING).await.unwrap_err();
    assert!(matches!(refused, WriteError::Call(CallError::Refused { ref code, .. }) if code == "UNMARKED"), "{refused}");
    assert_eq!(list(&world.link, &["KEYS", "hc:*:h*"]).await.len(), 0);
    // A generation that begins by a later ring than the mark's is not told either.
    world.mark(RING - 1).await;
    let slot = world.room("chat:b").id.slot();
    world.write("chat:b", &owner("g1", 7), &[put("u", "u1")]).await;
    assert_eq!(list(&world.link, &["KEYS", "hc:*:h*"]).await.len(), 0);
    assert!(settle(&world.link, slot, RING).await.is_err());
}

#[tokio::test]
async fn settling_logs_the_differences_both_ways_once_and_from_then_on_all_is_told() {
    let mut world = World::new().await;
    let (by, users) = (owner("g1", 7), world.room("users 5").id.slot());
    let channel = (0..1_000_000).map(|index| format!("chat:{index}"));
    let names: Vec<String> = channel.filter(|name| world.room(name).id.slot() == users).take(3).collect();
    let [stays, goes, comes] = &names[..] else { panic!("too few") };
    world.mark(RING).await;
    world.settle(users).await;
    world.take(users).await;
    world.write(stays, &by, &[put("u", "u1")]).await;
    world.write(goes, &by, &[put("u", "u1")]).await;
    world.write("users 5", &by, &[put("ann", "a1"), put("bob", "b1")]).await;
    assert_eq!(world.take(users).await.len(), 4);

    // The slot goes elsewhere and comes back, with what was told: nothing is logged until all are there again.
    fence(&world.link, &[users], RING).await.unwrap();
    ask(&world.link, &["HSET", &world.room("users 5").slot_key("pmeta"), "ring", "1"]).await;
    ask(&world.link, &["HSET", "hc:hooks", "ring", "1"]).await;
    world.write(stays, &by, &[put("u", "u1")]).await;
    world.write(comes, &by, &[put("u", "u1")]).await;
    world.write("users 5", &by, &[put("bob", "b1"), put("cid", "c1")]).await;
    assert_eq!(world.logged(users).await, []);
    world.mark(RING).await;
    world.settle(users).await;
    let told: BTreeSet<_> = world.take(users).await.into_iter().map(|(kind, name)| (format!("{kind:?}"), name)).collect();
    let expected = [("Offline", "ann"), ("Online", "cid"), ("Vacated", goes.as_str()), ("Occupied", comes.as_str())];
    assert_eq!(told, expected.map(|(kind, name)| (kind.to_owned(), name.to_owned())).into(), "and no word of a loss");
    world.settle(users).await;
    assert_eq!(world.logged(users).await, [], "once");
    world.write(comes, &by, &[gone("u1")]).await;
    world.write("users 5", &by, &[gone("c1")]).await;
    assert_eq!(world.take(users).await, [say(Vacated, comes), say(Offline, "cid")]);
    assert_eq!(passed(&world.link, "g1", RING).await, Ok(true));
    assert_eq!(passed(&world.link, "g1", RING + 1).await, Ok(false));
}

/// One generation may begin between the mark and its settling: whoever writes first is not the only one there ever was.
#[tokio::test]
async fn a_generation_that_begins_after_the_mark_is_told_and_settled_all_the_same() {
    let mut world = World::new().await;
    let (slot, by) = (world.room("users 5").id.slot(), owner("g1", 7));
    for (kind, member) in [("rooms", "chat:gone"), ("rooms", " 3"), ("users 5", "uann"), ("users 5", "ubob")] {
        ask(&world.link, &["SADD", &world.room("users 5").slot_key(&format!("ht:{kind}")), member]).await;
    }
    world.mark(RING).await;
    ask(&world.link, &["HDEL", "hc:hooks", "due"]).await;
    world.write("users 5", &by, &[put("bob", "b1"), put("cid", "c1")]).await;
    assert_eq!(world.take(slot).await, [say(Online, "cid")], "bob was told to be there");
    world.settle(slot).await;
    assert_eq!(world.take(slot).await, [say(Vacated, "chat:gone"), say(Offline, "ann")]);
}

#[tokio::test]
async fn many_differences_are_logged_in_pieces_and_a_log_that_nobody_reads_is_replaced_by_one_word() {
    let mut world = World::new().await;
    let (slot, by) = (world.room("users 5").id.slot(), owner("g1", 7));
    let users = |from: usize, to: usize| (from..to).map(|user| put(&format!("u{user}"), &format!("c{user}"))).collect::<Vec<_>>();
    for from in (0..2_500).step_by(500) {
        world.write("users 5", &by, &users(from, from + 500)).await;
    }
    world.mark(RING).await;
    let mut more = Vec::new();
    for _ in 0..3 {
        more.push(settle(&world.link, slot, RING).await.unwrap());
    }
    assert_eq!(more, [true, true, false]);
    let logged = world.logged(slot).await;
    assert_eq!(logged.len(), 2_501);
    assert_eq!(logged.iter().collect::<HashSet<_>>().len(), 2_501, "each once");
    for from in (2_500..4_500).step_by(500) {
        world.write("users 5", &by, &users(from, from + 500)).await;
    }
    let logged = world.logged(slot).await;
    assert_eq!((logged.len(), logged[0].0), (501, ResyncNeeded), "the log was full at 4,096");
    assert!(logged[1..].iter().all(|(kind, _)| *kind == Online));
}

#[tokio::test]
async fn who_goes_by_an_old_ring_reads_nothing_forgets_nothing_and_settles_nothing() {
    let mut world = World::new().await;
    let slot = world.room("chat:a").id.slot();
    world.mark(RING).await;
    world.settle(slot).await;
    world.write("chat:a", &owner("g1", 7), &[put("u", "u1")]).await;
    let last = hooks(&world.link, slot, RING, 100).await.unwrap().last().unwrap().id.clone();
    fence(&world.link, &[slot], RING + 1).await.unwrap();
    assert_eq!(hooks(&world.link, slot, RING, 100).await, Err(WriteError::Stale(RING + 1)));
    assert_eq!(hooks_done(&world.link, slot, RING, &last).await, Err(WriteError::Stale(RING + 1)));
    assert_eq!(settle(&world.link, slot, RING).await, Err(WriteError::Stale(RING + 1)));
    assert_eq!(hooks(&world.link, slot, RING + 1, 100).await.unwrap().len(), 2);
}

#[tokio::test]
async fn after_another_life_a_loss_is_told_once_and_then_what_differs_from_the_data_that_came_back() {
    let mut world = World::new().await;
    let (one, other) = (world.room("chat:a").id.slot(), world.room("chat:b").id.slot());
    let by = owner("g1", 7);
    world.mark(RING).await;
    for slot in [one, other] {
        world.settle(slot).await;
        world.take(slot).await;
    }
    world.write("chat:a", &by, &[put("u", "u1")]).await;
    world.write("chat:b", &by, &[put("u", "u1")]).await;
    for slot in [one, other] {
        assert_eq!(world.take(slot).await.len(), 1);
    }
    world.node.server.save().await;
    let before = world.link.clone();
    world.node.server.restart(Disk::Kept).await;
    world.link = world.node.link_after(&before).await;
    // Marked for another life: generations begin untold.
    world.write("chat:a", &by, &[put("u", "u1")]).await;
    assert_eq!(world.logged(one).await, []);
    assert!(settle(&world.link, one, RING).await.is_err());
    world.mark(RING).await;
    world.settle(one).await;
    world.settle(other).await;
    assert_eq!(world.take(one).await, [say(ResyncNeeded, "")]);
    assert_eq!(world.take(other).await, [say(Vacated, "chat:b")]);
    // All is lost: it is said once, and everything told again.
    world.node.flush().await;
    for name in ["chat:a", "chat:b"] {
        world.write(name, &by, &[put("u", "u1")]).await;
    }
    assert!(settle(&world.link, one, RING).await.is_err(), "the mark is gone, too");
    world.mark(RING).await;
    world.settle(one).await;
    world.settle(other).await;
    assert_eq!(world.take(one).await, [say(ResyncNeeded, ""), say(Occupied, "chat:a")]);
    assert_eq!(world.take(other).await, [say(Occupied, "chat:b")]);
}

#[tokio::test]
async fn what_was_left_behind_when_the_slot_went_elsewhere_is_not_what_was_told_last() {
    let mut world = World::new().await;
    let (slot, by) = (world.room("chat:a").id.slot(), owner("g1", 7));
    let room = world.room("chat:a");
    for (kind, member) in [("ht:rooms", "chat:a"), ("ht:rooms", " 1")] {
        ask(&world.link, &["SADD", &room.slot_key(kind), member]).await;
    }
    ask(&world.link, &["XADD", &room.slot_key("hl:log"), "*", "k", "o", "n", "chat:old"]).await;
    fence(&world.link, &[slot], 2).await.unwrap();
    world.write("chat:a", &by, &[put("u", "u1")]).await;
    world.mark(RING).await;
    ask(&world.link, &["HDEL", "hc:hooks", "due"]).await;
    world.settle(slot).await;
    assert_eq!(world.take(slot).await, [say(ResyncNeeded, "")]);
}

#[tokio::test]
async fn a_node_is_marked_by_the_one_who_asked_when_all_have_answered_that_question() {
    let mut world = World::new().await;
    let link = world.link.clone();
    let asked = |number, ring| Question { number, ring, life: link.life().as_str().into() };
    assert_eq!(hold(&link, "g1").await, Ok(Held::Here(Mark::default())));
    assert_eq!(hold(&link, "g2").await, Ok(Held::ByAnother));
    question(&link, "g2", &asked(1, RING)).await.unwrap();
    assert_eq!(question_asked(&link).await, Ok(None), "it is not for g2 to ask");
    question(&link, "g1", &asked(2, RING)).await.unwrap();
    redis::answer(&link, "g1", &asked(2, RING)).await.unwrap();
    redis::answer(&link, "g2", &asked(1, RING)).await.unwrap();
    assert_eq!(mark(&link, "g1", &asked(2, RING), &["g1", "g2"]).await, Ok(Marked::Waits("g2".into())));
    redis::answer(&link, "g2", &asked(2, RING)).await.unwrap();
    assert_eq!(mark(&link, "g2", &asked(2, RING), &["g1", "g2"]).await, Ok(Marked::Lost), "it has no lease");
    assert_eq!(mark(&link, "g1", &asked(3, RING), &["g1"]).await, Ok(Marked::Lost), "nobody has asked that");
    let other = Question { life: "other.1".into(), ..asked(2, RING) };
    assert_eq!(mark(&link, "g1", &other, &["g1"]).await, Ok(Marked::Lost), "it was another life that was asked");
    assert_eq!(mark(&link, "g1", &asked(2, RING), &["g1", "g2"]).await, Ok(Marked::Yes));
    let of = |is_passed| Held::Here(Mark { life: link.life().as_str().into(), ring: RING, is_passed });
    assert_eq!(hold(&link, "g1").await, Ok(of(false)));
    assert_eq!(passed(&link, "g2", RING).await, Ok(false), "it has no lease");
    assert_eq!(passed(&link, "g1", RING).await, Ok(true));
    assert_eq!(hold(&link, "g1").await, Ok(of(true)));
    // An older ring does not mark over a later one; and all that was said is gone with the data.
    question(&link, "g1", &asked(4, RING - 1)).await.unwrap();
    redis::answer(&link, "g1", &asked(4, RING - 1)).await.unwrap();
    assert_eq!(mark(&link, "g1", &asked(4, RING - 1), &["g1"]).await, Ok(Marked::Lost));
    world.mark(RING + 1).await;
    world.node.flush().await;
    assert_eq!(mark(&link, "g1", &asked(1, RING + 1), &["g1"]).await, Ok(Marked::Lost));
}

#[tokio::test]
async fn rows_that_do_not_stand_in_the_valid_generation_are_strays() {
    let mut world = World::new().await;
    let by = owner("g1", 7);
    let slots: Vec<Slot> = ["chat:a", "chat:b", "chat:c"].iter().map(|name| world.room(name).id.slot()).collect();
    let mut stands = Vec::new();
    for name in ["chat:a", "chat:b", "chat:c"] {
        let generation = world.write(name, &by, &[put("u", "u1")]).await.generation;
        let slot = world.room(name).id.slot();
        if name != "chat:c" {
            redis::ready(&world.link, slot, RING, &by, Some(generation)).await.unwrap();
        }
        stands.push((slot, generation));
    }
    let strays = async |world: &World| redis::strays(&world.link, RING, &by, &stands).await.unwrap();
    assert_eq!(strays(&world).await, [slots[2]], "it has not said that this was all");
    redis::ready(&world.link, slots[2], RING, &by, Some(stands[2].1)).await.unwrap();
    assert_eq!(strays(&world).await, []);
    redis::retire(&world.link, slots[0], RING, &by).await.unwrap();
    assert_eq!(strays(&world).await, [slots[0]], "it was taken for dead");
    // Fenced, the generation is not valid any more, though nobody has begun another one: a change of the ring went back.
    fence(&world.link, &[slots[1]], RING).await.unwrap();
    ask(&world.link, &["HSET", &world.room("chat:b").slot_key("pmeta"), "ring", "1"]).await;
    assert_eq!(strays(&world).await, [slots[0], slots[1]]);
    world.node.flush().await;
    assert_eq!(strays(&world).await, slots);
}

#[tokio::test]
async fn when_nobody_tells_services_any_more_nothing_is_logged_and_nothing_is_kept() {
    let mut world = World::new().await;
    let (slot, by) = (world.room("users 5").id.slot(), owner("g1", 7));
    world.mark(RING).await;
    world.settle(slot).await;
    world.write("users 5", &by, &[put("u", "u1")]).await;
    let kept = async |world: &World| list(&world.link, &["KEYS", "hc:*:h[lt]:*"]).await.len();
    assert_eq!(kept(&world).await, 3);
    assert_eq!(redis::is_untold(&world.link).await, Ok(false));
    assert_eq!(redis::forget_told(&world.link, slot, RING).await, Ok(false), "somebody does");
    assert_eq!(kept(&world).await, 3);
    ask(&world.link, &["DEL", "hc:hooks:teller"]).await;
    assert_eq!(redis::is_untold(&world.link).await, Ok(true));
    assert_eq!(redis::begin_forgetting(&world.link, "g1").await, Ok(true));
    assert_eq!(redis::begin_forgetting(&world.link, "g2").await, Ok(false));
    assert_eq!(redis::forget_told(&world.link, slot, RING).await, Ok(true));
    world.write("users 5", &by, &[put("v", "v1")]).await;
    world.write("chat:a", &by, &[put("v", "v1")]).await;
    assert_eq!(kept(&world).await, 0);
    assert_eq!(redis::is_untold(&world.link).await, Ok(true), "slots may be left");
    redis::end_forgetting(&world.link).await.unwrap();
    assert_eq!(list(&world.link, &["KEYS", "hc:hooks*"]).await.len(), 0);
    // Turned on again it begins with a word that something may have been missed; differences have no order.
    world.mark(RING).await;
    world.settle(slot).await;
    let mut told = world.take(slot).await;
    told[1..].sort_by(|(_, one), (_, other)| one.cmp(other));
    assert_eq!(told, [say(ResyncNeeded, ""), say(Online, "u"), say(Online, "v")]);
}
