//! Pure: whatever bytes come in, they are read to the end or refused, without a panic and in memory proportional to
//! them; whatever message goes out comes back the same.

mod laws;
mod schema;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use prost::Message;
use protocol::frame::{self, Format, Frames, Malformed, encode};
use protocol::limits::{MESSAGE_BYTES_MAX, NAME_BYTES_MAX};
use protocol::message::{Command, ConnectRequest, Push, Reply};
use schema::{Choices, Schema};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

const FORMATS: [Format; 2] = [Format::Json, Format::Protobuf];

/// Bytes of memory that one byte of a frame may cost while it is read. The dearest are two bytes of Protobuf (an empty
/// filter in a list of them) that become a struct in a vector that grows by doubling.
const MEMORY_PER_BYTE_MAX: u64 = 128;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..4096)) {
        laws::commands(Format::Json, &bytes);
        laws::commands(Format::Protobuf, &bytes);
        laws::channel_name(&bytes);
        laws::region_message(&bytes);
    }

    #[test]
    fn damaged_commands_are_read_or_refused(
        choices in vec(any::<u8>(), 0..300), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let schema = Schema::load();
        let command = Command::decode(schema.message("Command", &mut Choices(&choices)).as_slice()).unwrap();
        for format in FORMATS {
            let mut bytes = encode(format, &command).to_vec();
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            laws::commands(format, &bytes);
        }
    }

    #[test]
    fn any_messages_come_back_from_both_forms_in_order(choices in vec(vec(any::<u8>(), 0..200), 1..12)) {
        come_back::<Command>("Command", &choices);
        come_back::<Reply>("Reply", &choices);
        come_back::<Push>("Push", &choices);
        come_back::<ConnectRequest>("ConnectRequest", &choices);
    }

    #[test]
    fn a_name_is_what_its_grammar_says(name in "[ -~]{0,20}", length in 0..2 * NAME_BYTES_MAX) {
        laws::channel_name(name.as_bytes());
        laws::channel_name("x".repeat(length).as_bytes());
    }
}

fn come_back<M: Message + Default + PartialEq + Debug + Serialize + DeserializeOwned>(name: &str, choices: &[Vec<u8>]) {
    let schema = Schema::load();
    let made = choices.iter().map(|choices| schema.message(name, &mut Choices(choices)));
    let messages: Vec<_> = made.map(|bytes| M::decode(bytes.as_slice()).expect("of the schema")).collect();
    for format in FORMATS {
        let encoded: Vec<_> = messages.iter().map(|message| encode(format, message)).collect();
        let read: Result<Vec<M>, Malformed> = Frames::new(format, join(format, &encoded)).collect();
        assert_eq!(read.as_ref(), Ok(&messages), "{format:?}");
    }
}

#[test]
fn a_name_is_refused_for_any_character_outside_its_alphabet() {
    for character in (0..=0x2fff).chain(0x1f400..0x1f4ff).filter_map(char::from_u32) {
        laws::channel_name(character.to_string().as_bytes());
        laws::channel_name(format!("chat:{character}#").as_bytes());
    }
}

/// What a frame reads as: the ids of its commands, up to the first that is refused.
fn ids(format: Format, frame: impl Into<Bytes>) -> Vec<Option<u32>> {
    frame::commands(format, frame.into()).map(|command| command.ok().map(|command| command.id)).collect()
}

#[test]
fn json_that_is_no_command_is_refused() {
    let lines = r#"null
1
"id"
[]
[1]
{
{]
{}{}
{"id":1}}
{id:1}
{'id':1}
{"id":1,}
{"id":-1}
{"id":4294967296}
{"id":1.5}
{"id":"1"}
{"id":true}
{"id":NaN}
{"id":1,"id":2}
{"connect":[]}
{"connect":""}
{"connect":{"subs":[]}}
{"connect":{"subs":{"a":[]}}}
{"subscribe":{"tf":{"nodes":[[]]}}}
{"subscribe":{"offset":18446744073709551616}}
{"history":{"limit":2147483648}}
{"rpc":{"method":"\ud800"}}
{"rpc":{"data":{]}}
{"rpc":{"data":01}}
{"rpc":{"data":nul}}"#;
    let unprintable = ["", " ", "\n", "\u{feff}{}", "{\"rpc\":{\"method\":\"\u{1}\"}}", "{\"rpc\":{\"data\":\"\t\"}}"];
    for text in lines.lines().chain(unprintable) {
        assert_eq!(ids(Format::Json, text), [None], "{text:?}");
        assert_eq!(ids(Format::Json, format!("{{\"id\":9}}\n{text}\n{{}}")), [Some(9), None], "nothing after {text:?} is read");
    }
    for bytes in [&b"{\"rpc\":{\"method\":\"\xff\"}}"[..], b"{\"rpc\":{\"data\":\"\xc3\"}}", b"\xff\xfe{\x00}\x00"] {
        assert_eq!(ids(Format::Json, bytes), [None], "invalid UTF-8");
    }
}

