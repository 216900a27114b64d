//! Documents: what is read and written, and what is refused.

use crate::{layout, node};
use ring_coordinator::{
    document::{Document, Format, Layout, NODES_MAX, NodeState, PINS_MAX, Phase},
    validate::{DOCUMENT_BYTES_MAX, Flaw},
};
use serde_json::{Value, json};

/// A document in the middle of a change, with all that there can be in one.
fn golden() -> Document {
    let mut next = layout(["redis-a", "redis-b"]);
    next.pins.insert(7, "redis-b".to_owned());
    let mut down = node("redis-c", 2);
    down.state = NodeState::Down;
    let mut current = next.clone();
    current.nodes.push(down);
    current.pins.insert(16383, "redis-c".to_owned());
    Document { format: Format::RingV1, epoch: 12, phase: Phase::Prepare, vnodes: 512, current, next: Some(next), prev: None }
}

const GOLDEN: &str = r#"{"format":"ring/v1","epoch":12,"phase":"prepare","vnodes":512,"nodes":[{"id":"redis-a","url":"redis://redis-a:6379","weight":1,"state":"serving","incarnation":1},{"id":"redis-b","url":"redis://redis-b:6379","weight":1,"state":"serving","incarnation":1},{"id":"redis-c","url":"redis://redis-c:6379","weight":2,"state":"down","incarnation":1}],"pins":{"7":"redis-b","16383":"redis-c"},"next":{"nodes":[{"id":"redis-a","url":"redis://redis-a:6379","weight":1,"state":"serving","incarnation":1},{"id":"redis-b","url":"redis://redis-b:6379","weight":1,"state":"serving","incarnation":1}],"pins":{"7":"redis-b"}}}"#;

#[test]
fn a_document_is_written_and_read_as_ever() {
    assert_eq!(golden().to_json(), GOLDEN);
    assert_eq!(Document::parse(GOLDEN.as_bytes()), Ok(golden()));
    let least = br#"{"format":"ring/v1","epoch":1,"phase":"stable","nodes":[{"id":"a","url":"redis://[::1]:6379"}]}"#;
    let mut nodes = layout(["a"]).nodes;
    nodes[0].url = "redis://[::1]:6379".to_owned();
    nodes[0].incarnation = 0;
    let current = Layout { nodes, ..Layout::default() };
    assert_eq!(Document::parse(least), Ok(Document { epoch: 1, current, ..Document::default() }));
}

/// The golden document with one value replaced, by its JSON pointer; the parent must be there.
fn with(pointer: &str, value: Value) -> String {
    let mut document: Value = serde_json::from_str(GOLDEN).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.insert(key.to_owned(), value)),
        Value::Array(array) => array[key.parse::<usize>().unwrap()] = value,
        other => panic!("{other} has no parts"),
    }
    document.to_string()
}

#[test]
fn what_cannot_be_is_refused_by_key_value_and_reason() {
    let ids = "is 1 to 64 of a-z 0-9 . _ -";
    let urls = "is redis://HOST:PORT or rediss://HOST:PORT";
    for (pointer, value, expected) in [
        ("/nodes/0/id", json!(""), format!("nodes[0].id = \"\": {ids}")),
        ("/nodes/0/id", json!("Redis"), format!("nodes[0].id = \"Redis\": {ids}")),
        ("/nodes/0/id", json!("a#1"), format!("nodes[0].id = \"a#1\": {ids}")),
        ("/nodes/0/id", json!("a".repeat(65)), format!("nodes[0].id = \"{}\": {ids}", "a".repeat(65))),
        ("/nodes/1/id", json!("redis-a"), "nodes[1].id = \"redis-a\": nodes[0] has it already".to_owned()),
        ("/nodes/1/weight", json!(0), "nodes[1].weight = 0: is 1 to 16".to_owned()),
        ("/next/nodes/1/weight", json!(17), "next.nodes[1].weight = 17: is 1 to 16".to_owned()),
        ("/nodes/0/url", json!("http://a:6379"), format!("nodes[0].url = \"http://a:6379\": {urls}")),
        ("/nodes/0/url", json!("redis://a"), format!("nodes[0].url = \"redis://a\": {urls}")),
        ("/nodes/0/url", json!("redis://a:0"), format!("nodes[0].url = \"redis://a:0\": {urls}")),
        ("/nodes/0/url", json!("redis://a:65536"), format!("nodes[0].url = \"redis://a:65536\": {urls}")),
        ("/nodes/0/url", json!("redis://a:1/2"), format!("nodes[0].url = \"redis://a:1/2\": {urls}")),
        ("/nodes/0/url", json!("redis://[::g]:1"), format!("nodes[0].url = \"redis://[::g]:1\": {urls}")),
        (
            "/nodes/0/url",
            json!("redis://u:secret@a:1"),
            "nodes[0].url = \"***\": goes without credentials; those are redis.username and redis.password of the configuration".to_owned(),
        ),
        ("/nodes/1/url", json!("rediss://REDIS-A:6379"), "nodes[1].url = \"rediss://REDIS-A:6379\": nodes[0] is there already".to_owned()),
        ("/vnodes", json!(0), "vnodes = 0: is 1 to 4096".to_owned()),
        ("/vnodes", json!(4097), "vnodes = 4097: is 1 to 4096".to_owned()),
        ("/pins/16384", json!("redis-a"), "pins.16384 = \"redis-a\": slots are 0 to 16383".to_owned()),
        ("/next/pins/3", json!("redis-c"), "next.pins.3 = \"redis-c\": no node has this id".to_owned()),
        ("/phase", json!("stable"), "phase = \"stable\": goes with neither next nor prev".to_owned()),
        ("/phase", json!("switch"), "phase = \"switch\": goes with prev and without next".to_owned()),
        ("/next", Value::Null, "phase = \"prepare\": goes with next and without prev".to_owned()),
        ("/prev", json!({"nodes": []}), "phase = \"prepare\": goes with next and without prev".to_owned()),
    ] {
        let flaw = Document::parse(with(pointer, value).as_bytes()).unwrap_err();
        assert_eq!(flaw.to_string(), expected);
    }
}

