//! The files of counters: today's code writes the very bytes that are kept in golden/, and reads them. When a format changes these change,
//! and a directory as it was before goes to node/tests/golden: see CONTRIBUTING.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use counter::{Ack, Engine, EngineConfig, Token, engine::SNAPSHOT_LOG_BYTES};
use prometheus::Registry;
use protocol::{name::CounterKey, time::Now};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };
const TOKEN: &str = "018bcfe5-6800-7000-8000-000000000001";
/// The log, as it was before its counters became a snapshot.
const LOG: &str = "000000000001.log";

fn open(data_dir: &Path) -> Engine {
    let (region, node, data_dir) = ("eu".to_owned(), "c1".to_owned(), data_dir.to_owned());
    let clock = || NOON;
    let config = EngineConfig {
        data_dir,
        region,
        node,
        default_ack: Ack::Fsync,
        clock,
        epoch: 7,
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        votes_memory_bytes: 0,
    };
    Engine::open(config, &Registry::new()).unwrap()
}

fn key(text: &str) -> CounterKey {
    CounterKey::parse(text).unwrap()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What a directory holds, file by file, without the zeros that a log has behind its last record, and without empty files.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (name, mut bytes) = (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap());
        if name.ends_with(".log") {
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        }
        if !bytes.is_empty() {
            files.insert(name, bytes);
        }
    }
    files
}

#[tokio::test]
async fn the_log_and_the_snapshot_are_written_as_they_were_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    engine.add(&key("likes"), 40, None, None).await.unwrap();
    engine.add(&key("likes"), -3, None, None).await.unwrap();
    engine.add(&key("views"), 9_000_000_000, Some(Token::parse(TOKEN).unwrap()), None).await.unwrap();
    engine.reset(&key("views"), None, None).await.unwrap();
    engine.add(&key("views"), 5, None, None).await.unwrap();
    let log = files(&dir.path().join("counter")).remove(LOG).unwrap();
    engine.shutdown().await;
    drop(engine);
    let mut found = files(&dir.path().join("counter"));
    found.insert(LOG.to_owned(), log);
    if std::env::var_os("HEADCOUNT_GOLDEN").is_some() {
        // For whoever changes a format, and has kept the directory that was.
        found.iter().for_each(|(file, bytes)| fs::write(golden().join(file), bytes).unwrap());
    }
    let kept = files(&golden());
    assert_eq!(found.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    assert!(kept.len() > 4, "a log, a manifest and the parts that it names");
    for (file, bytes) in &found {
        assert_eq!(bytes, &kept[file], "{file}");
    }

    // From the log alone, and from the snapshot.
    let from_log = tempfile::tempdir().unwrap();
    fs::create_dir(from_log.path().join("counter")).unwrap();
    fs::copy(golden().join(LOG), from_log.path().join("counter").join(LOG)).unwrap();
    for data_dir in [from_log.path(), dir.path()] {
        let engine = open(data_dir);
        let values = ["likes", "views"].map(|name| engine.read(&key(name)).unwrap().value);
        assert_eq!(values, [37, 5], "{}", data_dir.display());
        let again = engine.add(&key("views"), 9_000_000_000, Some(Token::parse(TOKEN).unwrap()), None).await.unwrap();
        assert!(again.duplicate, "the token is known from {}", data_dir.display());
    }
}
