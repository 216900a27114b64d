//! `headcount ring …` against a real etcd, and on a document in a file.

#![allow(clippy::unwrap_used)] // All of this is a test.

mod asking;
mod coordinator;

use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Exit code, stdout and stderr of `headcount ring ARGS`.
fn ring(args: &[&str], etcd: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headcount"));
    command.arg("ring").args(args).env_clear().env("HEADCOUNT_NODE__REGION", "eu").env("USER", "ann");
    if let Some(etcd) = etcd {
        command.env("HEADCOUNT_ETCD__ENDPOINTS", etcd);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn node(id: &str) -> Value {
    json!({"id": id, "url": format!("redis://{id}:6379")})
}

/// Three nodes, as a file.
fn document(directory: &Path) -> String {
    let path = directory.join("document.json");
    let nodes = ["redis-a", "redis-b", "redis-c"].map(node);
    fs::write(&path, json!({"format": "ring/v1", "epoch": 4, "phase": "stable", "nodes": nodes}).to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn layout(directory: &Path, ids: &[&str]) -> String {
    let path = directory.join("layout.json");
    let nodes: Vec<Value> = ids.iter().map(|id| node(id)).collect();
    fs::write(&path, json!({"nodes": nodes}).to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_plan_needs_no_etcd() {
    let directory = tempfile::tempdir().unwrap();
    let (document, layout) = (document(directory.path()), layout(directory.path(), &["redis-a", "redis-b", "redis-c", "redis-d"]));
    let (code, out, err) = ring(&["plan", &layout, "--document", &document], None);
    assert!(code == 0 && err.is_empty() && out.starts_with("moves ") && out.contains("\nredis-d "), "{code} {out} {err}");

    let (code, out, _) = ring(&["plan", &layout, "--document", &document, "--json"], None);
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &plan["epoch"]), (0, &json!(4)));
    let moved: usize = plan["plan"]["moves"].as_array().unwrap().iter().map(|one| one["slots"].as_array().unwrap().len()).sum();
    assert_eq!(plan["plan"]["slots"], json!(moved));
    let new = plan["layout"]["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "redis-d").unwrap();
    assert_eq!(new["incarnation"], json!(5));

    // What `layout` prints is what `plan` reads.
    let (_, printed, _) = ring(&["layout", "--document", &document], None);
    fs::write(&layout, printed).unwrap();
    let (code, _, err) = ring(&["plan", &layout, "--document", &document], None);
    assert_eq!((code, err.as_str()), (77, "headcount: nothing to change: the ring has this layout\n"));
}

#[test]
fn a_document_alone_tells_shares_and_owners() {
    let directory = tempfile::tempdir().unwrap();
    let document = document(directory.path());
    let (code, out, _) = ring(&["status", "--document", &document], None);
    assert!(code == 0 && out.starts_with("epoch 4, stable: nothing changes\n") && out.contains("redis://redis-b:6379"), "{out}");
    let (_, out, _) = ring(&["status", "--document", &document, "--json"], None);
    let status: Value = serde_json::from_str(&out).unwrap();
    let slots: u64 = status["nodes"].as_array().unwrap().iter().map(|node| node["slots"].as_u64().unwrap()).sum();
    assert_eq!(slots, 16384);

    let (code, out, _) = ring(&["owner", "chat:room:1", "--document", &document], None);
    // By the golden vectors.
    let vectors: Value = serde_json::from_str(include_str!("../../../ring-coordinator/vectors/ring-v1.json")).unwrap();
    let slot = &vectors["slots"]["chat:room:1"];
    let three = vectors["tables"].as_array().unwrap().iter().find(|table| table["name"] == "three nodes").unwrap();
    let owner = three["owners"][slot.to_string()].as_str().unwrap();
    assert_eq!((code, out), (0, format!("{owner} (slot {slot})\n")));
}

#[test]
fn bad_arguments_files_and_places_are_told_with_their_exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    let (document, bad) = (document(directory.path()), directory.path().join("bad.json"));
    fs::write(&bad, r#"{"nodes":[{"id":"a","url":"redis://a:6379","wait":1}]}"#).unwrap();
    let bad = bad.to_str().unwrap();
    for (args, code, expected) in [
        (&["plan", bad, "--document", &document][..], 64, "nodes[0].wait: unknown field `wait`"),
        (&["plan", "no-such-file", "--document", &document], 74, "cannot read no-such-file"),
        (&["pin", "16384", "a"], 64, "write 0-16383, or channel:NAME"),
        (&["owner", "a b", "--document", &document], 64, "a b"),
        (&["status"], 64, "set etcd.endpoints in --config, or HEADCOUNT_ETCD__ENDPOINTS"),
        (&["drain", "a"], 64, "set etcd.endpoints"),
        (&["lost"], 64, "<IDS>"),
    ] {
        let (found, out, err) = ring(args, None);
        assert!(found == code && err.contains(expected), "{args:?}: {found} {out} {err}");
    }
    // Nobody listens there.
    let (code, _, err) = ring(&["status"], Some("http://127.0.0.1:1"));
    assert!(code == 69 && err.contains("etcd"), "{code} {err}");
}

#[test]
fn help_tells_every_subcommand() {
    let (code, out, _) = ring(&["--help"], None);
    assert_eq!(code, 0);
    for subcommand in [
        "status", "layout", "owner", "plan", "apply", "add", "drain", "undrain", "remove", "reweight", "move", "pin", "unpin", "abort",
        "lost", "publish",
    ] {
        assert!(out.lines().any(|line| line.trim_start().starts_with(&format!("{subcommand} "))), "{subcommand}: {out}");
    }
}
