use crate::gateway::{Gateway, PATIENCE, document};
use ring_coordinator::{
    document::{Document, NodeState, Phase},
    redis::{Access, CallError, NotSent, Reply, Script, Secret, Vote, fence, fence_key, fences},
    slot::Slot,
};
use std::time::Duration;
use testkit::{RedisServer, eventually};

fn add() -> Script {
    Script::new("return {redis.call('INCRBY', KEYS[1], ARGV[1]), ARGV[2]}")
}

#[tokio::test]
async fn a_script_is_called_and_called_again_after_all_scripts_were_forgotten() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let link = gateway.link().await;
    let answer = |sum| Reply::Array(vec![Reply::Integer(sum), Reply::Bulk("\0\r\n".into())]);
    assert_eq!(link.call(&add(), &[b"k"], &[b"2", b"\0\r\n"]).await, Ok(answer(2)));
    server.cli(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert_eq!(link.call(&add(), &[b"k"], &[b"3", b"\0\r\n"]).await, Ok(answer(5)));
    let info = format!("{:?}", server.cli(&["INFO", "server"]).await.unwrap());
    assert!(info.contains(link.life().as_str().strip_suffix(".1").unwrap()));
}

/// What is published there from then on would be missed meanwhile.
#[tokio::test]
async fn a_node_that_a_change_takes_in_is_connected_to_before_publications_go_there_and_not_anew_then() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::new(Access::default(), &[]);
    let down = |mut document: Document| {
        document.current.nodes.iter_mut().for_each(|node| node.state = NodeState::Down);
        document
    };
    let (before, after) = (down(document(&[("redis-a", &server.url(), 1)])), document(&[("redis-a", &server.url(), 4)]));
    let next = Some(after.current.clone());
    gateway.nodes.apply(&before);
    gateway.link().await;
    gateway.nodes.apply(&Document { epoch: 4, phase: Phase::Prepare, next, ..before.clone() });
    let link = eventually(PATIENCE, async || {
        let link = gateway.link().await;
        if link.life().as_str().ends_with(".4") { Ok(link) } else { Err(format!("{link:?}")) }
    })
    .await;
    gateway.nodes.apply(&Document { epoch: 6, phase: Phase::Switch, prev: Some(before.current), ..after.clone() });
    gateway.nodes.apply(&Document { epoch: 7, ..after });
    // Longer than a connection that is let go of stands.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(link.command(&redis::cmd("PING")).await, Ok(Reply::Status("PONG".into())), "the very connection of before");
}

#[tokio::test]
async fn scripts_that_are_known_beforehand_are_known_to_the_node_before_the_first_call() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::new(Access::default(), &[&add()]);
    gateway.nodes.apply(&document(&[("redis-a", &server.url(), 1)]));
    gateway.link().await;
    let known = server.cli(&["SCRIPT", "EXISTS", add().sha1()]).await.unwrap();
    assert_eq!(known, testkit::resp::Reply::List(vec![testkit::resp::Reply::Integer(1)]));
}

