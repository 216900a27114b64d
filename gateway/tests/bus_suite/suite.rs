//! The tests themselves.

use crate::bus_rig::{PATIENCE, Rig, channel, keeping, now, number, told};
use bytes::Bytes;
use gateway::bus::{
    Post,
    import::{Import, Imported, Own},
    stream::{Range, Retention},
};
use protocol::{
    message::{ClientInfo, Publication, StreamPosition},
    name::Channel,
    namespace::Namespace,
};
use std::collections::BTreeMap;

const HOUR_MS: u64 = 3_600_000;

pub async fn offsets_follow_each_other_and_history_reads_them(rig: Rig) {
    let (a, b, namespace) = (channel("a"), channel("b"), keeping(100, HOUR_MS));
    let first = rig.publish(&a, &namespace, 1).await;
    assert_eq!((first.offset, first.epoch.len()), (1, 8));
    for offset in 2..=5 {
        assert_eq!(rig.publish(&a, &namespace, offset).await, StreamPosition { offset, epoch: first.epoch.clone() });
    }
    let other = rig.publish(&b, &namespace, 1).await;
    assert_eq!(other.offset, 1, "each channel counts for itself");
    assert_ne!(other.epoch, first.epoch);
    let (publications, top) = rig.bus.history(&a, Range { limit: 100, ..Range::default() }, "", now()).await.unwrap().unwrap();
    assert_eq!(top, StreamPosition { offset: 5, epoch: first.epoch.clone() });
    assert_eq!(
        publications.iter().map(|publication| (publication.offset, number(publication))).collect::<Vec<_>>(),
        [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    );
    assert_eq!(rig.bus.history(&a, Range::default(), "another", now()).await, Ok(None));
    let (_, empty) = rig.bus.history(&channel("c"), Range::default(), "", now()).await.unwrap().unwrap();
    assert_eq!((empty.offset, empty.epoch.len()), (0, 8), "a stream begins when it is read");
    assert_eq!(rig.publish(&channel("c"), &namespace, 1).await, StreamPosition { offset: 1, epoch: empty.epoch });
}

pub async fn history_is_bounded_by_number(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(3, HOUR_MS));
    for number in 1..=7 {
        rig.publish(&a, &namespace, number).await;
    }
    assert_eq!(rig.kept(&a).await, [5, 6, 7]);
    rig.publish(&a, &keeping(2, HOUR_MS), 8).await;
    assert_eq!(rig.kept(&a).await, [7, 8]);
}

pub async fn history_is_bounded_by_time_and_positions_go_on(rig: Rig) {
    let (a, mixed) = (channel("a"), channel("mixed"));
    rig.publish(&a, &keeping(10, 200), 1).await;
    let second = rig.publish(&a, &keeping(10, 200), 2).await;
    for number in 1..=6 {
        rig.publish(&mixed, &keeping(10, if number <= 4 { 200 } else { HOUR_MS }), number).await;
    }
    assert_eq!(rig.kept(&a).await, [1, 2]);
    testkit::eventually(PATIENCE, async || {
        let (kept, mixed) = (rig.kept(&a).await, rig.kept(&mixed).await);
        if kept.is_empty() && mixed == [5, 6] { Ok(()) } else { Err(format!("{kept:?} {mixed:?}")) }
    })
    .await;
    assert_eq!(rig.publish(&a, &keeping(10, HOUR_MS), 3).await, StreamPosition { offset: 3, ..second });
}

pub async fn pages_go_forward_and_backward(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(8, HOUR_MS));
    for number in 1..=10 {
        rig.publish(&a, &namespace, number).await;
    }
    let page = async |since, limit, reverse| {
        let (publications, _) = rig.bus.history(&a, Range { since, limit, reverse }, "", now()).await.unwrap().unwrap();
        publications.iter().map(number).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3, false).await, [3, 4, 5]);
    assert_eq!(page(Some(5), 3, false).await, [6, 7, 8]);
    assert_eq!(page(Some(1), 2, false).await, [3, 4]);
    assert_eq!(page(Some(10), 3, false).await, [0; 0]);
    assert_eq!(page(None, 3, true).await, [10, 9, 8]);
    assert_eq!(page(Some(8), 2, true).await, [7, 6]);
    assert_eq!(page(Some(4), 9, true).await, [3]);
    assert_eq!(page(Some(2), 9, true).await, [0; 0]);
    assert_eq!(page(Some(0), 9, true).await, [0; 0]);
    assert_eq!(page(Some(u64::MAX), 2, true).await, [10, 9]);
    assert_eq!(page(Some(u64::MAX), 2, false).await, [0; 0]);
    assert_eq!(page(None, 0, false).await, [0; 0]);
}

