//! Who is not let in, and what both sides say.

use crate::nodes::{authority, node, node_of, within};
use peering::{End, Link};
use tokio::net::TcpListener;

const KEY: &str = "the key of both";

async fn refused(dials: &crate::nodes::Node, address: &str) -> String {
    match within(Link::dial(&dials.party, address)).await {
        Ok(_) => panic!("it was let in"),
        Err(end) => end.to_string(),
    }
}

#[tokio::test]
async fn only_nodes_of_the_cluster_with_its_key_and_a_certificate_are_let_in() {
    let (ours, theirs) = (authority(), authority());
    let here = node("eu", KEY, None);
    let secure = node("eu", KEY, Some(ours("127.0.0.1")));
    for (dials, listens, reason) in [
        (&here, node("us", "another key", None), "it does not have this cluster's key, or is of a version without region links"),
        (&here, node_of("other", "us", KEY, None), "it belongs to the cluster \"other\", this node to \"main\""),
        (&here, node("eu", KEY, None), "this node itself is there"),
        (&here, node("us", KEY, Some(ours("127.0.0.1"))), "it speaks TLS, which this node does not without tls.peer_ca"),
        (&secure, node("us", KEY, None), "it does not speak TLS, which tls.peer_ca demands here"),
        (&secure, node("us", KEY, Some(theirs("127.0.0.1"))), "its certificate is not from an authority in this node's tls.peer_ca"),
        (&secure, node("us", KEY, Some(ours("us.example"))), "not valid for name \"127.0.0.1\""),
    ] {
        let (address, mut links) = listens.listens().await;
        let said = refused(dials, &address).await;
        assert!(said.contains(reason), "{said} instead of {reason}");
        assert!(links.try_recv().is_err(), "it was handed over: {reason}");
    }
}

#[tokio::test]
async fn a_node_that_takes_no_links_or_none_now_says_so() {
    let (here, there) = (node("eu", KEY, None), node("us", KEY, None));
    let address = there.listens_with(None).await;
    assert_eq!(refused(&here, &address).await, "it said: this node takes no region links yet");

    let (address, mut links) = there.listens().await;
    let (_first, _) = within(Link::dial(&here.party, &address)).await.unwrap();
    assert_eq!(refused(&here, &address).await, "it said: this node is busy with other region links, or shutting down: dial again");
    assert!(links.recv().await.is_some());
    assert!(within(Link::dial(&here.party, &address)).await.is_ok());
}

#[tokio::test]
async fn who_looks_for_counters_at_a_gateway_is_told_that_there_are_none() {
    let (here, there) = (node("eu", KEY, None), node("us", KEY, None));
    let (address, mut links) = there.listens().await;
    let (mut stream, hello) = within(here.party.dial(&address)).await.unwrap();
    assert!(hello.producer);
    match within(stream.read(1000)).await {
        Ok(Some(protocol::peer::Message::Refused(refused))) => {
            assert_eq!(refused.reason, "this node has no counters: counter.seeds should name those that have");
        }
        other => panic!("{other:?}"),
    }
    assert!(links.try_recv().is_err());
}

#[tokio::test]
async fn a_listener_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    assert!(matches!(within(Link::dial(&node("eu", KEY, None).party, &address)).await, Err(End::Late)));
}
