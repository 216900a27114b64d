//! I/O: holds the bytes of every message, in both forms, against cases that owe nothing to our code. What these tests
//! refuse, the published SDKs would not understand.

#[path = "golden/cases.rs"]
mod cases;

use bytes::Bytes;
use cases::{Case, Law};
use prost::Message;
use protocol::code::{Disconnect, ErrorCode, UnsubscribeCode};
use protocol::frame::{self, Format, Frames, encode};
use protocol::message::{Command, ConnectRequest, EmulationRequest, Push, Reply};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

const FORMATS: [Format; 2] = [Format::Json, Format::Protobuf];

#[test]
fn every_message_reads_and_writes_as_the_golden_cases_say() {
    let cases = cases::cases();
    for case in &cases {
        match case.message.as_str() {
            "Command" => holds::<Command>(case, &cases),
            "Reply" => holds::<Reply>(case, &cases),
            "Push" => holds::<Push>(case, &cases),
            "ConnectRequest" => holds::<ConnectRequest>(case, &cases),
            "EmulationRequest" => holds::<EmulationRequest>(case, &cases),
            other => panic!("{other} never stands alone"),
        }
    }
}

fn holds<M: Message + Default + PartialEq + Debug + Serialize + DeserializeOwned>(case: &Case, cases: &[Case]) {
    let name = &case.name;
    match case.law {
        Law::Canonical => {
            assert_eq!(read::<M>(case, Format::Json), read::<M>(case, Format::Protobuf), "{name}: the forms differ");
            for format in FORMATS {
                assert_eq!(Some(encode(format, &read::<M>(case, format).expect(name))), case.frame(format), "{name}: {format:?}");
            }
        }
        Law::Read => {
            let same = named(cases, case.reads_as.as_deref().expect(name));
            let expected = read::<M>(same, Format::Protobuf).expect("both forms");
            for message in FORMATS.into_iter().filter_map(|format| read::<M>(case, format)) {
                assert_eq!(message, expected, "{name}");
            }
        }
        Law::Shown => {
            let message = read::<M>(case, Format::Protobuf).expect(name);
            assert_eq!(Some(encode(Format::Json, &message)), case.frame(Format::Json), "{name}");
            assert_eq!(Some(encode(Format::Protobuf, &message)), case.frame(Format::Protobuf), "{name}");
        }
    }
}

fn read<M: Message + Default + DeserializeOwned>(case: &Case, format: Format) -> Option<M> {
    let mut frames = Frames::new(format, case.frame(format)?);
    let message = frames.next().expect("a message").unwrap_or_else(|error| panic!("{}, {format:?}: {error}", case.name));
    assert!(frames.next().is_none(), "{}, {format:?}: one message", case.name);
    Some(message)
}

fn named<'a>(cases: &'a [Case], name: &str) -> &'a Case {
    cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("a case named {name:?}"))
}

#[test]
fn a_frame_cut_off_anywhere_is_refused() {
    for case in cases::cases().iter().filter(|case| case.law == Law::Canonical) {
        for format in FORMATS {
            let frame = case.frame(format).unwrap();
            for end in 0..frame.len() {
                let read: Vec<_> = Frames::<Command>::new(format, frame.slice(..end)).collect();
                assert!(matches!(read.as_slice(), [Err(_)]), "{}, {format:?}, {end}: {read:?}", case.name);
            }
        }
    }
}

#[test]
fn errors_carry_the_published_numbers_and_texts() {
    let replies = ErrorCode::ALL.map(|code| (code.number(), Reply { id: 1, error: Some(code.to_message()), ..Reply::default() }));
    are_the_cases("error ", &replies);
}

#[test]
fn disconnects_carry_the_published_numbers_reasons_and_whether_to_come_back() {
    let pushes = Disconnect::ALL.map(|code| (code.number().into(), Push { disconnect: Some(code.to_message()), ..Push::default() }));
    are_the_cases("disconnect ", &pushes);
    assert!(Disconnect::ALL.iter().all(|code| Disconnect::from_number(code.number()) == Some(*code)));
    assert!(Disconnect::ALL.iter().all(|code| code.parts().1.len() <= protocol::limits::CLOSE_REASON_BYTES_MAX));
}

#[test]
fn unsubscribes_carry_the_published_numbers_and_reasons() {
    use UnsubscribeCode::{Expired, InsufficientState, Server, StateInvalidated};
    let pushes = [Server, InsufficientState, Expired, StateInvalidated]
        .map(|code| (code.parts().0, Push { channel: "a".into(), unsubscribe: Some(code.to_message()), ..Push::default() }));
    are_the_cases("push of unsubscribe ", &pushes);
}

/// Each message is written as the case `<prefix><number>`, and there is no other case of that prefix and a number.
fn are_the_cases<M: Message + Serialize>(prefix: &str, messages: &[(u32, M)]) {
    let cases = cases::cases();
    for (number, message) in messages {
        let case = named(&cases, &format!("{prefix}{number}"));
        for format in FORMATS {
            assert_eq!(Some(encode(format, message)), case.frame(format), "{}, {format:?}", case.name);
        }
    }
    let numbered = |case: &&Case| case.name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u32>().is_ok());
    assert_eq!(cases.iter().filter(numbered).count(), messages.len(), "{prefix}");
}

#[test]
fn a_push_goes_into_a_reply_on_bidirectional_transports() {
    let cases = cases::cases();
    let inside = cases.iter().filter_map(|case| Some((case, case.name.strip_suffix(", in a reply")?)));
    let mut count = 0;
    for (reply, name) in inside {
        let push: Push = read(named(&cases, name), Format::Protobuf).expect("both forms");
        for format in FORMATS {
            assert_eq!(Some(frame::encode_push(format, push.clone())), reply.frame(format), "{name}, {format:?}");
        }
        count += 1;
    }
    assert!(count > 20, "pushes of every kind, not {count}");
}

#[test]
fn of_several_requests_the_first_in_schema_order_counts() {
    let order = [
        ("connect", "Connect"),
        ("subscribe", "Subscribe"),
        ("unsubscribe", "Unsubscribe"),
        ("publish", "Publish"),
        ("presence", "Presence"),
        ("presence_stats", "PresenceStats"),
        ("history", "History"),
        ("ping", "Ping"),
        ("send", "Send"),
        ("rpc", "Rpc"),
        ("refresh", "Refresh"),
        ("sub_refresh", "SubRefresh"),
    ];
    for (first, (_, request)) in order.iter().enumerate() {
        let fields: Vec<_> = order[first..].iter().rev().map(|(field, _)| format!("\"{field}\":{{}}")).collect();
        let line = Bytes::from(format!("{{{}}}", fields.join(",")));
        let command = frame::commands(Format::Json, line).next().expect("a command").expect("well-formed");
        let read = format!("{:?}", command.into_request());
        assert_eq!(read.split('(').next(), Some(*request));
    }
}