pub async fn recovery_is_all_that_was_missed_or_nothing(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(5, HOUR_MS));
    let mut top = StreamPosition::default();
    for number in 1..=7 {
        top = rig.publish(&a, &namespace, number).await;
    }
    let recover = async |offset, epoch: &str| {
        let recovery = rig.bus.recover(&a, Some(&StreamPosition { offset, epoch: epoch.into() }), now()).await.unwrap();
        assert_eq!(recovery.top, top);
        (recovery.recovered, recovery.publications.iter().map(number).collect::<Vec<_>>())
    };
    assert_eq!(recover(5, &top.epoch).await, (true, vec![6, 7]));
    assert_eq!(recover(7, &top.epoch).await, (true, vec![]));
    assert_eq!(recover(2, &top.epoch).await, (true, vec![3, 4, 5, 6, 7]));
    assert_eq!(recover(1, &top.epoch).await, (false, vec![]), "2 is gone");
    assert_eq!(recover(5, "").await, (true, vec![6, 7]), "an empty epoch is not compared");
    assert_eq!(recover(5, "another").await, (false, vec![]));
    assert_eq!(recover(8, &top.epoch).await, (false, vec![]), "from the future");
    assert_eq!(recover(u64::MAX, "").await, (false, vec![]));
    let beginning = rig.bus.recover(&a, None, now()).await.unwrap();
    assert_eq!((beginning.recovered, beginning.publications.len(), beginning.top), (false, 0, top.clone()));
}

pub async fn an_idempotency_key_publishes_once(rig: Rig) {
    let (a, b) = (channel("a"), channel("b"));
    for namespace in [keeping(10, HOUR_MS), keeping(0, 0)] {
        let subscriber = rig.subscribe(&a, &namespace, None).await;
        let once = async |channel, number: u64, key: &str| {
            let post = Post { data: number.to_string().into(), idempotency_key: Some(key.to_owned()), ..Post::default() };
            rig.bus.publish(channel, &namespace, post, now()).await.unwrap()
        };
        let key = format!("key of {}", namespace.history_size);
        let first = once(&a, 1, &key).await;
        assert_eq!(once(&a, 2, &key).await, first);
        once(&a, 3, &format!("{key} too")).await;
        once(&b, 4, &key).await;
        assert_eq!(subscriber.numbers(2).await, [1, 3]);
        rig.publish(&a, &namespace, 5).await;
        assert_eq!(once(&a, 6, &key).await, first);
        rig.publish(&a, &namespace, 7).await;
        assert_eq!(subscriber.numbers(2).await, [5, 7]);
        rig.unsubscribe(&subscriber);
    }
    assert_eq!(rig.kept(&a).await, [1, 3, 5, 7]);
}

pub async fn without_history_there_is_no_place(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(0, 0));
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    for number in 1..=3 {
        assert_eq!(rig.publish(&a, &namespace, number).await, StreamPosition::default());
    }
    assert_eq!(subscriber.numbers(3).await, [1, 2, 3]);
}

pub async fn what_skips_history_is_delivered_and_not_kept(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(10, HOUR_MS));
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    rig.publish(&a, &namespace, 1).await;
    let post = Post { data: "2".into(), skip_history: true, ..Post::default() };
    assert_eq!(rig.bus.publish(&a, &namespace, post, now()).await, Ok(StreamPosition::default()));
    assert_eq!(rig.publish(&a, &namespace, 3).await.offset, 2);
    assert_eq!(subscriber.numbers(3).await, [1, 2, 3]);
    assert_eq!(rig.kept(&a).await, [1, 3]);
}

pub async fn clearing_keeps_the_position(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(10, HOUR_MS));
    rig.publish(&a, &namespace, 1).await;
    let top = rig.publish(&a, &namespace, 2).await;
    rig.bus.clear(&a).await.unwrap();
    assert_eq!(rig.kept(&a).await, [0; 0]);
    assert_eq!(rig.publish(&a, &namespace, 3).await, StreamPosition { offset: 3, ..top });
    assert_eq!(rig.kept(&a).await, [3]);
}

