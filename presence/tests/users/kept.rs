//! What cannot be had again from the gateways, when a generation ends.

use crate::region::{PATIENCE, Region, names, owner, place};
use presence::{
    About, Departure, Member,
    cluster::{Edge, RoomId},
    redis::{Turn, contacts, contacts_online, erase, set_contacts, users, write},
};
use std::sync::Arc;
use testkit::eventually;

#[tokio::test]
async fn lists_and_times_outlive_a_generation_and_who_is_online_does_not() {
    let mut region = Region::start().await;
    let room = RoomId::of_user("ann");
    let link = region.link(&room).await;
    let before = place(&link, &room, &region);
    let member = Member::new("a1".into(), "ann".into(), About::default());
    let (put, gone) = (Edge::Put(Arc::new(member)), Edge::Gone { client: "a1".into(), seen_ms: Some(5_000) });
    write(before, &owner("g1", 17), Turn::default(), &[put.clone(), gone]).await.unwrap();
    write(before, &owner("g1", 17), Turn::default(), std::slice::from_ref(&put)).await.unwrap();
    set_contacts(before, "bob", &["ann"]).await.unwrap();
    assert_eq!(users(before, &["ann"]).await.unwrap(), [(1, Some(5_000))]);
    assert_eq!(contacts_online(before, "bob").await.unwrap(), names(&["ann"]));

    // Another life of the node: its rows are of an old generation, and the new one has none.
    region.document = region.ring(2);
    region.nodes.apply(&region.document);
    let link = region.link(&room).await;
    let after = place(&link, &room, &region);
    let is_empty = async || {
        assert_eq!(users(after, &["ann", "zoe"]).await.unwrap(), [(0, Some(5_000)), (0, None)]);
        assert_eq!(contacts_online(after, "bob").await.unwrap(), names(&[]));
        assert_eq!(contacts(after, "bob").await.unwrap(), names(&["ann"]));
    };
    is_empty().await;
    // The first write wipes the room.
    write(after, &owner("g1", 17), Turn::default(), &[]).await.unwrap();
    is_empty().await;
    write(after, &owner("g1", 17), Turn::default(), &[put]).await.unwrap();
    assert_eq!(users(after, &["ann"]).await.unwrap(), [(1, Some(5_000))]);
    assert_eq!(contacts_online(after, "bob").await.unwrap(), names(&["ann"]));
    assert_eq!(erase(after, "ann").await.unwrap(), (Some(5_000), names(&["bob"])));
    assert_eq!(contacts(after, "bob").await.unwrap(), names(&[]));
    // Who goes by the old ring is refused once the slot is another's.
    ring_coordinator::redis::fence(&link, &[room.slot()], 3).await.unwrap();
    assert!(set_contacts(after, "bob", &["ann"]).await.is_err());
    assert!(users(after, &["ann"]).await.is_err());
}

#[tokio::test]
async fn after_a_new_life_of_the_nodes_gateways_answer_as_before() {
    let mut region = Region::start().await;
    let one = region.gateway("g1").await;
    one.connect("ann", "a1");
    assert_eq!(one.user("ann").await.clients, 1);
    one.disconnect("ann", "a1", Departure::Clean, 5_000);
    assert_eq!(one.user("ann").await.last_seen_ms, Some(5_000));
    one.connect("ann", "a2");
    one.presence.set_contacts("bob", &["ann", "zoe"]).await.unwrap();
    one.subscribe("bob").await;
    assert_eq!((one.online("bob").await, one.known_online("bob")), (vec!["ann".to_owned()], vec!["ann".to_owned()]));
    region.document = region.ring(2);
    one.apply(&region.document).await;
    eventually(PATIENCE, async || if one.online("bob").await == ["ann"] { Ok(()) } else { Err("not announced yet") }).await;
    assert_eq!(one.user("ann").await.last_seen_ms, Some(5_000));
    assert_eq!(one.known_online("bob"), ["ann"]);
    assert!(one.told().iter().all(|told| told == r#"=bob ["ann"]"#), "{:?}", one.told());
}
