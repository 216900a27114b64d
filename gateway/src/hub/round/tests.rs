//! I/O: what reaches clients over real sockets, together and one by one.

use super::*;
use crate::hub::{
    broadcast::{Broadcast, Wire},
    outbox::{Item, Line, Sent},
    topic::Topic,
};
use bytes::Bytes;
use prometheus::IntCounter;
use protocol::{
    message::{Publication, StreamPosition},
    name::Channel,
};
use std::{
    io::{ErrorKind, Read},
    net,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// More than one call writes to.
const CLIENTS: u64 = 300;
const BATCHES: usize = 100;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Subscribers of one channel, with the other ends of their sockets.
async fn subscribers(count: u64, sent: &Arc<Sent>) -> (Topic, Vec<Arc<Outbox>>, Vec<net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut topic, mut outboxes, mut clients) = (Topic::default(), Vec::new(), Vec::new());
    for connection in 0..count {
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap().into_std().unwrap();
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        clients.push(client);
        let socket = listener.accept().await.unwrap().0;
        socket.writable().await.unwrap();
        let line = Line { socket, shared: Some(Wire::JsonFrames), sent: sent.clone() };
        let outbox = Arc::new(Outbox::new(Wire::JsonFrames, 1 << 30, Some(line)));
        topic.add(connection, outbox.clone(), false);
        topic.open(connection, StreamPosition::default()).unwrap();
        outboxes.push(outbox);
    }
    (topic, outboxes, clients)
}

fn sent(together: bool) -> Arc<Sent> {
    let counter = |name| IntCounter::new(name, name).unwrap();
    Arc::new(Sent { together, messages: counter("messages"), bytes: counter("bytes") })
}

fn batch(number: usize) -> Batch {
    let push = |letter: char| {
        let data = Bytes::from(format!("\"{number}{}\"", String::from(letter).repeat(50_000)));
        Broadcast::publication(Channel::parse("news").unwrap(), "".into(), Publication { data, ..Publication::default() })
    };
    Batch::new(vec![push('a'), push('b')])
}

fn read(mut client: &net::TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn all_get_all_in_order_together_and_one_by_one_and_who_does_not_read_keeps_what_waits() {
    for together in [true, false] {
        let sent = sent(together);
        let (mut topic, outboxes, clients) = subscribers(CLIENTS, &sent).await;
        let (mut all, mut from) = (Vec::new(), None);
        for batch in (0..BATCHES).map(batch) {
            let joined = batch.joined(Wire::JsonFrames);
            all.extend_from_slice(joined);
            while let Some(next) = topic.deliver(&batch, from.unwrap_or_default(), 256) {
                from = Some(next);
            }
            from = None;
            assert!(clients[1..].iter().all(|client| read(client, joined.len()) == *joined), "{together}");
        }
        // What the first one's socket took, and what waits for it, is all of it.
        let mut waiting = Vec::new();
        _ = outboxes[0].take(&mut waiting, usize::MAX);
        assert!(matches!(waiting[0], Item::Rest(_)), "{together}");
        let (mut bytes, mut first) = (Vec::new(), &clients[0]);
        first.set_nonblocking(true).unwrap();
        assert!(first.read_to_end(&mut bytes).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        waiting.iter().for_each(|item| bytes.extend_from_slice(item.bytes(Wire::JsonFrames).unwrap()));
        assert!(bytes == all, "{together}");
        let queued: usize = waiting.iter().map(|item| item.bytes(Wire::JsonFrames).unwrap().len()).sum();
        assert_eq!(sent.messages.get(), CLIENTS * 2 * BATCHES as u64 - waiting.len() as u64, "{together}");
        assert_eq!(sent.bytes.get(), CLIENTS * all.len() as u64 - queued as u64, "{together}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_whom_somebody_else_writes_holds_up_nobody() {
    let sent = sent(true);
    let (mut topic, outboxes, clients) = subscribers(10, &sent).await;
    let (first, second) = (Arc::new(batch(1)), batch(2));
    let length = first.joined(Wire::JsonFrames).len();
    let (delivered, hear) = mpsc::channel();
    let held = outboxes[7].try_begin(&second).unwrap().unwrap();
    let batch = first.clone();
    std::thread::spawn(move || {
        let rest = topic.deliver(&batch, 0, 256);
        delivered.send(rest).unwrap();
    });
    assert!([6, 8, 9].iter().all(|client| read(&clients[*client], length) == *first.joined(Wire::JsonFrames)));
    assert!(hear.try_recv().is_err(), "it waits for the one");
    held.write();
    assert_eq!(hear.recv_timeout(PATIENCE), Ok(None));
    assert_eq!(read(&clients[7], length), *second.joined(Wire::JsonFrames), "whoever held it was first");
    assert_eq!(read(&clients[7], length), *first.joined(Wire::JsonFrames));
}
