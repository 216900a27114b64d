//! Clients who are told gone where they are connected; and owners of rows, more than are known who might be gone.

use crate::region::{Gateway, PATIENCE, Region, owner, place};
use presence::{
    cluster::{Edge, RoomId, reaper::OWNERS_MAX},
    redis::{Turn, reap, write},
};
use protocol::name::Channel;
use testkit::eventually;

/// Waits until so many leaves were told, and the client is there again.
async fn until_back(gateway: &Gateway, channel: &Channel, leaves: f64) {
    eventually(PATIENCE, async || {
        let told = gateway.metric("headcount_presence_leaves_total");
        let here = gateway.presence.clients(channel).await.map_err(|error| error.to_string())?;
        if told == leaves && here.contains_key("a1") { Ok(()) } else { Err(format!("{told} leaves, {here:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_leave_of_one_who_is_here_is_false_unless_the_gateway_was_taken_for_dead() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    let channel = Channel::parse("chat:a").unwrap();
    let room = RoomId::channel(&channel);
    one.enter(&channel, "ann", "a1");
    one.follow(&channel).await;
    until_back(&one, &channel, 0.0).await;
    let (link, incarnation) = (region.link(&room).await, one.incarnation());
    let false_leaves = || one.metric("headcount_presence_false_leaves_total");

    reap(place(&link, &room, &region), &owner("g1", incarnation), 5).await.unwrap();
    until_back(&one, &channel, 1.0).await;
    eventually(PATIENCE, async || if one.incarnation() > incarnation { Ok(()) } else { Err("under the old name") }).await;
    assert_eq!(false_leaves(), 0.0);
    assert!(one.metric("headcount_presence_fenced_total") >= 1.0);

    // Nobody but itself may say this under its name. Leaves of before might be heard for a while.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    let gone = Edge::Gone { client: "a1".into(), seen_ms: None };
    write(place(&link, &room, &region), &owner("g1", one.incarnation()), Turn::default(), &[gone]).await.unwrap();
    until_back(&one, &channel, 2.0).await;
    eventually(PATIENCE, async || if false_leaves() == 1.0 { Ok(()) } else { Err("not counted") }).await;
}

#[tokio::test]
async fn owners_beyond_the_bound_are_counted() {
    let region = Region::start().await;
    let one = region.gateway("g1").await;
    let ignored = || one.metric("headcount_presence_owners_ignored_total");
    let enter = async |count: usize| {
        let fill = "for i = 1, ARGV[1] do redis.call('SADD', 'hc:owners', 'g' .. i .. '.1') end";
        region.servers[0].cli(&["EVAL", fill, "0", &count.to_string()]).await.unwrap();
    };
    enter(OWNERS_MAX + 3).await;
    eventually(PATIENCE, async || if ignored() >= 3.0 { Ok(()) } else { Err("not counted") }).await;
    assert_eq!(ignored() % 3.0, 0.0, "three at each look");
}
