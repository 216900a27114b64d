//! What subscribers are told of their contacts.

use crate::region::{PATIENCE, Region};
use presence::Departure;
use testkit::eventually;

#[tokio::test]
async fn contacts_who_come_and_go_anywhere_are_told_where_somebody_watches() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    one.connect("dan", "d1");
    assert!(one.user("dan").await.online);
    one.presence.set_contacts("bob", &["ann", "dan", "eve"]).await.unwrap();
    one.presence.set_contacts("cid", &["ann"]).await.unwrap();
    two.subscribe("bob").await;
    assert_eq!(two.known_online("bob"), ["dan"], "who was there before is known");
    one.connect("ann", "a1");
    two.tells(&[r#"+ann ["bob"]"#]).await;
    assert_eq!(two.known_online("bob"), ["ann", "dan"]);
    two.subscribe("cid").await;
    assert_eq!(two.known_online("cid"), ["ann"]);
    two.connect("ann", "a2");
    two.connect("stranger", "s1");
    assert_eq!(two.user("ann").await.clients, 2);
    one.disconnect("ann", "a1", Departure::Clean, 4_000);
    one.disconnect("dan", "d1", Departure::Clean, 6_000);
    two.tells(&[r#"-dan@6000 ["bob"]"#]).await;
    two.disconnect("ann", "a2", Departure::Dropped, 5_000);
    two.tells(&[r#"-ann@5000 ["bob", "cid"]"#]).await;
    assert_eq!((two.known_online("bob").len(), two.known_online("cid").len()), (0, 0));
    assert_eq!(one.told(), [""; 0], "nobody watches here");
}

#[tokio::test]
async fn a_list_replaced_at_one_gateway_is_told_at_another_and_counts_from_then_on() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    one.presence.set_contacts("bob", &["ann", "eve"]).await.unwrap();
    one.presence.set_contacts("cid", &["ann"]).await.unwrap();
    two.subscribe("bob").await;
    two.subscribe("cid").await;
    one.connect("dan", "d1");
    assert!(one.user("dan").await.online);
    one.connect("eve", "e1");
    two.tells(&[r#"+eve ["bob"]"#]).await;
    one.presence.set_contacts("bob", &["dan", "eve"]).await.unwrap();
    two.tells(&[r#"=bob ["dan", "eve"]"#]).await;
    assert_eq!(two.known_online("bob"), ["dan", "eve"]);
    one.connect("ann", "a1");
    two.tells(&[r#"+ann ["cid"]"#]).await;
    one.disconnect("dan", "d1", Departure::Clean, 3_000);
    two.tells(&[r#"-dan@3000 ["bob"]"#]).await;
    two.presence.set_contacts::<&str>("bob", &[]).await.unwrap();
    two.tells(&["=bob []"]).await;
    // A list that nobody had before.
    two.subscribe("new").await;
    assert_eq!(two.known_online("new"), [""; 0]);
    one.presence.set_contacts("new", &["ann"]).await.unwrap();
    two.tells(&[r#"=new ["ann"]"#]).await;
}

#[tokio::test]
async fn who_is_erased_is_told_no_more_to_those_who_watched() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    one.presence.set_contacts("bob", &["ann", "dan"]).await.unwrap();
    one.connect("ann", "a1");
    one.connect("dan", "d1");
    assert_eq!(one.online("bob").await, ["ann", "dan"]);
    two.subscribe("bob").await;
    one.disconnect("ann", "a1", Departure::Clean, 3_000);
    two.tells(&[r#"-ann@3000 ["bob"]"#]).await;
    one.erase("ann").await.unwrap();
    two.tells(&[r#"=bob ["dan"]"#]).await;
    one.connect("ann", "a2");
    one.disconnect("dan", "d1", Departure::Clean, 4_000);
    two.tells(&[r#"-dan@4000 ["bob"]"#]).await;
    // The watcher's own list is gone with the watcher.
    one.erase("bob").await.unwrap();
    two.tells(&["=bob []"]).await;
}

#[tokio::test]
async fn a_list_that_nobody_is_subscribed_to_is_let_go_of() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    one.presence.set_contacts("bob", &["ann"]).await.unwrap();
    one.connect("ann", "a1");
    assert_eq!(one.online("bob").await, ["ann"]);
    one.subscribe("bob").await;
    assert_eq!(one.known_online("bob"), ["ann"]);
    one.unsubscribe("bob");
    eventually(PATIENCE, async || if one.known_online("bob").is_empty() { Ok(()) } else { Err("kept") }).await;
    one.disconnect("ann", "a1", Departure::Clean, 1_000);
    one.presence.set_contacts("bob", &["ann", "dan"]).await.unwrap();
    one.connect("dan", "d1");
    assert!(one.user("dan").await.online);
    // Whoever subscribes again is told of what happens then, and was told of nothing in between.
    one.subscribe("bob").await;
    assert_eq!(one.known_online("bob"), ["dan"]);
    one.connect("ann", "a1");
    one.tells(&[r#"+ann ["bob"]"#]).await;
}
