//! Pure: what etcd and Redis nodes say of the ring.

use bytes::{Bytes, BytesMut};
use ring_coordinator::{
    document::Document,
    etcd::{
        keys::Keys,
        snapshot::{Entry, RECORD_BYTES_MAX, Snapshot},
    },
    key,
    redis::Reply,
};

/// Any bytes are a ring document, or are refused in words; what was read reads back from what it is written as.
pub(crate) fn document(bytes: &[u8]) {
    match Document::parse(bytes) {
        Ok(document) => assert_eq!(Document::parse(document.to_json().as_bytes()), Ok(document)),
        Err(flaw) => assert!(!flaw.to_string().is_empty()),
    }
}

/// Any key and value of etcd, the key in the first line: there is one entry, or one word why not, whose name is short. What is no ring
/// leaves none behind, and no name of a key means two things.
pub(crate) fn etcd_entry(bytes: &[u8]) {
    let (name, value) = bytes.iter().position(|byte| *byte == b'\n').map_or((bytes, None), |at| (&bytes[..at], Some(&bytes[at + 1..])));
    let keys = Keys::new("eu");
    let name = [keys.prefix().as_bytes(), name].concat();
    if let Some(key) = keys.parse(&name) {
        assert_eq!(keys.name(&key).as_bytes(), name);
    }
    if let Ok(text) = std::str::from_utf8(&name[keys.prefix().len()..]) {
        assert!(key::slot_of(text).is_none_or(|slot| slot.number() < 16_384));
    }
    let entry =
        Entry { name: name.clone().into(), value: value.map(Bytes::copy_from_slice), mod_revision: 5, create_revision: 5, lease: 0 };
    let (snapshot, omissions) = Snapshot::listed(&keys, 1, 5, vec![entry]);
    let is_nothing = value.is_none() || keys.is_election(&name);
    assert!(snapshot.entries() + omissions.len() <= 1);
    assert!(is_nothing || snapshot.entries() + omissions.len() == 1, "neither there nor left out");
    for omission in omissions {
        assert!(omission.name.len() <= 300 && omission.name.is_ascii());
        assert!((1..=200).contains(&omission.detail.chars().count()));
    }
    let records = snapshot.gateways.len() + snapshot.votes.len() + snapshot.counters.len();
    assert!(records == 0 || value.is_some_and(|value| value.len() <= RECORD_BYTES_MAX));
}

/// The replies in any bytes are the same however these are cut, and what they hold is not more than the bytes.
pub(crate) fn redis_reply(bytes: &[u8]) {
    let whole = replies(bytes, bytes.len());
    assert_eq!(replies(bytes, 3), whole);
    assert!(whole.0.iter().map(held).sum::<usize>() <= bytes.len());
}

/// What comes before the first bytes that are none, and whether there are such.
fn replies(bytes: &[u8], piece_bytes: usize) -> (Vec<Reply>, bool) {
    let (mut received, mut found) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece_bytes.max(1)) {
        received.extend_from_slice(piece);
        loop {
            match Reply::read(&mut received) {
                Ok(Some(reply)) => found.push(reply),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

fn held(reply: &Reply) -> usize {
    match reply {
        Reply::Nil | Reply::Integer(_) => 0,
        Reply::Status(bytes) | Reply::Bulk(bytes) | Reply::Error(bytes) => bytes.len(),
        Reply::Array(parts) => parts.iter().map(held).sum(),
    }
}
