//! SQLite: the node is killed and restarted, under additions.

use crate::{
    PATIENCE, Version, go_forwards, has_everything, metric,
    stream::{self, Stream},
};
use anyhow::{Result, ensure};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeMap;
use testkit::{Node, NodeOptions, eventually, http};

/// Times that the node is killed.
const KILLS: usize = 6;
/// Batches that are seen before each.
const BATCHES: usize = 10;
/// Has every version of every row from then on.
const AUDIT: &str = "
    CREATE TABLE audit (n INTEGER PRIMARY KEY AUTOINCREMENT, key, value, seq);
    CREATE TRIGGER added AFTER INSERT ON headcount_counters BEGIN INSERT INTO audit (key, value, seq) VALUES (NEW.key, NEW.value, NEW.seq); END;
    CREATE TRIGGER changed AFTER UPDATE ON headcount_counters BEGIN INSERT INTO audit (key, value, seq) VALUES (NEW.key, NEW.value, NEW.seq); END;";

fn rows(file: &Connection, table: &str) -> Result<BTreeMap<String, i64>> {
    let mut select = file.prepare(&format!("SELECT key, value FROM {table}"))?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(rows)
}

fn newest(file: &Connection) -> Result<i64> {
    Ok(file.query_row("SELECT coalesce(max(seq), 0) FROM headcount_counters", [], |row| row.get(0))?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_node_killed_in_mid_stream_the_file_ends_as_the_counters_are_and_no_row_goes_backwards() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counts.db");
    let config_toml = format!(
        "[[namespace]]\nname = \"likes\"\n[[namespace]]\nname = \"liked\"\ntype = \"unique\"\n\
         [[sink]]\nurl = \"sqlite:{0}\"\ninterval_ms = 10\nbatch = 25\n\
         [[sink]]\nurl = \"sqlite:{0}\"\ntable = \"likes_only\"\nnamespaces = [\"likes\", \"liked\"]\ninterval_ms = 10\n",
        path.display()
    );
    let mut node = Node::start(NodeOptions { config_toml, ..NodeOptions::default() }).await;
    eventually(PATIENCE, async || has_everything(&node).await).await;
    let file = Connection::open(&path).unwrap();
    file.busy_timeout(PATIENCE).unwrap();
    file.execute_batch(AUDIT).unwrap();
    let stream = Stream::start(node.client);
    for _ in 0..KILLS {
        for _ in 0..BATCHES {
            let seen = newest(&file).unwrap();
            eventually(PATIENCE, async || {
                ensure!(newest(&file)? > seen, "no batch since {seen}");
                Ok(())
            })
            .await;
        }
        node.restart().await;
    }
    for user in ["ann", "bob"] {
        let path = format!("/v1/counters/liked:1/voters/{user}");
        assert_eq!(http::put(node.client, &path, &json!({})).await.unwrap().status, 200);
    }
    stream.end().await;
    let mut counters = stream::counters(node.client).await;
    counters.insert("liked:1".to_owned(), 2);
    let some: BTreeMap<String, i64> =
        counters.iter().filter(|(key, _)| key.starts_with("like")).map(|(key, value)| (key.clone(), *value)).collect();
    eventually(PATIENCE, async || {
        let (all, only) = (rows(&file, "headcount_counters")?, rows(&file, "likes_only")?);
        ensure!(all == counters, "{all:?} is not {counters:?}");
        ensure!(only == some, "{only:?} is not {some:?}");
        has_everything(&node).await
    })
    .await;
    let mut select = file.prepare("SELECT key, value, seq FROM audit ORDER BY n").unwrap();
    let versions = select.query_map([], |row| Ok(Version { key: row.get(0)?, value: row.get(1)?, seq: row.get(2)? })).unwrap();
    let versions: Vec<Version> = versions.map(Result::unwrap).collect();
    assert!(versions.len() > 4 * counters.len(), "{} versions of {} rows", versions.len(), counters.len());
    go_forwards(&versions);
    assert!(metric(&node, "headcount_sink_rows_total").await > 0.0);
}
