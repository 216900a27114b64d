//! I/O: reads `golden/client.proto` and makes messages of it from a string of random bytes, so that no kind of message
//! and no field is forgotten: what the schema gains, the properties try.

use prost::encoding::{WireType, encode_key, encode_varint, sint64};
use std::collections::BTreeMap;

/// Fields by message.
pub(crate) struct Schema(BTreeMap<String, Vec<Field>>);

struct Field {
    kind: String,
    number: u32,
    repeated: bool,
    /// The kind of the values of a map from strings.
    map_to: Option<String>,
}

/// Random decisions. When they run out, every further one is zero, which ends every message.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.next()) % from.len()]
    }
}

impl Schema {
    pub(crate) fn load() -> Schema {
        let (mut messages, mut name) = (BTreeMap::new(), "");
        for line in include_str!("../golden/client.proto").lines() {
            let words: Vec<_> = line.split(['=', ';', ' ', '<', '>', ',']).filter(|word| !word.is_empty()).collect();
            let field = |kind: &str, number: &str, repeated| Field {
                kind: kind.into(),
                number: number.parse().expect("a number"),
                repeated,
                map_to: (kind == "map").then(|| words[2].into()),
            };
            let found = match words.as_slice() {
                ["message", message, ..] => {
                    name = message;
                    messages.entry(name.to_owned()).or_insert_with(Vec::new);
                    continue;
                }
                ["map", "string", _, _, number, ..] => field("map", number, true),
                ["repeated", kind, _, number, ..] => field(kind, number, true),
                ["syntax" | "package" | "reserved" | "//" | "}", ..] | [] => continue,
                [kind, _, number, ..] => field(kind, number, false),
                other => panic!("{other:?}"),
            };
            messages.get_mut(name).expect("inside a message").push(found);
        }
        Schema(messages)
    }

    /// A message of the kind `name`, in Protobuf.
    pub(crate) fn message(&self, name: &str, choices: &mut Choices<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for field in &self.0[name] {
            let times = if field.repeated { choices.next() % 4 } else { choices.next() % 2 };
            for nth in 0..times {
                match &field.map_to {
                    None => self.value(&field.kind, field.number, choices, &mut out),
                    Some(kind) => {
                        let mut entry = Vec::new();
                        // Each key once and in order, as maps are written.
                        bytes(1, format!("{nth}{}", text(choices)).as_bytes(), &mut entry);
                        self.value(kind, 2, choices, &mut entry);
                        bytes(field.number, &entry, &mut out);
                    }
                }
            }
        }
        out
    }

    fn value(&self, kind: &str, number: u32, choices: &mut Choices<'_>, out: &mut Vec<u8>) {
        let varint = match kind {
            "bool" => u64::from(choices.next() % 2),
            "uint32" => choices.one_of(&[0, 1, 127, 128, u32::MAX]).into(),
            "int32" => i64::from(choices.one_of(&[0, 1, -1, i32::MIN, i32::MAX])).cast_unsigned(),
            "uint64" => choices.one_of(&[0, 1, 1 << 53, u64::MAX]),
            "int64" => choices.one_of(&[0, 1, -1, i64::MIN, i64::MAX]).cast_unsigned(),
            "sint64" => return sint64::encode(number, &choices.one_of(&[0, 1, -1, i64::MIN, i64::MAX]), out),
            "string" => return bytes(number, text(choices).as_bytes(), out),
            "bytes" => return bytes(number, json(choices).as_bytes(), out),
            message => return bytes(number, &self.message(message, choices), out),
        };
        encode_key(number, WireType::Varint, out);
        encode_varint(varint, out);
    }
}

fn bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn text(choices: &mut Choices<'_>) -> String {
    let length = choices.next() % 6;
    let mut any = || char::from_u32(u32::from(choices.next()) << (choices.next() % 13)).unwrap_or('"');
    (0..length).map(|_| any()).collect()
}

/// A JSON value on one line: only such payloads look the same to readers of both forms.
fn json(choices: &mut Choices<'_>) -> String {
    match choices.next() % 5 {
        0 => "null".into(),
        1 => "-1.50E+400".into(),
        2 => format!("[{}, {}]", json(choices), json(choices)),
        3 => format!("{{{}: {}}}", serde_json::Value::from(text(choices)), json(choices)),
        _ => serde_json::Value::from(text(choices)).to_string(),
    }
}
