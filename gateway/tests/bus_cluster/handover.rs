//! What becomes of a channel's stream when its slot moves and not all is well.

use crate::bus_rig::{PATIENCE, Rig, channel, gateway, keeping, layout, now, random_u64, stable, told};
use gateway::bus::Post;
use protocol::name::Channel;
use ring_coordinator::{
    document::{Document, Phase},
    redis::{Access, HandedOver, Link, Nodes, NodesConfig, fence, fences, forget, hand_over, sweep},
    slot::Slot,
};
use testkit::RedisServer;

const HOUR_MS: u64 = 3_600_000;

/// Two nodes, and a gateway that has gone by the first one; every slot moves to the second.
async fn moving() -> ([RedisServer; 2], Rig, Document) {
    let servers = [RedisServer::start(&[]).await, RedisServer::start(&[]).await];
    let (old, new) = (layout(&[("redis-a", &servers[0])]), layout(&[("redis-b", &servers[1])]));
    let rig = gateway("g1");
    rig.apply(&stable(1, old.clone()));
    (servers, rig, Document { phase: Phase::Switch, prev: Some(old), ..stable(4, new) })
}

async fn links(document: &Document) -> (Nodes, [Link; 2]) {
    let config = NodesConfig { gateway: "coordinator".to_owned(), access: Access::default(), scripts: Vec::new(), clock: now, random_u64 };
    let (nodes, _) = Nodes::new(config, &prometheus::Registry::new()).unwrap();
    nodes.apply(document);
    let link = async |node| testkit::eventually(PATIENCE, async || nodes.link(node)).await;
    let links = [link("redis-a").await, link("redis-b").await];
    (nodes, links)
}

#[tokio::test]
async fn if_the_old_owner_is_gone_the_stream_begins_anew_and_subscribers_are_told() {
    let ([mut old, _new], rig, switch) = moving().await;
    let (a, namespace) = (channel("a"), keeping(10, HOUR_MS));
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    let before = rig.publish(&a, &namespace, 1).await;
    assert_eq!(subscriber.numbers(1).await, [1]);
    old.kill().await;
    rig.apply(&switch);
    let after = rig.publish(&a, &namespace, 2).await;
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
    told(&subscriber).await;
    rig.unsubscribe(&subscriber);
    let again = rig.subscribe(&a, &namespace, Some(&before)).await;
    assert!(!again.recovery.recovered);
    rig.publish(&a, &namespace, 3).await;
    assert_eq!(again.numbers(1).await, [3]);
}

#[tokio::test]
async fn a_stream_too_large_for_one_command_begins_anew_and_holds_up_nobody() {
    let (_servers, rig, switch) = moving().await;
    let (large, small, namespace) = (channel("large"), channel("small"), keeping(100, HOUR_MS));
    let data: bytes::Bytes = (0..1_000_000).map(|_| b'a' + (random_u64() % 26) as u8).collect::<Vec<u8>>().into();
    for _ in 0..27 {
        rig.bus.publish(&large, &namespace, Post { data: data.clone(), ..Post::default() }, now()).await.unwrap();
    }
    rig.publish(&small, &namespace, 1).await;
    let (_nodes, [old, new]) = links(&switch).await;
    fence(&old, &[Slot::of(&large), Slot::of(&small)], 4).await.unwrap();
    let swept = sweep(&old, |_| Some(new.clone()), 4).await.unwrap();
    assert_eq!((swept.copied, swept.too_large, swept.failed), (1, 1, 0));
    rig.apply(&switch);
    assert_eq!(rig.publish(&large, &namespace, 2).await.offset, 1);
    assert_eq!(rig.publish(&small, &namespace, 2).await.offset, 2);
}

#[tokio::test]
async fn the_first_copy_wins_and_what_is_left_behind_is_forgotten_but_for_the_fences() {
    let (servers, rig, switch) = moving().await;
    let (gone, stays, namespace) = (channel("gone"), channel("stays"), keeping(10, HOUR_MS));
    let publish_once = async |channel: &Channel| {
        let post = Post { data: "1".into(), idempotency_key: Some("key".to_owned()), ..Post::default() };
        rig.bus.publish(channel, &namespace, post, now()).await.unwrap()
    };
    let first = publish_once(&gone).await;
    publish_once(&stays).await;
    let (_nodes, [old, new]) = links(&switch).await;
    let slot = Slot::of(&gone);
    fence(&old, &[slot], 4).await.unwrap();
    let copy = async || hand_over(&old, &new, 4, slot, "gone").await.unwrap();
    assert_eq!((copy().await, copy().await), (HandedOver::Copied, HandedOver::Already));
    assert_eq!(hand_over(&old, &new, 4, Slot::of(&channel("nobody")), "nobody").await.unwrap(), HandedOver::Empty);
    assert_eq!(forget(&old, |gone| gone == slot).await, Ok(3));
    assert_eq!(fences(&old, &[slot]).await, Ok(vec![Some(4)]));
    assert_eq!(servers[0].cli(&["KEYS", "hc:*:gone"]).await.unwrap(), testkit::resp::Reply::List(vec![]));
    rig.apply(&switch);
    assert_eq!(publish_once(&gone).await, first, "keys that make retries exact have moved too");
    assert_eq!(rig.kept(&gone).await, [1]);
    assert_eq!(rig.kept(&stays).await, [1], "it is fetched on first touch");
}
