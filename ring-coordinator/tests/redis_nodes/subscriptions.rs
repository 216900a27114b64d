use crate::gateway::{Gateway, PATIENCE, document};
use ring_coordinator::redis::{Access, GATEWAYS_KEY, Secret, Vote, What, canary_channel, enter, listeners};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use testkit::{Disk, RedisServer, eventually, resp::Reply};

async fn publish(server: &RedisServer, channel: &str, payload: &str) {
    server.cli(&["PUBLISH", channel, payload]).await.unwrap();
}

fn message(channel: &Arc<str>, payload: &str) -> What {
    What::Message { channel: Arc::clone(channel), payload: payload.to_owned().into() }
}

/// What the node holds subscriptions to, without the canary.
async fn subscribed(server: &RedisServer) -> BTreeSet<String> {
    let Reply::List(channels) = server.cli(&["PUBSUB", "CHANNELS"]).await.unwrap() else { panic!("PUBSUB CHANNELS") };
    let names = channels.into_iter().map(|name| if let Reply::Text(name) = name { name } else { panic!("{name:?}") });
    names.filter(|name| *name != canary_channel("g1")).collect()
}

/// Goes past everything until the connection is lost; returns why.
async fn down(gateway: &mut Gateway) -> String {
    loop {
        if let What::Down { reason } = gateway.next().await {
            return reason;
        }
    }
}

/// The next things are that the connection stands and the channel is listened for.
async fn up(gateway: &mut Gateway, channel: &Arc<str>) {
    assert!(matches!(gateway.next().await, What::Up { .. }));
    assert_eq!(gateway.next().await, What::Confirmed(Arc::clone(channel)));
}

#[tokio::test]
async fn what_is_published_after_the_confirmation_is_heard_in_order() {
    let server = RedisServer::start(&[]).await;
    let mut gateway = Gateway::at(&server);
    let channel: Arc<str> = "hc:{1}:pub:a".into();
    gateway.nodes.wanted("redis-a", &channel, false);
    up(&mut gateway, &channel).await;
    for number in 0..100 {
        publish(&server, &channel, &number.to_string()).await;
    }
    for number in 0..100 {
        assert_eq!(gateway.next().await, message(&channel, &number.to_string()));
    }
    gateway.nodes.unwanted("redis-a", &channel);
    eventually(PATIENCE, async || if subscribed(&server).await.is_empty() { Ok(()) } else { Err("still subscribed") }).await;
    gateway.nodes.shutdown().await;
    assert_eq!(gateway.next().await, What::Down { reason: "the node is let go of".to_owned() });
    assert_eq!(gateway.hearing.next().await, None);
}

#[tokio::test]
async fn a_node_that_was_dead_for_a_while_is_listened_to_again() {
    comes_back_after(Duration::from_secs(2)).await;
}

#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_node_that_was_dead_for_long_is_listened_to_again() {
    comes_back_after(Duration::from_secs(25)).await;
}

async fn comes_back_after(dead: Duration) {
    let mut server = RedisServer::start(&[]).await;
    let mut gateway = Gateway::at(&server);
    let channel: Arc<str> = "hc:{1}:pub:a".into();
    gateway.nodes.wanted("redis-a", &channel, false);
    let What::Up { life: before } = gateway.next().await else { panic!("not up") };
    assert_eq!(gateway.next().await, What::Confirmed(Arc::clone(&channel)));
    server.kill().await;
    assert_eq!(gateway.next().await, What::Down { reason: "it closed the connection".to_owned() });
    // The canary's, and the one that was wanted.
    eventually(PATIENCE, async || match gateway.gauge("headcount_redis_resubscribe_pending") {
        2.0 => Ok(()),
        other => Err(other),
    })
    .await;
    // Not waiting for a condition: many tries shall fail.
    tokio::time::sleep(dead).await;
    server.restart(Disk::Empty).await;
    let What::Up { life } = gateway.next().await else { panic!("not up") };
    assert_ne!(life, before);
    assert_eq!(gateway.next().await, What::Confirmed(Arc::clone(&channel)));
    publish(&server, &channel, "x").await;
    assert_eq!(gateway.next().await, message(&channel, "x"));
}