pub async fn a_subscriber_gets_everything_once_and_in_order(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(10, HOUR_MS));
    rig.publish(&a, &namespace, 1).await;
    let first = rig.subscribe(&a, &namespace, None).await;
    assert_eq!(first.recovery.top.offset, 1);
    rig.publish(&a, &namespace, 2).await;
    let position = rig.publish(&a, &namespace, 3).await;
    assert_eq!(first.numbers(2).await, [2, 3]);
    let second = rig.subscribe(&a, &namespace, Some(&StreamPosition { offset: 1, ..position })).await;
    assert!(second.recovery.recovered);
    assert_eq!(second.recovery.publications.iter().map(number).collect::<Vec<_>>(), [2, 3]);
    rig.unsubscribe(&first);
    rig.publish(&a, &namespace, 4).await;
    assert_eq!(second.numbers(1).await, [4]);
    assert!(first.look().0.is_empty());
}

/// Publishes as fast as it goes, while clients come, leave, and come back where they were.
pub async fn whoever_subscribes_under_load_has_neither_gap_nor_double(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(1000, HOUR_MS));
    let publishing = async {
        for number in 1..=2000 {
            rig.publish(&a, &namespace, number).await;
            tokio::task::yield_now().await;
        }
    };
    let clients = (0..20).map(|_| coming_and_going(&rig, &a, &namespace, 2000));
    tokio::join!(publishing, futures_util::future::join_all(clients));
}

async fn coming_and_going(rig: &Rig, channel: &Channel, namespace: &Namespace, end: u64) {
    let mut subscriber = rig.subscribe(channel, namespace, None).await;
    let (mut last, epoch) = (subscriber.recovery.top.offset, subscriber.recovery.top.epoch.clone());
    let mut comebacks = 0;
    testkit::eventually(PATIENCE, async || {
        let (publications, controls) = subscriber.look();
        assert_eq!(controls, []);
        for publication in publications {
            assert_eq!((publication.offset, number(&publication)), (last + 1, last + 1));
            last += 1;
        }
        if comebacks < 10 {
            comebacks += 1;
            rig.unsubscribe(&subscriber);
            subscriber = rig.subscribe(channel, namespace, Some(&StreamPosition { offset: last, epoch: epoch.clone() })).await;
            assert!(subscriber.recovery.recovered);
            for publication in &subscriber.recovery.publications {
                assert_eq!(publication.offset, last + 1);
                last += 1;
            }
        }
        if last == end && comebacks == 10 { Ok(()) } else { Err(format!("at {last}")) }
    })
    .await;
}

pub async fn everything_of_a_publication_arrives(rig: Rig) {
    let (a, namespace) = (channel("a"), keeping(10, HOUR_MS));
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    let bytes: Bytes = (0..60_000_u32).map(|byte| b'a' + (byte % 26) as u8).collect::<Vec<u8>>().into();
    let data: Bytes = [b"\"", &bytes[..], b"\""].concat().into();
    let info = ClientInfo { user: "ann".into(), client: "c1".into(), conn_info: "{\"a\":1}".into(), ..ClientInfo::default() };
    let tags = BTreeMap::from([("kind".to_owned(), "big".to_owned())]);
    let post = Post { data: data.clone(), info: Some(info.clone()), tags: tags.clone(), ..Post::default() };
    rig.bus.publish(&a, &namespace, post, now()).await.unwrap();
    let live = testkit::eventually(PATIENCE, async || subscriber.look().0.pop().ok_or("nothing")).await;
    let (mut kept, _) = rig.bus.history(&a, Range { limit: 10, ..Range::default() }, "", now()).await.unwrap().unwrap();
    for publication in [live, kept.remove(0)] {
        assert_eq!((publication.data, publication.info, publication.tags), (data.clone(), Some(info.clone()), tags.clone()));
        assert_eq!(publication.offset, 1);
        assert!(publication.time > 1_700_000_000_000);
    }
}

/// A piece of the stream of the region `eu`, which is at `at` with it.
fn piece(after: u64, (epoch, offset): (&str, u64), number: Option<u64>) -> Import {
    let publication = |number: u64| Publication { data: number.to_string().into(), ..Publication::default() };
    let at = StreamPosition { offset, epoch: epoch.to_owned() };
    Import { region: "eu".into(), after, at, publication: number.map(publication), instead: None, begins: false }
}

/// Where the stream of the region `eu` is told from, to one who knew nothing of it.
fn beginning(epoch: &str, offset: u64) -> Import {
    Import { begins: true, ..piece(offset, (epoch, offset), None) }
}

async fn import(rig: &Rig, channel: &Channel, namespace: &Namespace, piece: Import) -> Imported {
    rig.bus.import(channel, Retention::of(namespace).unwrap(), piece, now()).await.unwrap()
}

