//! Pure: the bytes of the messages between regions, and what is none.

use super::*;
use crate::limits::{MEMBER_INFO_BYTES_MAX, STATUS_BYTES_MAX, USERS_PER_QUERY_MAX};
use proptest::prelude::*;

fn entry(user: &str, client: &str) -> RoomEntry {
    let (conn_info, chan_info, status) = (Bytes::from_static(b"{}"), Bytes::from_static(b"1"), Bytes::from_static(b"2"));
    RoomEntry { user: user.to_owned(), client: client.to_owned(), num_clients: 2, conn_info, chan_info, status }
}

fn stamp(seq: u64) -> Option<RoomStamp> {
    Some(RoomStamp { generation: 7, seq })
}

fn page(entries: Vec<RoomEntry>) -> RoomPage {
    RoomPage { channel: "a".to_owned(), follow: 1, index: 2, stamp: stamp(3), entries, is_last: true }
}

fn diff() -> RoomDiff {
    let (join, leave, update) = (vec![entry("u", "c")], vec![entry("", "d")], vec![entry("v", "e")]);
    let (channel, from, to) = ("a".to_owned(), stamp(3), stamp(4));
    RoomDiff { channel, follow: 1, from, to, join, leave, update, count: 2, clients: 3, counts_only: false }
}

fn known(clients: u32, last_seen_ms: Option<u64>) -> UserKnown {
    UserKnown { clients, last_seen_ms }
}

fn read(message: RegionMessage) -> Result<Option<RegionMessage>, BadRegionFrame> {
    RegionMessage::from_bytes(message.to_bytes())
}

