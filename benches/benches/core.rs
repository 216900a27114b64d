//! What the hot paths cost by themselves, without sockets: `cargo bench -p headcount-benches`. Figures of whole servers are in
//! `benches/reports/`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gateway::hub::{
    Hub,
    broadcast::{Broadcast, Wire},
    outbox::Outbox,
};
use presence::{About, Departure, Input, Member, Roster, Rules, Tiers};
use protocol::{
    frame::{self, Format},
    message::{Publication, Push, StreamPosition},
    name::Channel,
    namespace::Namespaces,
    time::Now,
};
use ring_coordinator::{
    document::{Layout, Node, NodeState, VNODES},
    slot::Slot,
    table::Table,
};
use std::{hint::black_box, sync::Arc};

/// What a client publishes: 128 bytes of JSON.
const PAYLOAD: &str =
    r#"{"text":"as long as what people say to one another in a chat usually is, a line or two of it, and not more","from":"somebody"}"#;
const SUBSCRIBERS: u64 = 1_000;
const MEMBERS: u64 = 1_000;
const NODES: usize = 16;

fn channel() -> Channel {
    Channel::parse("room").unwrap()
}

fn publication() -> Publication {
    Publication { data: Bytes::from_static(PAYLOAD.as_bytes()), offset: 17, ..Publication::default() }
}

fn now() -> Now {
    Now { mono_ms: 1_000, wall_ms: 1_000 }
}

fn words(criterion: &mut Criterion) {
    let json = format!(r#"{{"id":7,"publish":{{"channel":"room","data":{PAYLOAD}}}}}"#);
    let push = Push { channel: "room".to_owned(), r#pub: Some(publication()), ..Push::default() };
    let binary = {
        let command = frame::commands(Format::Json, json.clone().into()).next().unwrap().unwrap();
        frame::encode(Format::Protobuf, &command)
    };
    let mut group = criterion.benchmark_group("decode a publish command");
    for (name, format, bytes) in [("JSON", Format::Json, Bytes::from(json)), ("Protobuf", Format::Protobuf, binary)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| frame::commands(format, black_box(bytes.clone())).next().unwrap().unwrap().into_request());
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("encode a publication");
    for (name, format) in [("JSON", Format::Json), ("Protobuf", Format::Protobuf)] {
        group.bench_function(name, |bencher| bencher.iter(|| frame::encode_push(format, black_box(&push).clone())));
    }
    group.finish();
}

fn hub(criterion: &mut Criterion) {
    let namespace = testkit::open_namespace("");
    let (hub, channel) = (Hub::new(Namespaces::new(namespace, []), now), channel());
    let outboxes: Vec<Arc<Outbox>> = (0..SUBSCRIBERS).map(|_| Arc::new(Outbox::new(Wire::JsonFrames, 1 << 20, None))).collect();
    for (connection, outbox) in (0..).zip(&outboxes) {
        hub.add(&channel, connection, outbox, false);
        hub.open(&channel, connection, StreamPosition::default()).unwrap();
    }
    let mut group = criterion.benchmark_group("deliver to 1,000 subscribers who do not read, and take it from each");
    group.throughput(Throughput::Elements(SUBSCRIBERS));
    group.bench_function("hub", |bencher| {
        let mut taken = Vec::new();
        bencher.iter(|| {
            hub.deliver(&Broadcast::publication(channel.clone(), "e".into(), publication()));
            hub.flush();
            for outbox in &outboxes {
                outbox.take(&mut taken, usize::MAX);
            }
            assert_eq!(taken.len() as u64, SUBSCRIBERS);
            taken.clear();
        });
    });
    group.finish();
}

fn roster(criterion: &mut Criterion) {
    let rules = Arc::new(Rules { region: "local".into(), grace_ms: 0, tiers: Tiers::default() });
    let member = |number: u64| {
        let about = About { conn_info: Bytes::from_static(b"{\"name\":\"somebody\"}"), ..About::default() };
        Member::new(format!("client-{number}").into(), format!("user-{number}").into(), about)
    };
    let full = || {
        let (mut roster, mut told) = (Roster::new(rules.clone(), 1), Vec::new());
        (0..MEMBERS).for_each(|number| roster.handle(Input::Join(member(number)), now(), &mut told));
        roster
    };
    let mut group = criterion.benchmark_group("a roster of 1,000");
    group.bench_function("one joins and leaves", |bencher| {
        let mut told = Vec::new();
        bencher.iter_batched_ref(
            full,
            |roster| {
                roster.handle(Input::Join(member(MEMBERS)), now(), &mut told);
                let leave = Input::Leave { client: "client-1000", departure: Departure::Clean };
                roster.handle(leave, now(), &mut told);
                told.clear();
            },
            BatchSize::LargeInput,
        );
    });
    let roster = full();
    group.bench_function("the first page of 100", |bencher| bencher.iter(|| roster.page(None, black_box(100))));
    group.finish();
}

fn ring(criterion: &mut Criterion) {
    let node = |number: usize| Node {
        id: format!("redis-{number}"),
        url: format!("redis://redis-{number}:6379"),
        weight: 1,
        state: NodeState::Serving,
        incarnation: 0,
    };
    let layout = Layout { nodes: (0..NODES).map(node).collect(), ..Layout::default() };
    let table = Table::new(&layout, VNODES);
    let channels: Vec<Channel> = (0..1_000).map(|number| Channel::parse(&format!("room:{number}")).unwrap()).collect();
    let mut group = criterion.benchmark_group("the ring of 16 nodes");
    group.throughput(Throughput::Elements(channels.len() as u64));
    group.bench_function("the owners of 1,000 channels", |bencher| {
        bencher.iter(|| channels.iter().filter(|channel| table.owner(Slot::of(channel)).is_some()).count());
    });
    group.finish();
    criterion.bench_function("a table from its document", |bencher| bencher.iter(|| Table::new(black_box(&layout), VNODES)));
}

criterion_group!(core, words, hub, roster, ring);
criterion_main!(core);