pub async fn pieces_of_another_region_are_taken_once_and_in_order(rig: Rig) {
    let (a, namespace) = (channel("a"), Namespace { global: true, ..keeping(100, HOUR_MS) });
    assert_eq!(rig.bus.known(&a, "eu", now()).await.unwrap(), None);
    rig.publish(&a, &namespace, 1).await;
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    assert_eq!(import(&rig, &a, &namespace, piece(4, ("E", 6), Some(2))).await, Imported::Taken, "one begins anywhere");
    rig.publish(&a, &namespace, 3).await;
    assert_eq!(import(&rig, &a, &namespace, piece(4, ("E", 6), Some(2))).await, Imported::Known);
    assert_eq!(import(&rig, &a, &namespace, piece(8, ("E", 9), Some(9))).await, Imported::Behind, "7 or 8 is missing");
    assert_eq!(import(&rig, &a, &namespace, piece(6, ("E", 8), Some(4))).await, Imported::Taken);
    assert_eq!(import(&rig, &a, &namespace, piece(0, ("F", 1), Some(9))).await, Imported::Behind, "another stream has to be told");
    assert_eq!(import(&rig, &a, &namespace, Import { region: "us".into(), ..piece(0, ("F", 1), Some(5)) }).await, Imported::Taken);
    assert_eq!(rig.bus.known(&a, "eu", now()).await.unwrap(), Some(StreamPosition { offset: 8, epoch: "E".into() }));
    assert_eq!(rig.bus.known(&a, "us", now()).await.unwrap(), Some(StreamPosition { offset: 1, epoch: "F".into() }));
    assert_eq!(subscriber.numbers(4).await, [2, 3, 4, 5]);
    let (publications, top) = rig.bus.history(&a, Range { limit: 100, ..Range::default() }, "", now()).await.unwrap().unwrap();
    let seen: Vec<_> = publications.iter().map(|publication| (number(publication), publication.region.as_str())).collect();
    assert_eq!(seen, [(1, ""), (2, "eu"), (3, ""), (4, "eu"), (5, "us")]);
    assert_eq!(top.offset, 5);
}

pub async fn what_another_region_has_lost_is_told(rig: Rig) {
    let (a, namespace) = (channel("a"), Namespace { global: true, ..keeping(100, HOUR_MS) });
    let first = rig.publish(&a, &namespace, 1).await;
    assert_eq!(import(&rig, &a, &namespace, beginning("E", 5)).await, Imported::Taken);
    assert_eq!(import(&rig, &a, &namespace, beginning("E", 5)).await, Imported::Known);
    assert_eq!(import(&rig, &a, &namespace, beginning("E", 7)).await, Imported::Behind, "another gateway was first, and may have less");
    assert_eq!(import(&rig, &a, &namespace, beginning("F", 0)).await, Imported::Behind);
    assert!(rig.bus.recover(&a, Some(&first), now()).await.unwrap().recovered, "nobody has heard of that region before");
    assert_eq!(import(&rig, &a, &namespace, piece(5, ("E", 6), Some(2))).await, Imported::Taken);
    let subscriber = rig.subscribe(&a, &namespace, Some(&first)).await;
    let before = subscriber.recovery.top.clone();
    assert_eq!((subscriber.recovery.recovered, before.offset), (true, 2));
    let instead_of = |epoch: &str, place| Import { instead: Some(epoch.into()), ..piece(0, place, None) };
    assert_eq!(import(&rig, &a, &namespace, instead_of("D", ("F", 3))).await, Imported::Behind, "told late, of what was before E");
    assert_eq!(import(&rig, &a, &namespace, instead_of("E", ("F", 3))).await, Imported::Taken);
    assert_eq!(import(&rig, &a, &namespace, instead_of("E", ("F", 3))).await, Imported::Known, "once");
    assert_eq!(import(&rig, &a, &namespace, piece(6, ("E", 7), Some(9))).await, Imported::Behind, "of the stream that was");
    assert_eq!(import(&rig, &a, &namespace, piece(3, ("F", 4), Some(3))).await, Imported::Taken);
    assert_eq!(told(&subscriber).await, [0_u64; 0]);
    assert!(!rig.bus.recover(&a, Some(&before), now()).await.unwrap().recovered);
    let after = rig.bus.recover(&a, Some(&StreamPosition { offset: 3, ..before }), now()).await.unwrap();
    assert_eq!((after.recovered, after.top.offset), (true, 4));
    assert_eq!(after.publications.iter().map(number).collect::<Vec<_>>(), [3]);
}

