//! What gateways and counter nodes say to each other, byte by byte.

use super::*;
use crate::peer::{Hello, Message};

fn readings() -> Readings {
    let entry = Entry { member: "eu/c1".to_owned(), increments: vec![0; 16].into(), decrements: vec![1; 16].into() };
    let region = Region { name: "eu".to_owned(), as_of_ms: 5, silent: true };
    let value = Value { key: "k".to_owned(), value: Some(-1), entries: vec![entry] };
    Readings { values: vec![value], regions: vec![region], lag_ms: 6, complete: true, session: "1".to_owned() }
}

/// Bytes that another version of this program may have to read: they change only with [`crate::peer::VERSION`].
#[test]
fn the_bytes_are_the_contract() {
    let op = Op { key: "k".to_owned(), by: Some(-3), token: Bytes::from_static(b"t") };
    let reset = Op { key: "k".to_owned(), by: None, token: Bytes::new() };
    let full = OpResult { value: -2, fate: OpFate::KeysFull.into(), here: 0 };
    let short = OpResult { value: 2, fate: OpFate::Short.into(), here: 1 };
    let produced = Produced {
        producer: 7,
        number: 1,
        fate: Fate::Never.into(),
        results: vec![full, short],
        acked: 2,
        session: "1".to_owned(),
        server_time_ms: 3,
    };
    let read = Read { id: 1, keys: vec!["k".to_owned()], min: "1".to_owned(), wait_ms: 2, detail: true, ..Read::default() };
    let page = Some(VotersWanted { after: "b".to_owned(), limit: 2 });
    let votes = Votes { users: vec!["a".to_owned()], next: "a".to_owned(), is_lost: true, voted: vec![true, false], taken_back: 3 };
    let wanted = BucketsWanted { minutes: 60, hours: 48, days: 31, seconds: 60, first: 300, count: 2 };
    let buckets = Buckets { counts: vec![1, 0], sums: vec![-2, 0] };
    let ranked = Ranked { key: "k".to_owned(), value: vec![255; 16].into() };
    let top = Top { counters: vec![ranked], not_yet: true };
    let gateway = Hello { producer: true, ..Hello::default() };
    let cases = [
        (Message::Hello(gateway), "000000040a023001"),
        (Message::Open(Open { producer: 7 }), "0000000b4209090700000000000000"),
        (
            Message::Opened(Opened { producer: 7, epoch: 8, refusal: "x".to_owned() }),
            "000000174a150907000000000000001108000000000000001a0178",
        ),
        (
            Message::Produce(Produce { producer: 7, epoch: 8, number: 1, ops: vec![op, reset], ack: 2 }),
            "000000275225090700000000000000110800000000000000180122080a016b10051a017422030a016b2802",
        ),
        (Message::Produced(produced), "000000245a2209070000000000000010011804220408031006220608041008180128023201313803"),
        (Message::Close(Close { producer: 7, epoch: 8 }), "000000146212090700000000000000110800000000000000"),
        (Message::Read(read), "0000000e6a0c080112016b1a013120022801"),
        (
            Message::Answer(Answer { id: 1, readings: Some(readings()), covered: true, bad_session: true, ..Answer::default() }),
            "0000004f724d080112450a320a016b10011a2b0a0565752f63311210000000000000000000000000000000001a100101010101010101010101010101010112080a02657510051801180620012a013118012001",
        ),
        (
            Message::Read(Read { id: 1, keys: vec!["k".to_owned()], voter: "ann".to_owned(), page, ..Read::default() }),
            "000000136a11080112016b3203616e6e3a050a01621002",
        ),
        (
            Message::Answer(Answer { id: 1, votes: Some(votes.into()), ..Answer::default() }),
            "00000014721208012a0e0a01611201611801220201002803",
        ),
        (
            Message::Read(Read { id: 1, keys: vec!["k".to_owned()], buckets: Some(wanted), ..Read::default() }),
            "000000166a14080112016b4a0d083c1030181f203c28ac023002",
        ),
        (Message::Answer(Answer { id: 1, buckets: Some(buckets.into()), ..Answer::default() }), "0000000e720c08013a080a02010012020300"),
        (Message::TakeBackVotes(TakeBackVotes { id: 1, user: "ann".to_owned() }), "0000000a9a010708011203616e6e"),
        (
            Message::Read(Read { id: 1, top: Some(TopWanted { namespace: "likes".to_owned(), limit: 10 }), ..Read::default() }),
            "0000000f6a0d080142090a056c696b6573100a",
        ),
        (
            Message::Answer(Answer { id: 1, top: Some(top.into()), ..Answer::default() }),
            "0000001f721d080132190a150a016b1210ffffffffffffffffffffffffffffffff1001",
        ),
        (Message::Watch(Watch { keys: vec!["k".to_owned()], end: true }), "000000077a050a016b1001"),
        (
            Message::Changed(Changed { readings: Some(readings()) }),
            "0000004a8201470a450a320a016b10011a2b0a0565752f63311210000000000000000000000000000000001a100101010101010101010101010101010112080a02657510051801180620012a0131",
        ),
    ];
    for (message, golden) in cases {
        let bytes = message.clone().to_frame();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden, "{message:?}");
        assert_eq!(Message::from_frame(bytes.slice(4..)), Ok(Some(message)));
    }
}
