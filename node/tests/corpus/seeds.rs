//! Pure: the seeds that our own encoders write, of each format that another process, or a later version, may have to read.

use bytes::Bytes;
use counter::{
    AddOp, Adding, Event, batch,
    cell::Floor,
    group::{Group, SegmentHeader},
    ledger::{self, Ledger},
    manifest::{Manifest, Part},
    origin::OriginId,
    record::{Fact, Record, Use},
    session,
    vote::VoteKey,
};
use presence::{
    About, Member, Stamp, Stats,
    cluster::{Change, OwnerId, Row, RowChange},
};
use protocol::{
    control::{Control, Disconnect, Emulation, Order, Ring, Unsubscribe},
    envelope::Envelope,
    message::Publication,
    name::NameRef,
    peer::{Applied, Beat, Chunk, Follow, Have, Hello, Message, OriginName, Proof, Refused, Stream},
    producer::{
        Answer, Buckets, BucketsWanted, Close, Op, Open, Opened, Produce, Produced, Ranked, Read, Top, TopWanted, VotersWanted, Votes,
        Watch,
    },
    window::Kept,
};
use std::sync::Arc;

const TOKEN: u128 = 0x0189_0a5d_ac96_774b_bcce_b302_099a_8057;

/// Target, name and bytes of each.
pub(crate) fn written() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    [messages(), chunks(), log(), bus(), rosters(), texts()].concat()
}

type Seeds = Vec<(&'static str, &'static str, Vec<u8>)>;

fn messages() -> Seeds {
    let origin = OriginName { epoch: 7, region: "eu".to_owned(), node: "c1".to_owned() };
    let hello = |node: &str, producer, link| {
        let nonce = Bytes::from_static(b"0123456789abcdef0123456789abcdef");
        Hello { version: 1, cluster: "main".to_owned(), region: "eu".to_owned(), node: node.to_owned(), nonce, producer, link }
    };
    let stream = Stream { origin: Some(origin), seq: 300, as_of_ms: 5, retired: true, ahead: 301 };
    let op = |by| Op { key: "likes".to_owned(), by, token: TOKEN.to_be_bytes().to_vec().into() };
    let ops = vec![op(Some(-3)), op(None), Op { key: "views:1".to_owned(), by: Some(i64::MAX), token: Bytes::new() }];
    let likes = NameRef::parse(b"likes").expect("a name").to_name();
    let cast = [true, false].map(|is_on| batch::vote(&likes, "ann", is_on).expect("a vote")).to_vec();
    let page = VotersWanted { after: "bob".to_owned(), limit: 10 };
    let ranked = Ranked { key: "likes:a".to_owned(), value: 7_i128.to_be_bytes().to_vec().into() };
    let top = Top { counters: vec![ranked], not_yet: false };
    let wanted = BucketsWanted { minutes: 60, hours: 48, days: 31, seconds: 60, first: 29_833_333, count: 2 };
    let buckets = Buckets { counts: vec![1, 0], sums: vec![-2, 0] };
    let kept = Kept { minutes: 60, hours: 48, days: 31 };
    let how = Adding::Windowed(Event { at_s: 1_790_000_000, kept });
    let views = NameRef::parse(b"views").expect("a name").to_name();
    let seen = vec![batch::addition(&AddOp { key: views, by: -2, how, token: None, ack: None })];
    let votes = Votes { users: vec!["ann".to_owned()], next: "ann".to_owned(), is_lost: false, voted: vec![true], taken_back: 0 };
    let messages = [
        ("hello-of-a-replica", Message::Hello(hello("c1", false, false))),
        ("hello-of-a-gateway", Message::Hello(hello("g1", true, false))),
        ("hello-of-a-region-link", Message::Hello(hello("g1", true, true))),
        ("proof", Message::Proof(Proof { mac: vec![7; 32].into() })),
        ("have", Message::Have(Have { streams: vec![stream], absorbed: vec![8, 9] })),
        ("follow", Message::Follow(Follow { epoch: 7, after: 3, follow: 1, whole: true, end: false })),
        ("applied", Message::Applied(Applied { epoch: 7, upto: 300 })),
        ("refused", Message::Refused(Refused { reason: "no".to_owned() })),
        ("open", Message::Open(Open { producer: 11 })),
        ("opened", Message::Opened(Opened { producer: 11, epoch: 7, refusal: "full".to_owned() })),
        ("produce", Message::Produce(Produce { producer: 11, epoch: 7, number: 2, ops, ack: 1 })),
        ("produced", Message::Produced(Produced { producer: 11, number: 2, fate: 1, ..Produced::default() })),
        ("close", Message::Close(Close { producer: 11, epoch: 7 })),
        (
            "read",
            Message::Read(Read {
                id: 1,
                keys: vec!["likes".to_owned()],
                min: "1.7-5".to_owned(),
                wait_ms: 5,
                detail: true,
                ..Read::default()
            }),
        ),
        ("answer", Message::Answer(Answer { id: 1, readings: Some(Default::default()), covered: true, ..Answer::default() })),
        (
            "read-of-votes",
            Message::Read(Read { id: 1, keys: vec!["likes".to_owned()], voter: "ann".to_owned(), page: Some(page), ..Read::default() }),
        ),
        ("answer-of-votes", Message::Answer(Answer { id: 1, votes: Some(votes.into()), ..Answer::default() })),
        (
            "read-of-top",
            Message::Read(Read { id: 1, top: Some(TopWanted { namespace: "likes".to_owned(), limit: 10 }), ..Read::default() }),
        ),
        ("answer-of-top", Message::Answer(Answer { id: 1, top: Some(top.into()), ..Answer::default() })),
        ("read-of-buckets", Message::Read(Read { id: 1, keys: vec!["views".to_owned()], buckets: Some(wanted), ..Read::default() })),
        ("answer-of-buckets", Message::Answer(Answer { id: 1, buckets: Some(buckets.into()), ..Answer::default() })),
        ("produce-of-events", Message::Produce(Produce { producer: 11, epoch: 7, number: 4, ops: seen, ack: 1 })),
        ("produce-of-votes", Message::Produce(Produce { producer: 11, epoch: 7, number: 3, ops: cast, ack: 1 })),
        ("watch", Message::Watch(Watch { keys: vec!["likes".to_owned()], end: false })),
        ("link", Message::Link(Bytes::from_static(b"of gateways"))),
        ("beat", Message::Beat(Beat {})),
    ];
    messages.into_iter().map(|(name, message)| ("peer_message", name, unframed(message))).collect()
}

