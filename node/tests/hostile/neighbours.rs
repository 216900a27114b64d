//! Nodes that have the cluster's key and send what cannot be read, is too large, or breaks the rules.

use crate::raw::{PATIENCE, metric, node, value};
use bytes::Bytes;
use counter::{
    cell::Floor,
    record::{Fact, Record},
};
use peering::{Link, Party, Stream};
use protocol::peer::{Beat, Chunk, FRAME_BYTES_MAX, Have, Hello, Message, OriginName, Stream as Known};
use std::{sync::Arc, time::Duration};
use testkit::{Node, eventually, figure, http};
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    time::{sleep, timeout},
};

const KEY: &str = "the key of this cluster";
/// What puts a neighbour into quarantine, as `peering` has it.
const OFFENCES_MAX: usize = 3;
const EPOCH: u64 = 77;

fn party(node: &str) -> Party {
    let me = Hello { cluster: "headcount".into(), region: "us".into(), node: node.into(), ..Hello::default() };
    Party::new(me, KEY.into(), None, || 1)
}

/// A node that knows these counter nodes and this gateway of the region `us`.
async fn knowing(name: &str, seeds: &[String], gateway: &str) -> Node {
    node(&format!("[node]\nname = \"{name}\"\n[regions]\npeers = [\"us={gateway}\"]\n[counter]\nkey = \"{KEY}\"\nseeds = {seeds:?}\n"))
        .await
}

async fn until(node: &Node, line: &str, expected: f64) {
    eventually(PATIENCE, async || match metric(node, line).await {
        found if found == expected => Ok(()),
        found => Err(format!("{line} is {found}, not {expected}")),
    })
    .await;
}

