//! Whoever sends so slowly that a connection would be held for ever.

use crate::raw::{PATIENCE, metric, node, statuses};
use std::time::Duration;
use testkit::{Node, eventually, http};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const LIMITS: &str = "[limits]\nhandshake_timeout_s = 1\nbody_timeout_s = 1\n";
/// Between two bytes.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends `first` at once and then `then` again and again, byte by byte, until the other side has ended the connection; what it said.
async fn trickle(node: &Node, first: String, then: &'static str) -> String {
    let stream = TcpStream::connect(node.client).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(first.as_bytes()).await.unwrap();
    let trickling = tokio::spawn(async move {
        for byte in then.bytes().cycle() {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(PAUSE).await;
        }
    });
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, async {
        let mut part = [0; 1024];
        while let Ok(count @ 1..) = reader.read(&mut part).await {
            answer.extend_from_slice(&part[..count]);
        }
    });
    ended.await.expect("the connection is ended by the node");
    trickling.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_that_come_byte_by_byte_are_ended_at_the_deadline_and_so_is_who_says_nothing() {
    let node = node(LIMITS).await;
    let host = format!("Host: {}\r\n", node.client);
    let (nothing, line, stream, websocket) = tokio::join!(
        async {
            let mut stream = TcpStream::connect(node.client).await.unwrap();
            timeout(PATIENCE, stream.read(&mut [0; 10])).await.expect("the connection is ended by the node")
        },
        trickle(&node, "GET /v1/ri".to_owned(), "n"),
        trickle(&node, format!("GET /v1/events?channel=a HTTP/1.1\r\n{host}"), "A: 1\r\n"),
        trickle(&node, format!("GET /connection/websocket HTTP/1.1\r\n{host}Upgrade: websocket\r\n"), "A: 1\r\n"),
    );
    assert_eq!(nothing.unwrap(), 0);
    for answer in [line, stream, websocket] {
        assert!(answer.is_empty() || statuses(&answer) == [408], "{answer}");
    }
    assert_eq!(http::get(node.client, "/v1/counters/likes").await.unwrap().status, 200);
}

#[tokio::test]
async fn bodies_that_come_byte_by_byte_are_answered_408_at_their_deadline() {
    let node = node(LIMITS).await;
    let host = format!("Host: {}\r\nContent-Type: application/json\r\n", node.client);
    let whole = format!("{host}Content-Length: 100000\r\n\r\n");
    let chunked = format!("{host}Transfer-Encoding: chunked\r\n\r\n");
    let (body, chunks, emulated) = tokio::join!(
        trickle(&node, format!("POST /v1/counters/likes/add HTTP/1.1\r\n{whole}"), " "),
        trickle(&node, format!("POST /v1/counters/batch HTTP/1.1\r\n{chunked}"), "1\r\n \r\n"),
        trickle(&node, format!("POST /connection/http_stream HTTP/1.1\r\n{whole}"), " "),
    );
    for answer in [body, chunks, emulated] {
        assert_eq!(statuses(&answer), [408], "{answer}");
        assert!(answer.contains("\"request_timeout\""), "{answer}");
    }
    eventually(PATIENCE, async || match metric(&node, "headcount_refused_inputs_total{reason=\"body\"}").await {
        3.0 => Ok(()),
        other => Err(format!("{other} are counted")),
    })
    .await;
}
