//! WebSocket frames that no client should send.

use crate::raw::{PATIENCE, metric, node};
use std::net::SocketAddr;
use testkit::{Node, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const TEXT: u8 = 1;
const MORE: u8 = 0;
const PING: u8 = 9;
/// Frames of one message, as the gateway has it.
const FRAGMENTS_MAX: usize = 32 + 65_536 / 64;
/// Control frames in one second, likewise.
const CONTROLS_PER_SECOND_MAX: usize = 10;
const CONNECT: &[u8] = b"{\"id\":1,\"connect\":{}}";

/// A connection after the handshake.
pub(crate) struct Client(TcpStream);

impl Client {
    async fn open(node: &Node) -> Client {
        Client::open_at(node.client).await.unwrap()
    }

    pub(crate) async fn open_at(address: SocketAddr) -> std::io::Result<Client> {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
        Ok(Client(stream))
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> std::io::Result<()> {
        self.0.read_to_end(&mut Vec::new()).await.map(drop)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // What is refused half-way need not be taken to its end.
        _ = self.0.write_all(bytes).await;
    }

    /// The next frame: opcode and payload; `None` at the end.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let opcode = self.0.read_u8().await? & 0x0f;
            let length = match self.0.read_u8().await? {
                126 => u64::from(self.0.read_u16().await?),
                127 => self.0.read_u64().await?,
                length => u64::from(length),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await?;
            std::io::Result::Ok((opcode, payload))
        };
        timeout(PATIENCE, read).await.expect("a frame, or the end").ok()
    }

    /// The code that the node closes with, and how many frames of each opcode came before.
    async fn closed(&mut self, what: &str) -> (u16, Vec<u8>) {
        let mut before = Vec::new();
        loop {
            match self.next().await.unwrap_or_else(|| panic!("{what}: no close frame, after {before:?}")) {
                (8, payload) => return (u16::from_be_bytes([payload[0], payload[1]]), before),
                (opcode, _) => before.push(opcode),
            }
        }
    }
}

/// A frame as a client sends it.
fn frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![opcode | if is_final { 0x80 } else { 0 }];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => bytes.push(0x80 | u8::try_from(length).unwrap()),
        Ok(length) => bytes.extend([&[0x80 | 126][..], &length.to_be_bytes()].concat()),
        Err(_) => bytes.extend([&[0x80 | 127][..], &(payload.len() as u64).to_be_bytes()].concat()),
    }
    // A mask of zeros changes nothing.
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A message in so many frames.
fn in_pieces(count: usize) -> Vec<u8> {
    let mut bytes = frame(TEXT, false, &CONNECT[..5]);
    (2..count).for_each(|_| bytes.extend(frame(MORE, false, b"")));
    bytes.extend(frame(MORE, true, &CONNECT[5..]));
    bytes
}

#[tokio::test]
async fn frames_that_break_the_rules_end_their_connection_with_the_code_of_the_rule() {
    let node = node("").await;
    let unmasked = [&[0x81, 2][..], b"{}"].concat();
    let reserved_bit = [vec![0xc1], frame(TEXT, true, b"{}")[1..].to_vec()].concat();
    let huge = [&[0x81, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
    let cases: [(&str, Vec<u8>, u16, &str); 12] = [
        ("a message of one byte too many", frame(TEXT, true, &vec![b' '; 65_537]), 1009, "size"),
        ("a frame of 4 EiB", huge, 1009, "size"),
        ("one fragment too many", in_pieces(FRAGMENTS_MAX + 1), 1008, "fragments"),
        ("no mask", unmasked, 1002, "frame"),
        ("a reserved bit", reserved_bit, 1002, "frame"),
        ("a reserved opcode", frame(3, true, b""), 1002, "frame"),
        ("a ping of 126 bytes", frame(PING, true, &[0; 126]), 1002, "frame"),
        ("a ping in pieces", frame(PING, false, b""), 1002, "frame"),
        ("a continuation of nothing", frame(MORE, true, b""), 1002, "frame"),
        ("a message within a message", [frame(TEXT, false, b"{"), frame(TEXT, true, b"}")].concat(), 1002, "frame"),
        ("text that is none", frame(TEXT, true, b"\xff"), 1007, "text"),
        // In whichever two seconds they are counted, it is too many for one of them.
        ("too many pings", frame(PING, true, b"x").repeat(2 * CONTROLS_PER_SECOND_MAX + 1), 1008, "controls"),
    ];
    for (what, bytes, code, reason) in cases {
        let line = format!("headcount_refused_inputs_total{{reason=\"{reason}\"}}");
        let before = metric(&node, &line).await;
        let mut client = Client::open(&node).await;
        client.send(&frame(TEXT, true, CONNECT)).await;
        client.send(&bytes).await;
        assert_eq!(client.closed(what).await.0, code, "{what}");
        eventually(PATIENCE, async || match metric(&node, &line).await {
            after if after == before + 1.0 => Ok(()),
            after => Err(format!("{what}: {before} became {after}")),
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_just_allowed_is_answered() {
    let node = node("").await;
    let padded = [CONNECT, &vec![b' '; 65_536 - CONNECT.len()]].concat();
    for (what, bytes) in
        [("as many fragments as may be", in_pieces(FRAGMENTS_MAX)), ("a message as long as may be", frame(TEXT, true, &padded))]
    {
        let mut client = Client::open(&node).await;
        client.send(&bytes).await;
        let (opcode, reply) = client.next().await.unwrap();
        assert!(opcode == TEXT && reply.starts_with(b"{\"id\":1,\"connect\":"), "{what}: {}", reply.escape_ascii());
    }
    let mut client = Client::open(&node).await;
    client.send(&frame(PING, true, b"x").repeat(CONTROLS_PER_SECOND_MAX)).await;
    for _ in 0..CONTROLS_PER_SECOND_MAX {
        assert_eq!(client.next().await.unwrap(), (10, b"x".to_vec()));
    }
}

#[tokio::test]
async fn who_is_cut_short_is_heard_out_up_to_a_mebibyte_so_that_no_reset_overtakes_the_close_frame() {
    let node = node("").await;
    let mut client = Client::open(&node).await;
    client.send(&frame(TEXT, true, &vec![b' '; 65_537])).await;
    assert_eq!(client.closed("too much").await.0, 1009);
    assert_eq!(client.next().await, None, "nothing follows");
    let piece = vec![b' '; 16 * 1024];
    for _ in 0..32 {
        client.0.write_all(&piece).await.expect("it is still listened to");
    }
    let mut is_reset = false;
    for _ in 0..4096 {
        is_reset |= client.0.write_all(&piece).await.is_err();
    }
    assert!(is_reset, "nobody is listened to for ever");
}