async fn count(node: &Node, key: &str, by: i64) {
    let answer = http::post(node.client, &format!("/v1/counters/{key}/add"), &serde_json::json!({ "by": by })).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Reads until the node ends the connection.
async fn until_ended(stream: &mut Stream) -> Option<String> {
    loop {
        match timeout(PATIENCE, stream.read(FRAME_BYTES_MAX)).await.expect("the connection ends") {
            Ok(Some(Message::Refused(refused))) => return Some(refused.reason),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_node_that_sends_poison_is_cut_off_and_then_shut_out_and_its_peers_go_on() {
    let nowhere = "127.0.0.1:9".to_owned();
    let one = knowing("c1", std::slice::from_ref(&nowhere), &nowhere).await;
    let two = knowing("c2", &[one.peer.unwrap().to_string()], &nowhere).await;
    count(&one, "likes", 5).await;
    until(&one, "headcount_counter_peers", 1.0).await;
    let (bad, address) = (party("bad"), one.peer.unwrap().to_string());

    // What is no message.
    let (mut stream, _) = bad.dial(&address).await.unwrap();
    stream.writer.write_all(b"\0\0\0\x05\xff\xff\xff\xff\xff").await.unwrap();
    assert_eq!(until_ended(&mut stream).await, None);
    // What is too large, which nobody waits for.
    let (mut stream, _) = bad.dial(&address).await.unwrap();
    stream.writer.write_all(&u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes()).await.unwrap();
    assert_eq!(until_ended(&mut stream).await, None);
    until(&one, "headcount_peer_poison_total", 2.0).await;
    assert_eq!(metric(&one, "headcount_peer_quarantines_total").await, 0.0);
    // What breaks the rules: a slot of another origin's.
    let (mut stream, _) = bad.dial(&address).await.unwrap();
    poison(&mut stream).await;
    until(&one, "headcount_counter_poisoned_chunks_total", 1.0).await;
    until(&one, "headcount_peer_quarantines_total", 1.0).await;

    for _ in 0..3 {
        let (mut stream, _) = bad.dial(&address).await.unwrap();
        assert_eq!(until_ended(&mut stream).await.as_deref(), Some("it is in quarantine, because of what it has sent"));
    }
    assert_eq!(metric(&one, "headcount_peer_poison_total").await, OFFENCES_MAX as f64);
    figure::count("peer-poison", "offences until it was shut out", OFFENCES_MAX as u64);
    // The others go on, and nothing of it has reached anybody.
    count(&two, "likes", 2).await;
    for node in [&one, &two] {
        eventually(PATIENCE, async || match value(node, "likes").await {
            7 => Ok(()),
            other => Err(other),
        })
        .await;
        assert_eq!(value(node, "poison").await, 0);
    }
    assert_eq!(metric(&two, "headcount_counter_poisoned_chunks_total").await, 0.0);
    // The log shows little of what came.
    let log = one.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("for what it has sent")).collect();
    assert!(lines.len() == OFFENCES_MAX && lines.iter().all(|line| line.len() < 1000), "{lines:?}");
}

/// Offers a stream, and answers what is asked of it with what its origin cannot say.
async fn poison(stream: &mut Stream) {
    let name = |epoch| OriginName { epoch, region: "us".into(), node: "bad".into() };
    let known = Known { origin: Some(name(EPOCH)), seq: 5, as_of_ms: 1, retired: false, ahead: 5 };
    stream.write(Message::Have(Have { streams: vec![known], absorbed: Vec::new() })).await.unwrap();
    let follow = loop {
        match timeout(PATIENCE, stream.read(FRAME_BYTES_MAX)).await.expect("a question").unwrap() {
            Some(Message::Follow(follow)) if follow.epoch == EPOCH => break follow,
            _ => {}
        }
    };
    let mut facts = Vec::new();
    let slot = Fact::Slot { key: "poison", sums: Floor { p: 1_000, n: 0 } };
    Record::Fact { by: 1, seq: 1, fact: slot }.encode(&mut facts);
    let chunk = Chunk {
        epoch: EPOCH,
        follow: follow.follow,
        index: 0,
        after: 0,
        upto: 5,
        as_of_ms: 1,
        digest: None,
        origins: vec![name(EPOCH), name(EPOCH + 1)],
        facts: facts.into(),
        whole: false,
    };
    stream.write(Message::Chunk(chunk)).await.unwrap();
    until_ended(stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_another_region_that_sends_poison_is_cut_off_and_then_shut_out() {
    let nowhere = "127.0.0.1:9".to_owned();
    let node = knowing("n1", std::slice::from_ref(&nowhere), &nowhere).await;
    let (bad, address) = (party("bad"), node.peer.unwrap().to_string());
    for message in [&b"\xff\xff\xff\xff"[..], b"\x0a\xff\xff\xff\xff\x0f", &[0xff; 100_000]] {
        let (mut link, _) = Link::dial(&bad, &address).await.unwrap();
        link.sender.send(Bytes::copy_from_slice(message)).unwrap();
        while timeout(PATIENCE, link.receiver.recv()).await.expect("the link ends").is_some() {}
    }
    until(&node, "headcount_peer_quarantines_total", 1.0).await;
    let end = Link::dial(&bad, &address).await.expect_err("no link");
    assert!(end.to_string().contains("it is in quarantine, because of what it has sent"), "{end}");
    let (_link, _) = Link::dial(&party("good"), &address).await.expect("another one is let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_sends_poison_to_its_follower_is_dialed_no_more_for_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let bad = Arc::new(party("bad"));
    let (counted, mut dialed) = tokio::sync::mpsc::channel(100);
    let serving = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counted.send(()).await.unwrap();
            let (mut stream, _) = bad.greet(socket).await.unwrap();
            stream.write(Message::Beat(Beat {})).await.unwrap();
            stream.write(Message::Link(Bytes::from_static(b"\xff\xff\xff\xff"))).await.unwrap();
            until_ended(&mut stream).await;
        }
    });
    let node = knowing("n1", &["127.0.0.1:9".to_owned()], &address).await;
    until(&node, "headcount_peer_quarantines_total", 1.0).await;
    // One more dial, in which it is recognised, was under way at most. Then it is left alone for 10 s at least, where it was dialed
    // twice a second.
    sleep(Duration::from_secs(1)).await;
    while dialed.try_recv().is_ok() {}
    sleep(Duration::from_secs(2)).await;
    assert!(dialed.try_recv().is_err(), "it is dialed again");
    assert_eq!(http::get(node.client, "/v1/regions").await.unwrap().status, 200);
    serving.abort();
}
