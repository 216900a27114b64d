//! The RESP server: many commands at once, over real sockets.

#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod resp_server;

use resp_server::start;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn in_one_pipeline_every_read_sees_the_additions_before_it_and_none_after() {
    let server = start().await;
    let mut client = server.connect().await;
    let script = [
        ("INCR a", ":1\r\n"),
        ("INCRBY b 5", ":5\r\n"),
        ("INCR a", ":2\r\n"),
        ("GET a", "$1\r\n2\r\n"),
        ("HC.ADD a 3 ACK memory", ":5\r\n"),
        ("DECR a", ":4\r\n"),
        ("MGET a b c", "*3\r\n$1\r\n4\r\n$1\r\n5\r\n$-1\r\n"),
        ("INCR c", ":1\r\n"),
        ("EXISTS a c d", ":2\r\n"),
        ("INCR d", ":1\r\n"),
        ("HC.VOTE likes:1 ann on", ":1\r\n"),
        ("HC.VOTE likes:1 bob on", ":2\r\n"),
        ("INCR d", ":2\r\n"),
        ("HC.VOTE likes:1 ann off", ":1\r\n"),
        ("GET likes:1", "$1\r\n1\r\n"),
        ("DEL a d", ":2\r\n"),
        ("INCR a", ":1\r\n"),
        ("PING", "+PONG\r\n"),
        ("DECRBY a 2", ":-1\r\n"),
        ("HC.INFO a", "*2\r\n$5\r\neu/c1\r\n*4\r\n$10\r\nincrements\r\n:1\r\n$10\r\ndecrements\r\n:2\r\n"),
        ("GET a", "$2\r\n-1\r\n"),
        ("INCR b", ":6\r\n"),
        ("QUIT", "+OK\r\n"),
        ("INCR b", ""),
    ];
    client.send(&script.map(|(command, _)| format!("{command}\r\n")).concat()).await;
    assert_eq!(client.rest().await, script.map(|(_, reply)| reply).concat());
    assert_eq!(server.value("b"), Some(6), "nothing is executed after QUIT");
}

#[tokio::test]
async fn refused_commands_among_additions_are_answered_in_their_places_and_spoil_no_other() {
    let server = start().await;
    let mut client = server.connect().await;
    let script = [
        ("INCR a", ":1\r\n"),
        ("INCR a{b}", "-ERR name holds the forbidden byte 0x7b; allowed is printable ASCII without space and { } * ? [ ]\r\n"),
        ("INCR a", ":2\r\n"),
        ("INCRBY a 9223372036854775807", "-ERR increment or decrement would overflow\r\n"),
        ("INCR a", ":3\r\n"),
        ("INCRBY a x", "-ERR value is not an integer or out of range\r\n"),
        ("INCR", "-ERR wrong number of arguments for 'incr' command\r\n"),
        ("HC.ADD a 1 ACK never", "-ERR ACK is memory, fsync or replicated\r\n"),
        ("INCRBY a 9223372036854775807", "-ERR increment or decrement would overflow\r\n"),
        ("NOPE", "-ERR unknown command 'NOPE', with args beginning with: \r\n"),
        ("iNcRbY a 7", ":10\r\n"),
    ];
    for _ in 0..2 {
        client.send(&script.map(|(command, _)| format!("{command}\r\n")).concat()).await;
        for (command, reply) in script {
            assert_eq!(client.reply().await, reply, "{command}");
        }
        assert_eq!(client.ask("DEL a").await, ":1\r\n");
    }
}

#[tokio::test]
async fn requests_larger_than_a_read_and_in_pieces_are_answered_like_any_other() {
    let server = start().await;
    let mut client = server.connect().await;
    let long = "x".repeat(60_000);
    let bytes = format!("INCR a\r\n{}INCR a\r\nGET a\r\n", format!("*2\r\n$4\r\nECHO\r\n$60000\r\n{long}\r\n").repeat(5));
    for piece in bytes.as_bytes().chunks(7001) {
        client.socket.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.reply().await, ":1\r\n");
    for _ in 0..5 {
        assert_eq!(client.reply().await, format!("$60000\r\n{long}\r\n"));
    }
    assert_eq!(client.reply().await, ":2\r\n");
    assert_eq!(client.reply().await, "$1\r\n2\r\n");
}
