//! What one gateway publishes reaches the subscribers of the others.

use crate::bus_rig::{PATIENCE, Rig, channel, gateway, keeping, layout, number, stable};
use futures_util::future::join_all;
use protocol::{message::StreamPosition, name::Channel};
use testkit::RedisServer;

const HOUR_MS: u64 = 3_600_000;

async fn nodes(count: usize) -> Vec<RedisServer> {
    join_all((0..count).map(|_| RedisServer::start(&[]))).await
}

fn gateways(servers: &[RedisServer]) -> [Rig; 2] {
    let nodes: Vec<_> = ["redis-a", "redis-b", "redis-c"].into_iter().zip(servers).collect();
    ["g1", "g2"].map(|name| {
        let rig = gateway(name);
        rig.apply(&stable(1, layout(&nodes)));
        rig
    })
}

async fn publications_cross(nodes_count: usize) {
    let servers = nodes(nodes_count).await;
    let [one, two] = gateways(&servers);
    let channels: Vec<Channel> = (0..30).map(|index| channel(&format!("room{index}"))).collect();
    for namespace in [keeping(0, 0), keeping(100, HOUR_MS)] {
        let here = join_all(channels.iter().map(|channel| one.subscribe(channel, &namespace, None))).await;
        let there = join_all(channels.iter().map(|channel| two.subscribe(channel, &namespace, None))).await;
        join_all(channels.iter().map(|channel| async {
            for number in 1..=20 {
                let rig = if number % 2 == 0 { &one } else { &two };
                rig.publish(channel, &namespace, number).await;
            }
        }))
        .await;
        for subscriber in here.iter().chain(&there) {
            assert_eq!(subscriber.numbers(20).await, (1..=20).collect::<Vec<_>>());
        }
        // Whoever was at one gateway goes on at the other.
        if namespace.history_size > 0 {
            for channel in &channels {
                let top = one.publish(channel, &namespace, 21).await;
                let back = two.subscribe(channel, &namespace, Some(&StreamPosition { offset: 18, epoch: top.epoch })).await;
                assert!(back.recovery.recovered);
                assert_eq!(back.recovery.publications.iter().map(number).collect::<Vec<_>>(), [19, 20, 21]);
            }
        }
    }
}

#[tokio::test]
async fn publications_cross_over_one_node() {
    publications_cross(1).await;
}

#[tokio::test]
async fn publications_cross_over_three_nodes() {
    publications_cross(3).await;
}

#[tokio::test]
async fn a_channel_is_listened_for_while_somebody_is_subscribed_and_a_little_longer() {
    let servers = nodes(1).await;
    let [one, _two] = gateways(&servers);
    let (a, namespace) = (channel("a"), keeping(0, 0));
    let listens = async || {
        let reply = servers[0].cli(&["PUBSUB", "CHANNELS", "hc:{*}:pub:a"]).await.unwrap();
        matches!(reply, testkit::resp::Reply::List(channels) if !channels.is_empty())
    };
    let first = one.subscribe(&a, &namespace, None).await;
    assert!(listens().await);
    one.unsubscribe(&first);
    let second = one.subscribe(&a, &namespace, None).await;
    assert!(listens().await);
    one.unsubscribe(&second);
    testkit::eventually(PATIENCE, async || if listens().await { Err("still listened for") } else { Ok(()) }).await;
    let third = one.subscribe(&a, &namespace, None).await;
    one.publish(&a, &namespace, 1).await;
    assert_eq!(third.numbers(1).await, [1]);
}