#[test]
fn other_keys_and_kinds_are_refused_by_their_place() {
    for (pointer, value, key, reason) in [
        ("/nods", json!([]), "nods", "unknown field `nods`"),
        ("/nodes/0/wait", json!(1), "nodes[0].wait", "unknown field `wait`"),
        ("/next/epoch", json!(1), "next.epoch", "unknown field `epoch`"),
        ("/nodes/2/weight", json!("2"), "nodes[2].weight", "invalid type: string \"2\""),
        ("/nodes/2/weight", json!(-1), "nodes[2].weight", "invalid value: integer `-1`"),
        ("/format", json!("ring/v2"), "format", "unknown variant `ring/v2`"),
        ("/pins/70000", json!("redis-a"), "pins.70000", "invalid"),
    ] {
        let Err(Flaw::Json { key: at, reason: told }) = Document::parse(with(pointer, value).as_bytes()) else { panic!("{pointer}") };
        assert!(at == key && told.starts_with(reason), "{at}: {told}");
    }
    for text in ["", "{", "[]", "null", "{} {}", r#"{"epoch":1,"epoch":2}"#] {
        assert!(matches!(Document::parse(text.as_bytes()), Err(Flaw::Json { .. })), "{text}");
    }
    assert!(Document::parse(format!("{GOLDEN} 1").as_bytes()).is_err());
    assert!(Document::parse(format!("{GOLDEN}\n").as_bytes()).is_ok());
}

#[test]
fn every_document_that_can_be_is_short_enough_to_be_read() {
    let nodes = (0..NODES_MAX).map(|i| {
        let mut node = node(&format!("{i:0>64}"), 16);
        node.url = format!("rediss://{}:{}", "h".repeat(185), 10000 + i);
        (node.state, node.incarnation) = (NodeState::Serving, u64::MAX);
        node
    });
    let mut current = Layout { nodes: nodes.collect(), ..Layout::default() };
    let first = current.nodes[0].id.clone();
    current.pins = (10000..).take(PINS_MAX).map(|slot| (slot, first.clone())).collect();
    let mut document = Document { epoch: u64::MAX, phase: Phase::Prepare, next: Some(current.clone()), current, ..Document::default() };
    let json = document.to_json();
    assert!(json.len() <= DOCUMENT_BYTES_MAX, "{}", json.len());
    assert_eq!(Document::parse(json.as_bytes()).as_ref(), Ok(&document));

    document.vnodes += 1;
    assert!(document.check().unwrap_err().to_string().starts_with("vnodes = 513: times all weights is 8208000; at most 8192000"));
    document.vnodes -= 1;
    document.current.pins.insert(1, first);
    assert_eq!(document.check().unwrap_err().to_string(), "pins.length = 1025: is at most 1024");
    document.current.nodes.push(node("one-more", 1));
    assert_eq!(document.check().unwrap_err().to_string(), "nodes.length = 1001: is at most 1000");
    let long = vec![b' '; DOCUMENT_BYTES_MAX + 1];
    assert_eq!(Document::parse(&long), Err(Flaw::TooLong(DOCUMENT_BYTES_MAX + 1)));
}

#[test]
fn a_node_that_comes_back_is_what_it_will_be_from_the_first_step_on() {
    let (mut old, mut new) = (layout(["redis-a", "redis-b"]), layout(["redis-a", "redis-b"]));
    (old.nodes[0].state, old.nodes[0].incarnation, new.nodes[0].incarnation) = (NodeState::Drained, 1, 5);
    let document = |phase, current: &Layout, next: Option<&Layout>, prev: Option<&Layout>| Document {
        phase,
        current: current.clone(),
        next: next.cloned(),
        prev: prev.cloned(),
        ..Document::default()
    };
    let prepare = document(Phase::Prepare, &old, Some(&new), None);
    let switch = document(Phase::Switch, &new, None, Some(&old));
    for document in [&prepare, &switch, &document(Phase::Stable, &new, None, None)] {
        let seen: Vec<_> = document.nodes().map(|node| (node.id.as_str(), node.incarnation)).collect();
        assert_eq!(seen, [("redis-a", 5), ("redis-b", new.nodes[1].incarnation)], "connections to it stay as they are");
    }
    assert_eq!(document(Phase::Stable, &old, None, None).nodes().next().map(|node| node.incarnation), Some(1));
}