/// Bytes that another version of this program may have to read.
#[test]
fn the_bytes_are_the_contract() {
    let channel = || "a".to_owned();
    let cases = [
        (
            RegionMessage::FollowRoom(FollowRoom { channel: channel(), follow: 1, since: stamp(3) }),
            "0a120a016110011a0b0907000000000000001003",
        ),
        (RegionMessage::LeaveRoom(LeaveRoom { channel: channel() }), "12030a0161"),
        (
            RegionMessage::RoomPage(page(vec![entry("u", "c")])),
            "1a2a0a016110011802220b09070000000000000010032a120a0175120163180222027b7d2a01313201323001",
        ),
        (
            RegionMessage::RoomDiff(diff()),
            "225c0a016110011a0b0907000000000000001003220b09070000000000000010042a120a0175120163180222027b7d2a0131320132320f120164180222027b7d2a01313201323a120a0176120165180222027b7d2a013132013240024803",
        ),
        (RegionMessage::RoomRefused(RoomRefused { channel: channel(), follow: 1, reason: "x".to_owned() }), "2a080a016110011a0178"),
        (RegionMessage::RoomStale(RoomStale { channel: channel(), follow: 1, is_stale: true }), "32070a016110011801"),
        (RegionMessage::AskUsers(AskUsers { ask: 7, users: vec!["u".to_owned()] }), "42050807120175"),
        (RegionMessage::UsersKnown(UsersKnown { ask: 7, users: vec![known(2, Some(300)), known(0, None)] }), "4a0b08071205080210ac021200"),
        (RegionMessage::UsersRefused(UsersRefused { ask: 7, reason: "x".to_owned() }), "52050807120178"),
        (
            RegionMessage::FollowStream(FollowStream { channel: channel(), follow: 1, epoch: "e".to_owned(), offset: 3 }),
            "82010a0a016110011a01652003",
        ),
        (RegionMessage::Totals(Totals { num_clients: 300, num_users: 2 }), "3a0508ac021002"),
        (RegionMessage::LeaveStream(LeaveStream { channel: channel() }), "8a01030a0161"),
        (
            RegionMessage::StreamFrom(StreamFrom { channel: channel(), follow: 1, epoch: "e".to_owned(), offset: 3, follows: true }),
            "92010c0a016110011a016520032801",
        ),
        (
            RegionMessage::StreamNext(StreamNext { channel: channel(), follow: 1, after: 3, offset: 5, body: Bytes::from_static(b"x") }),
            "9a010c0a01611001180320052a0178",
        ),
        (RegionMessage::StreamCurrent(StreamCurrent { channel: channel(), follow: 1 }), "a201050a01611001"),
        (
            RegionMessage::StreamEnded(StreamEnded { channel: channel(), follow: 1, reason: "x".to_owned(), again: true }),
            "aa010a0a016110011a01782001",
        ),
    ];
    for (message, golden) in cases {
        let hex: String = message.clone().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden, "{message:?}");
        assert_eq!(read(message.clone()), Ok(Some(message)));
    }
    assert_eq!(RegionMessage::from_bytes(Bytes::from_static(&[0xfa, 0x01, 0x00])), Ok(None), "an unknown kind is no error");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let long = |length: usize| Bytes::from(vec![b'1'; length]);
    let of = |entry: RoomEntry| RegionMessage::RoomPage(page(vec![entry]));
    let with = |change: fn(&mut RoomDiff)| {
        let mut diff = diff();
        change(&mut diff);
        RegionMessage::RoomDiff(diff)
    };
    let refused = RoomRefused { channel: "a".to_owned(), follow: 1, reason: "x".repeat(REASON_BYTES_MAX + 1) };
    let cases = [
        (RegionMessage::LeaveRoom(LeaveRoom { channel: "a b".to_owned() }), "the channel has no name of a channel"),
        (RegionMessage::RoomStale(RoomStale::default()), "the channel has no name of a channel"),
        (RegionMessage::StreamCurrent(StreamCurrent { channel: "a b".to_owned(), follow: 1 }), "the channel has no name of a channel"),
        (
            RegionMessage::StreamEnded(StreamEnded {
                channel: "a".to_owned(),
                follow: 1,
                reason: "x".repeat(REASON_BYTES_MAX + 1),
                again: true,
            }),
            "a reason of more than 1024 bytes",
        ),
        (RegionMessage::RoomRefused(refused), "a reason of more than 1024 bytes"),
        (RegionMessage::RoomPage(RoomPage { stamp: None, ..page(vec![]) }), "a page without a stamp"),
        (RegionMessage::RoomPage(page(vec![entry("u", "c"); ROSTER_PAGE_MAX + 1])), "more members than a page holds"),
        (RegionMessage::RoomPage(page(vec![entry("u", "c"); ROSTER_PAGE_MAX + 100])), "more members than a page holds"),
        (of(entry(&"u".repeat(256), "c")), "a user id of more than 255 bytes"),
        (of(entry("u", "")), "a client id of none or more than 255 bytes"),
        (of(entry("u", &"c".repeat(256))), "a client id of none or more than 255 bytes"),
        (of(RoomEntry { num_clients: 0, ..entry("u", "c") }), "a member without clients"),
        (of(RoomEntry { conn_info: long(MEMBER_INFO_BYTES_MAX + 1), ..entry("u", "c") }), "more about a member than may be said"),
        (of(RoomEntry { chan_info: long(MEMBER_INFO_BYTES_MAX + 1), ..entry("u", "c") }), "more about a member than may be said"),
        (of(RoomEntry { status: long(STATUS_BYTES_MAX + 1), ..entry("u", "c") }), "more about a member than may be said"),
        (with(|diff| diff.from = None), "a diff without its stamps"),
        (with(|diff| diff.to = None), "a diff without its stamps"),
        (with(|diff| diff.clients = 1), "fewer clients than members"),
        (with(|diff| diff.counts_only = true), "names in a diff that has counts only"),
        (with(|diff| diff.update[0].num_clients = 0), "a member without clients"),
        (with(|diff| diff.join = vec![entry("u", "c"); ROSTER_PAGE_MAX - 1]), "more members than a page holds"),
        (
            RegionMessage::AskUsers(AskUsers { ask: 1, users: vec!["u".to_owned(); USERS_PER_QUERY_MAX + 1] }),
            "more users than are asked for at once",
        ),
        (RegionMessage::AskUsers(AskUsers { ask: 1, users: vec![String::new()] }), "a user id of none or more than 255 bytes"),
        (RegionMessage::AskUsers(AskUsers { ask: 1, users: vec!["u".repeat(256)] }), "a user id of none or more than 255 bytes"),
        (
            RegionMessage::UsersKnown(UsersKnown { ask: 1, users: vec![known(0, None); USERS_PER_QUERY_MAX + 1] }),
            "more users than are asked for at once",
        ),
        (
            RegionMessage::UsersRefused(UsersRefused { ask: 1, reason: "x".repeat(REASON_BYTES_MAX + 1) }),
            "a reason of more than 1024 bytes",
        ),
    ];
    for (message, why) in cases {
        assert_eq!(read(message), Err(BadRegionFrame::Refused(why)));
    }
    assert!(read(RegionMessage::RoomPage(page(vec![entry("u", "c"); ROSTER_PAGE_MAX]))).is_ok());
    assert!(read(with(|diff| diff.leave[0].num_clients = 0)).is_ok(), "who left has no clients");
    assert_eq!(RegionMessage::from_bytes(vec![0; FRAME_BYTES_MAX + 1].into()), Err(BadRegionFrame::Large));
    assert!(matches!(RegionMessage::from_bytes(Bytes::from_static(&[0x1a, 5])), Err(BadRegionFrame::Malformed(_))));
}

