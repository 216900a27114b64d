//! Pure: what Redis nodes and clients say of rosters.

use bytes::Bytes;
use presence::{
    Version,
    cluster::{Change, OwnerId, RoomId, Row, telling::Question},
    redis::ListChange,
};

/// Any bytes are a change of a roster, or are refused; what was read reads back from what it is written as. The same of a row.
pub(crate) fn change(bytes: &[u8]) {
    if let Ok(change) = Change::decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(Change::decode(change.encode()), Ok(change));
    }
    if let Ok(row) = Row::decode(b"client", 7, Bytes::copy_from_slice(bytes)) {
        let body = Row::body(&row.member, &row.owner);
        assert_eq!(Row::decode(b"client", 7, body.into()), Ok(row));
    }
}

/// Any text is a version, a cursor, an owner, a question, a room, a change of contacts, or none of them; what was read reads back from
/// what it is written as.
pub(crate) fn words(bytes: &[u8]) {
    if let Some(ListChange::Replaced(user) | ListChange::Erased(user)) = ListChange::decode(bytes) {
        assert_eq!(user.len() + 1, bytes.len());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.to_string().parse(), Ok(version));
    }
    if let Ok(cursor) = presence::fuzzing::cursor(text) {
        assert_eq!(presence::fuzzing::cursor(&cursor), Ok(cursor));
    }
    if let Ok(owner) = text.parse::<OwnerId>() {
        assert_eq!(owner.to_string().parse(), Ok(owner));
    }
    if let Ok(question) = text.parse::<Question>() {
        assert_eq!(question.to_string().parse(), Ok(question));
    }
    if let Some(room) = RoomId::parse(text) {
        assert_eq!(room.as_str(), text);
    }
}
