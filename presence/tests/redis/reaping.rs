use crate::{
    node::{Node, ask, drop, gone, gone_at, list, owner, put},
    room::{Reader, Room},
};
use presence::{
    LAST_SEEN_MAX, Stats,
    cluster::{Edge, USER_PARTITIONS},
    redis::{REAP_ROWS_MAX, Reaped, Turn, WriteError, owned_rooms, ready, reap, retire, write},
};
use std::collections::BTreeSet;

/// Users with their last-seen times, the longest ago first.
async fn seen(room: &Room) -> Vec<(String, u64)> {
    let found = list(&room.link, &["ZRANGE", &room.key("pz"), "0", "-1", "WITHSCORES"]).await;
    let text = |part: &bytes::Bytes| std::str::from_utf8(part).unwrap().to_owned();
    found.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]).parse().unwrap())).collect()
}

#[tokio::test]
async fn rows_of_a_dead_owner_go_in_pieces_and_nobody_elses() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (dead, alive) = (owner("g1", 7), owner("g2", 7));
    let puts: Vec<Edge> = (0..700).map(|index| put(&format!("u{}", index % 650), &format!("c{index}"))).collect();
    for piece in puts.chunks(500) {
        room.write(&dead, piece).await;
    }
    room.write(&alive, &[put("u0", "x0"), put("v", "x1"), put("u1", "c1")]).await;
    room.write(&dead, &[drop("c649")]).await;
    let mut reader = Reader::at(room.stamp().await, room.rows().await);
    let first = reap(room.place(), &dead, 5).await.unwrap();
    assert_eq!((first.rows, first.more), (REAP_ROWS_MAX, true));
    reader.apply(&first.change.unwrap());
    assert_eq!(reader.sorted(), room.check().await);
    let second = reap(room.place(), &dead, 5).await.unwrap();
    assert_eq!((second.rows, second.more), (199, false));
    reader.apply(&second.change.unwrap());
    let left = room.check().await;
    assert_eq!(reader.sorted(), left);
    assert_eq!(left.iter().map(|row| &row.member.client[..]).collect::<Vec<_>>(), ["c1", "x0", "x1"]);
    assert!(left.iter().all(|row| row.owner == alive));
    // Twice does no harm.
    assert_eq!(reap(room.place(), &dead, 5).await.unwrap(), Reaped { rows: 0, kept: 0, more: false, change: None });
    assert_eq!(owned_rooms(&room.link, room.id.slot(), &dead).await.unwrap(), []);
    assert_eq!(owned_rooms(&room.link, room.id.slot(), &alive).await.unwrap(), std::slice::from_ref(&room.id));
}

/// The client of a dead gateway is not known to be gone when its user, who has come back elsewhere, breaks off there, too.
#[tokio::test]
async fn who_breaks_off_again_before_a_dead_gateway_is_reaped_has_a_grace() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (dead, alive) = (owner("g1", 7), owner("g2", 7));
    // More than one call takes; those with two on the dead one are as those with one.
    let crowd = 600;
    let puts: Vec<Edge> = (0..crowd).map(|index| put(&format!("u{index}"), &format!("c{index}"))).collect();
    for piece in puts.chunks(500) {
        room.write(&dead, piece).await;
    }
    room.write(&dead, &[put("u0", "second")]).await;
    room.write(&alive, &[put("u0", "x0"), put("u1", "x1"), put("u2", "x2"), put("u3", "x3")]).await;
    room.write(&alive, &[drop("x0"), drop("x1"), gone("x2")]).await;
    let mut kept = (0, true);
    while kept.1 {
        let reaped = reap(room.place(), &dead, 5).await.unwrap();
        kept = (reaped.kept, reaped.more);
    }
    // Which of the two rows of `u0` is left, and so its place among the others, is the node's choice.
    let users = || async { room.check().await.iter().map(|row| row.member.user.to_string()).collect::<BTreeSet<_>>() };
    let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!((kept.0, users().await), (2, named(&["u0", "u1", "u3"])));
    // One comes back in time.
    let back = room.write(&alive, &[put("u1", "x1")]).await;
    assert_eq!(back.stats.users, 3);
    let reaped = reap(room.place(), &dead, 5).await.unwrap();
    assert_eq!((reaped.rows, reaped.kept, reaped.more), (1, 1, false));
    assert_eq!(users().await, named(&["u0", "u1", "u3"]));
    // The time comes until which the other one may come back.
    let times = list(&room.link, &["ZRANGE", &room.key("pd"), "0", "-1"]).await;
    assert_eq!(times, ["uu0", "uu1"]);
    ask(&room.link, &["ZADD", &room.key("pd"), "XX", "1", "uu0"]).await;
    let reaped = reap(room.place(), &dead, 5).await.unwrap();
    assert_eq!((reaped.rows, reaped.kept, reaped.more), (1, 0, false));
    assert_eq!(users().await, named(&["u1", "u3"]));
    assert_eq!(owned_rooms(&room.link, room.id.slot(), &dead).await.unwrap(), []);
}