#[tokio::test]
async fn calls_of_many_callers_are_written_together_and_answered_each_to_its_caller() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let link = gateway.link().await;
    let echo = Script::new("return ARGV[1]");
    let calls = (0..5_000_u32).map(|number| {
        let (link, echo) = (link.clone(), echo.clone());
        tokio::spawn(async move { (number, link.call(&echo, &[], &[number.to_string().as_bytes()]).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (number, answer) = call.await.unwrap();
        assert_eq!(answer, Ok(Reply::Bulk(number.to_string().into())));
    }
}

#[tokio::test]
async fn errors_of_scripts_keep_their_codes_and_change_nothing_about_the_connection() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let link = gateway.link().await;
    let fail = Script::new("return redis.error_reply(ARGV[1])");
    assert_eq!(link.call(&fail, &[], &[b"STALERING 7"]).await, Err(CallError::StaleRing { epoch: 7 }));
    let refused = |code: &str, detail: &str| Err(CallError::Refused { code: code.to_owned(), detail: detail.to_owned() });
    assert_eq!(link.call(&fail, &[], &[b"MOVED 2"]).await, refused("MOVED", "2"));
    assert_eq!(link.call(&fail, &[], &[b"NEEDPULL old"]).await, refused("NEEDPULL", "old"));
    assert_eq!(link.command(redis::cmd("ECHO").arg("x")).await, Ok(Reply::Bulk("x".into())));
    assert_eq!(gateway.link().await.life(), link.life());
}

#[tokio::test]
async fn a_fence_only_rises() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let link = gateway.link().await;
    let slots: Vec<Slot> = Slot::all().take(1_000).collect();
    assert_eq!(fences(&link, &slots).await, Ok(vec![None; 1_000]));
    assert_eq!(fence(&link, &slots[..500], 12).await, Ok(500));
    assert_eq!(fence(&link, &slots, 9).await, Ok(500));
    assert_eq!(fence(&link, &slots, 9).await, Ok(0));
    let expected = (0..1_000).map(|slot| Some(if slot < 500 { 12 } else { 9 }));
    assert_eq!(fences(&link, &slots).await, Ok(expected.collect()));
    assert_eq!(server.cli(&["GET", &fence_key(slots[3])]).await.unwrap(), testkit::resp::Reply::Text("12".to_owned()));
}

#[tokio::test]
async fn a_dead_node_is_told_at_once_and_comes_back_as_another_life() {
    let mut server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let before = gateway.link().await;
    gateway.vote(Vote::Up).await;
    server.kill().await;
    assert_eq!(gateway.vote(Vote::Down).await, "connection refused");
    let refused = before.command(&redis::cmd("PING")).await.unwrap_err();
    assert!(matches!(refused, CallError::NotSent(NotSent::NotConnected(_))), "{refused}");
    let refused = gateway.nodes.link("redis-a").unwrap_err();
    assert_eq!(refused, NotSent::NotConnected("connection refused".to_owned()));
    server.restart(testkit::Disk::Empty).await;
    let after = gateway.link().await;
    assert_ne!(before.life(), after.life());
    assert_eq!(after.command(&redis::cmd("PING")).await, Ok(Reply::Status("PONG".into())));
    gateway.vote(Vote::Up).await;
    // The old one stays dead, though the node is back.
    assert!(before.command(&redis::cmd("PING")).await.is_err());
}

#[tokio::test]
async fn a_hung_node_answers_nobody_and_is_given_up() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let link = gateway.link().await;
    gateway.vote(Vote::Up).await;
    server.freeze().await;
    let answer = link.command(redis::cmd("SET").arg("k").arg(1)).await;
    assert_eq!(answer, Err(CallError::Unknown("no answer before the deadline".to_owned())));
    assert_eq!(gateway.vote(Vote::Down).await, "it is silent");
    assert!(matches!(gateway.nodes.link("redis-a"), Err(NotSent::NotConnected(_))));
    server.thaw().await;
    gateway.vote(Vote::Up).await;
    // "Perhaps executed" was the truth: it was.
    let link = gateway.link().await;
    assert_eq!(link.command(redis::cmd("GET").arg("k")).await, Ok(Reply::Bulk("1".into())));
}

#[tokio::test]
async fn a_node_out_of_memory_refuses_what_needs_memory_and_stays_up() {
    let server = RedisServer::start(&["maxmemory-policy noeviction"]).await;
    let gateway = Gateway::at(&server);
    let link = gateway.link().await;
    gateway.vote(Vote::Up).await;
    link.call(&add(), &[b"k"], &[b"1", b""]).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    assert_eq!(link.call(&add(), &[b"k"], &[b"1", b""]).await, Err(NotSent::OutOfMemory.into()));
    assert_eq!(link.command(redis::cmd("GET").arg("k")).await, Ok(Reply::Bulk("1".into())));
    let health = gateway.nodes.health("redis-a").unwrap();
    assert!(health.is_out_of_memory && health.opinion.unwrap().vote == Vote::Up);
}

