//! Links of regions over real sockets: who is let in, what arrives, and what ends them.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod ends;
mod nodes;
mod refusals;

use bytes::Bytes;
use nodes::{authority, node, within};
use peering::{Link, link::NotSent};
use protocol::peer::LINK_BYTES_MAX;
use std::time::Duration;
use tokio::time::sleep;

/// Longer than a side may be silent.
const LONG: Duration = Duration::from_secs(3);
const MIB: usize = 1 << 20;

/// A message of so many bytes that begins with its number.
fn message(number: u64, bytes: usize) -> Bytes {
    let mut message = number.to_be_bytes().to_vec();
    message.resize(bytes, 7);
    message.into()
}

fn number(message: &Bytes) -> u64 {
    u64::from_be_bytes(message[..8].try_into().unwrap())
}

#[tokio::test]
async fn messages_of_any_size_arrive_in_order_both_ways_with_a_key_and_with_certificates() {
    let authority = authority();
    for (key, certified) in [("the key of both", false), ("the key of both", true), ("", true)] {
        let tls = || certified.then(|| authority("127.0.0.1"));
        let (eu, us) = (node("eu", key, tls()), node("us", key, tls()));
        let (address, mut links) = us.listens().await;
        let (mut here, hello) = within(Link::dial(&eu.party, &address)).await.unwrap();
        assert_eq!((hello.region.as_str(), hello.node.as_str()), ("us", "g1"));
        let (mut there, hello) = within(links.recv()).await.unwrap();
        assert_eq!((hello.region.as_str(), hello.link), ("eu", true));
        let sizes = [0, 1, 300, 100_000, 5 * MIB, 2, 0];
        for (from, to) in [(&here.sender, &mut there.receiver), (&there.sender, &mut here.receiver)] {
            for size in sizes {
                from.send(vec![size.to_be_bytes()[7]; size].into()).unwrap();
            }
            for size in sizes {
                assert_eq!(within(to.recv()).await.unwrap(), vec![size.to_be_bytes()[7]; size], "{size}");
            }
        }
    }
}

#[tokio::test]
async fn a_link_lives_while_nobody_has_anything_to_say() {
    let (mut here, mut there) = nodes::linked().await;
    sleep(LONG).await;
    for (from, to) in [(&here.sender, &mut there.receiver), (&there.sender, &mut here.receiver)] {
        from.send("still here".into()).unwrap();
        assert_eq!(within(to.recv()).await.unwrap(), "still here");
    }
}

#[tokio::test]
async fn a_slow_receiver_is_not_taken_for_a_silent_one_and_misses_nothing() {
    let (mut here, mut there) = nodes::linked().await;
    // More than sockets hold.
    for at in 0..32 {
        here.sender.send(message(at, MIB)).unwrap();
    }
    sleep(LONG).await;
    for at in 0..32 {
        assert_eq!(number(&within(there.receiver.recv()).await.unwrap()), at);
    }
    there.sender.send("all of it".into()).unwrap();
    assert_eq!(within(here.receiver.recv()).await.unwrap(), "all of it");
}

#[tokio::test]
async fn what_is_too_large_is_not_sent_and_the_link_goes_on() {
    let (here, mut there) = nodes::linked().await;
    assert_eq!(here.sender.send(vec![0; LINK_BYTES_MAX + 1].into()), Err(NotSent::TooLarge(LINK_BYTES_MAX + 1)));
    here.sender.send(message(1, LINK_BYTES_MAX)).unwrap();
    assert_eq!(within(there.receiver.recv()).await.unwrap().len(), LINK_BYTES_MAX);
}