#[tokio::test]
async fn a_hung_node_is_noticed() {
    let server = RedisServer::start(&[]).await;
    let mut gateway = Gateway::at(&server);
    gateway.vote(Vote::Up).await;
    server.freeze().await;
    assert_eq!(down(&mut gateway).await, "it is silent");
    server.thaw().await;
    assert!(matches!(gateway.next().await, What::Up { .. }));
    gateway.vote(Vote::Up).await;
}

#[tokio::test]
async fn a_connection_that_an_operator_kills_is_made_again_and_is_no_reason_to_vote() {
    let server = RedisServer::start(&[]).await;
    let mut gateway = Gateway::at(&server);
    let channel: Arc<str> = "hc:{1}:pub:a".into();
    gateway.nodes.wanted("redis-a", &channel, false);
    up(&mut gateway, &channel).await;
    gateway.vote(Vote::Up).await;
    let mut opinions = gateway.nodes.opinions();
    opinions.borrow_and_update();
    assert_eq!(server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap(), Reply::Integer(1));
    assert_eq!(down(&mut gateway).await, "it closed the connection");
    up(&mut gateway, &channel).await;
    publish(&server, &channel, "x").await;
    assert_eq!(gateway.next().await, message(&channel, "x"));
    assert!(!opinions.has_changed().unwrap());
}

#[tokio::test]
async fn a_connection_that_redis_cuts_for_its_full_buffer_is_made_again() {
    let server = RedisServer::start(&["client-output-buffer-limit pubsub 64kb 0 0"]).await;
    let mut gateway = Gateway::at(&server);
    let channel: Arc<str> = "hc:{1}:pub:a".into();
    gateway.nodes.wanted("redis-a", &channel, false);
    up(&mut gateway, &channel).await;
    // All within one command, so that nothing of it leaves Redis before the buffer is full.
    let flood = "for i = 1, 10000 do redis.call('PUBLISH', KEYS[1], string.rep('x', 100)) end";
    server.cli(&["EVAL", flood, "1", &channel]).await.unwrap();
    assert_eq!(down(&mut gateway).await, "it closed the connection");
    up(&mut gateway, &channel).await;
}

