//! The RESP server over real sockets.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

mod resp_server;

use counter::resp::CLIENTS_MAX;
use redis_protocol::{resp3, resp3::types::OwnedFrame};
use resp_server::{NOON, start, start_with};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

fn parsed(reply: &str) -> OwnedFrame {
    resp3::decode::complete::decode(reply.as_bytes()).unwrap().unwrap().0
}

fn message(reply: &str) -> serde_json::Value {
    serde_json::from_str(reply.lines().last().unwrap()).unwrap()
}

#[tokio::test]
async fn commands_answer_as_redis_does() {
    let server = start().await;
    let mut client = server.connect().await;
    let table = [
        ("PING", "+PONG\r\n"),
        ("ping hi", "$2\r\nhi\r\n"),
        ("ECHO hi", "$2\r\nhi\r\n"),
        ("GET likes", "$-1\r\n"),
        ("INCR likes", ":1\r\n"),
        ("incrby likes 41", ":42\r\n"),
        ("DECR likes", ":41\r\n"),
        ("DECRBY likes -1", ":42\r\n"),
        ("GET likes", "$2\r\n42\r\n"),
        ("MGET likes nobody likes", "*3\r\n$2\r\n42\r\n$-1\r\n$2\r\n42\r\n"),
        ("EXISTS likes nobody likes", ":2\r\n"),
        ("DEL likes nobody likes", ":1\r\n"),
        ("GET likes", "$-1\r\n"),
        ("DEL likes", ":0\r\n"),
        ("HC.ADD likes 5", ":5\r\n"),
        ("HC.ADD likes 1 ACK memory", ":6\r\n"),
        ("HC.ADD likes -1 ack replicated", ":5\r\n"),
        (
            "HC.GET likes",
            "*8\r\n$5\r\nvalue\r\n:5\r\n$5\r\nas_of\r\n*2\r\n$2\r\neu\r\n:1700000000000\r\n$6\r\nlag_ms\r\n:0\r\n$8\r\ncomplete\r\n:1\r\n",
        ),
        ("HC.INFO likes", "*2\r\n$5\r\neu/c1\r\n*4\r\n$10\r\nincrements\r\n:6\r\n$10\r\ndecrements\r\n:1\r\n"),
        ("HC.VOTE likes:1 ann on", ":1\r\n"),
        ("HC.VOTE likes:1 ann on", ":1\r\n"),
        ("hc.vote likes:1 bob ON", ":2\r\n"),
        ("HC.VOTED likes:1 ann", ":1\r\n"),
        ("HC.VOTE likes:1 ann off", ":1\r\n"),
        ("HC.VOTED likes:1 ann", ":0\r\n"),
        ("GET likes:1", "$1\r\n1\r\n"),
        ("INCR likes:1", "-WRONGTYPE counters of type unique count votes, and are neither added to nor reset\r\n"),
        ("DEL likes:1", "-WRONGTYPE counters of type unique count votes, and are neither added to nor reset\r\n"),
        ("HC.VOTE likes ann on", "-WRONGTYPE counters of type counter are added to; votes are for namespaces of type unique or seen\r\n"),
        ("HC.VOTE likes:1 ann maybe", "-ERR a vote is on or off\r\n"),
        ("HC.VOTE likes:1 ann", "-ERR wrong number of arguments for 'hc.vote' command\r\n"),
        ("HC.VOTE seen:1 ann on", ":1\r\n"),
        ("HC.VOTE seen:1 ann off", "-WRONGTYPE counters of type seen keep every vote\r\n"),
        ("INCRBY stock:1 3", ":3\r\n"),
        ("DECRBY stock:1 2", ":1\r\n"),
        ("HC.ADD stock:1 -2", "-INSUFFICIENT 1 can be taken here now, and 0 elsewhere, as far as is known here\r\n"),
        ("DECR stock:1", ":0\r\n"),
        ("DECR stock:2", "-INSUFFICIENT 0 can be taken here now, and 0 elsewhere, as far as is known here\r\n"),
        (
            "DEL stock:1",
            "-WRONGTYPE counters of type bounded are added to and taken from, and not reset; votes are for namespaces of type unique or seen\r\n",
        ),
        ("SELECT 0", "+OK\r\n"),
        ("SELECT 1", "-ERR DB index is out of range\r\n"),
        ("CLIENT SETNAME shop", "+OK\r\n"),
        ("CLIENT GETNAME", "$4\r\nshop\r\n"),
        ("CLIENT SETINFO LIB-NAME x", "+OK\r\n"),
        ("CLIENT NOPE", "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.\r\n"),
        ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("CONFIG GET other", "*0\r\n"),
        ("COMMAND DOCS", "*0\r\n"),
        (
            "AUTH x",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n",
        ),
        ("NOPE a b", "-ERR unknown command 'NOPE', with args beginning with: 'a' 'b' \r\n"),
        ("INCR", "-ERR wrong number of arguments for 'incr' command\r\n"),
        ("GET a b", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("INCRBY likes x", "-ERR value is not an integer or out of range\r\n"),
        ("INCRBY likes 9223372036854775807", "-ERR increment or decrement would overflow\r\n"),
        ("DECRBY likes -9223372036854775808", "-ERR decrement would overflow\r\n"),
        ("INCR a{b}", "-ERR name holds the forbidden byte 0x7b; allowed is printable ASCII without space and { } * ? [ ]\r\n"),
        ("INCR shop:likes", "-ERR namespace \"shop\" is not configured; add a [[namespace]] with this name, or use a name without ':'\r\n"),
        ("INCR counter:1", ":1\r\n"),
        ("HC.ADD likes 1 TOKEN x", "-ERR token_invalid: a token is a UUID version 7, such as 01890a5d-ac96-774b-bcce-b302099a8057\r\n"),
        ("HC.ADD likes 1 ACK x", "-ERR ACK is memory, fsync or replicated\r\n"),
        ("HC.ADD likes 1 TOKEN", "-ERR syntax error\r\n"),
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ("MULTI", "-ERR transactions are not supported; a pipeline without MULTI is answered in order\r\n"),
        ("INCR likes", "-ERR not executed: transactions are not supported, and DISCARD ends this one\r\n"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
        ("MULTI", "-ERR transactions are not supported; a pipeline without MULTI is answered in order\r\n"),
        ("DISCARD", "+OK\r\n"),
        ("GET likes", "$1\r\n5\r\n"),
        ("QUIT", "+OK\r\n"),
    ];
    for (command, reply) in table {
        assert_eq!(client.ask(command).await, reply, "{command}");
    }
    assert_eq!(client.rest().await, "", "QUIT closes");
}

#[tokio::test]
async fn a_token_counts_once_and_its_misuse_is_told() {
    let server = start().await;
    let mut client = server.connect().await;
    let minted = |ms| uuid::Builder::from_unix_timestamp_millis(ms, &[1; 10]).into_uuid();
    let add = format!("HC.ADD likes 3 TOKEN {}", minted(NOON.wall_ms));
    assert_eq!(client.ask(&add).await, ":3\r\n");
    assert_eq!(client.ask(&add).await, ":3\r\n");
    let other = add.replace("likes 3", "likes 4");
    assert_eq!(client.ask(&other).await, "-ERR token_reused: the token was used before for another key or amount\r\n");
    let old = client.ask(&format!("HC.ADD likes 3 TOKEN {}", minted(NOON.wall_ms - 3_600_000))).await;
    assert!(old.starts_with("-ERR token_expired") && old.contains(&NOON.wall_ms.to_string()), "{old}");
}

#[tokio::test]
async fn resp3_has_its_own_forms_from_hello_on() {
    let server = start().await;
    let mut client = server.connect().await;
    client.send("GET a\r\nHELLO 3 SETNAME shop\r\nGET a\r\nHC.GET a\r\nHC.INFO a\r\nHELLO 9\r\nHELLO x\r\n").await;
    assert_eq!(client.reply().await, "$-1\r\n", "what came before HELLO is answered in RESP2");
    let OwnedFrame::Map { data, .. } = parsed(&client.reply().await) else { panic!("HELLO 3 answers with a map") };
    assert_eq!(
        data[&OwnedFrame::BlobString { data: b"proto".to_vec(), attributes: None }],
        OwnedFrame::Number { data: 3, attributes: None }
    );
    assert_eq!(client.reply().await, "_\r\n");
    assert!(matches!(parsed(&client.reply().await), OwnedFrame::Map { data, .. } if data.len() == 4));
    assert_eq!(client.reply().await, "%0\r\n");
    assert_eq!(client.reply().await, "-NOPROTO unsupported protocol version\r\n");
    assert_eq!(client.reply().await, "-ERR Protocol version is not an integer or out of range\r\n");
    assert_eq!(client.ask("CLIENT GETNAME").await, "$4\r\nshop\r\n");
}

#[tokio::test]
async fn with_api_keys_nothing_is_answered_before_the_password() {
    let server = start_with(&["first", "second"], CLIENTS_MAX, 10_000).await;
    let mut client = server.connect().await;
    for command in ["INCR likes", "GET likes", "SUBSCRIBE counter:likes", "INFO", "PING"] {
        assert_eq!(client.ask(command).await, "-NOAUTH Authentication required.\r\n", "{command}");
    }
    assert!(client.ask("HELLO 3").await.starts_with("-NOAUTH HELLO must be called"));
    for wrong in ["AUTH wrong", "AUTH firs", "AUTH other first", "HELLO 3 AUTH default wrong"] {
        assert_eq!(client.ask(wrong).await, "-WRONGPASS invalid username-password pair or user is disabled.\r\n", "{wrong}");
    }
    assert_eq!(server.value("likes"), None);
    assert_eq!(client.ask("AUTH second").await, "+OK\r\n");
    assert_eq!(client.ask("INCR likes").await, ":1\r\n");
    assert!(server.connect().await.ask("HELLO 3 AUTH default first").await.starts_with('%'));
    let mut stranger = server.connect().await;
    stranger.send("*1\r\n$65536\r\n").await;
    assert_eq!(stranger.rest().await, "-ERR Protocol error: unauthenticated bulk length\r\n");
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order_and_in_full() {
    let server = start().await;
    let mut client = server.connect().await;
    let count = 5000;
    client.send(&"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(count)).await;
    for value in 1..=count {
        assert_eq!(client.reply().await, format!(":{value}\r\n"));
        assert_eq!(client.reply().await, format!("${}\r\n{value}\r\n", value.to_string().len()));
    }
}

#[tokio::test]
async fn http_is_cut_without_an_answer_and_changes_nothing() {
    let server = start().await;
    for request in [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:6380\r\nContent-Type: text/plain\r\n\r\nINCR likes\r\n",
        "GET /INCR HTTP/1.1\r\nHost: x\r\n\r\n",
        "Host: x\r\nINCR likes\r\n",
        "\r\nPUT /likes HTTP/1.1\r\n\r\nINCR likes\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        assert_eq!(client.rest().await, "", "{request}");
    }
    assert_eq!(server.value("likes"), None);
    server.has_cut("http", 4.0).await;
}

#[tokio::test]
async fn bytes_that_are_no_request_end_only_their_connection() {
    let server = start().await;
    let bomb = "*1\r\n".repeat(20_000);
    for (bytes, text) in [
        ("INCR a\r\n*1\r\n:5\r\n", ":1\r\n-ERR Protocol error: expected '$', got ':'\r\n"),
        (&bomb, "-ERR Protocol error: expected '$', got '*'\r\n"),
    ] {
        let mut client = server.connect().await;
        _ = client.socket.write_all(bytes.as_bytes()).await;
        // What the server had not read may turn the end into a reset, which can overtake the last reply.
        let rest = client.rest().await;
        assert!(rest == text || bytes.len() > 1000, "{rest}");
    }
    assert_eq!(server.connect().await.ask("GET a").await, "$1\r\n1\r\n");
    server.has_cut("protocol", 2.0).await;
}

#[tokio::test]
async fn subscribers_get_the_value_then_its_changes_at_most_ten_times_a_second() {
    let server = start().await;
    let (mut subscriber, mut client) = (server.connect().await, server.connect().await);
    assert_eq!(subscriber.ask("SUBSCRIBE likes").await, "-ERR only channels named counter:<key> can be subscribed to\r\n");
    assert_eq!(subscriber.ask("SUBSCRIBE counter:likes").await, "*3\r\n$9\r\nsubscribe\r\n$13\r\ncounter:likes\r\n:1\r\n");
    let first = subscriber.reply().await;
    assert!(first.starts_with("*3\r\n$7\r\nmessage\r\n$13\r\ncounter:likes\r\n"), "{first}");
    let expected = serde_json::json!({"key": "likes", "value": 0, "value_s": "0", "as_of": {"eu": NOON.wall_ms}, "complete": true});
    assert_eq!(message(&first), expected);
    let refused = subscriber.ask("INCR likes").await;
    assert!(refused.starts_with("-ERR Can't execute 'incr': only (P|S)SUBSCRIBE"), "{refused}");
    assert_eq!(subscriber.ask("PING").await, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");

    let begun = Instant::now();
    let changes = tokio::spawn(async move {
        for _ in 0..2000 {
            client.ask("INCR likes").await;
        }
    });
    let mut pushes = 0;
    loop {
        pushes += 1;
        if message(&subscriber.reply().await)["value"] == 2000 {
            break;
        }
    }
    assert!(pushes <= begun.elapsed().as_millis() / 100 + 2, "{pushes} pushes in {:?}", begun.elapsed());
    changes.await.unwrap();
    assert_eq!(subscriber.ask("UNSUBSCRIBE news counter:x").await, "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    assert_eq!(subscriber.reply().await, "*3\r\n$11\r\nunsubscribe\r\n$9\r\ncounter:x\r\n:1\r\n", "clients count the replies");
    assert_eq!(subscriber.ask("UNSUBSCRIBE").await, "*3\r\n$11\r\nunsubscribe\r\n$13\r\ncounter:likes\r\n:0\r\n");
    assert_eq!(subscriber.ask("UNSUBSCRIBE").await, "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n");
    assert_eq!(subscriber.ask("INCR likes").await, ":2001\r\n");

    let mut modern = server.connect().await;
    modern.ask("HELLO 3").await;
    assert!(modern.ask("SUBSCRIBE counter:likes").await.starts_with(">3\r\n"));
    modern.reply().await;
    assert_eq!(modern.ask("INCR likes").await, ":2002\r\n", "RESP3 mixes replies and pushes");
    assert_eq!(message(&modern.reply().await)["value"], 2002);
}

#[tokio::test]
async fn clients_above_the_bound_are_told_so() {
    let server = start_with(&[], 1, 10_000).await;
    let mut first = server.connect().await;
    assert_eq!(first.ask("PING").await, "+PONG\r\n");
    assert_eq!(server.connect().await.rest().await, "-ERR max number of clients reached\r\n");
    assert_eq!(first.ask("PING").await, "+PONG\r\n");
    first.ask("QUIT").await;
    // The place is free again as soon as the server has seen the end.
    while !server.connect().await.ask("PING").await.starts_with('+') {}
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let server = start_with(&[], CLIENTS_MAX, 50).await;
    let mut client = server.connect().await;
    let command = format!("ECHO {}\r\n", "x".repeat(60_000));
    while client.socket.write_all(command.as_bytes()).await.is_ok() {}
    server.has_cut("slow", 1.0).await;
}

#[tokio::test]
async fn an_end_lets_clients_finish_and_a_log_that_is_gone_is_told_in_redis_own_words() {
    let server = start().await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("INCR likes").await, ":1\r\n");
    server.engine.shutdown().await;
    assert_eq!(client.ask("INCR likes").await, "-MISCONF Errors writing to the AOF file: the node is shutting down\r\n");
    assert_eq!(client.ask("GET likes").await, "$1\r\n1\r\n");
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert_eq!(client.rest().await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
}