#[tokio::test]
async fn a_dead_owner_writes_no_more_and_its_gateways_next_incarnation_does() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (slot, ring_epoch, link) = (room.id.slot(), room.ring_epoch, &room.link);
    let dead = owner("g1", 99);
    let generation = room.write(&dead, &[put("u", "u1")]).await.stamp.generation;
    ready(link, slot, ring_epoch, &dead, Some(generation)).await.unwrap();
    reap(room.place(), &dead, 5).await.unwrap();
    assert_eq!(room.ready_owners().await, (generation, vec![]));
    let fenced = Err(WriteError::Fenced(100));
    assert_eq!(write(room.place(), &dead, Turn::default(), &[put("u", "u1")]).await, fenced);
    assert_eq!(write(room.place(), &owner("g1", 9), Turn::default(), &[gone("u1")]).await, fenced);
    assert_eq!(ready(link, slot, ring_epoch, &dead, None).await, Err(WriteError::Fenced(100)));
    assert_eq!(room.check().await, vec![]);
    room.write(&owner("g1", 100), &[put("u", "u1")]).await;
    room.write(&owner("g2", 1), &[put("v", "v1")]).await;
    // A late reaper of an earlier incarnation does not lower the fence.
    retire(link, slot, ring_epoch, &owner("g1", 50)).await.unwrap();
    reap(room.place(), &owner("g1", 8), 5).await.unwrap();
    assert_eq!(write(room.place(), &owner("g1", 51), Turn::default(), &[]).await, fenced);
    assert_eq!(room.check().await.len(), 2);
}

#[tokio::test]
async fn a_dead_owner_without_rows_is_fenced_off_too() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (slot, ring_epoch, link) = (room.id.slot(), room.ring_epoch, &room.link);
    let dead = owner("g1", 99);
    let generation = ready(link, slot, ring_epoch, &dead, None).await.unwrap();
    retire(link, slot, ring_epoch, &dead).await.unwrap();
    assert_eq!(room.ready_owners().await, (generation, vec![]));
    assert_eq!(write(room.place(), &dead, Turn::default(), &[put("u", "u1")]).await, Err(WriteError::Fenced(100)));
    assert_eq!(retire(link, slot, 0, &owner("g2", 1)).await, Ok(()));
    ring_coordinator::redis::fence(link, &[slot], 5).await.unwrap();
    assert_eq!(retire(link, slot, 4, &dead).await, Err(WriteError::Stale(5)));
    assert_eq!(reap(room.place(), &dead, 5).await, Err(WriteError::Stale(5)));
}

#[tokio::test]
async fn rows_of_an_older_generation_are_wiped_and_none_is_begun() {
    let node = Node::start(&[]).await;
    let mut room = Room::new(&node.link().await, "chat:a");
    let dead = owner("g1", 7);
    room.write(&dead, &[put("u", "u1")]).await;
    room.write(&owner("g2", 7), &[put("u", "u2")]).await;
    let before = room.link.clone();
    node.take_in(2);
    room.link = node.link_after(&before).await;
    assert_eq!(owned_rooms(&room.link, room.id.slot(), &dead).await.unwrap(), [room.id.clone()]);
    assert_eq!(reap(room.place(), &dead, 5).await.unwrap(), Reaped { rows: 0, kept: 0, more: false, change: None });
    assert_eq!(room.stamp().await, presence::Stamp::default());
    assert_eq!(room.keys().await.len(), 0);
    assert_eq!(owned_rooms(&room.link, room.id.slot(), &dead).await.unwrap(), []);
    assert_eq!(write(room.place(), &dead, Turn::default(), &[]).await, Err(WriteError::Fenced(8)));
}

/// Redis may have lost any key, by an eviction or by hand.
#[tokio::test]
async fn a_reaper_comes_to_an_end_whatever_is_missing() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (dead, alive) = (owner("g1", 7), owner("g2", 7));
    let own = room.slot_key(&format!("pw:{dead} {}", room.id));
    room.write(&dead, &[put("u", "u1")]).await;
    room.write(&alive, &[put("v", "v1")]).await;
    ask(&room.link, &["SADD", &own, "stray", "v1"]).await;
    let reaped = reap(room.place(), &dead, 5).await.unwrap();
    assert_eq!((reaped.more, reaped.change.map(|change| change.rows.len())), (false, Some(1)));
    assert_eq!(room.check().await.len(), 1);
    for lost in [&[own.clone()][..], &[room.key("po"), room.key("pv")], &[room.key("pi"), room.key("pm")]] {
        let next = owner("g1", least_incarnation(&room).await);
        room.write(&next, &[put("u", "u1")]).await;
        for key in lost {
            ask(&room.link, &["DEL", &key.replace("g1.7", &next.to_string())]).await;
        }
        assert!(!reap(room.place(), &next, 5).await.unwrap().more);
        assert_eq!(owned_rooms(&room.link, room.id.slot(), &next).await.unwrap(), []);
    }
}