pub async fn a_mark_says_how_far_a_region_s_stream_was_here(rig: Rig) {
    let (a, namespace) = (channel("a"), Namespace { global: true, ..keeping(100, HOUR_MS) });
    let mark = |offset| Import::mark("eu".into(), StreamPosition { offset, epoch: "E".into() });
    let first = rig.publish(&a, &namespace, 1).await;
    assert_eq!(import(&rig, &a, &namespace, mark(5)).await, Imported::Taken, "what was known is lost");
    assert_eq!(import(&rig, &a, &namespace, piece(4, ("E", 5), Some(9))).await, Imported::Known, "not again");
    assert_eq!(import(&rig, &a, &namespace, mark(7)).await, Imported::Taken, "another gateway has seen more");
    assert_eq!(import(&rig, &a, &namespace, mark(6)).await, Imported::Known);
    assert_eq!(import(&rig, &a, &namespace, piece(7, ("E", 8), Some(2))).await, Imported::Taken);
    let of_other = Import::mark("eu".into(), StreamPosition { offset: 9, epoch: "F".into() });
    assert_eq!(import(&rig, &a, &namespace, of_other).await, Imported::Behind, "it has to be asked which of the two there is");
    let recovery = rig.bus.recover(&a, Some(&first), now()).await.unwrap();
    assert!(recovery.recovered, "nobody has missed anything: {recovery:?}");
    assert_eq!(recovery.publications.iter().map(number).collect::<Vec<_>>(), [2]);
}

/// Two gateways follow the same region; one is ahead now, the other then.
pub async fn two_who_bring_the_same_pieces_bring_each_once(rig: Rig) {
    const PIECES: u64 = 300;
    let (a, namespace) = (channel("a"), Namespace { global: true, ..keeping(1000, HOUR_MS) });
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    let bring = async || {
        let mut taken = 0;
        for number in 1..=PIECES {
            let imported = import(&rig, &a, &namespace, piece(number - 1, ("E", number), Some(number))).await;
            assert_ne!(imported, Imported::Behind);
            taken += u64::from(imported == Imported::Taken);
            tokio::task::yield_now().await;
        }
        taken
    };
    let (one, other) = tokio::join!(bring(), bring());
    assert_eq!(one + other, PIECES);
    assert_eq!(subscriber.numbers(usize::try_from(PIECES).unwrap()).await, (1..=PIECES).collect::<Vec<_>>());
    assert!(subscriber.look().0.is_empty());
}

pub async fn a_region_tells_what_it_has_published_itself(rig: Rig) {
    let (a, namespace) = (channel("a"), Namespace { global: true, ..keeping(4, HOUR_MS) });
    let own = async |since, limit| {
        let Own { last, publications } = rig.bus.own(&a, since, limit, now()).await.unwrap();
        (last.offset, publications.iter().map(|(before, own)| (*before, own.offset, number(own))).collect::<Vec<_>>())
    };
    assert_eq!(own(0, 10).await, (0, vec![]));
    let first = rig.publish(&a, &namespace, 1).await;
    import(&rig, &a, &namespace, piece(0, ("E", 1), Some(2))).await;
    rig.publish(&a, &namespace, 3).await;
    import(&rig, &a, &namespace, piece(1, ("E", 2), Some(4))).await;
    assert_eq!(own(0, 10).await, (3, vec![(0, 1, 1), (1, 3, 3)]));
    assert_eq!(own(1, 10).await, (3, vec![(1, 3, 3)]));
    assert_eq!(own(0, 1).await, (3, vec![(0, 1, 1)]));
    let follows = async |since: &StreamPosition| rig.bus.own(&a, since.offset, 10, now()).await.unwrap().follows(since);
    for number in 5..=7 {
        import(&rig, &a, &namespace, piece(number - 3, ("E", number - 2), Some(number))).await;
    }
    assert_eq!(own(1, 10).await, (3, vec![]), "3 is not kept any more");
    let at = |offset| StreamPosition { offset, epoch: first.epoch.clone() };
    assert!(!follows(&at(1)).await, "3 is missing");
    assert!(follows(&at(3)).await, "what came since is of others");
    assert!(!follows(&StreamPosition { epoch: "another".into(), ..at(3) }).await);
    rig.publish(&a, &namespace, 8).await;
    assert_eq!(own(3, 10).await, (8, vec![(3, 8, 8)]));
    assert!(follows(&at(3)).await && !follows(&at(2)).await);
}
