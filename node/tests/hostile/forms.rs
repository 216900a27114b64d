//! HTTP requests at their limits, and such as two servers may read in two ways.

use crate::raw::{node, statuses, talk, value};
use std::net::SocketAddr;
use testkit::Node;
use tokio::{io::AsyncWriteExt, net::TcpStream};

const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How far from the bound of a head's bytes the answer is certain: it is looked at when some are read.
const ABOUT: usize = 512;

fn head(node: &Node, line: &str, more: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}\r\n", node.client)
}

async fn status(address: SocketAddr, request: &str) -> u16 {
    let answer = talk(address, request.as_bytes()).await;
    statuses(&answer).first().copied().unwrap_or_else(|| panic!("no answer to {request:.100}: {answer:?}"))
}

#[tokio::test]
async fn heads_are_taken_up_to_their_bounds_and_answered_431_beyond() {
    let node = node("").await;
    for path in ["/v1/ring", "/v1/counters/likes"] {
        let fixed = head(&node, &format!("GET {path}"), "A: \r\n").len();
        for (bytes, expected) in [(HEAD_BYTES_MAX - ABOUT, [200, 404]), (HEAD_BYTES_MAX + ABOUT, [431, 431])] {
            let long = format!("A: {}\r\n", "x".repeat(bytes - fixed));
            let answered = status(node.client, &head(&node, &format!("GET {path}"), &long)).await;
            assert!(expected.contains(&answered), "{path}, {bytes} bytes: {answered}");
        }
        // Two stand there already.
        for (count, expected) in [(HEADERS_MAX - 2, [200, 404]), (HEADERS_MAX - 1, [431, 431])] {
            let many: String = (0..count).map(|number| format!("A{number}: 1\r\n")).collect();
            let answered = status(node.client, &head(&node, &format!("GET {path}"), &many)).await;
            assert!(expected.contains(&answered), "{path}, {count} more headers: {answered}");
        }
    }
    let line = format!("GET /v1/counters/likes?x={}", "y".repeat(HEAD_BYTES_MAX + ABOUT));
    assert!([414, 431].contains(&status(node.client, &head(&node, &line, "")).await));
    // A head for a WebSocket has the same bounds, though it is read in another place.
    let many: String = (0..HEADERS_MAX).map(|number| format!("A{number}: 1\r\n")).collect();
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(status(node.client, &head(&node, "GET /connection/websocket", &format!("{upgrade}{many}"))).await, 431);
    assert_eq!(value(&node, "likes").await, 0);
}

#[tokio::test]
async fn bodies_are_taken_up_to_their_bound_and_answered_413_beyond_whole_or_in_chunks_without_end() {
    let node = node("").await;
    let add = "POST /v1/counters/likes/add";
    for (bytes, expected) in [(BODY_BYTES_MAX, 200), (BODY_BYTES_MAX + 1, 413)] {
        let length = format!("Content-Type: application/json\r\nContent-Length: {bytes}\r\n");
        let body = "{\"by\":1}".to_owned() + &" ".repeat(bytes - 8);
        assert_eq!(status(node.client, &format!("{}{body}", head(&node, add, &length))).await, expected, "{bytes} bytes");
    }
    assert_eq!(value(&node, "likes").await, 1);

    let chunked = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let mut stream = TcpStream::connect(node.client).await.unwrap();
    stream.write_all(head(&node, add, chunked).as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0;
    // It is refused long before; a bound keeps a test that fails from going on for ever.
    while sent < 64 * BODY_BYTES_MAX && stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 0x10000;
    }
    assert!(sent < 64 * BODY_BYTES_MAX, "all of it was taken");
    assert_eq!(value(&node, "likes").await, 1);
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_their_order() {
    let node = node("").await;
    let host = format!("Host: {}\r\n", node.client);
    let add =
        format!("POST /v1/counters/likes/add HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{{\"by\":1}}");
    let requests = format!("{}{}", add.repeat(20), head(&node, "GET /v1/counters/likes", ""));
    let answer = talk(node.client, requests.as_bytes()).await;
    assert_eq!(statuses(&answer), [200; 21]);
    let values: Vec<&str> = answer.split("\"value\":").skip(1).map(|rest| rest.split(',').next().unwrap()).collect();
    assert_eq!(values, (1..=20).chain([20]).map(|value| value.to_string()).collect::<Vec<_>>());
}

/// Between us and a client there may be a proxy. Whatever it and we can read in two ways must not hide a request in another one's body.
#[tokio::test]
async fn no_request_is_hidden_in_the_body_of_another() {
    let node = node("").await;
    let host = format!("Host: {}\r\nContent-Type: application/json\r\n", node.client);
    let hidden = format!("POST /v1/counters/smuggled/add HTTP/1.1\r\n{host}Content-Length: 8\r\n\r\n{{\"by\":1}}");
    let length = hidden.len() + 5;
    let shapes = [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n"),
        format!("Content-Length: {length}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("Content-Length: {length}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        format!("Content-Length: {length}\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n"),
        format!("Content-Length: 0, {length}\r\n\r\n"),
        "Content-Length: +0\r\n\r\n".to_owned(),
        "Content-Length: -1\r\n\r\n".to_owned(),
        "Content-Length: 0x0\r\n\r\n".to_owned(),
        "Content-Length: 18446744073709551616\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n0 \n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n".to_owned(),
    ];
    for shape in shapes {
        let answer = talk(node.client, format!("POST /v1/counters/likes/add HTTP/1.1\r\n{host}{shape}{hidden}").as_bytes()).await;
        let answers = statuses(&answer);
        assert!(answers.len() <= 1 && answers.iter().all(|status| *status >= 400), "{shape:?}: {answer}");
        assert_eq!((value(&node, "smuggled").await, value(&node, "likes").await), (0, 0), "{shape:?}");
    }
}
