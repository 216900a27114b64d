//! What happens when more comes than a node can take: it lets in what it may, says to the others when to come back, and goes on.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod stalled;

use anyhow::ensure;
use futures_util::future::join_all;
use std::time::Duration;
use testkit::{Begun, Node, NodeOptions, Visitor, eventually, figure, http};
use tokio::time::Instant;

const NEWCOMER: &str = r#"{"id":1,"connect":{}}"#;
/// The first frame of a client of a published SDK that was here before.
const RESUME: &str =
    "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"news\",\"recover\":true,\"epoch\":\"e\",\"offset\":3}}";

async fn node(config_toml: impl Into<String>) -> Node {
    Node::start(NodeOptions { config_toml: config_toml.into(), ..NodeOptions::default() }).await
}

async fn refused(node: &Node, reason: &str) -> f64 {
    node.metric(&format!("headcount_admission_refused_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_are_let_in_at_their_rate_and_those_who_come_back_do_not_wait_behind_them() {
    let node = node("[limits]\nnewcomers_per_s = 10\nresumes_per_s = 1000\n").await;
    let began = Instant::now();
    let begin = |frame| join_all((0..100).map(move |_| Visitor::begin(node.client, None, None, frame)));
    let came = begin(NEWCOMER).await;
    let most = 20.0 + 10.0 * began.elapsed().as_secs_f64() + 1.0;
    let (mut stay, mut closed) = (Vec::new(), 0);
    for begun in came {
        match begun.unwrap() {
            Begun::In(client) => stay.push(client),
            Begun::Closed(3013) => closed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((20.0..=most).contains(&(stay.len() as f64)), "{} of {most}", stay.len());
    assert_eq!(refused(&node, "newcomers").await, f64::from(closed));
    figure::count("storm", "let in of 100 newcomers", stay.len() as u64);
    // Newcomers still come too fast.
    let (back, more) = tokio::join!(begin(RESUME), begin(NEWCOMER));
    let turned_away = back.into_iter().filter(|begun| !matches!(begun, Ok(Begun::In(..)))).count();
    figure::count("storm", "turned away of 100 who came back", turned_away as u64);
    assert_eq!(turned_away, 0);
    assert!(more.into_iter().any(|begun| matches!(begun.unwrap(), Begun::Closed(3013))));
    // Those who were in feel nothing of it.
    for mut client in stay {
        let answer = client.ask(r#"{"id":2,"presence_stats":{"channel":"news"}}"#).await.unwrap();
        assert!(answer.get("presence_stats").is_some(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn far_too_many_are_told_before_the_handshake_when_to_come_back() {
    let node = node("[limits]\nnewcomers_per_s = 1\nresumes_per_s = 1\n").await;
    let came = join_all((0..100).map(|_| Visitor::begin(node.client, None, None, NEWCOMER))).await;
    let mut waits: Vec<u64> = Vec::new();
    for begun in came {
        if let Begun::Status(status, after) = begun.unwrap() {
            assert_eq!(status, 503);
            waits.extend(after);
        }
    }
    assert_eq!(refused(&node, "arrivals").await, waits.len() as f64);
    assert!(waits.len() > 50 && waits.iter().all(|wait| (1..=10).contains(wait)), "{waits:?}");
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 3, "not all at the same time: {waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_too_many_come_back_most_are_refused_before_they_cost_a_handshake() {
    let node = node("[limits]\nnewcomers_per_s = 1000\nresumes_per_s = 5\n").await;
    let begin = |frame| join_all((0..100).map(move |_| Visitor::begin(node.client, None, None, frame)));
    let first = begin(RESUME).await;
    assert!(first.iter().filter(|begun| matches!(begun, Ok(Begun::In(..)))).count() >= 10, "a burst is of 10: {first:?}");
    let at_the_door = refused(&node, "arrivals").await;
    let later = begin(RESUME).await.into_iter().filter(|begun| matches!(begun, Ok(Begun::Status(503, Some(1..))))).count();
    assert_eq!(refused(&node, "arrivals").await - at_the_door, later as f64);
    assert!(later > 50, "{later}: ten a second pass, and the door of newcomers would hold thousands");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_keep_others_out() {
    let node = node("[limits]\naddress_per_s = 1\ntrusted_proxies = [\"127.0.0.0/8\"]\n").await;
    let come = async |address: &'static str| {
        let came = join_all((0..20).map(|_| Visitor::begin(node.client, None, Some(address), NEWCOMER))).await;
        came.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let came = come("203.0.113.7").await;
    let refused_here = came.iter().filter(|begun| matches!(begun, Begun::Status(429, Some(1..)))).count();
    assert!((5..=15).contains(&refused_here), "a burst is of 5, and one more comes each second: {came:?}");
    assert_eq!(refused(&node, "address").await, refused_here as f64);
    let other = come("2001:db8::1").await;
    assert!(other.iter().filter(|begun| matches!(begun, Begun::In(..))).count() >= 5, "{other:?}");
    // A browser's EventSource would take any status but 200 for the end of all.
    let ask = |accept: &str| {
        format!("GET /v1/events?channel=a HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
    };
    let answers = join_all((0..10).map(|_| async { http::ask(node.client, &ask("application/json")).await.unwrap() })).await;
    assert!(answers.iter().any(|answer| answer.status == 429 && answer.json()["error"]["code"] == "too_many_requests"));
    let event_source = http::ask(node.client, &ask("text/event-stream")).await.unwrap();
    let retry_ms: u64 = event_source.body.strip_prefix("retry: ").unwrap().trim().parse().unwrap();
    assert_eq!((event_source.status, (1_000..=10_000).contains(&retry_ms)), (200, true), "{event_source:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_proxy_that_is_believed_nobody_chooses_an_address_and_this_machine_has_no_limit() {
    let node = node("[limits]\naddress_per_s = 1\n").await;
    let came = join_all((0..20).map(|_| Visitor::begin(node.client, None, Some("203.0.113.7"), NEWCOMER))).await;
    assert!(came.into_iter().all(|begun| matches!(begun.unwrap(), Begun::In(..))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_connections_and_a_further_one_ends_without_harm_to_them() {
    let node = node(format!("{}[limits]\nconnections_per_user = 2\n", testkit::crowd::auth_toml())).await;
    let frame = |user: &str| format!("{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}", testkit::crowd::token(user));
    let begin = async |user: &str| Visitor::begin(node.client, None, None, &frame(user)).await.unwrap().visitor();
    let (mut first, second, mut third) = (begin("ann").await, begin("ann").await, begin("ann").await);
    assert_eq!(third.hear().await.unwrap(), Err(3504));
    assert_eq!(refused(&node, "user").await, 1.0);
    begin("bob").await;
    drop(second);
    eventually(Duration::from_secs(60), async || {
        let mut client = Visitor::begin(node.client, None, None, &frame("ann")).await?.visitor();
        client.say(r#"{"id":2,"subscribe":{"channel":"news"}}"#).await?;
        client.hear().await?.map(drop).map_err(|code| anyhow::anyhow!("closed with {code}"))
    })
    .await;
    assert!(first.ask(r#"{"id":2,"subscribe":{"channel":"news"}}"#).await.unwrap().get("subscribe").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_as_many_connections_as_it_may_have_closes_a_further_one_and_counts_it() {
    let node = node("[limits]\nconnections = 1\n").await;
    let _first = Visitor::begin(node.client, None, None, NEWCOMER).await.unwrap().visitor();
    let second = Visitor::begin(node.client, None, None, NEWCOMER).await.unwrap();
    assert!(matches!(second, Begun::Closed(3504)), "{second:?}");
    assert_eq!(node.metric("headcount_disconnects_total{reason=\"connection limit\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_come_too_fast_are_refused_for_all_connections_of_a_user_and_who_goes_on_is_closed() {
    let node = node(format!("{}[limits]\ncommands_per_s = 2\n", testkit::crowd::auth_toml())).await;
    let frame = |user: &str| format!("{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}", testkit::crowd::token(user));
    let begin = async |user: &str| Visitor::begin(node.client, None, None, &frame(user)).await.unwrap().visitor();
    let command = r#"{"id":2,"presence_stats":{"channel":"news"}}"#;
    let (mut one, mut two, mut other) = (begin("ann").await, begin("ann").await, begin("bob").await);
    for client in [&mut one, &mut two] {
        for _ in 0..8 {
            client.say(command).await.unwrap();
        }
    }
    let mut refused_here = 0;
    for client in [&mut one, &mut two] {
        let mut replies = Vec::new();
        while replies.len() < 8 {
            replies.extend(client.hear().await.unwrap().expect("still open"));
        }
        refused_here += replies.iter().filter(|reply| reply["error"]["code"] == 111 && reply["error"]["temporary"] == true).count();
    }
    // Ten are there at first, and two come in each second that this may take.
    assert!((1..=6).contains(&refused_here), "{refused_here}");
    assert!(other.ask(command).await.unwrap().get("presence_stats").is_some(), "bob has commands of his own");
    let many = vec![command; 100].join("\n");
    one.say(&many).await.unwrap();
    let code = loop {
        if let Err(code) = one.hear().await.unwrap() {
            break code;
        }
    };
    assert_eq!(code, 3013);
    two.say("{}").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_asks_too_fast_is_told_when_to_come_back_and_others_are_served() {
    let node = node("[auth]\napi_keys = [\"first\", \"second\"]\n[limits]\nrequests_per_s = 1\n").await;
    let ask = async |key: &str| http::ask(node.client, &format!("GET /v1/regions HTTP/1.0\r\nX-API-Key: {key}\r\n\r\n")).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(ask("first").await.status);
    }
    assert_eq!((statuses[0], statuses.contains(&429)), (200, true), "{statuses:?}");
    assert_eq!(ask("second").await.status, 200);
    assert_eq!(ask("third").await.status, 401);
    node.configure("[auth]\napi_keys = [\"first\", \"second\"]\n");
    node.signal_hangup().await;
    eventually(Duration::from_secs(60), async || {
        let answers = join_all((0..20).map(|_| ask("first"))).await;
        ensure!(answers.iter().all(|answer| answer.status == 200), "the limit that was taken away still holds");
        Ok(())
    })
    .await;
}
