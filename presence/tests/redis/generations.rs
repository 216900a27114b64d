use crate::{
    node::{Node, ask, connections, gone, list, owner, put},
    room::Room,
};
use presence::{
    Stamp, Stats,
    redis::{Snapshot, Turn, WriteError, log, ready, ready_generation, ready_owners, retire, snapshot, stats, write},
};
use ring_coordinator::redis::{CallError, NotSent, fence};
use testkit::{Disk, eventually};

const NOTHING: Stamp = Stamp { generation: 0, seq: 0 };

fn halves(generation: u64) -> (u64, String) {
    (generation >> 32, format!("{:08x}", generation & 0xffff_ffff))
}

fn into(generation: u64) -> Turn {
    Turn { generation: Some(generation), ..Turn::default() }
}

fn empty(stamp: Stamp) -> Snapshot {
    Snapshot { from: stamp, to: stamp, rows: vec![] }
}

/// Nothing is read of what was there, and the first write finds a room without anything in it.
async fn begins_anew(room: &Room, before: u64) -> u64 {
    assert_eq!(stats(room.place()).await.unwrap(), (NOTHING, Stats::default()));
    assert_eq!(snapshot(room.place()).await.unwrap(), empty(NOTHING));
    assert_eq!(log(room.place(), Stamp { generation: before, seq: 0 }).await.unwrap(), None);
    let place = room.place();
    assert_eq!(ready_owners(place).await.unwrap(), (NOTHING, vec![]));
    let stored = room.write(&owner("g2", 9), &[put("v", "v9")]).await;
    assert_ne!(stored.stamp.generation, before);
    assert_eq!((stored.stamp.seq, stored.stats), (1, Stats { clients: 1, users: 1 }));
    assert_eq!(room.check().await.len(), 1);
    assert_eq!(list(&room.link, &["KEYS", &room.slot_key("pw:g1*")]).await.len(), 0);
    assert_eq!(list(&room.link, &["KEYS", &room.slot_key("powned:g1*")]).await.len(), 0);
    assert_eq!(ready_owners(place).await.unwrap(), (stored.stamp, vec![]));
    assert_eq!(list(&room.link, &["HKEYS", &room.slot_key("pready")]).await.len(), 0);
    stored.stamp.generation
}

/// Rows of an owner who never comes back, and of one who is ready.
async fn populate(room: &Room) -> u64 {
    let owner = owner("g1", 7);
    room.write(&owner, &[put("u", "u1"), put("v", "v1")]).await;
    let generation = room.write(&owner, &[gone("v1")]).await.stamp.generation;
    assert_eq!(ready(&room.link, room.id.slot(), room.ring_epoch, &owner, Some(generation)).await.unwrap(), generation);
    generation
}

#[tokio::test]
async fn a_node_that_was_taken_in_again_begins_the_next_generation() {
    let node = Node::start(&[]).await;
    let mut room = Room::new(&node.link().await, "chat:a");
    let first = populate(&room).await;
    let before = room.link.clone();
    node.take_in(2);
    room.link = node.link_after(&before).await;
    let second = begins_anew(&room, first).await;
    assert_eq!(halves(second), (halves(first).0 + 1, halves(first).1));
    assert!(room.link.life().as_str().starts_with(&halves(first).1));
}

#[tokio::test]
async fn a_node_that_lost_the_slot_meanwhile_begins_the_next_generation_when_it_has_it_again() {
    let node = Node::start(&[]).await;
    let mut room = Room::new(&node.link().await, "chat:a");
    let first = populate(&room).await;
    fence(&room.link, &[room.id.slot()], 12).await.unwrap();
    let stale = || Err(WriteError::Stale(12));
    let place = room.place();
    let slot = room.id.slot();
    let by = owner("g1", 7);
    assert_eq!(write(place, &by, Turn::default(), &[gone("u1")]).await, stale());
    assert_eq!(ready(place.link, slot, 11, &by, None).await, Err(WriteError::Stale(12)));
    assert_eq!(stats(place).await, Err(WriteError::Stale(12)));
    assert_eq!(snapshot(place).await, Err(WriteError::Stale(12)));
    assert_eq!(log(place, NOTHING).await, Err(WriteError::Stale(12)));
    assert_eq!(ready_owners(place).await, Err(WriteError::Stale(12)));
    room.ring_epoch = 12;
    let second = begins_anew(&room, first).await;
    // A later ring does not end it.
    room.ring_epoch = 13;
    assert_eq!(room.write(&by, &[put("u", "u1")]).await.stamp, Stamp { generation: second, seq: 2 });
}