/// The least incarnation of the gateway that may write.
async fn least_incarnation(room: &Room) -> u64 {
    ask(&room.link, &["HGET", &room.slot_key("pfence"), "g1"]).await.text().unwrap().parse().unwrap()
}

#[tokio::test]
async fn users_who_are_gone_were_seen_when_their_last_connection_ended() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "users 5");
    let (one, other) = (owner("g1", 7), owner("g2", 7));
    room.write(&one, &[put("u", "u1"), put("v", "v1"), put("", "anon"), put("w", "w1"), put("x", "x1")]).await;
    room.write(&other, &[put("u", "u2")]).await;
    // Only a user, only with its last client, and only if the time is known.
    room.write(&one, &[gone_at("u1", 10), gone_at("anon", 11), gone("w1"), drop("x1")]).await;
    assert_eq!(seen(&room).await, []);
    room.write(&other, &[gone_at("u2", 1_700_000_000_123)]).await;
    assert_eq!(seen(&room).await, [("u".to_owned(), 1_700_000_000_123)]);
    // A late word does not turn the time back, and one who is back at once was never away.
    room.write(&one, &[put("u", "u3")]).await;
    room.write(&one, &[gone_at("u3", 9), gone_at("v1", 12), put("v", "v2")]).await;
    assert_eq!(seen(&room).await, [("u".to_owned(), 1_700_000_000_123)]);
    let reaped = reap(room.place(), &one, 77).await.unwrap();
    assert_eq!(reaped.change.unwrap().stats, Stats::default());
    assert_eq!(seen(&room).await, [("v".to_owned(), 77), ("x".to_owned(), 77), ("u".to_owned(), 1_700_000_000_123)]);
    // They outlive generations.
    let again = Room::new(&room.link, "users 5");
    fence_and_write(&again).await;
    assert_eq!(seen(&again).await.len(), 3);
}

async fn fence_and_write(room: &Room) {
    ring_coordinator::redis::fence(&room.link, &[room.id.slot()], 50).await.unwrap();
    let later = Room { ring_epoch: 50, ..Room::new(&room.link, room.id.as_str()) };
    later.write(&owner("g1", 8), &[put("u", "u9")]).await;
}

#[tokio::test]
async fn channels_keep_no_last_seen_times() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let by = owner("g1", 7);
    room.write(&by, &[put("u", "u1"), put("v", "v1")]).await;
    room.write(&by, &[gone_at("u1", 10)]).await;
    reap(room.place(), &by, 11).await.unwrap();
    assert_eq!(room.keys().await.len(), 0);
}

#[tokio::test]
async fn of_too_many_last_seen_times_the_oldest_is_forgotten() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "users 5");
    let most = LAST_SEEN_MAX / usize::from(USER_PARTITIONS);
    let fill = "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], i, 'old' .. i) end";
    ask(&room.link, &["EVAL", fill, "1", &room.key("pz"), &most.to_string()]).await;
    let by = owner("g1", 7);
    room.write(&by, &[put("u", "u1"), put("v", "v1")]).await;
    room.write(&by, &[gone_at("u1", 1_000_000), gone_at("v1", 1_000_001)]).await;
    let times = seen(&room).await;
    assert_eq!((times.len(), times[0].0.as_str(), times[most - 1].0.as_str()), (most, "old3", "v"));
}

#[tokio::test]
async fn two_reapers_at_once_and_the_owners_of_the_users_other_clients_tell_one_story() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let (dead, alive) = (owner("g1", 7), owner("g2", 7));
    for piece in 0..4 {
        let puts: Vec<Edge> = (0..500).map(|index| put(&format!("u{index}"), &format!("c{piece}-{index}"))).collect();
        room.write(&dead, &puts).await;
    }
    let mut reader = Reader::at(room.stamp().await, room.rows().await);
    let reaper = async || {
        let mut changes = Vec::new();
        loop {
            let reaped = reap(room.place(), &dead, 5).await.unwrap();
            changes.extend(reaped.change);
            if !reaped.more {
                return changes;
            }
        }
    };
    let lander = async {
        let mut changes = Vec::new();
        for index in 0..20 {
            changes.extend(room.write(&alive, &[put(&format!("u{index}"), &format!("new{index}"))]).await.change);
        }
        changes
    };
    let (one, other, landed) = tokio::join!(reaper(), reaper(), lander);
    let mut changes: Vec<_> = [one, other, landed].concat();
    changes.sort_by_key(|change| change.stamp.seq);
    changes.iter().for_each(|change| reader.apply(change));
    let rows = room.check().await;
    assert_eq!((rows.len(), reader.sorted()), (20, rows));
}
