//! The coordinator with everything around it: a real etcd, real Redis nodes, and leaders that die.

#![allow(clippy::unwrap_used)] // All of this is a test.

mod region;

use region::{PATIENCE, Region, wanted};
use ring_coordinator::{
    coordinator::facts::Refusal,
    document::{NodeState, Phase},
    etcd::WriteError,
    redis::Vote,
    wanted::{Outcome, Wish},
};
use std::sync::atomic::Ordering;
use testkit::{eventually, resp::Reply};

use NodeState::{Drained, Serving};

fn channels() -> Vec<String> {
    (0..60).map(|number| format!("chat:{number}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_added_reweighted_drained_and_removed_and_streams_go_where_their_slots_go() {
    let region = Region::start(&["a", "b", "c"], 2, 1).await;
    let first = region.goes_over_to(&[("a", 1, Serving)]).await;
    assert_eq!((first.epoch, first.phase), (1, Phase::Stable));
    region.publish(&first, &channels()).await;
    for nodes in [
        &[("a", 1, Serving), ("b", 1, Serving), ("c", 1, Serving)][..],
        &[("a", 1, Serving), ("b", 3, Serving), ("c", 1, Serving)],
        &[("a", 1, Drained), ("b", 3, Serving), ("c", 1, Serving)],
        &[("b", 3, Serving), ("c", 1, Serving)],
    ] {
        let ring = region.goes_over_to(nodes).await;
        assert_eq!(ring.phase, Phase::Stable);
        region.holds(&ring, &channels()).await;
        eventually(PATIENCE, async || {
            for (node, ..) in nodes {
                let Reply::Text(copy) = region.cli(node, &["GET", "hc:ring"]).await else { return Err(format!("{node} has no copy")) };
                let copy = ring_coordinator::document::Document::parse(copy.as_bytes()).unwrap();
                if copy != ring {
                    return Err(format!("{node} has epoch {}", copy.epoch));
                }
            }
            Ok(())
        })
        .await;
    }
    let fenced = region.cli("a", &["KEYS", "hc:*:min_epoch"]).await;
    assert!(matches!(&fenced, Reply::List(slots) if slots.len() == 16384), "a has lost all of its slots");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_phase_a_leader_dies_in_the_next_one_goes_on_from_there() {
    for phase in [Phase::Prepare, Phase::Fence, Phase::Switch] {
        let mut region = Region::start(&["a", "b"], 2, 2).await;
        let first = region.goes_over_to(&[("a", 1, Serving)]).await;
        region.publish(&first, &channels()).await;
        match phase {
            Phase::Prepare => region.acks_until.store(1, Ordering::SeqCst),
            Phase::Switch => region.acks_until.store(3, Ordering::SeqCst),
            // Nobody answers while a is to be fenced; the gateways find it well all the same.
            _ => region.redis["a"].freeze().await,
        }
        region.ask(region.layout(&[("a", 1, Serving), ("b", 1, Serving)])).await;
        region.sees_ring("the phase", |document| document.phase == phase).await;
        region.kill_leader().await;
        region.acks_until.store(u64::MAX, Ordering::SeqCst);
        region.redis["a"].thaw().await;
        let answer = region.answer().await;
        assert_eq!((answer.outcome, answer.epoch), (Outcome::Done, 5), "{phase:?}: {}", answer.reason);
        let ring = region.sees_ring("the end", |document| document.epoch == 5).await;
        region.holds(&ring, &channels()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_taken_out_and_in_again_in_a_new_incarnation() {
    let mut region = Region::start(&["a", "b", "c"], 2, 1).await;
    region.goes_over_to(&[("a", 1, Serving), ("b", 1, Serving), ("c", 1, Serving)]).await;
    region.redis.get_mut("b").unwrap().kill().await;
    region.vote("b", Vote::Down);
    let is = |state| {
        move |document: &ring_coordinator::document::Document| {
            document.phase == Phase::Stable && document.current.node("b").unwrap().state == state
        }
    };
    let without = region.sees_ring("b is down", is(NodeState::Down)).await;
    region.redis.get_mut("b").unwrap().restart(testkit::redis_server::Disk::Empty).await;
    region.vote("b", Vote::Up);
    let with = region.sees_ring("b is back", is(Serving)).await;
    let incarnation = |document: &ring_coordinator::document::Document| document.current.node("b").unwrap().incarnation;
    assert!(incarnation(&with) > incarnation(&without));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_answered_with_the_reason() {
    let mut region = Region::start(&["a", "b"], 1, 1).await;
    region.goes_over_to(&[("a", 1, Serving)]).await;
    region.redis.get_mut("b").unwrap().kill().await;
    region.ask(region.layout(&[("a", 1, Serving), ("b", 1, Serving)])).await;
    let answer = region.answer().await;
    let expected = "node b does not answer the coordinator, or takes no writes; nothing was changed";
    assert_eq!((answer.outcome, answer.reason.as_str(), answer.epoch), (Outcome::Refused, expected, 1));
    let (_, _, desk) = &region.coordinators["c0"];
    assert_eq!(desk.ask(Wish::Abort).await, Err(Refusal::NothingToAbort));
    assert!(matches!(desk.ask(Wish::Lose(vec!["a".to_owned()])).await, Err(Refusal::Layout(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_a_change_dropped_asks_instead_of_who_wanted_it() {
    let region = Region::start(&["a", "b"], 1, 1).await;
    region.goes_over_to(&[("a", 1, Serving)]).await;
    region.acks_until.store(1, Ordering::SeqCst);
    region.ask(region.layout(&[("a", 1, Serving), ("b", 1, Serving)])).await;
    region.sees_ring("the change", |document| document.phase == Phase::Prepare).await;
    let (snapshot, store) = (region.etcd().mirror().snapshot(), region.etcd().store());
    let (standing, ring) = (snapshot.wanted.as_ref().unwrap().mod_revision, snapshot.ring_revision);
    let changed = Err(WriteError::Changed { expected: standing, revision: standing });
    assert_eq!(store.ask_instead(&wanted(Wish::Abort), standing, ring - 1).await, changed, "the ring has gone on");
    store.ask_instead(&wanted(Wish::Abort), standing, ring).await.unwrap();
    assert_eq!(region.answer().await.outcome, Outcome::Done);
    let ring = region.sees_ring("the end", |document| document.epoch == 3).await;
    assert_eq!((ring.phase, ring.current.nodes.len()), (Phase::Stable, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_taken_for_gone_comes_back_and_checks_everything() {
    let region = Region::start(&["a"], 2, 1).await;
    let ring = region.goes_over_to(&[("a", 1, Serving)]).await;
    let mut riding = region.gateways[1].riding.clone();
    riding.wait_for(|riding| riding.view.as_ref().is_some_and(|view| view.document == ring)).await.unwrap();
    let has_told = |snapshot: &ring_coordinator::etcd::Snapshot| snapshot.gateways.get("g1").is_some_and(|held| held.value.acked == 1);
    let before = region.sees("the gateway's key", has_told).await.gateways["g1"].create_revision;
    assert_eq!(riding.borrow().doubts, 0);
    region.server.ctl(&["del", "/headcount/eu/gw/g1"]).await.unwrap();
    riding.wait_for(|riding| riding.doubts == 1).await.unwrap();
    let after = region.sees("the key again", |snapshot| has_told(snapshot) && snapshot.gateways["g1"].create_revision > before).await;
    assert_eq!(after.gateways["g1"].value.epoch, 1);
    region.gateways[1].presence.send_replace(17);
    region.sees("the incarnation", |snapshot| snapshot.gateways["g1"].value.presence == 17).await;
    assert_eq!(riding.borrow().standing, ring_coordinator::source::Standing::Fresh);
}
