//! Pure: what a roster tells of statuses, case by case.

use crate::{
    world::{GRACE_MS, World, member, roster, world},
    *,
};

/// Two devices of ann, the phone being there longest, and bob.
fn company(tiers: Tiers) -> World {
    let world = world(tiers);
    for (client, user) in [("phone", "ann"), ("laptop", "ann"), ("tablet", "bob")] {
        world.store.join(&world.channel, member(client, user, ""), world.now);
    }
    world.said();
    world
}

fn set(world: &World, client: &str, status: &str) {
    world.store.set_status(&world.channel, client, status.to_owned().into(), world.now);
}

/// The one diff that was told, which names nobody but members who stay, each with the status; nobody joined or left.
fn updates(world: &World) -> Vec<(String, String, String)> {
    let said = world.said();
    let [Event::Changed { diff, .. }] = &said[..] else { panic!("{said:?}") };
    assert!(diff.join.is_empty() && diff.leave.is_empty(), "{diff:?}");
    let text = |entry: &Entry| {
        let status = String::from_utf8(entry.status().to_vec()).unwrap();
        (entry.user().to_string(), entry.client().to_string(), status)
    };
    diff.update.iter().map(text).collect()
}

fn update(user: &str, client: &str, status: &str) -> Vec<(String, String, String)> {
    vec![(user.to_owned(), client.to_owned(), status.to_owned())]
}

#[test]
fn a_status_is_one_update_and_what_changes_nothing_to_see_is_not_told() {
    let world = company(Tiers::default());
    set(&world, "tablet", "1");
    assert_eq!(updates(&world), update("bob", "tablet", "1"));
    set(&world, "tablet", "1");
    set(&world, "nobody", "1");
    assert_eq!(world.said(), []);
    set(&world, "tablet", "");
    assert_eq!(updates(&world), update("bob", "tablet", ""));
}

#[test]
fn a_member_shows_the_status_of_the_longest_present_client_that_has_one() {
    let world = company(Tiers::default());
    set(&world, "laptop", "1");
    assert_eq!(updates(&world), update("ann", "phone", "1"), "the phone has none");
    set(&world, "phone", "2");
    assert_eq!(updates(&world), update("ann", "phone", "2"));
    set(&world, "laptop", "3");
    assert_eq!(world.said(), [], "the phone's is shown");
    world.store.leave(&world.channel, "phone", Departure::Clean, world.now);
    assert_eq!(updates(&world), update("ann", "laptop", "3"));
}

#[test]
fn who_comes_back_within_the_grace_starts_without_a_status_and_keeps_it_meanwhile() {
    let mut world = company(Tiers::default());
    set(&world, "tablet", "1");
    world.said();
    world.store.leave(&world.channel, "tablet", Departure::Dropped, world.now);
    world.wait(GRACE_MS - 1);
    assert_eq!(world.said(), []);
    assert_eq!(roster(&world.store, &world.channel)[&MemberKey::User("bob".into())].status(), "1");
    world.store.join(&world.channel, member("new", "bob", ""), world.now);
    assert_eq!(updates(&world), update("bob", "new", ""));
}

#[test]
fn many_changes_of_a_batch_are_told_as_the_last_one_and_a_big_room_tells_its_count() {
    let mut batched = company(Tiers { at_once_max: 1, batched_max: 1_000 });
    batched.wait(BATCH_MS);
    batched.said();
    (0..5).for_each(|status| set(&batched, "tablet", &status.to_string()));
    assert_eq!(batched.said(), []);
    batched.wait(BATCH_MS);
    assert_eq!(updates(&batched), update("bob", "tablet", "4"));

    let mut counted = company(Tiers { at_once_max: 1, batched_max: 1 });
    counted.wait(COUNT_MS);
    counted.said();
    let known = counted.store.version(&counted.channel).to_string();
    set(&counted, "tablet", "1");
    counted.wait(COUNT_MS);
    let said = counted.said();
    assert!(matches!(&said[..], [Event::Changed { diff, .. }] if diff.counts_only && diff.count == 2 && diff.is_empty()), "{said:?}");
    let Since::Diff(diff) = counted.store.since(&counted.channel, &known) else { panic!("it is remembered") };
    assert_eq!(diff.update.iter().map(|entry| (&**entry.user(), &entry.status()[..])).collect::<Vec<_>>(), [("bob", &b"1"[..])]);
    let page = counted.store.page(&counted.channel, None, 10).unwrap();
    assert_eq!(
        page.snapshot.iter().map(|entry| (&**entry.user(), &entry.status()[..])).collect::<Vec<_>>(),
        [("ann", &b""[..]), ("bob", b"1")]
    );
}