#[test]
fn protobuf_that_is_no_command_is_refused() {
    let refused: [(&str, &[u8]); 13] = [
        ("a length beyond the frame", b"\x03\x08\x01"),
        ("a length near 2^63", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x08\x01"),
        ("a length of 2^64 - 1", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\x01"),
        ("a length beyond 64 bits", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x08\x01"),
        ("a length without end", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"),
        ("a request beyond its command", b"\x02\x22\x01"),
        ("a request of 2^64 - 1 bytes", b"\x0b\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("a text of 2^64 - 1 bytes", b"\x0d\x22\x0b\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("a text that is not UTF-8", b"\x05\x22\x03\x0a\x01\xff"),
        ("a number without end", b"\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("a number as a text", b"\x03\x0a\x01a"),
        ("the field number zero", b"\x02\x00\x01"),
        ("the wire type seven", b"\x01\x0f"),
    ];
    for (what, bytes) in refused {
        assert_eq!(ids(Format::Protobuf, bytes), [None], "{what}");
        assert_eq!(ids(Format::Protobuf, [b"\x02\x08\x09", bytes].concat()), [Some(9), None], "{what}, behind a good command");
    }
}

#[test]
fn depth_exhausts_no_stack() {
    const DEPTH: usize = 100_000;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(DEPTH), close.repeat(DEPTH));
    let json = [
        (format!("{{\"id\":1,\"send\":{{\"data\":{}}}}}", deep("[", "]")), Some(1)),
        (format!("{{\"id\":1,\"send\":{{\"data\":{}null{}}}}}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH)), Some(1)),
        (format!("{{\"id\":1,\"unknown\":{}}}", deep("[", "]")), Some(1)),
        (format!("{{\"id\":1,\"send\":{{\"data\":{}", "[".repeat(DEPTH)), None),
        (format!("{{\"id\":1,\"unknown\":{}", "[".repeat(DEPTH)), None),
        (format!("{{\"id\":1,\"subscribe\":{{\"tf\":{}{{}}{}}}}}", "{\"nodes\":[".repeat(DEPTH), "]}".repeat(DEPTH)), None),
        (deep("[", "]"), None),
        (deep("{\"connect\":", "}"), None),
    ];
    for (frame, read) in json {
        let start = frame[..30].to_owned();
        laws::commands(Format::Json, frame.as_bytes());
        assert_eq!(ids(Format::Json, frame), [read], "{start}");
    }

    let filters = (0..5_000).fold(Vec::new(), |inner: Vec<u8>, _| wrapped(6, &inner));
    let mut groups = vec![0x0b; DEPTH];
    groups.extend(vec![0x0c; DEPTH]);
    for message in [wrapped(5, &wrapped(13, &filters)), groups, vec![0x0b; DEPTH]] {
        let frame = encode_frame(&message);
        laws::commands(Format::Protobuf, &frame);
        assert_eq!(ids(Format::Protobuf, frame), [None]);
    }
}

/// `inner` as the field `number` of another message.
fn wrapped(number: u8, inner: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], encode_frame(inner).as_slice()].concat()
}

fn encode_frame(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 10);
    prost::encoding::encode_varint(message.len() as u64, &mut frame);
    frame.extend_from_slice(message);
    frame
}

#[test]
fn the_dearest_frames_are_read_in_memory_proportional_to_their_size() {
    let filling = |start: &str, each: &str, end: &str| {
        let count = (MESSAGE_BYTES_MAX - start.len() - end.len()) / each.len();
        format!("{start}{}{end}", each.repeat(count)).into_bytes()
    };
    let channels: String = (0..5_000).map(|i| format!("\"{i}\":{{}},")).collect();
    let entries: Vec<u8> = (0..9_000_u16).flat_map(|i| wrapped(3, &wrapped(1, format!("{i:x}").as_bytes()))).collect();
    let frames = [
        (Format::Json, filling("{}", "\n{}", "")),
        (Format::Json, filling("{\"subscribe\":{\"tf\":{\"nodes\":[{}", ",{}", "]}}}")),
        (Format::Json, filling("{\"subscribe\":{\"tf\":{\"vals\":[\"\"", ",\"\"", "]}}}")),
        (Format::Json, format!("{{\"connect\":{{\"subs\":{{{channels}\"x\":{{}}}}}}}}").into_bytes()),
        (Format::Json, filling("{\"send\":{\"data\":", "[", "")),
        (Format::Json, filling("{\"send\":{\"data\":\"", "\\u0000", "\"}}")),
        (Format::Json, filling("{\"rpc\":{\"method\":\"", "\\u0000", "\"}}")),
        (Format::Json, filling("{\"unknown\":[0", ",0", "]}")),
        (Format::Json, filling("", "[", "")),
        (Format::Protobuf, vec![0; MESSAGE_BYTES_MAX]),
        (Format::Protobuf, encode_frame(&wrapped(5, &wrapped(13, &[0x32, 0].repeat(MESSAGE_BYTES_MAX / 2 - 8))))),
        (Format::Protobuf, encode_frame(&wrapped(5, &wrapped(13, &[0x2a, 0].repeat(MESSAGE_BYTES_MAX / 2 - 8))))),
        (Format::Protobuf, encode_frame(&wrapped(4, &entries))),
        (Format::Protobuf, encode_frame(&[0x0b; MESSAGE_BYTES_MAX])),
        (Format::Protobuf, b"\xff\xff\xff\xff\x0f".to_vec()),
    ];
    for (format, frame) in frames {
        let frame = Bytes::from(frame);
        let (start, allowed) = (frame.slice(..frame.len().min(40)), frame.len() as u64 * MEMORY_PER_BYTE_MAX + 4096);
        let memory = allocation_counter::measure(|| frame::commands(format, frame.clone()).for_each(drop));
        println!("{format:?} {start:?}: {} at once, {} in all, of {}", memory.bytes_max, memory.bytes_total, frame.len());
        assert!(memory.bytes_max <= allowed, "{start:?}: {} bytes at once", memory.bytes_max);
        assert!(memory.bytes_total <= 4 * allowed, "{start:?}: {} bytes in all", memory.bytes_total);
        assert_eq!(memory.bytes_current, 0, "{start:?}: all of it is given back");
    }
}

/// Joins encoded messages to one frame.
fn join(format: Format, messages: &[Bytes]) -> Bytes {
    match (messages, format) {
        ([only], _) => only.clone(),
        (_, Format::Json) => messages.join(&b'\n').into(),
        (_, Format::Protobuf) => messages.concat().into(),
    }
}