/// An entry without anything takes two bytes here, and a hundred times as many once it is decoded.
#[test]
fn a_message_of_many_empty_members_is_refused_before_it_is_decoded() {
    let members = b"\x2a\x00".repeat(5_000_000);
    let mut frame = vec![0x1a];
    prost::encoding::encode_varint(members.len() as u64, &mut frame);
    frame.extend_from_slice(&members);
    let refused = Err(BadRegionFrame::Refused("more members than a page holds"));
    let frame = Bytes::from(frame);
    let used = allocation_counter::measure(|| assert_eq!(RegionMessage::from_bytes(frame), refused));
    assert_eq!(used.count_total, 0);
    // In as many messages as one each, too, which decoding would unite.
    let frame = Bytes::from(b"\x1a\x02\x2a\x00".repeat(FIELDS_MAX + 1));
    assert_eq!(RegionMessage::from_bytes(frame), refused);
}

fn text() -> impl Strategy<Value = String> {
    "[a-zü]{1,20}"
}

fn entries(length: usize) -> impl Strategy<Value = Vec<RoomEntry>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let entry = ("[a-zü]{0,20}", text(), 1..u32::MAX, bytes(), bytes(), bytes());
    let entry = entry.prop_map(|(user, client, num_clients, conn_info, chan_info, status)| RoomEntry {
        user,
        client,
        num_clients,
        conn_info,
        chan_info,
        status,
    });
    prop::collection::vec(entry, 0..length)
}

fn stamps() -> impl Strategy<Value = RoomStamp> {
    any::<(u64, u64)>().prop_map(|(generation, seq)| RoomStamp { generation, seq })
}

fn messages() -> impl Strategy<Value = RegionMessage> {
    let channel = || "[a-z:#$]{1,30}";
    let head = || (channel(), any::<u64>());
    let diff = (head(), stamps(), stamps(), entries(9), entries(9), entries(9), any::<(u32, u32)>());
    prop_oneof![
        (head(), prop::option::of(stamps())).prop_map(|((channel, follow), since)| RegionMessage::FollowRoom(FollowRoom {
            channel,
            follow,
            since
        })),
        channel().prop_map(|channel| RegionMessage::LeaveRoom(LeaveRoom { channel })),
        (head(), any::<u32>(), stamps(), entries(20), any::<bool>()).prop_map(|((channel, follow), index, stamp, entries, is_last)| {
            RegionMessage::RoomPage(RoomPage { channel, follow, index, stamp: Some(stamp), entries, is_last })
        }),
        diff.prop_map(|((channel, follow), from, to, join, leave, update, (a, b))| {
            let (from, to, count, clients, counts_only) = (Some(from), Some(to), a.min(b), a.max(b), false);
            RegionMessage::RoomDiff(RoomDiff { channel, follow, from, to, join, leave, update, count, clients, counts_only })
        }),
        (head(), text()).prop_map(|((channel, follow), reason)| RegionMessage::RoomRefused(RoomRefused { channel, follow, reason })),
        (head(), any::<bool>()).prop_map(|((channel, follow), is_stale)| RegionMessage::RoomStale(RoomStale { channel, follow, is_stale })),
        any::<(u64, u64)>().prop_map(|(num_clients, num_users)| RegionMessage::Totals(Totals { num_clients, num_users })),
        (any::<u64>(), prop::collection::vec(text(), 0..9)).prop_map(|(ask, users)| RegionMessage::AskUsers(AskUsers { ask, users })),
        (any::<u64>(), prop::collection::vec(any::<(u32, Option<u64>)>(), 0..9)).prop_map(|(ask, users)| {
            let users = users.into_iter().map(|(clients, last_seen_ms)| known(clients, last_seen_ms)).collect();
            RegionMessage::UsersKnown(UsersKnown { ask, users })
        }),
        (any::<u64>(), text()).prop_map(|(ask, reason)| RegionMessage::UsersRefused(UsersRefused { ask, reason })),
    ]
}

proptest! {
    #[test]
    fn messages_read_back_as_they_were_written(message in messages()) {
        prop_assert_eq!(read(message.clone()), Ok(Some(message)));
    }

    #[test]
    fn a_message_that_was_cut_or_changed_is_an_error_or_another_message_that_may_be(message in messages(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let frame = message.to_bytes();
        let mut changed = frame.to_vec();
        let at = at.index(changed.len());
        changed[at] = byte;
        for bytes in [Bytes::from(changed), frame.slice(..at)] {
            if let Ok(Some(message)) = RegionMessage::from_bytes(bytes) {
                prop_assert_eq!(message.check(), Ok(()));
            }
        }
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = RegionMessage::from_bytes(bytes.into());
    }
}
