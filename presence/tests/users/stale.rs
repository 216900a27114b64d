//! Answers that may be old say so, and no others.

use crate::region::{Gateway, PATIENCE, Region, now, owner, place};
use presence::{
    Departure, Stats,
    cluster::{Edge, RoomId},
    redis::{Turn, ready, register, stats, write},
};
use protocol::name::Channel;
use std::time::Duration;
use testkit::eventually;
use tokio::time::timeout;

/// Less than somebody waits until a room is known.
const AT_ONCE: Duration = Duration::from_secs(3);

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

/// Whether a page, the counts and a diff are stale, in which somebody of these users is.
async fn said(gateway: &Gateway, channel: &Channel, users: &[&str]) -> [bool; 3] {
    let page = gateway.presence.page(channel, None, 9).await.unwrap();
    let here: Vec<&str> = page.value.snapshot.iter().map(|entry| &**entry.user()).collect();
    assert_eq!(here, users);
    let counts = gateway.presence.stats(channel).await.unwrap();
    assert_eq!(counts.value, Stats { clients: users.len(), users: users.len() });
    let since = gateway.presence.since(channel, &page.value.version.to_string()).await.unwrap();
    [page.is_stale, counts.is_stale, since.is_stale]
}

fn turns(gateway: &Gateway) -> Vec<String> {
    gateway.told().into_iter().filter(|told| told.starts_with("Stale")).collect()
}

#[tokio::test]
async fn what_is_known_is_answered_and_said_to_be_old_while_the_node_stands_still() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    let here = channel("chat:a");
    let (server, name) = region.node(&RoomId::channel(&here));
    one.enter(&here, "ann", "a1");
    one.follow(&here).await;
    assert_eq!(said(&one, &here, &["ann"]).await, [false; 3]);
    server.freeze().await;
    assert_eq!(said(&one, &here, &["ann"]).await, [true; 3]);
    let others = (0..).map(|number| channel(&format!("chat:{number}")));
    let unknown = others.into_iter().find(|other| region.node(&RoomId::channel(other)).1 == name).unwrap();
    let error = one.presence.stats(&unknown).await.unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("retry"), "{error}");
    eventually(PATIENCE, async || if turns(&one).is_empty() { Err("nothing was told") } else { Ok(()) }).await;
    assert!(one.presence.first_page(&here, 9).unwrap().is_stale && turns(&one)[0].contains("is_stale: true"));
    // Whoever comes now is told from there on, too, and does not wait for the node.
    timeout(AT_ONCE, one.follow(&here)).await.unwrap();
    assert_eq!(said(&one, &here, &["ann"]).await, [true; 3]);
    server.thaw().await;
    eventually(PATIENCE, async || if said(&one, &here, &["ann"]).await == [false; 3] { Ok(()) } else { Err("stale") }).await;
    eventually(PATIENCE, async || if turns(&one).len() < 2 { Err("nothing was told") } else { Ok(()) }).await;
    assert!(turns(&one).len() == 2 && turns(&one)[1].contains("is_stale: false"), "{:?}", turns(&one));
    assert!(!one.presence.first_page(&here, 9).unwrap().is_stale);
}

#[tokio::test]
async fn who_is_kept_on_a_roster_because_its_node_lost_it_may_be_gone() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    let here = channel("chat:a");
    let room = RoomId::channel(&here);
    let (link, other) = (region.link(&room).await, owner("g9", 7));
    one.enter(&here, "ann", "a1");
    let bob = Edge::Put(std::sync::Arc::new(crate::region::member("bob", "b1")));
    register(&link, &other, room.slot()).await.unwrap();
    write(place(&link, &room, &region), &other, Turn::default(), std::slice::from_ref(&bob)).await.unwrap();
    one.follow(&here).await;
    assert_eq!(said(&one, &here, &["ann", "bob"]).await, [false; 3]);
    region.node(&room).0.cli(&["FLUSHALL"]).await.unwrap();
    let lost = Stats { clients: 1, users: 1 };
    eventually(PATIENCE, async || {
        let there = stats(place(&link, &room, &region)).await.unwrap().1;
        if there == lost { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await;
    eventually(PATIENCE, async || if said(&one, &here, &["ann", "bob"]).await == [true; 3] { Ok(()) } else { Err("not stale") }).await;
    let generation = write(place(&link, &room, &region), &other, Turn::default(), &[bob]).await.unwrap().stamp.generation;
    ready(&link, room.slot(), region.document.epoch, &other, Some(generation)).await.unwrap();
    eventually(PATIENCE, async || if said(&one, &here, &["ann", "bob"]).await == [false; 3] { Ok(()) } else { Err("stale") }).await;
    assert_eq!(turns(&one), [""; 0]);
}

#[tokio::test]
async fn an_empty_channel_is_sure_to_be_empty_wherever_others_of_its_slot_have_got() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    let empty = channel("chat:a");
    let slot = RoomId::channel(&empty).slot();
    let busy = (0..).map(|number| channel(&format!("chat:{number}"))).find(|other| RoomId::channel(other).slot() == slot).unwrap();
    one.follow(&empty).await;
    for turn in 0..5 {
        assert_eq!(said(&one, &empty, &[]).await, [false; 3], "after {turn} turns");
        one.enter(&busy, "ann", "a1");
        one.presence.settled(&busy).await;
        one.presence.leave(&busy, "a1", Departure::Clean, now());
        one.presence.settled(&busy).await;
    }
}
