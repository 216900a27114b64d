//! A channel's stream goes from one node to another one, and stands still where it came from.

use crate::gateway::{Gateway, PATIENCE, document};
use protocol::control::{CONTROL_CHANNEL, Control, Order, Ring};
use ring_coordinator::{
    key::{Kind, key},
    redis::{Access, CallError, HandOverError, HandedOver, Swept, What, fences, forget, hand_over, leave_copy, read_copy, sweep},
    slot::Slot,
};
use testkit::{RedisServer, eventually, resp::Reply};

#[tokio::test]
async fn what_is_handed_over_is_fenced_by_that_alone() {
    let (old, new) = (RedisServer::start(&[]).await, RedisServer::start(&[]).await);
    let gateway = Gateway::new(Access::default(), &[]);
    gateway.nodes.apply(&document(&[("old", &old.url(), 1), ("new", &new.url(), 1)]));
    let from = eventually(PATIENCE, async || gateway.nodes.link("old")).await;
    let to = eventually(PATIENCE, async || gateway.nodes.link("new")).await;
    let slot = Slot::of_bytes(b"chat:1");
    let meta = key(slot, Kind::Meta, "chat:1");
    old.cli(&["HSET", &meta, "life", from.life().as_str(), "epoch", "e", "top", "3", "ring", "1"]).await.unwrap();

    assert_eq!(hand_over(&from, &to, 7, slot, "chat:1").await, Ok(HandedOver::Copied));
    assert_eq!(fences(&from, &[slot]).await, Ok(vec![Some(7)]));
    assert_eq!(new.cli(&["HGET", &meta, "top"]).await.unwrap(), Reply::Text("3".to_owned()));
    assert_eq!(hand_over(&from, &to, 7, slot, "chat:1").await, Ok(HandedOver::Already));
    let stale = HandOverError::From(CallError::StaleRing { epoch: 7 });
    assert_eq!(hand_over(&from, &to, 6, slot, "chat:1").await, Err(stale), "the slot has gone on since");
    assert_eq!(hand_over(&from, &to, 7, slot, "chat:2").await, Ok(HandedOver::Empty));
}

#[tokio::test]
async fn what_nobody_could_say_again_of_users_goes_along_and_rows_do_not() {
    let (old, new) = (RedisServer::start(&[]).await, RedisServer::start(&[]).await);
    let gateway = Gateway::new(Access::default(), &[]);
    gateway.nodes.apply(&document(&[("old", &old.url(), 1), ("new", &new.url(), 1)]));
    let from = eventually(PATIENCE, async || gateway.nodes.link("old")).await;
    let to = eventually(PATIENCE, async || gateway.nodes.link("new")).await;
    let (slot, stays) = (Slot::of_bytes(b"users 3"), Slot::of_bytes(b"users 4"));
    let of = |slot: Slot, rest: &str| format!("hc:{{{}}}:{rest}", slot.number());
    let (seen, list, reverse, row) = (of(slot, "pz:users 3"), of(slot, "pk:ann"), of(slot, "pb:bob"), of(slot, "pi:users 3"));
    for server in [&old, &new] {
        server.cli(&["SADD", &of(stays, "pk:ann"), "ucid"]).await.unwrap();
    }
    old.cli(&["ZADD", &seen, "5", "bob", "9", "cid"]).await.unwrap();
    old.cli(&["SADD", &list, "ubob"]).await.unwrap();
    old.cli(&["SADD", &reverse, "ann"]).await.unwrap();
    old.cli(&["HSET", &row, "c1", "a row"]).await.unwrap();
    // Of what was said at the new node meanwhile nothing is lost either.
    new.cli(&["ZADD", &seen, "7", "bob", "1", "dan"]).await.unwrap();
    new.cli(&["SADD", &reverse, "eve"]).await.unwrap();

    let whole = Swept { copied: 3, ..Swept::default() };
    assert_eq!(sweep(&from, |moved| (moved == slot).then(|| to.clone()), 7).await, Ok(whole));
    let texts = |texts: &[&str]| Reply::List(texts.iter().map(|text| Reply::Text((*text).to_owned())).collect());
    let times = new.cli(&["ZRANGE", &seen, "0", "-1", "WITHSCORES"]).await.unwrap();
    assert_eq!(times, texts(&["dan", "1", "bob", "7", "cid", "9"]));
    assert_eq!(new.cli(&["SMEMBERS", &list]).await.unwrap(), texts(&["ubob"]));
    assert_eq!(new.cli(&["SORT", &reverse, "ALPHA"]).await.unwrap(), texts(&["ann", "eve"]));
    assert_eq!(new.cli(&["EXISTS", &row]).await.unwrap(), Reply::Integer(0));
    assert_eq!(fences(&from, &[slot]).await, Ok(vec![Some(7)]));

    // A list that was replaced meanwhile is the newer one; to sweep again changes nothing.
    new.cli(&["DEL", &list]).await.unwrap();
    new.cli(&["SADD", &list, "udan"]).await.unwrap();
    let again = Swept { copied: 2, already: 1, ..Swept::default() };
    assert_eq!(sweep(&from, |moved| (moved == slot).then(|| to.clone()), 7).await, Ok(again));
    assert_eq!(new.cli(&["SMEMBERS", &list]).await.unwrap(), texts(&["udan"]));
    assert_eq!(new.cli(&["ZCARD", &seen]).await.unwrap(), Reply::Integer(3));

    assert_eq!(forget(&from, |gone| gone == slot).await, Ok(4));
    assert_eq!(old.cli(&["KEYS", &of(slot, "p*")]).await.unwrap(), texts(&[]));
    assert_eq!(old.cli(&["EXISTS", &of(stays, "pk:ann")]).await.unwrap(), Reply::Integer(1));
}

