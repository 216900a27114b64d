//! TLS for clients and services, through the real binary: who is served by it, who is refused, and certificates that are renewed
//! while clients are connected.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod customer;
mod renewal;

use customer::{Customer, PATIENCE};
use serde_json::json;
use std::{io::ErrorKind, net::SocketAddr};
use testkit::{Authority, Identity, Node, NodeOptions, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::rustls::{
    ProtocolVersion,
    version::{TLS12, TLS13},
};

/// Handshakes in which a client says nothing, or not all.
const SILENT: usize = 100;

async fn node(Identity { cert, key }: &Identity, more: &str) -> Node {
    let config_toml = format!("[listen]\napi = \"127.0.0.1:0\"\n[tls]\nclient_cert = {cert:?}\nclient_key = {key:?}\n{more}");
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

async fn handshakes(node: &Node, result: &str) -> f64 {
    node.metric(&format!("headcount_tls_handshakes_total{{result=\"{result}\"}}")).await
}

async fn publish(http: &reqwest::Client, node: &Node, data: &serde_json::Value) {
    let url = format!("https://{}/v1/channels/room/messages", node.api.unwrap());
    let answer = http.post(url).json(&json!({ "data": data })).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_event_streams_and_services_are_served_through_tls() {
    let authority = Authority::new("ours");
    let node = node(&authority.signs("127.0.0.1"), "").await;
    let customer = Customer::of(&authority);
    let http = customer.http();
    let mut subscriber = customer.subscriber(node.client, "room").await;
    let mut events = http.get(format!("https://{}/v1/events?channel=room", node.client)).send().await.unwrap();
    assert_eq!(events.status(), 200);
    // More than waits anywhere on the way, several times over.
    let long = "0123456789".repeat(6_000);
    for number in 0..20 {
        publish(&http, &node, &json!({ "number": number, "long": long })).await;
    }
    for number in 0..20 {
        assert_eq!(subscriber.next().await, json!({ "number": number, "long": long }));
    }
    let mut text = String::new();
    while !text.contains("\"number\":19") || !text.ends_with("\n\n") {
        let chunk = timeout(PATIENCE, events.chunk()).await.expect("events").unwrap().expect("a stream without an end");
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert_eq!(text.matches(&long).count(), 20);
    // The page, a refusal that ends its connection, and what is not there.
    for (path, status) in [("/", 200), ("/v1/events?channel=a%20b", 400), ("/nowhere", 404)] {
        assert_eq!(http.get(format!("https://{}{path}", node.client)).send().await.unwrap().status(), status, "{path}");
    }
    assert!(handshakes(&node, "ok").await >= 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_refuses_another_authority_and_another_host_and_gets_the_version_that_it_asks_for() {
    let authority = Authority::new("ours");
    let node = node(&authority.signs("127.0.0.1"), "").await;
    let customer = Customer::of(&authority);
    for address in [node.client, node.api.unwrap()] {
        for (stranger, host, reason) in [
            (Customer::of(&Authority::new("theirs")), "127.0.0.1", "UnknownIssuer"),
            (Customer::of(&authority), "localhost", "not valid for name"),
        ] {
            let refused = stranger.dial(address, host).await.unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
        }
        for (version, expected) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
            let stream = customer.dial_with(address, "127.0.0.1", &[version], &["h2", "http/1.1"]).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!((session.protocol_version(), session.alpn_protocol()), (Some(expected), Some(&b"http/1.1"[..])));
        }
        assert!(customer.dial_with(address, "127.0.0.1", &[&TLS13], &["h2"]).await.is_err(), "HTTP/2 is not spoken");
    }
    assert!(handshakes(&node, "failed").await >= 4.0);
}

/// All that the node answers, until it closes.
async fn answer(address: SocketAddr, words: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    if let Err(error) = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("an end") {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    answer
}

/// The first message of a client that knows no version later than 3.`minor` of SSL, TLS 1.0 being 3.1.
fn hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session; ciphers of TLS 1.0 and of 1.2; no compression; signatures (13) and groups (10), as the certificate has them.
    body.extend([0, 0, 6, 0xc0, 0x09, 0xc0, 0x13, 0xc0, 0x2b, 1, 0]);
    body.extend([0, 16, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_an_older_version_or_no_tls_at_all_is_refused() {
    let authority = Authority::new("ours");
    let node = node(&authority.signs("127.0.0.1"), "").await;
    for address in [node.client, node.api.unwrap()] {
        for (minor, name) in [(1, "TLS 1.0"), (2, "TLS 1.1")] {
            let answer = answer(address, &hello(minor)).await;
            // An alert (21) that is fatal (2): protocol_version (70).
            assert!(answer.starts_with(&[21]) && answer.ends_with(&[2, 70]), "{name}: {answer:?}");
        }
        // The same of a client that knows TLS 1.2 is answered.
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(&hello(3)).await.unwrap();
        assert_eq!(timeout(PATIENCE, socket.read_u8()).await.expect("an answer").unwrap(), 22);
        drop(socket);
        let plain = answer(address, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        assert!(!plain.windows(4).any(|text| text == b"HTTP"), "{}", String::from_utf8_lossy(&plain));
    }
    assert!(handshakes(&node, "failed").await >= 6.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_ends_a_handshake_is_let_go_and_others_are_served_meanwhile() {
    let authority = Authority::new("ours");
    let node = node(&authority.signs("127.0.0.1"), "").await;
    let customer = Customer::of(&authority);
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let mut socket = TcpStream::connect(node.client).await.unwrap();
        socket.write_all(&hello(3)[..number % 40]).await.unwrap();
        silent.push(socket);
    }
    let mut subscriber = customer.subscriber(node.client, "room").await;
    assert_eq!(silent[SILENT - 1].try_read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    publish(&customer.http(), &node, &json!("in the meantime")).await;
    assert_eq!(subscriber.next().await, "in the meantime");
    for mut socket in silent {
        assert_eq!(timeout(PATIENCE, socket.read(&mut [0])).await.expect("to be let go").unwrap_or(0), 0);
    }
    assert!((handshakes(&node, "late").await - SILENT as f64).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_cut_off_and_nothing_of_it_stays() {
    let authority = Authority::new("ours");
    let node = node(&authority.signs("127.0.0.1"), "[limits]\noutbox_bytes = 65536\n").await;
    let customer = Customer::of(&authority);
    let sockets = async || std::fs::read_dir(format!("/proc/{}/fd", node.pid().unwrap())).unwrap().count();
    let http = customer.http();
    publish(&http, &node, &json!("first")).await;
    let before = sockets().await;
    let _stalled = customer.subscriber(node.client, "room").await;
    assert!(sockets().await >= before + 3);
    let long = "0123456789".repeat(6_000);
    eventually(PATIENCE, async || {
        publish(&http, &node, &json!(long)).await;
        match node.metric("headcount_disconnects_total{reason=\"slow\"}").await {
            cut_off if cut_off > 0.5 => Ok(()),
            found => Err(format!("{found} were cut off")),
        }
    })
    .await;
    // The client is still there, and does not read what is left for it: that is given up.
    eventually(PATIENCE, async || match sockets().await {
        now if now <= before => Ok(()),
        now => Err(format!("{now} files are open, and were {before}")),
    })
    .await;
}