/// What stands behind the length.
fn unframed(message: Message) -> Vec<u8> {
    message.to_frame()[4..].to_vec()
}

fn chunks() -> Seeds {
    let name = |epoch, node: &str| OriginName { epoch, region: "eu".to_owned(), node: node.to_owned() };
    let origins = vec![name(7, "c1"), name(8, "c2")];
    let sums = Floor { p: 5, n: 2 };
    let used = Use { token: TOKEN, key: "likes", by: Some(5), after: 5 };
    let chunk = |after, upto, whole, records: &[Record<'_>]| {
        let mut facts = Vec::new();
        records.iter().for_each(|record| record.encode(&mut facts));
        let (digest, as_of_ms) = (None, 5);
        unframed(Message::Chunk(Chunk {
            epoch: 7,
            follow: 1,
            index: 0,
            after,
            upto,
            as_of_ms,
            digest,
            origins: origins.clone(),
            facts: facts.into(),
            whole,
        }))
    };
    let fact = |seq, fact| Record::Fact { by: 0, seq, fact };
    let changes = [
        fact(1, Fact::Slot { key: "likes", sums }),
        fact(2, Fact::Token(used)),
        fact(3, Fact::Address("127.0.0.1:7400")),
        fact(4, Fact::Floor { origin: 1, key: "likes", sums }),
    ];
    let ends = [
        fact(1, Fact::Retired { origin: 1, heir: "eu/c1" }),
        fact(2, Fact::Holds { origin: 1, upto: 0, digest: 0, heir: "eu/c1" }),
        fact(3, Fact::Absorbed { origin: 1, upto: 0 }),
        fact(4, Fact::AbsorbedKey { origin: 1, key: "likes", sums }),
        fact(5, Fact::TakenBack { origin: 1, token: TOKEN }),
    ];
    let vote = VoteKey::new(NameRef::parse(b"likes").expect("a name"), "ann").expect("a vote");
    let turned = |p, n| [fact(1, Fact::Slot { key: vote.as_str(), sums: Floor { p, n } })];
    let seen = |p, n| [fact(1, Fact::Slot { key: "\u{1d}views\u{1d}m04003f", sums: Floor { p, n } })];
    let anothers = [Record::Fact { by: 1, seq: 1, fact: Fact::Slot { key: "likes", sums } }];
    vec![
        ("counter_chunk", "changes", chunk(0, 4, false, &changes)),
        ("counter_chunk", "the-end-of-a-life", chunk(0, 5, false, &ends)),
        ("counter_chunk", "part-of-a-whole-state", chunk(0, 0, false, &changes[..1])),
        ("counter_chunk", "the-last-part-of-a-whole-state", chunk(0, 4, true, &[Record::Dropped { origin: 1, by: 0, seq: 4, upto: 0 }])),
        ("counter_chunk", "a-vote", chunk(0, 1, false, &turned(3, 0))),
        ("counter_chunk", "a-vote-that-cannot-be", chunk(0, 1, false, &turned(1 << 16, 0))),
        ("counter_chunk", "a-bucket", chunk(0, 1, false, &seen(7 << 44 | 5, 7 << 44 | 2))),
        ("counter_chunk", "a-bucket-of-two-turns", chunk(0, 1, false, &seen(7 << 44 | 5, 2))),
        ("counter_chunk", "a-gap", chunk(3, 4, false, &changes[3..])),
        ("counter_chunk", "another-origins-slot", chunk(0, 1, false, &anothers)),
        ("counter_chunk", "a-cursor-in-it", chunk(0, 1, false, &[Record::Cursor { origin: 0, seq: 9, as_of_ms: 9 }])),
    ]
}