#[tokio::test]
async fn what_services_are_told_goes_on_at_the_new_node_instead_of_what_was_left_behind_there() {
    let (old, new) = (RedisServer::start(&[]).await, RedisServer::start(&[]).await);
    let gateway = Gateway::new(Access::default(), &[]);
    gateway.nodes.apply(&document(&[("old", &old.url(), 1), ("new", &new.url(), 1)]));
    let from = eventually(PATIENCE, async || gateway.nodes.link("old")).await;
    let to = eventually(PATIENCE, async || gateway.nodes.link("new")).await;
    let slot = Slot::of_bytes(b"users 3");
    let of = |rest: &str| format!("hc:{{{}}}:{rest}", slot.number());
    let (log, rooms, users, history) = (of("hl:log"), of("ht:rooms"), of("ht:users 3"), of("hist:chat:1"));
    old.cli(&["XADD", &log, "5-0", "k", "o", "n", "chat:1"]).await.unwrap();
    old.cli(&["SADD", &rooms, "chat:1", " 4"]).await.unwrap();
    old.cli(&["SADD", &users, "uann", " "]).await.unwrap();
    old.cli(&["XADD", &history, "1-0", "d", "kept"]).await.unwrap();
    new.cli(&["XADD", &log, "3-0", "k", "v", "n", "chat:2"]).await.unwrap();
    new.cli(&["SADD", &rooms, "chat:2", " 2"]).await.unwrap();
    new.cli(&["SADD", &users, "ubob", " "]).await.unwrap();
    // A generation of former times, when services were told here.
    new.cli(&["HSET", &of("pmeta"), "ring", "6", "gen", "12345678", "hooks", "212345678"]).await.unwrap();

    let texts = |texts: &[&str]| Reply::List(texts.iter().map(|text| Reply::Text((*text).to_owned())).collect());
    let moves = |moved: Slot| (moved == slot).then(|| to.clone());
    assert_eq!(sweep(&from, moves, 7).await, Ok(Swept { copied: 3, ..Swept::default() }));
    assert_eq!(new.cli(&["SORT", &rooms, "ALPHA"]).await.unwrap(), texts(&[" 4", "chat:1"]));
    assert_eq!(new.cli(&["SORT", &users, "ALPHA"]).await.unwrap(), texts(&[" ", "uann"]));
    let Reply::List(entries) = new.cli(&["XRANGE", &log, "-", "+"]).await.unwrap() else { panic!("no log") };
    assert_eq!(entries, [Reply::List(vec![Reply::Text("5-0".to_owned()), texts(&["k", "o", "n", "chat:1"])])]);

    // Once services are told at the new node, a copy that comes late changes nothing.
    new.cli(&["HSET", &of("pmeta"), "ring", "7", "gen", "12345679", "hooks", "112345679"]).await.unwrap();
    new.cli(&["SREM", &rooms, "chat:1"]).await.unwrap();
    assert_eq!(sweep(&from, moves, 7).await, Ok(Swept { already: 3, ..Swept::default() }));
    assert_eq!(new.cli(&["SMEMBERS", &rooms]).await.unwrap(), texts(&[" 4"]));

    assert_eq!(forget(&from, |gone| gone == slot).await, Ok(4));
    assert_eq!(old.cli(&["EXISTS", &log, &rooms, &users]).await.unwrap(), Reply::Integer(0));
}

#[tokio::test]
async fn of_two_copies_of_the_ring_a_node_keeps_the_newer_one() {
    let server = RedisServer::start(&[]).await;
    let mut gateway = Gateway::at(&server);
    gateway.nodes.wanted("redis-a", &CONTROL_CHANNEL.into(), true);
    while gateway.next().await != What::Confirmed(CONTROL_CHANNEL.into()) {}
    let (link, mut ring) = (gateway.link().await, document(&[("redis-a", "redis://a:6379", 1)]));
    assert_eq!(read_copy(&link).await, Ok(None));
    for (epoch, taken, kept) in [(5, true, 5), (4, false, 5), (5, false, 5), (6, true, 6)] {
        ring.epoch = epoch;
        assert_eq!(leave_copy(&link, &ring).await, Ok(taken));
        assert_eq!(read_copy(&link).await.unwrap().map(|copy| copy.epoch), Some(kept));
    }
    for epoch in [5, 6] {
        let What::Message { payload, .. } = gateway.next().await else { panic!("no news") };
        assert_eq!(Control::from_bytes(payload).unwrap().order, Some(Order::Ring(Ring { epoch })));
    }
    server.cli(&["SET", "hc:ring", "no ring"]).await.unwrap();
    assert_eq!(read_copy(&link).await, Ok(None));
    assert_eq!(leave_copy(&link, &ring).await, Ok(true), "what cannot be read is no ring");
}