#[tokio::test]
async fn who_does_not_take_what_is_heard_is_told_that_it_was_lost() {
    let server = RedisServer::start(&["client-output-buffer-limit pubsub 0 0 0"]).await;
    let mut gateway = Gateway::at(&server);
    let channel: Arc<str> = "hc:{1}:pub:a".into();
    gateway.nodes.wanted("redis-a", &channel, false);
    up(&mut gateway, &channel).await;
    // In many commands, for a Redis that is busy with one for long is silent.
    for _ in 0..40 {
        let flood = "for i = 1, 50 do redis.call('PUBLISH', KEYS[1], string.rep('x', 60000)) end";
        server.cli(&["EVAL", flood, "1", &channel]).await.unwrap();
    }
    eventually(PATIENCE, async || match gateway.nodes.health("redis-a").unwrap() {
        health if health.is_listening => Err("still connected"),
        _ => Ok(()),
    })
    .await;
    let mut bytes = 0;
    let reason = loop {
        match gateway.next().await {
            What::Message { payload, .. } => bytes += payload.len(),
            What::Down { reason } => break reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason, "what it publishes is not handled in time");
    assert!((60_000_000..70_000_000).contains(&bytes), "{bytes}");
    up(&mut gateway, &channel).await;
}

#[tokio::test]
async fn a_node_that_does_not_deliver_is_noticed_by_the_canary() {
    // It answers every question, but nothing that this user publishes is delivered.
    let server = RedisServer::start(&["user app on >pw ~* &* +@all -publish"]).await;
    let access = Access { username: Some("app".to_owned()), password: Some(Secret::new("pw")), tls: None };
    let mut gateway = Gateway::new(access, &[]);
    let since = tokio::time::Instant::now();
    gateway.nodes.apply(&document(&[("redis-a", &server.url(), 1)]));
    assert_eq!(gateway.vote(Vote::Down).await, "its canary is not heard");
    assert_eq!(down(&mut gateway).await, "its canary is silent");
    testkit::figure::time("redis-silent", "noticed after the first connection", since.elapsed());
    server.cli(&["ACL", "SETUSER", "app", "+publish"]).await.unwrap();
    gateway.vote(Vote::Up).await;
    let heard_ms = || gateway.nodes.health("redis-a").and_then(|health| health.canary_heard_ms.filter(|_| health.canary_lag_ms.is_some()));
    let first_ms = heard_ms().unwrap();
    eventually(PATIENCE, async || if heard_ms() > Some(first_ms) { Ok(()) } else { Err("the next one is not heard") }).await;
}

#[tokio::test]
async fn however_channels_are_wanted_and_unwanted_the_node_has_the_last_word_of_each() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let channels: Vec<Arc<str>> = (0..50).map(|number| format!("hc:{{1}}:pub:{number}").into()).collect();
    let mut wanted = BTreeSet::new();
    for round in 0..20_000_usize {
        let channel = &channels[round * 7919 % 50];
        // Neither in step with the channels.
        if round * round % 11 < 6 {
            gateway.nodes.wanted("redis-a", channel, round % 3 == 0);
            wanted.insert(channel.to_string());
        } else {
            gateway.nodes.unwanted("redis-a", channel);
            wanted.remove(channel.as_ref());
        }
        if round % 100 == 0 {
            tokio::task::yield_now().await;
        }
        if round == 10_000 {
            server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
        }
    }
    eventually(PATIENCE, async || {
        let subscribed = subscribed(&server).await;
        if subscribed == wanted { Ok(()) } else { Err(format!("{subscribed:?}\nwanted {wanted:?}")) }
    })
    .await;
    assert!(wanted.len() > 10 && wanted.len() < 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_channels_come_back_hot_ones_first() {
    let mut server = RedisServer::start(&[]).await;
    let mut gateway = Gateway::at(&server);
    let hot: Arc<str> = "hc:{1}:pub:hot".into();
    gateway.nodes.wanted("redis-a", &hot, true);
    for number in 0..100_000 {
        gateway.nodes.wanted("redis-a", &format!("hc:{{1}}:pub:{number}").into(), false);
    }
    for life in 0..2 {
        if life == 1 {
            server.restart(Disk::Empty).await;
            assert_ne!(down(&mut gateway).await, "");
        }
        let mut confirmed = 0;
        while confirmed < 100_001 {
            match gateway.next().await {
                What::Confirmed(channel) => {
                    confirmed += 1;
                    assert_eq!(channel == hot, confirmed == 1, "{channel}");
                }
                // On a very busy machine the connection may be lost; then all of them come anew.
                What::Up { .. } | What::Down { .. } => confirmed = 0,
                What::Message { .. } => panic!("nothing is published"),
            }
        }
        assert_eq!(subscribed(&server).await.len(), 100_001);
    }
    // Let go of, it unsubscribes first, for closing a connection with many subscriptions is a pause of Redis.
    gateway.nodes.shutdown().await;
    assert_eq!(down(&mut gateway).await, "the node is let go of");
    assert_eq!(gateway.hearing.next().await, None);
    let stats = format!("{:?}", server.cli(&["INFO", "commandstats"]).await.unwrap());
    let calls = |command: &str| {
        let calls = stats.split(&format!("cmdstat_{command}:calls=")).nth(1).unwrap().split(',').next().unwrap();
        calls.parse::<usize>().unwrap()
    };
    // It has ten seconds for that, in batches of 256.
    assert!((10..1_000).contains(&calls("unsubscribe")), "{stats}");
}

#[tokio::test]
async fn a_node_tells_which_gateways_listen_and_forgets_those_who_do_not() {
    let server = RedisServer::start(&[]).await;
    let gateway = Gateway::at(&server);
    let link = gateway.link().await;
    assert_eq!(listeners(&link).await, Ok(BTreeSet::new()), "nobody has entered");
    enter(&link, "g1");
    enter(&link, "gone");
    eventually(PATIENCE, async || match listeners(&link).await {
        Ok(found) if found == ["g1".to_owned()].into() => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
    assert_eq!(server.cli(&["SMEMBERS", GATEWAYS_KEY]).await.unwrap(), Reply::List(vec![Reply::Text("g1".to_owned())]));
}