#[tokio::test]
async fn a_node_that_comes_back_with_its_data_begins_the_next_generation_of_another_process() {
    let mut node = Node::start(&[]).await;
    let mut room = Room::new(&node.link().await, "chat:a");
    let first = populate(&room).await;
    node.server.save().await;
    let before = room.link.clone();
    node.server.restart(Disk::Kept).await;
    room.link = node.link_after(&before).await;
    let second = begins_anew(&room, first).await;
    assert_eq!(halves(second).0, halves(first).0 + 1);
    assert_ne!(halves(second).1, halves(first).1);
}

#[tokio::test]
async fn a_process_that_forgot_everything_never_repeats_a_generation() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let mut seen = vec![populate(&room).await];
    for _ in 0..10 {
        node.flush().await;
        let next = begins_anew(&room, seen[0]).await;
        assert!(!seen.contains(&next));
        seen.push(next);
    }
}

/// Otherwise the two would begin generations in turn, for as long as one of them does not know the ring.
#[tokio::test]
async fn who_knows_an_older_life_of_the_same_process_is_sent_to_the_ring() {
    let node = Node::start(&[]).await;
    let mut old = Room::new(&node.link().await, "chat:a");
    old.ring_epoch = 4;
    populate(&old).await;
    let (others, _hearing) = connections();
    others.apply(&node.document(2));
    let link = eventually(crate::node::PATIENCE, async || others.link("redis-a")).await;
    let mut new = Room::new(&link, "chat:a");
    new.ring_epoch = 5;
    let stored = new.write(&owner("g2", 8), &[put("v", "v1")]).await;
    assert_eq!(write(old.place(), &owner("g1", 7), Turn::default(), &[put("u", "u1")]).await, Err(WriteError::Stale(5)));
    assert_eq!(stats(old.place()).await, Err(WriteError::Stale(5)));
    assert_eq!(new.stamp().await, stored.stamp);
}

#[tokio::test]
async fn rooms_of_an_older_generation_are_empty_in_the_valid_one_until_they_are_written() {
    let node = Node::start(&[]).await;
    let mut one = Room::new(&node.link().await, "chat:a#1,2");
    // Both are in the slot of that which stands before the `#`, or in any other: what counts is that it is one slot.
    let mut names = (0..100_000).map(|index| Room::new(&one.link, &format!("chat:{index}")));
    let mut other = names.find(|room| room.id.slot() == one.id.slot()).unwrap();
    let first = populate(&one).await;
    other.write(&owner("g1", 7), &[put("u", "u1")]).await;
    let before = one.link.clone();
    node.take_in(2);
    (one.link, other.link) = {
        let link = node.link_after(&before).await;
        (link.clone(), link)
    };
    let generation = one.write(&owner("g1", 7), &[put("u", "u1")]).await.stamp.generation;
    assert_ne!(generation, first);
    assert_eq!(stats(other.place()).await.unwrap(), (Stamp { generation, seq: 0 }, Stats::default()));
    assert_eq!(snapshot(other.place()).await.unwrap(), empty(Stamp { generation, seq: 0 }));
    assert_eq!(log(other.place(), Stamp { generation, seq: 0 }).await.unwrap(), Some(vec![]));
    // To say nothing makes room for a new beginning.
    assert!(!other.keys().await.is_empty());
    other.write(&owner("g3", 7), &[]).await;
    assert_eq!(other.keys().await.len(), 0);
    assert_eq!(other.check().await, vec![]);
}

#[tokio::test]
async fn an_owner_is_ready_only_in_the_generation_in_which_it_has_announced_itself() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (slot, ring_epoch, link) = (room.id.slot(), room.ring_epoch, &room.link);
    let (one, other) = (owner("g.1", 7), owner("g2", 8));
    // One without rows begins a generation.
    let first = ready(link, slot, ring_epoch, &other, None).await.unwrap();
    assert_ne!(first, 0);
    assert_eq!(room.write(&one, &[put("u", "u1")]).await.stamp, Stamp { generation: first, seq: 1 });
    assert_eq!(room.ready_owners().await, (first, vec![other.clone()]));
    assert_eq!(ready(link, slot, ring_epoch, &one, Some(first)).await.unwrap(), first);
    assert_eq!(room.ready_owners().await.1.len(), 2);
    // What was announced is lost, and what remains of it is not all.
    node.flush().await;
    assert_eq!(ready(link, slot, ring_epoch, &one, Some(first)).await.unwrap(), 0);
    let second = room.write(&other, &[put("v", "v1")]).await.stamp.generation;
    assert_eq!(ready(link, slot, ring_epoch, &one, Some(first)).await.unwrap(), second);
    assert_eq!(room.ready_owners().await, (second, vec![]));
    assert_eq!(ready(link, slot, ring_epoch, &other, Some(second)).await.unwrap(), second);
    assert_eq!(room.ready_owners().await, (second, vec![other]));
}

