//! Pure: what peers, Redis clients and disks say of counters.

use bytes::Bytes;
use counter::{
    Token,
    chunk::Received,
    export::Surviving,
    group::{Group, SEGMENT_HEADER_BYTES, SealedGroup, SegmentHeader},
    ledger::Ledger,
    manifest::Manifest,
    origin::OriginId,
    record::Record,
    recovery::Recovery,
    session,
};
use protocol::{
    name::NameRef,
    peer::{Chunk, Message},
};

/// Whose stream the chunks of the corpus are pieces of.
pub(crate) const ORIGIN_EPOCH: u64 = 7;

/// Any bytes are a message between nodes, or one of a later version, or none; what was read is written in no more bytes, behind their
/// length, and reads back as the same.
pub(crate) fn peer_message(bytes: &[u8]) {
    let Ok(Some(message)) = Message::from_frame(Bytes::copy_from_slice(bytes)) else { return };
    let frame = message.clone().to_frame();
    assert!(frame.len() <= 4 + bytes.len(), "{} bytes became {}: {message:?}", bytes.len(), frame.len());
    assert_eq!(Message::from_frame(frame.slice(4..)), Ok(Some(message)));
}

/// A replica takes any chunk in or refuses it; of one that breaks the rules nothing is taken in, and one that was taken in changes
/// nothing when it comes again. No chunk changes what this replica itself has counted.
pub(crate) fn chunk(bytes: &[u8]) {
    let Ok(Some(Message::Chunk(chunk))) = Message::from_frame(Bytes::copy_from_slice(bytes)) else { return };
    let (mut ledger, mut group) = (Ledger::new(1), Group::new(1, 1));
    assert!(ledger.replica.count_as("eu", "c9", 99, &mut group));
    let own = NameRef::parse(b"own").expect("a name");
    ledger.replica.add(ledger.replica.locate(own), 5, &mut group).expect("an addition");
    let origin = OriginId { region: "eu".to_owned(), node: "c1".to_owned(), epoch: ORIGIN_EPOCH };
    ledger.meet(&origin, &mut group).expect("an origin");
    let before = seen(&ledger, &chunk);
    let came = ledger.receive(&chunk, &mut group);
    let after = seen(&ledger, &chunk);
    if !matches!(came, Received::Applied { .. }) {
        assert_eq!(after, before, "{came:?}");
    }
    _ = ledger.receive(&chunk, &mut group);
    assert_eq!(seen(&ledger, &chunk), after, "again, after {came:?}");
    let mine = ledger.replica.entries(own).remove("eu/c9").expect("an entry");
    assert_eq!((mine.increments, mine.decrements), (5, 0));
    // What was put down for the log is what a restart reads.
    let mut again = Ledger::new(1);
    again.replay(group.records()).expect("records of this version");
    assert_eq!(seen(&again, &chunk), after, "after a restart");
}

/// The streams' positions, and the values of all counters that the chunk names.
fn seen(ledger: &Ledger, chunk: &Chunk) -> (String, Vec<Option<i128>>) {
    let keys = Record::decode_all(&chunk.facts).filter_map(Result::ok).filter_map(|record| match record {
        Record::Fact { fact, .. } => NameRef::parse(fact.key()?.as_bytes()).ok(),
        _ => None,
    });
    (ledger.replica.session(), keys.map(|key| ledger.replica.value(key).filter(|value| *value != 0)).collect())
}

/// Any bytes are records, or not from the first bad one on; each is written in as many bytes as it was read from. A ledger takes all of
/// them in, or says that they are of another version, and is the same after taking them in twice.
pub(crate) fn log_records(bytes: &[u8]) {
    let (mut rest, mut written) = (bytes, Vec::new());
    while let Ok(record) = Record::decode(&mut rest) {
        let from = written.len();
        record.encode(&mut written);
        assert_eq!(Record::decode(&mut &written[from..]), Ok(record));
        assert_eq!(written.len(), bytes.len() - rest.len(), "{record:?}");
    }
    let mut ledger = Ledger::new(1);
    if ledger.replay(bytes).is_ok() {
        let session = ledger.replica.session();
        assert_eq!((ledger.replay(bytes), ledger.replica.session()), (Ok(()), session));
    }
}

/// Any bytes after a segment's header are groups up to a torn tail, or damage that is told; also with the checksum of the first
/// group put right.
pub(crate) fn log_segment(bytes: &[u8]) {
    segment(bytes);
    let mut mended = bytes.to_vec();
    let header = SegmentHeader { segment: 1, first_group: 1 }.encode();
    if mended.len() < SEGMENT_HEADER_BYTES + 12 {
        return;
    }
    mended[..SEGMENT_HEADER_BYTES].copy_from_slice(&header);
    let group = &mut mended[SEGMENT_HEADER_BYTES..];
    let length = u32::from_le_bytes([group[8], group[9], group[10], group[11]]) as usize;
    if let Some(content) = length.checked_add(20).and_then(|end| group.get(8..end)) {
        let checksum = crc32c::crc32c(content).to_le_bytes();
        group[4..8].copy_from_slice(&checksum);
    }
    segment(&mended);
}

fn segment(bytes: &[u8]) {
    let mut recovery = Recovery::start(1);
    if recovery.segment(1, bytes).is_err() {
        return;
    }
    let Ok(recovered) = recovery.finish() else { return };
    let end = recovered.tail.map_or(0, |tail| tail.end);
    assert!(end <= bytes.len());
    assert!(SealedGroup::find(&bytes[end..], recovered.next_group).is_none(), "a whole group was left out");
}

/// Any bytes are a manifest exactly if it is written in these bytes again; also with the checksum put right.
pub(crate) fn manifest(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    if let Some((content, checksum)) = mended.split_last_chunk_mut::<4>() {
        *checksum = crc32c::crc32c(content).to_le_bytes();
    }
    for bytes in [bytes, &mended] {
        let Ok(manifest) = Manifest::decode(bytes) else { continue };
        assert_eq!(manifest.encode(), bytes);
        _ = (manifest.byte_count(), manifest.ledger().is_ok());
    }
}

/// Any line is one of an export, or is refused in words.
pub(crate) fn export_line(bytes: &[u8]) {
    if let Err(refused) = Surviving::parse(bytes) {
        assert!(!refused.to_string().is_empty());
    }
}

/// Any text is a session, a token, or neither; what was read is written as a text that reads the same.
pub(crate) fn session_vector(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(positions) = session::decode(text) {
        assert_eq!(session::decode(&session::encode(&positions)), Ok(positions.clone()));
        assert_eq!(session::join(&[text, text]), session::encode(&positions));
    }
    if let Ok(token) = Token::parse(text) {
        assert!(token.minted_ms() < 1 << 48);
    }
}

/// The commands of any bytes are the same however these are cut into pieces, and their words are not more than the bytes.
pub(crate) fn resp_requests(bytes: &[u8]) {
    for trusted in [false, true] {
        let whole = counter::fuzzing::requests(bytes, bytes.len(), trusted);
        let words: usize = whole.0.iter().flatten().map(Vec::len).sum();
        assert!(words <= bytes.len());
        for piece_bytes in [1, 7] {
            assert_eq!(counter::fuzzing::requests(bytes, piece_bytes, trusted), whole, "in pieces of {piece_bytes}");
        }
    }
}
