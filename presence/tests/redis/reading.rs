use crate::{
    node::{Node, gone, owner, put, with_info},
    room::{Reader, Room},
};
use presence::{
    Stamp,
    cluster::{Edge, Row},
    redis::{WriteError, log, snapshot},
};
use std::sync::atomic::{AtomicBool, Ordering};
use testkit::Chance;

#[tokio::test]
async fn a_snapshot_that_was_read_while_clients_came_and_went_is_right_with_the_changes_after_it() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let by = owner("g1", 7);
    let name = |index: u64| format!("c{index}");
    for piece in 0..8 {
        let puts: Vec<Edge> = (0..500).map(|index| put(&name(piece * 500 + index), &name(piece * 500 + index))).collect();
        room.write(&by, &puts).await;
    }
    for seed in 0..5 {
        let is_read = AtomicBool::new(false);
        let churn = async {
            let mut chance = Chance::new(seed);
            while !is_read.load(Ordering::Relaxed) {
                let edges: Vec<Edge> = (0..50)
                    .map(|_| match chance.below(3) {
                        0 => gone(&name(chance.below(4_000))),
                        1 => put(&name(chance.below(4_000)), &name(5_000 + chance.below(1_000))),
                        _ => Edge::Put(with_info("u", &name(chance.below(4_000)), &[u8::try_from(chance.below(3)).unwrap()])),
                    })
                    .collect();
                room.write(&by, &edges).await;
            }
        };
        let read = async {
            let found = snapshot(room.place()).await.unwrap();
            is_read.store(true, Ordering::Relaxed);
            found
        };
        let ((), found) = tokio::join!(churn, read);
        let (stamp, rows) = (found.from, found.rows);
        let mut reader = Reader::at(stamp, rows);
        let changes = log(room.place(), stamp).await.unwrap().expect("the log reaches back");
        assert!(changes.len() > 1, "nothing happened meanwhile");
        changes.iter().for_each(|change| reader.take_in(change));
        assert_eq!(reader.sorted(), room.check().await);
    }
}

#[tokio::test]
async fn a_snapshot_is_of_one_generation() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let fill = async |round: u8| {
        let mut generation = 0;
        for piece in 0..6 {
            let client = |index: u32| format!("{round}-{}", piece * 500 + index);
            let puts: Vec<Edge> = (0..500).map(|index| Edge::Put(with_info("", &client(index), &[round]))).collect();
            generation = room.write(&owner("g1", 7), &puts).await.stamp.generation;
        }
        generation
    };
    let mut generations = vec![fill(0).await];
    for round in 1..=10 {
        let pages_before = u64::from(round) % 5;
        let lose = async {
            // Some pages are read before.
            for _ in 0..pages_before {
                room.stamp().await;
            }
            node.flush().await;
            fill(round).await
        };
        let (generation, found) = tokio::join!(lose, async { snapshot(room.place()).await.unwrap() });
        let (stamp, rows) = (found.from, found.rows);
        generations.push(generation);
        if stamp == Stamp::default() {
            assert_eq!(rows, []);
            continue;
        }
        let whose = generations.iter().position(|generation| *generation == stamp.generation).unwrap();
        assert!(rows.iter().all(|row: &Row| usize::from(row.member.about().conn_info[0]) == whose), "rows of two generations");
    }
}

#[tokio::test]
async fn the_log_reaches_back_so_many_changes_and_no_further() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    let by = owner("g1", 7);
    let first = room.write(&by, &[put("u", "u1")]).await.stamp;
    let mut reader = Reader::at(first, room.rows().await);
    let mut after = first;
    for index in 0..1_500_u32 {
        let stamp = room.write(&by, &[Edge::Put(with_info("u", "u1", &index.to_be_bytes()))]).await.stamp;
        if index == 599 {
            after = stamp;
            let changes = log(room.place(), first).await.unwrap().unwrap();
            changes.iter().for_each(|change| reader.apply(change));
        }
    }
    assert_eq!(log(room.place(), first).await.unwrap(), None);
    let changes = log(room.place(), after).await.unwrap().unwrap();
    assert_eq!(changes.len(), 900);
    changes.iter().for_each(|change| reader.apply(change));
    assert_eq!(reader.sorted(), room.check().await);
    let now = room.stamp().await;
    assert_eq!(log(room.place(), now).await.unwrap(), Some(vec![]));
    for never in [Stamp { seq: now.seq + 1, ..now }, Stamp { generation: now.generation + 1, ..now }, Stamp::default()] {
        assert_eq!(log(room.place(), never).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_log_of_large_changes_is_bounded_in_bytes() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    for round in 0..30_u8 {
        let puts: Vec<Edge> = (0..500).map(|index| Edge::Put(with_info("", &index.to_string(), &[round; 200]))).collect();
        room.write(&owner("g1", 7), &puts).await;
    }
    let now = room.stamp().await;
    let length = crate::node::ask(&room.link, &["XLEN", &room.key("pl")]).await.integer().unwrap();
    assert!((2..=5).contains(&length), "{length}");
    assert_eq!(log(room.place(), Stamp { seq: now.seq - 2, ..now }).await.unwrap().unwrap().len(), 2);
    assert_eq!(log(room.place(), Stamp { seq: now.seq - 10, ..now }).await.unwrap(), None);
}

#[tokio::test]
async fn rows_of_another_version_are_left_out() {
    let node = Node::start(&[]).await;
    let room = Room::new(&node.link().await, "chat:a");
    room.write(&owner("g1", 7), &[put("u", "u1")]).await;
    crate::node::ask(&room.link, &["HSET", &room.key("pi"), "odd", "short", "odder", "12345678\u{1}\u{1}"]).await;
    assert_eq!(room.clients().await, ["u1"]);
    let refused = snapshot(presence::redis::Place { ring_epoch: 0, ..room.place() }).await;
    assert!(!matches!(refused, Err(WriteError::Fenced(_))));
}
