//! The golden vectors, which a second implementation in Python reproduces too.

use crate::reference::owners;
use protocol::name::Channel;
use ring_coordinator::{document::Layout, slot::Slot};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, process::Command};
use xxhash_rust::xxh3::xxh3_64;

const FILE: &str = include_str!("../../vectors/ring-v1.json");

#[derive(Deserialize)]
struct Vectors {
    xxh3_64: BTreeMap<String, String>,
    slots: BTreeMap<String, u16>,
    tables: Vec<Case>,
}

/// A layout as far as it decides on owners, and what it decides.
#[derive(Deserialize)]
struct Case {
    name: String,
    vnodes: u32,
    nodes: Vec<Value>,
    #[serde(default)]
    pins: Value,
    owners: BTreeMap<u16, Option<String>>,
    checksum: String,
}

impl Case {
    fn layout(&self) -> Layout {
        let mut nodes = self.nodes.clone();
        for node in &mut nodes {
            node["url"] = json!(format!("redis://{}:6379", node["id"].as_str().unwrap()));
        }
        let pins = if self.pins.is_null() { json!({}) } else { self.pins.clone() };
        Layout::parse(json!({"nodes": nodes, "pins": pins}).to_string().as_bytes(), self.vnodes).unwrap()
    }
}

#[test]
fn the_golden_vectors_hold() {
    let vectors: Vectors = serde_json::from_str(FILE).unwrap();
    assert!(vectors.xxh3_64.len() >= 20 && vectors.slots.len() >= 10 && vectors.tables.len() >= 13);
    for (text, expected) in &vectors.xxh3_64 {
        assert_eq!(format!("{:016x}", xxh3_64(text.as_bytes())), *expected, "{text:?}");
    }
    for (channel, expected) in &vectors.slots {
        assert_eq!(Slot::of(&Channel::parse(channel).unwrap()).number(), *expected, "{channel}");
    }
    for case in &vectors.tables {
        let table = owners(&case.layout(), case.vnodes);
        for (slot, expected) in &case.owners {
            assert_eq!(table[usize::from(*slot)], expected.clone().unwrap_or_default(), "{}: slot {slot}", case.name);
        }
        let joined = if case.owners[&0].is_none() { String::new() } else { table.join("\n") };
        assert_eq!(format!("{:016x}", xxh3_64(joined.as_bytes())), case.checksum, "{}", case.name);
    }
}

/// Runs the second implementation; its exit code and what it printed.
fn python(arguments: &[&str]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/ring_vectors.py");
    let output = Command::new("python3").arg(script).args(arguments).output().expect("python3 runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn python_computes_the_same_with_a_hash_of_its_own() {
    let (code, said) = python(&["--own-hash"]);
    assert!(code == Some(0) && said.starts_with("0 differences in "), "{code:?}: {said}");
}

#[test]
fn python_sees_a_difference() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vectors.json");
    for (right, wrong) in
        [("\"lobby\": ", "\"lobby\": 1"), ("\"checksum\": \"", "\"checksum\": \"f"), ("\"0\": \"redis-a\"", "\"0\": \"redis-x\"")]
    {
        assert!(FILE.contains(right));
        std::fs::write(&file, FILE.replacen(right, wrong, 1)).unwrap();
        let (code, said) = python(&["--own-hash", "--vectors", file.to_str().unwrap()]);
        assert!(code == Some(1) && said.contains("1 differences in "), "{code:?}: {said}");
    }
}
