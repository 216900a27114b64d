//! What gateways say to each other besides publications.

use crate::bus_rig::{PATIENCE, Rig, channel, gateway, keeping, layout, stable};
use futures_util::future::join_all;
use gateway::bus::BusError;
use protocol::control::{Disconnect, Emulation, Order};
use ring_coordinator::{
    redis::{Access, Nodes, NodesConfig, fence},
    slot::Slot,
};
use testkit::RedisServer;
use tokio::sync::mpsc::Receiver;

fn disconnect(user: &str) -> Order {
    Order::Disconnect(Disconnect { user: user.to_owned(), code: 3503, ..Disconnect::default() })
}

fn frame(number: u32) -> Order {
    Order::Emulation(Emulation { session: "s".to_owned(), data: number.to_string().into() })
}

async fn next(orders: &mut Receiver<Order>) -> Order {
    tokio::time::timeout(PATIENCE, orders.recv()).await.expect("an order in time").unwrap()
}

/// Gateways that hear each other.
async fn gateways(names: [&str; 2], servers: &[RedisServer]) -> [(Rig, Receiver<Order>); 2] {
    let nodes: Vec<_> = ["redis-a", "redis-b", "redis-c"].into_iter().zip(servers).collect();
    let rigs = names.map(|name| {
        let rig = gateway(name);
        rig.apply(&stable(1, layout(&nodes)));
        let orders = rig.redis().orders().unwrap();
        (rig, orders)
    });
    for server in servers {
        testkit::eventually(PATIENCE, async || match server.cli(&["PUBSUB", "NUMSUB", "hc:ctl"]).await.unwrap() {
            testkit::resp::Reply::List(parts) if parts[1] == testkit::resp::Reply::Integer(2) => Ok(()),
            reply => Err(format!("{reply:?}")),
        })
        .await;
    }
    rigs
}

#[tokio::test]
async fn an_order_reaches_every_other_gateway_once_as_long_as_one_node_serves() {
    let mut servers = join_all((0..3).map(|_| RedisServer::start(&[]))).await;
    let [(one, mut at_one), (_two, mut at_two)] = gateways(["g1", "g2"], &servers).await;
    one.redis().tell_all(disconnect("ann")).await.unwrap();
    one.redis().tell_all(disconnect("bob")).await.unwrap();
    assert_eq!([next(&mut at_two).await, next(&mut at_two).await], [disconnect("ann"), disconnect("bob")]);
    for server in &mut servers[..2] {
        server.kill().await;
    }
    one.redis().tell_all(disconnect("cid")).await.unwrap();
    assert_eq!(next(&mut at_two).await, disconnect("cid"));
    assert!(one.redis().tell("g2", frame(1)).await.unwrap());
    assert_eq!(next(&mut at_two).await, frame(1));
    servers[2].kill().await;
    let unreachable = testkit::eventually(PATIENCE, async || one.redis().tell_all(disconnect("dee")).await.err().ok_or("told")).await;
    assert!(matches!(unreachable, BusError::Unavailable(_)));
    assert!(matches!(one.redis().tell("g2", frame(2)).await, Err(BusError::Unavailable(_))));
    assert!(at_one.try_recv().is_err(), "nobody hears what it has said itself");
    assert!(at_two.try_recv().is_err());
}

#[tokio::test]
async fn frames_for_one_gateway_keep_their_order_and_one_that_nobody_has_is_known() {
    let servers = join_all((0..3).map(|_| RedisServer::start(&[]))).await;
    let [(one, mut at_one), (_two, mut at_two)] = gateways(["g1", "g2"], &servers).await;
    for number in 0..200 {
        assert_eq!(one.redis().tell("g2", frame(number)).await, Ok(true));
    }
    for number in 0..200 {
        assert_eq!(next(&mut at_two).await, frame(number));
    }
    assert_eq!(one.redis().tell("g3", frame(0)).await, Ok(false));
    assert!(at_one.try_recv().is_err());
    servers[0].cli(&["PUBLISH", "hc:ctl", "nonsense"]).await.unwrap();
    assert_eq!(one.redis().tell("g2", frame(1)).await, Ok(true));
    assert_eq!(next(&mut at_two).await, frame(1), "nonsense is dropped, and nothing else");
}

#[tokio::test]
async fn a_newer_ring_is_heard_of_by_a_message_by_its_fences_and_by_a_refusal() {
    let servers = [RedisServer::start(&[]).await];
    let [(one, _at_one), (two, _at_two)] = gateways(["g1", "g2"], &servers).await;
    let mut news = two.redis().ring_news();
    one.redis().tell_all(Order::Ring(protocol::control::Ring { epoch: 5 })).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, news.wait_for(|news| news.as_ref().is_some_and(|news| news.epoch == 5)));
    assert_eq!(&*heard.await.unwrap().unwrap().clone().unwrap().node, "redis-a");
    let config = NodesConfig {
        gateway: "coordinator".to_owned(),
        access: Access::default(),
        scripts: Vec::new(),
        clock: crate::bus_rig::now,
        random_u64: crate::bus_rig::random_u64,
    };
    let (nodes, _) = Nodes::new(config, &prometheus::Registry::new()).unwrap();
    nodes.apply(&stable(1, layout(&[("redis-a", &servers[0])])));
    let link = testkit::eventually(PATIENCE, async || nodes.link("redis-a")).await;
    let a = channel("a");
    // Who only listens looks by itself, every ten seconds.
    let listening = channel("listening");
    let _subscriber = two.subscribe(&listening, &keeping(0, 0), None).await;
    fence(&link, &[Slot::of(&listening)], 7).await.unwrap();
    let looked = news.wait_for(|news| news.as_ref().is_some_and(|news| news.epoch == 7));
    tokio::time::timeout(PATIENCE, looked).await.unwrap().unwrap();
    fence(&link, &[Slot::of(&a)], 8).await.unwrap();
    let heard = async {
        let heard = news.wait_for(|news| news.as_ref().is_some_and(|news| news.epoch == 8));
        tokio::time::timeout(PATIENCE, heard).await.unwrap().unwrap();
        two.apply(&stable(8, layout(&[("redis-a", &servers[0])])));
    };
    let plain = keeping(0, 0);
    tokio::join!(two.publish(&a, &plain, 1), heard);
}
