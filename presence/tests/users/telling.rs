//! Gateways answer who tells services, and hand out what is to be told.

use crate::region::{Gateway, PATIENCE, Region};
use presence::{
    About, Departure, Hook, HookBatch, HookKind, Member,
    cluster::{
        RoomId,
        telling::{Marked, Question},
    },
    redis::{mark, question},
};
use protocol::name::Channel;
use ring_coordinator::redis::Link;
use std::collections::{BTreeMap, BTreeSet};
use testkit::eventually;
use tokio::time::{Duration, timeout};

/// As the gateway does that has the lease, but for who is alive: without etcd it does not know.
async fn mark_as(gateway: &str, link: &Link, number: u64, ring: u64, gateways: &[&str]) {
    let asked = Question { number, ring, life: link.life().as_str().into() };
    // Its own question comes first, and it asks but once.
    eventually(PATIENCE, async || {
        let own = presence::redis::question_asked(link).await.ok().flatten().ok_or("it has not asked yet")?;
        if own.number == 7 { Ok(()) } else { Err("another one has asked") }
    })
    .await;
    eventually(PATIENCE, async || {
        let marked = mark(link, gateway, &asked, gateways).await;
        if marked == Ok(Marked::Lost) {
            question(link, gateway, &asked).await.unwrap();
        }
        if marked == Ok(Marked::Yes) { Ok(()) } else { Err(format!("{marked:?}")) }
    })
    .await;
}

async fn next(gateway: &Gateway) -> HookBatch {
    timeout(PATIENCE, gateway.presence.next_hooks()).await.expect("something is to be told")
}

/// Whether nothing is handed out for a while.
async fn is_quiet(gateway: &Gateway) -> bool {
    timeout(Duration::from_millis(300), gateway.presence.next_hooks()).await.is_err()
}

/// Takes batches until so many events were told, of each name in order.
async fn told(gateway: &Gateway, count: usize) -> BTreeMap<String, Vec<HookKind>> {
    let (mut told, mut seen) = (BTreeMap::<String, Vec<HookKind>>::new(), BTreeSet::new());
    while seen.len() < count {
        let batch = next(gateway).await;
        assert!(gateway.presence.are_hooks_ours(&batch));
        for Hook { id, kind, name, .. } in &batch.hooks {
            assert!(seen.insert(id.clone()), "{id} came twice");
            told.entry(name.to_string()).or_default().push(*kind);
        }
        gateway.presence.hooks_done(batch, true).await;
    }
    told
}

fn member(client: &str, user: &str) -> Member {
    Member::new(client.into(), user.into(), About::default())
}

#[tokio::test]
async fn what_happens_at_any_gateway_is_handed_out_at_the_one_that_tells_until_it_was_told() {
    use HookKind::{Occupied, Offline, Online, ResyncNeeded, Vacated};
    let region = Region::start().await;
    let (one, two) = (region.telling_gateway("one").await, region.gateway("two").await);
    let channel = Channel::parse("chat:a").unwrap();
    one.connect("ann", "a1");
    two.connect("bob", "b1");
    two.presence.join(&channel, member("b1", "bob"), crate::region::now());
    two.presence.settled(&channel).await;
    assert!(is_quiet(&one).await, "nobody knows yet whether all are there");
    for (number, server) in ["redis-0", "redis-1"].iter().enumerate() {
        let link = eventually(PATIENCE, async || region.nodes.link(server)).await;
        mark_as("one", &link, number as u64 + 100, 1, &["one", "two"]).await;
    }
    // A word of losses from each node.
    let first = told(&one, 5).await;
    let of = |name: &str, kinds: &[HookKind]| (name.to_owned(), kinds.to_vec());
    let expected = [of("", &[ResyncNeeded; 2]), of("ann", &[Online]), of("bob", &[Online]), of("chat:a", &[Occupied])];
    assert_eq!(first, expected.into());

    // What was not told comes again, and meanwhile nobody has anything of that channel.
    two.presence.leave(&channel, "b1", Departure::Clean, crate::region::now());
    let batch = next(&one).await;
    let again: Vec<Hook> = batch.hooks.clone();
    assert_eq!(again.iter().map(|hook| (hook.kind, &*hook.name)).collect::<Vec<_>>(), [(Vacated, "chat:a")]);
    two.presence.join(&channel, member("b2", "bob"), crate::region::now());
    two.presence.settled(&channel).await;
    assert!(is_quiet(&one).await);
    one.presence.hooks_done(batch, false).await;
    let batch = next(&one).await;
    assert_eq!(batch.hooks[0], again[0]);
    assert_eq!(batch.hooks[1..].iter().map(|hook| (hook.kind, &*hook.name)).collect::<Vec<_>>(), [(Occupied, "chat:a")]);
    one.presence.hooks_done(batch, true).await;
    one.disconnect("ann", "a1", Departure::Clean, 5);
    assert_eq!(told(&one, 1).await, [of("ann", &[Offline])].into());
    assert!(is_quiet(&one).await);
    // A gateway that does not tell has nothing.
    assert!(is_quiet(&two).await);
    let keys = region.keys_with("hc:hooks:teller").await;
    assert_eq!(keys.len(), 2);
    let link = region.link(&RoomId::channel(&channel)).await;
    assert_eq!(link.command(redis::cmd("GET").arg("hc:hooks:teller")).await.unwrap().text(), Some("one"));
}
