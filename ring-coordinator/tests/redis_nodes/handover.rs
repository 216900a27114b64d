//! A channel's stream goes from one node to another one, and stands still where it came from.

use crate::gateway::{Gateway, PATIENCE, document};
use protocol::control::{CONTROL_CHANNEL, Control, Order, Ring};
use ring_coordinator::{
    key::{Kind, key},
    redis::{Access, CallError, HandOverError, HandedOver, What, fences, hand_over, leave_copy, read_copy},
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
