//! Lists of contacts, and what is left when a user is erased.

use crate::region::{GRACE_MS, PATIENCE, Region, names, place};
use presence::{ContactsError, Departure, Erased, SetContactsError, UserPresence, cluster::RoomId, redis::set_contacts};
use protocol::limits::CONTACTS_MAX;
use std::time::Duration;
use testkit::eventually;

#[tokio::test]
async fn those_of_a_list_are_found_who_are_online_at_any_gateway() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    // Enough for every partition.
    let users: Vec<String> = (0..CONTACTS_MAX).map(|number| format!("u{number:03}")).collect();
    one.presence.set_contacts("bob", &users).await.unwrap();
    users.iter().step_by(5).for_each(|user| two.connect(user, &format!("c{user}")));
    one.connect("u001", "x");
    one.connect("stranger", "y");
    two.disconnect("u000", "cu000", Departure::Clean, 1);
    two.disconnect("u005", "cu005", Departure::Dropped, 1);
    let mut expected: Vec<&String> = users.iter().step_by(5).skip(1).collect();
    expected.insert(0, &users[1]);
    assert_eq!(one.online("bob").await.iter().filter(|user| **user == "u001").count(), 1, "what was written here is in the answer");
    eventually(PATIENCE, async || {
        let found = two.online("bob").await;
        if found.iter().collect::<Vec<_>>() == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    assert_eq!(one.online("nobody").await, [""; 0]);
}

#[tokio::test]
async fn a_list_is_replaced_as_a_whole_and_others_keep_theirs() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    let users: Vec<String> = (0..100).map(|number| format!("u{number}")).collect();
    users.iter().for_each(|user| one.connect(user, &format!("c{user}")));
    one.presence.set_contacts("bob", &users).await.unwrap();
    one.presence.set_contacts("cid", &users[..3]).await.unwrap();
    assert_eq!(one.online("bob").await.len(), 100);
    one.presence.set_contacts("bob", &["u2", "u7", "u2", "absent"]).await.unwrap();
    assert_eq!(one.online("bob").await, ["u2", "u7"]);
    assert_eq!(one.online("cid").await, ["u0", "u1", "u2"]);
    // The reverse index says the same.
    let erased = one.erase("u0").await.unwrap();
    assert_eq!(erased.watchers, names(&["cid"]));
    assert_eq!(one.erase("u2").await.unwrap().watchers, names(&["bob", "cid"]));
    one.presence.set_contacts::<&str>("bob", &[]).await.unwrap();
    one.presence.set_contacts::<&str>("cid", &[]).await.unwrap();
    assert_eq!((one.online("bob").await.len(), one.online("cid").await.len()), (0, 0));
    let left = [region.keys_with(":pk:").await, region.keys_with(":pb:").await];
    assert_eq!(left, [Vec::<String>::new(), Vec::new()], "empty lists leave nothing behind");
}

#[tokio::test]
async fn a_list_out_of_bounds_is_refused_and_the_old_one_stays() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    one.connect("ann", "a1");
    one.presence.set_contacts("bob", &["ann"]).await.unwrap();
    let too_many: Vec<String> = (0..=CONTACTS_MAX).map(|number| number.to_string()).collect();
    let refused = async |me: &str, users: &[String]| one.presence.set_contacts(me, users).await.unwrap_err();
    assert_eq!(refused("bob", &too_many).await, SetContactsError::Refused(ContactsError::TooMany));
    assert_eq!(refused("bob", &["x".to_owned(), String::new()]).await, SetContactsError::Refused(ContactsError::BadUser));
    assert_eq!(refused("", &too_many[..1]).await, SetContactsError::Refused(ContactsError::BadUser));
    assert_eq!(one.online("bob").await, ["ann"]);
}

#[tokio::test]
async fn after_an_erasure_nothing_is_kept_in_either_direction() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    one.presence.set_contacts("ann", &["bob", "dan"]).await.unwrap();
    one.presence.set_contacts("bob", &["ann", "zoe"]).await.unwrap();
    two.presence.set_contacts("cid", &["ann"]).await.unwrap();
    one.connect("zoe", "z1");
    one.connect("ann", "a1");
    assert_eq!(one.user("ann").await.clients, 1);
    one.disconnect("ann", "a1", Departure::Clean, 7_000);
    assert_eq!(one.user("ann").await.last_seen_ms, Some(7_000));
    let erased = two.erase("ann").await.unwrap();
    let expected = Erased { last_seen_ms: Some(7_000), contacts: names(&["bob", "dan"]), watchers: names(&["bob", "cid"]) };
    assert_eq!(erased, expected);
    assert_eq!(two.erase("ann").await.unwrap(), Erased::default());
    assert_eq!(region.keys_with("ann").await, Vec::<String>::new());
    assert_eq!(one.user("ann").await, UserPresence::default());
    // Nobody finds the user again, and nobody else is missing.
    one.connect("ann", "a2");
    one.connect("bob", "b1");
    assert_eq!(one.user("ann").await.clients, 1);
    assert_eq!(one.online("bob").await, ["zoe"]);
    assert_eq!((one.online("cid").await.len(), one.online("ann").await.len()), (0, 0));
}

#[tokio::test]
async fn one_who_is_erased_in_grace_goes_offline_and_leaves_no_time_behind() {
    let region = Region::start().await;
    let (one, two) = (region.gateway("g1").await, region.gateway("g2").await);
    one.connect("ann", "a1");
    one.connect("bob", "b1");
    one.disconnect("ann", "a1", Departure::Dropped, 7_000);
    assert_eq!(one.user("ann").await.clients, 1, "held");
    two.erase("ann").await.unwrap();
    assert_eq!(one.user("ann").await, UserPresence::default());
    tokio::time::sleep(Duration::from_millis(2 * GRACE_MS)).await;
    assert_eq!(two.user("ann").await, UserPresence::default());
    // One who is connected stays so.
    two.erase("bob").await.unwrap();
    assert_eq!(one.user("bob").await.clients, 1);
    // And may come again.
    one.connect("ann", "a1");
    assert_eq!(one.user("ann").await.clients, 1);
}

#[tokio::test]
async fn a_star_is_taken_out_of_more_lists_than_one_call_does() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    let room = RoomId::of_user("star");
    let link = region.link(&room).await;
    for number in 0..1_234 {
        set_contacts(place(&link, &room, &region), &format!("fan {number}"), &["star"]).await.unwrap();
    }
    assert_eq!(one.erase("star").await.unwrap().watchers.len(), 1_234);
    assert_eq!(region.keys_with("fan").await.len() + region.keys_with("star").await.len(), 0);
}