#[tokio::test]
async fn a_node_that_loads_its_data_is_down_until_it_has() {
    let mut server = RedisServer::start(&["key-load-delay 5000", "loading-process-events-interval-bytes 1024"]).await;
    let gateway = Gateway::at(&server);
    gateway.vote(Vote::Up).await;
    server.cli(&["EVAL", "for i = 1, 1000 do redis.call('SET', i, i) end", "0"]).await.unwrap();
    server.save().await;
    server.restart_unanswering(testkit::Disk::Kept).await;
    eventually(PATIENCE, async || match gateway.nodes.link("redis-a") {
        Err(NotSent::NotConnected(reason)) if reason == "it is loading its data" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    gateway.vote(Vote::Down).await;
    gateway.vote(Vote::Up).await;
}

#[tokio::test]
async fn a_replica_is_down_and_one_that_becomes_so_is_let_go_of() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let link = gateway.link().await;
    gateway.vote(Vote::Up).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    assert_eq!(link.command(redis::cmd("SET").arg("k").arg(1)).await, Err(NotSent::Replica.into()));
    assert_eq!(gateway.vote(Vote::Down).await, "it is a replica");
    server.cli(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    gateway.vote(Vote::Up).await;
}

#[tokio::test]
async fn without_the_right_password_a_node_is_down_and_with_user_and_password_it_is_up() {
    let server = RedisServer::start(&["requirepass secret", "user app on >other ~hc:* &hc:* +@all"]).await;
    for (username, password, reason) in [
        (None, None, Some("refused: NOAUTH")),
        (None, Some("wrong"), Some("refused: WRONGPASS")),
        (None, Some("secret"), None),
        (Some("app"), Some("other"), None),
    ] {
        let access = Access { username: username.map(str::to_owned), password: password.map(Secret::new), tls: None };
        let gateway = Gateway::new(access, &[]);
        gateway.nodes.apply(&document(&[("redis-a", &server.url(), 1)]));
        match reason {
            Some(reason) => assert!(gateway.vote(Vote::Down).await.starts_with(reason)),
            None => _ = gateway.vote(Vote::Up).await,
        }
    }
}

#[tokio::test]
async fn the_document_says_where_a_node_is_and_how_often_it_was_taken_in() {
    let (one, other) = (RedisServer::start(&[]).await, RedisServer::start(&[]).await);
    let gateway = Gateway::at(&one);
    let first = gateway.link().await;
    let anew = async |before: &ring_coordinator::redis::Link| {
        eventually(PATIENCE, async || gateway.nodes.link("redis-a").ok().filter(|link| link.life() != before.life()).ok_or("the same"))
            .await
    };
    gateway.nodes.apply(&document(&[("redis-a", &one.url(), 2)]));
    let second = anew(&first).await;
    assert_eq!(second.life().as_str(), first.life().as_str().replace(".1", ".2"));
    assert!(first.command(&redis::cmd("PING")).await.is_err());
    gateway.nodes.apply(&document(&[("redis-a", &other.url(), 2)]));
    let third = anew(&second).await;
    third.command(redis::cmd("SET").arg("k").arg(1)).await.unwrap();
    assert_eq!(other.cli(&["GET", "k"]).await.unwrap(), testkit::resp::Reply::Text("1".to_owned()));
    gateway.nodes.apply(&document(&[]));
    assert_eq!(gateway.nodes.link("redis-a").unwrap_err(), NotSent::NoSuchNode);
    eventually(PATIENCE, async || if third.command(&redis::cmd("PING")).await.is_err() { Ok(()) } else { Err("it still answers") }).await;
    tokio::time::timeout(Duration::from_secs(5), gateway.nodes.shutdown()).await.expect("the end");
}