/// A ledger with a life of its own, a peer, some counters and a token, as its log has them.
fn log() -> Seeds {
    let key = NameRef::parse(b"likes").expect("a name");
    let mut segment = SegmentHeader { segment: 1, first_group: 1 }.encode().to_vec();
    let mut ledger = Ledger::new(1);
    let mut group = Group::new(1, 1);
    assert!(ledger.replica.count_as("eu", "c1", 7, &mut group));
    ledger.replica.add(ledger.replica.locate(key), 5, &mut group).expect("an addition");
    segment.extend_from_slice(group.seal());
    let mut group = Group::new(2, ledger.replica.own_seq() + 1);
    ledger.replica.add(ledger.replica.locate(key), -2, &mut group).expect("an addition");
    let other = OriginId { region: "us".to_owned(), node: "c2".to_owned(), epoch: 8 };
    ledger.meet(&other, &mut group).expect("an origin");
    ledger.replica.reset(ledger.replica.locate(key), &mut group);
    segment.extend_from_slice(group.seal());
    let torn = [&segment[..segment.len() - 3], &[0; 40]].concat();
    let origins = {
        let mut out = Vec::new();
        for (index, _) in ledger.replica.origins().iter() {
            ledger.replica.origins().record(index).encode(&mut out);
        }
        out
    };
    let votes = {
        let mut group = Group::new(3, ledger.replica.own_seq() + 1);
        for (user, is_on) in [("ann", true), ("bob", true), ("ann", false)] {
            let op = counter::engine::Op { key, change: ledger::Change::Vote { user, is_on }, token: None };
            ledger.replica.vote(ledger.replica.locate_for(&op), user, is_on, &mut group).expect("a vote");
        }
        group.records().to_vec()
    };
    let mut manifest = Manifest { segment: 2, first_group: 3, seed: 1, generation: 4, origins: origins.clone(), ..Manifest::default() };
    manifest.parts[0] = Part { bytes: 5, checksum: 6 };
    vec![
        ("log_segment", "two-groups", segment),
        ("log_segment", "a-torn-tail", torn),
        ("log_records", "origins", origins),
        ("log_records", "a-group", group.records().to_vec()),
        ("log_records", "votes", votes),
        ("manifest", "a-snapshot", manifest.encode()),
        ("session_vector", "two-origins", session::encode(&[(7, 300), (u64::MAX, 1)].into()).into_bytes()),
    ]
}

fn bus() -> Seeds {
    let publication = Publication { data: "\"hi\"".into(), offset: 7, time: 1, ..Publication::default() };
    let envelope = Envelope { id: TOKEN, repeated: true, epoch: "0a1b2c3d".to_owned(), publication };
    let without_history = Envelope { epoch: String::new(), repeated: false, ..envelope.clone() };
    let order = |order| Control { id: TOKEN.to_be_bytes().to_vec().into(), order: Some(order) }.to_bytes().to_vec();
    let (user, session) = ("ann".to_owned(), "s".to_owned());
    let disconnect = Disconnect { user: user.clone(), code: 3000, whitelist: vec!["c".to_owned()], ..Disconnect::default() };
    vec![
        ("bus_envelope", "with-history", envelope.encode().to_vec()),
        ("bus_envelope", "without-history", without_history.encode().to_vec()),
        ("bus_control", "disconnect", order(Order::Disconnect(disconnect))),
        ("bus_control", "unsubscribe", order(Order::Unsubscribe(Unsubscribe { user, channel: "room".to_owned(), ..Default::default() }))),
        ("bus_control", "emulation", order(Order::Emulation(Emulation { session, data: "{}".into() }))),
        ("bus_control", "ring", order(Order::Ring(Ring { epoch: 5 }))),
    ]
}

fn rosters() -> Seeds {
    let about = About { conn_info: "1".into(), chan_info: "2".into(), status: "{\"mood\":\"away\"}".into() };
    let member = Member::new("c1".into(), "ann".into(), about);
    let owner = OwnerId { gateway: "g1".into(), incarnation: 17 };
    let row = Row::body(&member, &owner);
    let put = RowChange::Put(Row { member: Arc::new(member), owner, arrival: 3 });
    let stamp = Stamp { generation: 7, seq: 9 };
    let change = |rows| Change { stamp, stats: Stats { clients: 2, users: 1 }, rows }.encode().to_vec();
    vec![
        ("presence_change", "one-came-and-one-went", change(vec![put, RowChange::Gone("c2".into())])),
        ("presence_change", "nobody", change(Vec::new())),
        ("presence_change", "a-row", row),
    ]
}

fn texts() -> Seeds {
    vec![("presence_words", "an-owner", OwnerId { gateway: "g.1".into(), incarnation: 17 }.to_string().into_bytes())]
}
