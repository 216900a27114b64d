//! Nodes die, hang and come back: subscribers get everything, or are told that they did not.

use crate::bus_rig::{PATIENCE, Rig, Subscriber, channel, gateway, keeping, layout, now, number, over_redis, stable, told};
use futures_util::future::join_all;
use gateway::bus::{BusError, Post};
use protocol::{message::StreamPosition, name::Channel, namespace::Namespace};
use std::{cell::Cell, time::Duration};
use testkit::{Disk, RedisServer};

const HOUR_MS: u64 = 3_600_000;

async fn publish(rig: &Rig, channel: &Channel, namespace: &Namespace, number: u64) -> Result<StreamPosition, BusError> {
    rig.bus.publish(channel, namespace, Post { data: number.to_string().into(), ..Post::default() }, now()).await
}

#[tokio::test]
async fn a_broken_subscription_is_filled_from_history_and_nobody_is_told() {
    let (server, rig) = over_redis().await;
    let (a, namespace) = (channel("a"), keeping(100_000, HOUR_MS));
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    let publishing = async {
        for number in 1..=2000 {
            rig.publish(&a, &namespace, number).await;
            if number % 500 == 0 {
                server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (numbers, ()) = tokio::join!(subscriber.numbers(2000), publishing);
    assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
    let filled = metric(&rig, "headcount_delivery_gaps_total", "history");
    assert!(filled >= 1.0, "nothing was missed, so nothing was tried: {filled}");
}

#[tokio::test]
async fn a_gap_that_history_does_not_cover_is_told() {
    let (server, rig) = over_redis().await;
    let (a, namespace) = (channel("a"), keeping(2, HOUR_MS));
    let subscriber = rig.subscribe(&a, &namespace, None).await;
    rig.publish(&a, &namespace, 1).await;
    assert_eq!(subscriber.numbers(1).await, [1]);
    server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    for number in 2..=9 {
        rig.publish(&a, &namespace, number).await;
    }
    assert_eq!(told(&subscriber).await, Vec::<u64>::new());
    rig.unsubscribe(&subscriber);
    let again = rig.subscribe(&a, &namespace, Some(&StreamPosition { offset: 1, ..subscriber.recovery.top })).await;
    assert_eq!((again.recovery.recovered, again.recovery.top.offset), (false, 9));
    rig.publish(&a, &namespace, 10).await;
    assert_eq!(again.numbers(1).await, [10]);
}

#[tokio::test]
async fn a_node_that_comes_back_empty_or_with_old_data_begins_new_streams() {
    let (mut server, rig) = over_redis().await;
    let (a, namespace) = (channel("a"), keeping(100, HOUR_MS));
    for old in [false, true] {
        let subscriber = rig.subscribe(&a, &namespace, None).await;
        let mut top = rig.publish(&a, &namespace, 1).await;
        let saved = server.save().await;
        for number in 2..=4 {
            top = rig.publish(&a, &namespace, number).await;
        }
        assert_eq!(subscriber.numbers(4).await, [1, 2, 3, 4]);
        server.restart(if old { Disk::Older(saved) } else { Disk::Empty }).await;
        let after = rig.publish(&a, &namespace, 5).await;
        assert_ne!(after.epoch, top.epoch, "old data are no stream to go on with");
        assert_eq!(after.offset, 1);
        assert!(told(&subscriber).await.is_empty());
        rig.unsubscribe(&subscriber);
        let again = rig.subscribe(&a, &namespace, Some(&top)).await;
        assert!(!again.recovery.recovered);
        rig.publish(&a, &namespace, 6).await;
        assert_eq!(again.numbers(1).await, [6]);
        rig.unsubscribe(&again);
    }
}

/// The node hangs with the publication in its socket, and does it after our patience with the call is over.
#[tokio::test]
async fn what_may_have_been_published_is_tried_again_and_published_once() {
    let (server, rig) = over_redis().await;
    let rooms: Vec<(Channel, Namespace)> = (0..20)
        .map(|index| (channel(&format!("room{index}")), if index % 2 == 0 { keeping(10, HOUR_MS) } else { keeping(0, 0) }))
        .collect();
    let subscribers = join_all(rooms.iter().map(|(channel, namespace)| rig.subscribe(channel, namespace, None))).await;
    join_all(rooms.iter().map(|(channel, namespace)| rig.publish(channel, namespace, 1))).await;
    server.freeze().await;
    let publishing = join_all(rooms.iter().map(|(channel, namespace)| rig.publish(channel, namespace, 2)));
    let thawing = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        server.thaw().await;
    };
    tokio::join!(publishing, thawing);
    let unknown = metric(&rig, "headcount_redis_publish_total", "unknown");
    assert!(unknown >= 20.0, "every publication was tried in vain: {unknown}");
    join_all(rooms.iter().map(|(channel, namespace)| rig.publish(channel, namespace, 3))).await;
    for ((channel, namespace), subscriber) in rooms.iter().zip(&subscribers) {
        if namespace.history_size > 0 {
            assert_eq!(rig.kept(channel).await, [1, 2, 3]);
            assert_eq!(subscriber.numbers(3).await, [1, 2, 3]);
        }
    }
    // Without history the connection was broken while the second one came; what was heard was heard once.
    for ((_, namespace), subscriber) in rooms.iter().zip(&subscribers) {
        if namespace.history_size == 0 {
            let mut heard: Vec<u64> = Vec::new();
            testkit::eventually(PATIENCE, async || {
                heard.extend(subscriber.look().0.iter().map(number));
                if heard.last() == Some(&3) { Ok(()) } else { Err(format!("{heard:?}")) }
            })
            .await;
            assert!(heard == [1, 2, 3] || heard == [1, 3], "{heard:?}");
        }
    }
}

#[tokio::test]
async fn a_publication_that_cannot_be_made_is_refused_in_the_end_and_so_is_a_subscription() {
    let (mut server, rig) = over_redis().await;
    let (a, b) = (channel("a"), channel("b"));
    rig.publish(&a, &keeping(10, HOUR_MS), 1).await;
    server.kill().await;
    let namespaces = [keeping(10, HOUR_MS), keeping(0, 0)];
    let tries = join_all(namespaces.iter().map(|namespace| publish(&rig, &a, namespace, 2)));
    let (refused, joined) = tokio::join!(tries, rig.bus.join(&b, &namespaces[0]));
    for refused in refused.into_iter().map(|refused| refused.map(|_| ())).chain([joined]) {
        assert!(matches!(refused, Err(BusError::Unavailable(_))), "{refused:?}");
    }
}

/// One client, which comes back when it is told to, and knows what it was told.
struct Client<'a> {
    rig: &'a Rig,
    namespace: &'a Namespace,
    subscriber: Subscriber,
    last: Option<u64>,
    position: StreamPosition,
    losses: usize,
}

impl Client<'_> {
    fn take(&mut self, publication: &protocol::message::Publication) {
        let number = number(publication);
        assert!(self.last.is_none_or(|last| number == last + 1), "a silent gap, or a double: {number} after {:?}", self.last);
        self.last = Some(number);
        self.position.offset = publication.offset;
    }

    async fn look(&mut self) {
        let (publications, controls) = self.subscriber.look();
        publications.iter().for_each(|publication| self.take(publication));
        if controls.is_empty() {
            return;
        }
        self.rig.unsubscribe(&self.subscriber);
        let channel = self.subscriber.channel.clone();
        testkit::eventually(PATIENCE, async || self.rig.bus.join(&channel, self.namespace).await).await;
        self.subscriber = self.rig.subscribe(&channel, self.namespace, Some(&self.position)).await;
        let recovery = self.subscriber.recovery.clone();
        if recovery.recovered {
            recovery.publications.iter().for_each(|publication| self.take(publication));
        } else {
            (self.last, self.losses) = (None, self.losses + 1);
        }
        self.position = recovery.top;
    }
}

