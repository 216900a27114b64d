//! Who is online, how many are, and when users were seen last.

use crate::region::{GRACE_MS, PATIENCE, Region, owner, place};
use presence::{
    About, Departure, Member, Stats, UserPresence,
    cluster::{Edge, RoomId},
    redis::{Turn, reap, write},
};
use std::sync::Arc;
use testkit::eventually;

fn online(clients: usize) -> UserPresence {
    UserPresence { online: true, clients, last_seen_ms: None }
}

fn offline(last_seen_ms: u64) -> UserPresence {
    UserPresence { online: false, clients: 0, last_seen_ms: Some(last_seen_ms) }
}

#[tokio::test]
async fn a_query_knows_the_clients_of_all_gateways_and_answers_in_its_order() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    one.connect("ann", "a1");
    one.connect("ann", "a2");
    one.connect("bob", "b1");
    // What was written here is in the answer, without waiting.
    let expected = [online(2), UserPresence::default(), online(1), online(2)];
    assert_eq!(one.presence.query(&["ann", "zoe", "bob", "ann"]).await.unwrap(), expected);
    two.connect("ann", "a3");
    assert_eq!(two.presence.query(&["bob", "ann"]).await.unwrap(), [online(1), online(3)]);
    assert_eq!(one.user("ann").await, online(3));
    assert_eq!(one.presence.query::<&str>(&[]).await.unwrap(), []);
    // More than one call's worth, spread over all partitions of both nodes.
    let many: Vec<String> = (0..1_200).map(|number| format!("user {number}")).collect();
    many.iter().step_by(3).for_each(|user| two.connect(user, &format!("client of {user}")));
    let found = two.presence.query(&many).await.unwrap();
    assert!(found.iter().enumerate().all(|(index, found)| found.online == (index % 3 == 0)), "{found:?}");
    assert_eq!(one.presence.online_totals().await.unwrap(), Stats { clients: 404, users: 402 });
}

#[tokio::test]
async fn a_client_without_a_user_counts_in_the_totals_and_is_in_nobodys_answer() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    one.connect("", "c1");
    one.connect("", "c2");
    one.connect("ann", "a1");
    assert_eq!(one.presence.online_totals().await.unwrap(), Stats { clients: 3, users: 3 });
    assert_eq!(one.presence.query(&["", "c1", "c2"]).await.unwrap(), [UserPresence::default(); 3]);
    // Users of the same names are others.
    one.connect("c1", "x1");
    assert_eq!(one.presence.query(&["c1", "c2"]).await.unwrap(), [online(1), UserPresence::default()]);
    one.disconnect("", "c1", Departure::Clean, 5);
    one.disconnect("", "c2", Departure::Dropped, 5);
    assert_eq!(one.presence.online_totals().await.unwrap(), Stats { clients: 3, users: 3 });
    let totals = async || match one.presence.online_totals().await.unwrap() {
        Stats { clients: 2, users: 2 } => Ok(()),
        totals => Err(format!("{totals:?}")),
    };
    eventually(PATIENCE, totals).await;
    assert_eq!(one.presence.query(&["", "c2"]).await.unwrap(), [UserPresence::default(); 2]);
}

#[tokio::test]
async fn a_user_was_seen_last_when_the_last_connection_ended_whatever_its_end() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    one.connect("ann", "a1");
    two.connect("ann", "a2");
    two.connect("bob", "b1");
    assert_eq!(two.presence.query(&["ann", "bob"]).await.unwrap()[1], online(1));
    one.disconnect("ann", "a1", Departure::Clean, 1_000);
    assert_eq!(one.user("ann").await, online(1), "another one is there");
    two.disconnect("ann", "a2", Departure::Clean, 2_000);
    assert_eq!(two.user("ann").await, offline(2_000));
    assert_eq!(one.user("ann").await, offline(2_000));
    // During the next stay the end of the one before is known.
    one.connect("ann", "a3");
    assert_eq!(one.user("ann").await, UserPresence { last_seen_ms: Some(2_000), ..online(1) });
    two.disconnect("bob", "b1", Departure::Dropped, 3_000);
    assert_eq!(two.user("bob").await, online(1), "held for {GRACE_MS} ms");
    let bob = eventually(PATIENCE, async || Some(one.user("bob").await).filter(|bob| !bob.online).ok_or("held")).await;
    assert_eq!(bob, offline(3_000));
    // Later is later, in whatever order it is written.
    one.disconnect("ann", "a3", Departure::Clean, 1_500);
    assert_eq!(one.user("ann").await, offline(2_000));
}

#[tokio::test]
async fn who_comes_back_within_the_grace_was_never_gone() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    one.connect("ann", "a1");
    one.disconnect("ann", "a1", Departure::Dropped, 1_000);
    assert_eq!(one.user("ann").await, online(1));
    two.connect("ann", "a2");
    assert_eq!(two.user("ann").await, online(1), "in the place of the other");
    tokio::time::sleep(std::time::Duration::from_millis(2 * GRACE_MS)).await;
    assert_eq!(one.user("ann").await, online(1));
    two.disconnect("ann", "a2", Departure::Clean, 4_000);
    assert_eq!(two.user("ann").await, offline(4_000));
}

#[tokio::test]
async fn clients_of_a_dead_gateway_were_seen_last_when_it_was() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    let (room, dead) = (RoomId::of_user("ann"), owner("dead", 17));
    let link = region.link(&room).await;
    let place = place(&link, &room, &region);
    let put = |(user, client): (&str, &str)| Edge::Put(Arc::new(Member::new(client.into(), user.into(), About::default())));
    let puts: Vec<Edge> = [("ann", "a1"), ("", "c1")].into_iter().map(put).collect();
    write(place, &dead, Turn::default(), &puts).await.unwrap();
    assert_eq!(one.user("ann").await, online(1));
    assert_eq!(reap(place, &dead, 9_000).await.unwrap().rows, 2);
    assert_eq!(one.user("ann").await, offline(9_000));
    assert_eq!(one.presence.online_totals().await.unwrap(), Stats::default());
}

#[tokio::test]
async fn where_a_node_does_not_answer_nobody_is_said_to_be_offline() {
    let mut region = Region::start().await;
    let one = region.gateway("g1").await;
    one.connect("ann", "a1");
    assert_eq!(one.user("ann").await, online(1));
    for server in &mut region.servers {
        server.kill().await;
    }
    assert!(one.presence.query(&["ann"]).await.is_err());
    assert!(one.presence.online_totals().await.is_err());
    assert!(one.presence.contacts_online("ann").await.is_err());
    assert!(one.presence.set_contacts("ann", &["bob"]).await.is_err());
    assert!(one.presence.follow_contacts("ann").await.is_err());
    assert!(one.erase("ann").await.is_err());
}