/// Its owner would not stand in the lists of owners, and if it died its rows would stay.
#[tokio::test]
async fn what_belongs_to_a_lost_generation_is_written_into_no_other() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let by = owner("g1", 7);
    let lost = room.write(&by, &[put("u", "u1")]).await.stamp.generation;
    node.flush().await;
    let stored = write(room.place(), &by, into(lost), &[put("v", "v1")]).await.unwrap();
    assert_eq!((stored.stamp, stored.change), (NOTHING, None));
    assert_eq!(list(&room.link, &["KEYS", "*"]).await.len(), 0);
    let valid = room.write(&owner("g2", 8), &[put("w", "w1")]).await.stamp.generation;
    let stored = write(room.place(), &by, into(lost), &[put("v", "v1")]).await.unwrap();
    assert_eq!((stored.stamp.generation, stored.change), (valid, None));
    assert_eq!(room.clients().await, ["w1"]);
    let stored = write(room.place(), &by, into(valid), &[put("v", "v1")]).await.unwrap();
    assert_eq!((stored.stamp, stored.stats.clients), (Stamp { generation: valid, seq: 2 }, 2));
}

#[tokio::test]
async fn an_owner_learns_that_its_rows_stand_no_longer() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (slot, ring_epoch, link, by) = (room.id.slot(), room.ring_epoch, &room.link, owner("g1", 7));
    let announced = async || ready_generation(link, slot, ring_epoch, &by).await.unwrap();
    assert_eq!(announced().await, 0);
    let first = populate(&room).await;
    assert_eq!(announced().await, first);
    retire(link, slot, ring_epoch, &by).await.unwrap();
    assert_eq!(announced().await, 0, "it was taken for dead");
    node.flush().await;
    let second = populate(&room).await;
    assert_eq!(announced().await, second);
    node.flush().await;
    room.write(&owner("g2", 8), &[put("w", "w1")]).await;
    assert_eq!(announced().await, 0, "all was lost, and another one has begun anew");
}

#[tokio::test]
async fn an_empty_room_leaves_nothing_behind_and_no_place_is_given_out_twice() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let by = owner("g1", 7);
    for round in 0..3 {
        let first = room.write(&by, &[put("u", "u1")]).await.stamp;
        let last = room.write(&by, &[gone("u1")]).await;
        assert_eq!((first.seq, last.stamp.seq), (2 * round + 1, 2 * round + 2));
        assert_eq!((room.keys().await.len(), room.stamp().await), (0, last.stamp));
        // Nothing was missed by whoever heard the end; whoever did not is sent to the room.
        assert_eq!(log(room.place(), last.stamp).await.unwrap(), Some(vec![]));
        assert_eq!(log(room.place(), first).await.unwrap(), None);
        assert_eq!(room.write(&by, &[gone("u1")]).await.stamp, last.stamp);
    }
    assert_eq!(list(&room.link, &["KEYS", "*"]).await, [room.slot_key("pmeta")]);
}

#[tokio::test]
async fn out_of_memory_refuses_who_comes_before_anything_changed_and_lets_go_who_goes() {
    let node = Node::start(&["maxmemory-policy noeviction"]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let by = owner("g1", 7);
    room.write(&by, &[put("u", "u1"), put("v", "v1"), put("w", "w1")]).await;
    let before = room.stamp().await;
    ask(&room.link, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = Err(WriteError::Call(CallError::NotSent(NotSent::OutOfMemory)));
    assert_eq!(write(room.place(), &by, Turn::default(), &[put("x", "x1")]).await, refused);
    assert_eq!((room.check().await.len(), room.stamp().await), (3, before));
    let stored = room.write(&by, &[gone("u1")]).await;
    assert_eq!((stored.stamp.seq, stored.change.map(|change| change.rows.len())), (before.seq + 1, Some(1)));
    assert_eq!(room.check().await.len(), 2);
    assert!(presence::redis::reap(room.place(), &by, 1).await.unwrap().change.is_some());
    assert_eq!(room.check().await, vec![]);
}
