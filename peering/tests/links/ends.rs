//! What ends a link, and what both sides know then.

use crate::{
    MIB, message,
    nodes::{linked, node, within},
    number,
};
use peering::{End, Link, link::NotSent};
use protocol::peer::{Beat, Message, Refused};
use std::time::Duration;
use tokio::{net::TcpListener, task::yield_now, time::sleep};

/// A link to somebody who has let it in, and does nothing by itself.
async fn linked_to_a_puppet() -> (Link, peering::Stream) {
    let (eu, us) = (node("eu", "the key of both", None), node("us", "the key of both", None));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lets_in = async {
        let (mut stream, hello) = us.party.greet(listener.accept().await.unwrap().0).await.unwrap();
        assert!(hello.link);
        stream.write(Message::Beat(Beat {})).await.unwrap();
        stream
    };
    let (dialed, stream) = within(async { tokio::join!(Link::dial(&eu.party, &address), lets_in) }).await;
    (dialed.unwrap().0, stream)
}

#[tokio::test]
async fn a_side_that_is_silent_is_given_up() {
    let (mut link, mut stream) = linked_to_a_puppet().await;
    stream.write(Message::Link("the last word".into())).await.unwrap();
    assert_eq!(within(link.receiver.recv()).await.unwrap(), "the last word");
    assert_eq!(within(link.receiver.recv()).await, None);
    assert!(matches!(link.receiver.end(), End::Silent), "{}", link.receiver.end());
    assert_eq!(link.sender.send("too late".into()), Err(NotSent::Ended));
    // It has shown for all that time that it lives.
    let mut beats = 0;
    while let Ok(said) = within(stream.read(1000)).await {
        assert_eq!(said, Some(Message::Beat(Beat {})));
        beats += 1;
    }
    assert!(beats > 2, "{beats}");
}

#[tokio::test]
async fn too_much_that_waits_ends_the_link_and_what_has_arrived_is_without_gaps() {
    let (mut here, mut there) = linked().await;
    let mut sent = 0;
    let refusal = loop {
        match here.sender.send(message(sent, MIB)) {
            Ok(()) => sent += 1,
            Err(refusal) => break refusal,
        }
        assert!(sent < 1000, "there is no bound");
        yield_now().await;
    };
    assert!((refusal == NotSent::Full) && sent > 60, "{refusal:?} after {sent}");
    assert_eq!(here.sender.send("small".into()), Err(NotSent::Ended), "it would come after a gap");
    assert_eq!(within(here.receiver.recv()).await, None);
    assert!(matches!(here.receiver.end(), End::Full), "{}", here.receiver.end());
    let mut received = 0;
    while let Some(message) = within(there.receiver.recv()).await {
        assert_eq!(number(&message), received);
        received += 1;
    }
    assert!(received < sent);
    assert!(matches!(there.receiver.end(), End::Io(_)), "{}", there.receiver.end());
}

#[tokio::test]
async fn without_senders_a_link_ends_when_all_is_read_and_without_a_receiver_at_once() {
    let (here, mut there) = linked().await;
    // More than the other side takes, and no more than the sockets hold.
    for at in 0..10 {
        here.sender.send(message(at, MIB / 4)).unwrap();
    }
    let Link { sender, receiver: _kept } = here;
    drop(sender);
    // Longer than between two beats, which come to a side that has nothing more to say.
    sleep(Duration::from_secs(1)).await;
    for at in 0..10 {
        assert_eq!(number(&within(there.receiver.recv()).await.unwrap()), at);
    }
    assert_eq!(within(there.receiver.recv()).await, None);

    let (here, mut there) = linked().await;
    let Link { sender: _kept, receiver } = here;
    drop(receiver);
    assert_eq!(within(there.receiver.recv()).await, None);
}

#[tokio::test]
async fn a_side_may_say_why_it_ends_a_link() {
    let (mut link, stream) = linked_to_a_puppet().await;
    stream.refuse("it is shutting down").await;
    assert_eq!(within(link.receiver.recv()).await, None);
    assert_eq!(link.receiver.end().to_string(), "it said: it is shutting down");
}

#[tokio::test]
async fn what_is_no_message_ends_a_link() {
    let (mut link, mut stream) = linked_to_a_puppet().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream.writer, &[0, 0, 0, 1, 7]).await.unwrap();
    assert_eq!(within(link.receiver.recv()).await, None);
    assert!(matches!(link.receiver.end(), End::Poison(_)), "{}", link.receiver.end());
    let (mut link, mut stream) = linked_to_a_puppet().await;
    stream.write(Message::Refused(Refused::default())).await.unwrap();
    assert_eq!(within(link.receiver.recv()).await, None);
}
