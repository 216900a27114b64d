//! Counters from one node to another, by `export` and `import`.

use crate::program::{add, client, config, headcount, lines, node, value};
use serde_json::{Value, json};
use std::{fs, path::Path};
use testkit::{Node, NodeOptions};

const BIG: i64 = 9_007_199_254_740_993;

/// A line that is good.
fn line(key: &str, p: u64, n: u64) -> String {
    let dots = |sum: u64| json!({ "inner": { "dots": { "eu/c1#000000000000000a": sum } } });
    json!({ "key": key, "crdt": { "p": dots(p), "n": dots(n) } }).to_string()
}

/// What is left of one side of an exported counter, as a reader computes it.
fn side(line: &Value, side: &str, reset: &str) -> i64 {
    let dots = line["crdt"][side]["inner"]["dots"].as_object().unwrap().iter();
    dots.map(|(actor, sum)| (sum.as_i64().unwrap() - line["resets"][actor][reset].as_i64().unwrap_or(0)).max(0)).sum()
}

async fn node_on(data_dir: &Path) -> Node {
    Node::start(NodeOptions { config_toml: config("c9"), data_dir: Some(data_dir.to_owned()), ..NodeOptions::default() }).await
}

#[tokio::test]
async fn what_was_exported_and_imported_reads_the_same_on_another_node_and_is_durable() {
    let mut source = node("c1").await;
    for (key, by) in [("likes", 50), ("likes", -8), ("big", BIG), ("minus", -3), ("gone", 9)] {
        add(&source, key, by).await;
    }
    for key in ["likes", "gone"] {
        let delete = client().delete(format!("{}/v1/counters/{key}?token={}", source.url(), uuid::Uuid::now_v7()));
        assert!(delete.send().await.unwrap().status().is_success());
    }
    add(&source, "likes", 7).await;
    add(&source, "likes", -2).await;
    assert_eq!(headcount(&["counter", "export"], &source.data_dir).0, 74, "it runs");
    assert!(source.terminate().await.success());

    let exported = lines(&["counter", "export"], &source.data_dir);
    assert_eq!(exported.iter().map(|line| line["key"].as_str().unwrap()).collect::<Vec<_>>(), ["big", "gone", "likes", "minus"]);
    let actor = exported[0]["crdt"]["p"]["inner"]["dots"].as_object().unwrap().keys().next().unwrap().clone();
    assert!(actor.starts_with("eu/c1#") && actor.len() == "eu/c1#".len() + 16, "{actor}");
    assert_eq!(exported[0].get("resets"), None);
    assert_eq!(exported[2]["resets"][&actor], json!({ "increments": 50, "decrements": 8 }));
    let values = [("big", BIG), ("gone", 0), ("likes", 5), ("minus", -3)];
    for (line, (_, expected)) in exported.iter().zip(values) {
        assert_eq!(side(line, "p", "increments") - side(line, "n", "decrements"), expected, "{line}");
    }

    let place = tempfile::tempdir().unwrap();
    let (file, target) = (place.path().join("counters.jsonl"), place.path().join("data"));
    let (_, text, _) = headcount(&["counter", "export"], &source.data_dir);
    fs::write(&file, text).unwrap();
    let import = || headcount(&["counter", "import", file.to_str().unwrap()], &target);
    assert_eq!(import(), (0, format!("3 counters imported as eu/c9 into {}\n", target.display()), String::new()));
    let (code, _, err) = import();
    assert_eq!((code, err.contains("has 3 counters already; import into the data directory of a node that has none")), (77, true), "{err}");

    let mut node = node_on(&target).await;
    assert_eq!(headcount(&["counter", "import", file.to_str().unwrap()], &target).0, 74, "it runs");
    for (key, expected) in values {
        assert_eq!(value(&node, key).await, expected, "{key}");
    }
    add(&node, "likes", 1).await;
    node.kill9().await;
    let likes = &lines(&["counter", "dump", "--prefix", "likes"], &target)[0];
    assert_eq!((&likes["value"], &likes["replicas"]), (&json!(6), &json!({ "eu/c9": { "increments": 8, "decrements": 2 } })));
    node.restart().await;
    assert_eq!(value(&node, "likes").await, 6);
}

#[tokio::test]
async fn a_node_that_ran_and_never_counted_takes_an_import() {
    let mut node = node("c9").await;
    assert!(node.terminate().await.success());
    let file = node.data_dir.join("counters.jsonl");
    // More than a record group, and than a piece of a snapshot.
    let lines: Vec<_> = (0..40_000).map(|at| line(&format!("a-key-of-some-length-{at}"), at, 1)).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let (code, out, err) = headcount(&["counter", "import", file.to_str().unwrap()], &node.data_dir);
    assert_eq!((code, out.starts_with("40000 counters imported as eu/c9 into ")), (0, true), "{err}");
    node.restart().await;
    assert_eq!(value(&node, "a-key-of-some-length-39999").await, 39_998);
    assert_eq!(value(&node, "a-key-of-some-length-0").await, -1);
    let (code, out, _) = headcount(&["counter", "verify"], &node.data_dir);
    assert_eq!((code, out.as_str()), (74, ""));
    assert!(node.terminate().await.success());
    let (_, out, _) = headcount(&["counter", "verify"], &node.data_dir);
    assert!(out.contains("counters   40000\n") && out.matches("own, live, position ").count() == 1, "{out}");
}

#[test]
fn after_a_bad_line_nothing_was_imported_and_the_line_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (file, target) = (place.path().join("counters.jsonl"), place.path().join("data"));
    let dump = r#"{"key":"a","value":1,"value_s":"1","replicas":{}}"#.to_owned();
    for (bad, reason) in [
        (dump, "unknown field `value`"),
        (line("a b", 1, 0), "key: "),
        (line("fine", 2, 0), "fine is on an earlier line already"),
        ("{\"key\"".to_owned(), "EOF while parsing an object at column 6"),
        (String::new(), "EOF while parsing a value at column 0"),
    ] {
        fs::write(&file, format!("{}\n{bad}\n{}\n", line("fine", 1, 0), line("last", 1, 0))).unwrap();
        let (code, out, err) = headcount(&["counter", "import", file.to_str().unwrap()], &target);
        assert_eq!((code, out.as_str()), (65, ""));
        assert!(err.starts_with(&format!("headcount: {}: line 2: {reason}", file.display())), "{err}");
        assert!(err.ends_with("; nothing was imported\n"), "{err}");
        let (code, out, _) = headcount(&["counter", "verify"], &target);
        assert!(code == 0 && out.contains("counters   0\n"), "{out}");
    }
    fs::write(&file, "").unwrap();
    let (code, _, err) = headcount(&["counter", "import", file.to_str().unwrap()], &target);
    assert_eq!((code, err.contains("line 1: there is none; nothing was imported")), (65, true), "{err}");
    let (code, _, err) = headcount(&["counter", "import", "nowhere"], &target);
    assert_eq!((code, err.starts_with("headcount: cannot read nowhere: ")), (74, true), "{err}");
    // From stdin, which is empty here.
    assert_eq!(headcount(&["counter", "import", "-"], &target).0, 65);
}