#[tokio::test]
async fn a_node_that_dies_under_load_leaves_no_silent_gap() {
    let mut servers = [RedisServer::start(&[]).await, RedisServer::start(&[]).await];
    let document = stable(1, layout(&[("redis-a", &servers[0]), ("redis-b", &servers[1])]));
    let rigs = ["g1", "g2"].map(gateway);
    rigs.iter().for_each(|rig| rig.apply(&document));
    let (namespace, stop) = (keeping(1000, HOUR_MS), Cell::new(false));
    let channels: Vec<Channel> = (0..20).map(|index| channel(&format!("room{index}"))).collect();
    let mut clients = Vec::new();
    for channel in &channels {
        for rig in &rigs {
            let subscriber = rig.subscribe(channel, &namespace, None).await;
            let position = subscriber.recovery.top.clone();
            clients.push(Client { rig, namespace: &namespace, subscriber, last: None, position, losses: 0 });
        }
    }
    let publishing = join_all(channels.iter().zip(rigs.iter().cycle()).map(async |(channel, rig)| {
        let mut number = 0;
        while !stop.get() {
            number += 1;
            while publish(rig, channel, &namespace, number).await.is_err() {}
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        number
    }));
    let breaking = async {
        for disk in [Disk::Empty, Disk::Kept, Disk::Empty] {
            tokio::time::sleep(Duration::from_millis(500)).await;
            servers[1].cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
            servers[0].restart(disk).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.set(true);
    };
    let listening = async {
        while !stop.get() {
            join_all(clients.iter_mut().map(Client::look)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        clients
    };
    let (published, (), mut clients) = tokio::join!(publishing, breaking, listening);
    testkit::eventually(PATIENCE, async || {
        let mut behind = 0;
        for (client, last) in clients.iter_mut().zip(published.iter().flat_map(|last| [last, last])) {
            client.look().await;
            // Whoever was told of a loss at the very end has nothing to come.
            behind += usize::from(client.last.is_some_and(|seen| seen < *last));
        }
        if behind == 0 { Ok(()) } else { Err(format!("{behind} clients are behind")) }
    })
    .await;
    let losses: usize = clients.iter().map(|client| client.losses).sum();
    assert!(losses > 0, "a node lost everything, and somebody must have been told");
}

/// The sum of a metric's values that have this label value.
fn metric(rig: &Rig, name: &str, label: &str) -> f64 {
    let families = rig.registry.gather();
    let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let labelled = metrics.filter(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
    labelled.map(|metric| metric.get_counter().get_value()).sum()
}
