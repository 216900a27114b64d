//! `headcount counter …` through the real binary, on the data of real nodes.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod forget;
mod moving;
mod program;

use program::{add, client, headcount, lines, log_file, node};
use serde_json::json;
use std::fs;

#[tokio::test]
async fn a_stopped_node_is_verified_and_dumped_and_nothing_is_changed() {
    let mut node = node("c1").await;
    for (key, by) in [("likes", 5), ("likes", -2), ("views.a", 9_007_199_254_740_993), ("gone", 1)] {
        add(&node, key, by).await;
    }
    let token = uuid::Uuid::now_v7();
    let delete = client().delete(format!("{}/v1/counters/gone?token={token}", node.url()));
    let answer = delete.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());

    let dir = node.data_dir.clone();
    let (code, out, err) = headcount(&["counter", "verify"], &dir);
    assert_eq!((code, out.as_str()), (74, ""));
    assert!(err.contains("in use by another headcount; stop that one"), "{err}");

    // After a power cut all is in the log; after an end by signal all is in a snapshot.
    node.kill9().await;
    let before = fs::read(log_file(&dir)).unwrap();
    let (code, out, err) = headcount(&["counter", "verify"], &dir);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for expected in [
        "snapshot   none\n",
        "segments: 1, groups: ",
        "counters   2, and 1 of which nothing is left",
        "tokens     1\n",
        "own, live, position ",
    ] {
        assert!(out.contains(expected), "{expected:?} is not in {out}");
    }
    assert!(!out.contains("torn"), "{out}");
    assert_eq!(fs::read(log_file(&dir)).unwrap(), before);
    assert!(dir.join("listen.json").exists(), "of the node that was killed");

    node.restart().await;
    assert!(node.terminate().await.success());
    let (_, out, _) = headcount(&["counter", "verify"], &dir);
    assert!(!out.contains("snapshot   none") && out.contains("counters   2, and 1 of"), "{out}");

    let likes = json!({ "key": "likes", "value": 3, "value_s": "3", "replicas": { "eu/c1": { "increments": 5, "decrements": 2 } } });
    let views = json!({ "key": "views.a", "value": 9_007_199_254_740_993_u64, "value_s": "9007199254740993",
        "replicas": { "eu/c1": { "increments": 9_007_199_254_740_993_u64, "decrements": 0 } } });
    assert_eq!(lines(&["counter", "dump"], &dir), [likes, views.clone()]);
    assert_eq!(lines(&["counter", "dump", "--prefix", "views."], &dir), [views]);
}

#[tokio::test]
async fn damage_ends_with_65_and_the_text_of_a_start_but_a_torn_tail_is_fine() {
    let mut node = node("c1").await;
    for _ in 0..5 {
        add(&node, "likes", 1).await;
    }
    node.kill9().await;
    let dir = node.data_dir.clone();
    let whole = fs::read(log_file(&dir)).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();

    fs::write(log_file(&dir), &whole[..end]).unwrap();
    let (code, out, _) = headcount(&["counter", "verify"], &dir);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("torn tail  ") && out.contains("of segment 1: a write that a crash interrupted"), "{out}");
    assert_eq!(lines(&["counter", "dump"], &dir)[0]["value"], 4, "the write that was torn was the fifth");

    let mut damaged = whole;
    damaged[60] ^= 1;
    fs::write(log_file(&dir), &damaged).unwrap();
    for command in [&["counter", "verify"], &["counter", "dump"]] {
        let (code, out, err) = headcount(command, &dir);
        assert_eq!((code, out.as_str()), (65, ""));
        assert!(err.contains("log segment 1 is damaged at byte 28: group 1 is not readable"), "{err}");
        let (code, _, start) = headcount(&["serve"], &dir);
        assert_eq!((code, start), (65, err));
    }
    assert_eq!(fs::read(log_file(&dir)).unwrap(), damaged);
}

#[test]
fn a_directory_without_counters_is_refused_not_called_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = headcount(&["counter", "verify"], dir.path());
    assert!(code == 74 && err.starts_with("headcount: counter data in "), "{err}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let (code, _, err) = headcount(&["counter", "dump"], &dir.path().join("nowhere"));
    assert!(code == 74 && err.starts_with("headcount: data directory: "), "{err}");
}
