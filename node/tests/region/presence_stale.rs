//! What may be old says so, to whoever asks and to whoever watches, for as long as it may be; and nobody is told gone by that.

use crate::lobby::{EXACT_AGAIN, Lobby, PATIENCE};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Guest, Watcher, eventually, http};
use tokio::time::{sleep, timeout};

const GUESTS: usize = 20;
/// Longer than a room may go unheard before that is told.
const UNHEARD: Duration = Duration::from_secs(7);
/// What is known is answered within so long, whatever the node does: a second for what was written before, one for the node, twice,
/// and room for a busy machine.
const ANSWER: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_whose_redis_node_does_not_answer_says_that_it_may_be_old_until_it_does() {
    // The last node is not given up.
    let mut lobby = Lobby::start(2, 1, 1, "").await;
    let guests = lobby.enter(GUESTS, &[0, 1]).await;
    lobby.until_exact("all in", &guests, PATIENCE).await;
    lobby.forget();

    lobby.region.etcd.stop().await;
    sleep(UNHEARD).await;
    assert_eq!(said(&lobby, &guests[0]).await, [false; 8], "etcd is away");
    lobby.region.etcd.cont().await;
    lobby.assert_nothing_was_told("etcd was away");

    let node = lobby.region.redis.get_mut("redis-0").unwrap();
    node.freeze().await;
    assert_eq!(said(&lobby, &guests[0]).await, [true; 8], "the node stands still");
    until_turned(&lobby, &[true]).await;
    let late = Watcher::of_roster(lobby.door(0), "late", &lobby.channels[0]).await.unwrap();
    let noted = late.noted();
    assert!(noted.is_stale && noted.roster.len() >= GUESTS, "the first snapshot: {noted:?}");
    assert_eq!(said(&lobby, &guests[0]).await, [true; 8], "the node stands still for long");
    lobby.assert_nothing_was_told("the node stands still");
    the_answer_names_the_node(&lobby).await;

    lobby.region.redis["redis-0"].thaw().await;
    until_turned(&lobby, &[true, false]).await;
    lobby.until_exact("goes on", &guests, EXACT_AGAIN).await;
    assert_eq!(said(&lobby, &guests[0]).await, [false; 8], "the node goes on");
    let noted = eventually(PATIENCE, async || Some(late.noted()).filter(|noted| !noted.is_stale).ok_or("stale")).await;
    assert_eq!((&noted.turns[..], &noted.wrong[..]), (&[false][..], &[][..]));
    assert_eq!(noted.roster, lobby.truth(&lobby.channels[0], &guests));
    lobby.assert_nothing_was_told("goes on");
    lobby.assert_no_false_leaves("goes on").await;
}

/// Every watcher was told so, and no more.
async fn until_turned(lobby: &Lobby, turns: &[bool]) {
    eventually(PATIENCE, async || {
        let told = lobby.watchers.iter().map(|watcher| watcher.noted().turns).find(|told| told != turns);
        told.map_or(Ok(()), |told| Err(format!("told {told:?}, not {turns:?}")))
    })
    .await;
}

/// Whether it is said to be stale what services read at each gateway, and a client by each of its calls; the counts by the old calls,
/// which have no place for that, come in any case.
async fn said(lobby: &Lobby, guest: &Guest) -> Vec<bool> {
    let channel = &lobby.channels[0];
    let mut answers = Vec::new();
    for at in 0..lobby.region.gateways.len() {
        for path in ["presence", "presence/stats", "presence?limit=1"] {
            let path = format!("/v1/channels/{channel}/{path}");
            let answer = timeout(ANSWER, http::get(lobby.door(at), &path)).await.expect("an answer in time").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
            let answer = answer.json();
            assert!(answer["num_users"].as_u64() >= Some(GUESTS as u64), "{answer}");
            answers.push(answer);
        }
    }
    for (method, more) in [("presence.page", json!({})), ("presence.since", json!({ "version": answers[0]["version"] }))] {
        let mut data = json!({ "channel": channel });
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let asked = guest.ask(json!({ "rpc": { "method": method, "data": data } }));
        let reply = timeout(ANSWER, asked).await.expect("a reply in time").unwrap();
        assert!(reply["rpc"]["data"].get("version").is_some(), "{reply}");
        answers.push(reply["rpc"]["data"].clone());
    }
    let presence = timeout(ANSWER, guest.ask(json!({ "presence_stats": { "channel": channel } }))).await.expect("a reply in time").unwrap();
    assert_eq!(presence["presence_stats"].as_object().unwrap().len(), 2, "{presence}");
    let is_stale = |answer: &Value| match answer.get("stale") {
        None => false,
        Some(Value::Bool(true)) => true,
        _ => panic!("{answer}"),
    };
    answers.iter().map(is_stale).collect()
}

/// Of a channel that nobody here has asked for before nothing is known.
async fn the_answer_names_the_node(lobby: &Lobby) {
    for path in ["channels/elsewhere/presence", "channels/elsewhere/presence/stats", "users/user0/presence", "presence/stats"] {
        let answer = http::get(lobby.door(0), &format!("/v1/{path}")).await.unwrap();
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (503, &json!("storage_unavailable")), "{}", answer.body);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("redis-0") && message.contains("retry"), "{message}");
    }
}
