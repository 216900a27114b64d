//! Counter nodes that die, that nobody knows, and that send what they must not; and a gateway whose counter nodes do not answer.

use crate::{
    stage::{Seen, Stage},
    table::Scene,
};
use counter::{
    cell::Floor,
    record::{Fact, Record},
};
use peering::{Party, Stream};
use protocol::peer::{Chunk, FRAME_BYTES_MAX, Have, Hello, Message, OriginName, Stream as Known};
use serde_json::json;
use std::time::Duration;
use testkit::{Node, NodeOptions, PostgresServer, eventually, http};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "the key of this cluster";
const EPOCH: u64 = 77;

/// What a neighbour does that has the cluster's key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offence {
    /// It says what only another one may.
    Poison,
    /// It says that its stream comes to something else than it does.
    Digest,
}

pub(crate) async fn play(seen: Seen) {
    let mut nodes = vec![node("c1", KEY, &[]).await];
    for name in ["c2", "c3"] {
        nodes.push(node(name, KEY, &nodes).await);
    }
    for node in &nodes {
        until(node, "headcount_counter_peers", 2.0).await;
        add(node).await;
    }
    for node in &nodes {
        until(node, "headcount_counter_origins", 3.0).await;
    }
    let counting = node("c0", KEY, &[]).await;
    let gateway = gateway(&counting).await;
    let targets: Vec<_> = nodes.iter().map(|node| ("counters", node.admin)).chain([("gateways", gateway.admin)]).collect();
    let mut database = PostgresServer::start().await;
    let sink = format!("[[sink]]\nurl = \"{}\"\n", database.url());
    let writing = Node::start(NodeOptions { config_toml: sink, ..NodeOptions::default() }).await;
    let targets: Vec<_> = targets.into_iter().chain([("sinks", writing.admin)]).collect();
    until(&writing, "headcount_sink_owned{sink=\"headcount_counters\"}", 1.0).await;
    let stage = Stage::start(Scene::Counters, &seen, &targets).await;

    let alone =
        stage.fault(&["HeadcountCounterAlone", "HeadcountCounterOriginsMany", "HeadcountCounterReplicaSilent", "HeadcountNodeDown"]);
    let alone = alone.await;
    for node in &mut nodes[1..] {
        node.kill9().await;
    }
    alone.fires().await;
    for node in &mut nodes[1..] {
        node.restart().await;
    }
    alone.ends().await;

    let forged = stage.fault(&["HeadcountCounterDigestMismatch", "HeadcountCounterPoisonedChunks"]).await;
    offend(&nodes[0], Offence::Digest).await;
    offend(&nodes[0], Offence::Poison).await;
    forged.fires().await;
    forged.ends().await;

    let behind = stage.fault(&["HeadcountSinkLag"]).await;
    database.kill().await;
    assert_eq!(add_at(&writing).await, 200);
    behind.fires().await;
    database.restart().await;
    behind.ends().await;

    let strange = stage.fault(&["HeadcountPeersRefused"]).await;
    let stranger = node("c4", "the key of another cluster", &nodes).await;
    strange.fires().await;
    drop(stranger);
    strange.ends().await;

    let unknown = stage.fault(&["HeadcountCounterOutcomesUnknown"]).await;
    counting.freeze().await;
    assert_eq!(add_at(&gateway).await, 503);
    unknown.fires().await;
    counting.thaw().await;
    unknown.ends().await;
}

/// A counter node that knows these.
async fn node(name: &str, key: &str, known: &[Node]) -> Node {
    let mut seeds: Vec<String> = known.iter().filter_map(|node| Some(node.peer?.to_string())).collect();
    // One that knows nobody yet listens for others, too.
    seeds.push("127.0.0.1:9".to_owned());
    let config_toml = format!("[node]\nname = \"{name}\"\n[counter]\nkey = \"{key}\"\nseeds = {}\n", json!(seeds));
    Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await
}

/// A gateway that counts at this node.
async fn gateway(counting: &Node) -> Node {
    let seeds = json!([counting.peer.unwrap().to_string()]);
    let config_toml = format!("[node]\nname = \"g1\"\nroles = [\"gateway\"]\n[counter]\nkey = \"{KEY}\"\nseeds = {seeds}\n");
    let gateway = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
    eventually(PATIENCE, async || match add_at(&gateway).await {
        200 => Ok(()),
        other => Err(other),
    })
    .await;
    gateway
}

async fn add_at(node: &Node) -> u16 {
    http::post(node.client, "/v1/counters/likes/add", &json!({ "by": 1 })).await.unwrap().status
}

async fn add(node: &Node) {
    assert_eq!(add_at(node).await, 200);
}

async fn until(node: &Node, name: &str, expected: f64) {
    eventually(PATIENCE, async || match node.metric(name).await {
        found if found == expected => Ok(()),
        found => Err(format!("{name} is {found}, not {expected}")),
    })
    .await;
}

/// Offers a stream, and answers what is asked of it with what offends.
async fn offend(node: &Node, offence: Offence) {
    let epoch = EPOCH + u64::from(offence == Offence::Poison);
    let name = |epoch: u64| OriginName { epoch, region: "us".into(), node: format!("bad{epoch}") };
    let me = Hello { cluster: "headcount".into(), region: "us".into(), node: format!("bad{epoch}"), ..Hello::default() };
    let party = Party::new(me, KEY.into(), None, || 1);
    let (mut stream, _) = party.dial(&node.peer.unwrap().to_string()).await.unwrap();
    let known = Known { origin: Some(name(epoch)), seq: 5, as_of_ms: 1, retired: false, ahead: 5 };
    stream.write(Message::Have(Have { streams: vec![known], absorbed: Vec::new() })).await.unwrap();
    let follow = loop {
        if let Message::Follow(follow) = hear(&mut stream).await
            && follow.epoch == epoch
        {
            break follow;
        }
    };
    let mut facts = Vec::new();
    let fact = Fact::Slot { key: "poison", sums: Floor { p: 1_000, n: 0 } };
    let by = u16::from(offence == Offence::Poison);
    Record::Fact { by, seq: 1, fact }.encode(&mut facts);
    let chunk = Chunk {
        epoch,
        follow: follow.follow,
        index: 0,
        after: 0,
        upto: 5,
        as_of_ms: 1,
        digest: (offence == Offence::Digest).then_some(1),
        origins: vec![name(epoch), name(epoch + 1)],
        facts: facts.into(),
        whole: false,
    };
    stream.write(Message::Chunk(chunk)).await.unwrap();
    let metric = match offence {
        Offence::Poison => "headcount_counter_poisoned_chunks_total",
        Offence::Digest => "headcount_counter_digest_mismatches_total",
    };
    until(node, metric, 1.0).await;
}

async fn hear(stream: &mut Stream) -> Message {
    timeout(PATIENCE, stream.read(FRAME_BYTES_MAX)).await.expect("a question").unwrap().expect("a message")
}
