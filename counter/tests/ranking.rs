//! The counters with the greatest values of a real engine, while they change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use counter::{Ack, AddOp, Adding, Engine, EngineConfig, Ranking, TOP_MAX};
use prometheus::Registry;
use protocol::{name::CounterKey, time::Now};
use std::{path::Path, time::Duration};
use testkit::eventually;

const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };
const PATIENCE: Duration = Duration::from_secs(20);
const COUNTERS: i64 = 12_000;

fn open(data_dir: &Path) -> Engine {
    let (region, node, data_dir) = ("eu".to_owned(), "c1".to_owned(), data_dir.to_owned());
    let config = EngineConfig {
        data_dir,
        region,
        node,
        default_ack: Ack::Fsync,
        clock: || NOON,
        epoch: 7,
        snapshot_log_bytes: 1 << 30,
        votes_memory_bytes: 0,
    };
    Engine::open(config, &Registry::new()).unwrap()
}

fn key(number: i64) -> CounterKey {
    CounterKey::parse(&format!("likes:{number}")).unwrap()
}

async fn add_all(engine: &Engine, ops: impl Iterator<Item = (i64, i64)>) {
    let op = |(number, by)| AddOp { key: key(number), by, how: Adding::Plain, token: None, ack: None };
    for answer in engine.add_many(ops.map(op).collect()).await {
        answer.unwrap();
    }
}

async fn until(ranking: &Ranking, limit: usize, expected: &[(i64, i128)]) {
    let expected: Vec<(String, i128)> = expected.iter().map(|(number, value)| (key(*number).as_str().to_owned(), *value)).collect();
    eventually(PATIENCE, async || {
        let found = ranking.top("likes", limit).await.map_err(|error| error.to_string())?;
        let found: Vec<_> = found.into_iter().map(|counter| (counter.key.as_str().to_owned(), counter.value)).collect();
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_greatest_are_told_while_they_change_and_after_so_many_fell_that_all_are_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    add_all(&engine, (1..=COUNTERS).map(|number| (number, number))).await;
    let ranking = Ranking::new(engine.clone());
    until(&ranking, 3, &[(COUNTERS, COUNTERS.into()), (COUNTERS - 1, (COUNTERS - 1).into()), (COUNTERS - 2, (COUNTERS - 2).into())]).await;
    assert_eq!(ranking.top("likes", usize::MAX).await.unwrap().len(), TOP_MAX);
    assert_eq!(ranking.top("views", 3).await.unwrap(), []);
    // One that was among the least, and one that is gone.
    add_all(&engine, [(5, 1_000_000), (COUNTERS, -COUNTERS)].into_iter()).await;
    until(&ranking, 2, &[(5, 1_000_005), (COUNTERS - 1, (COUNTERS - 1).into())]).await;
    // More of the greatest fall than were kept.
    add_all(&engine, (COUNTERS - 600..COUNTERS).map(|number| (number, 1 - number))).await;
    until(&ranking, 2, &[(5, 1_000_005), (COUNTERS - 601, (COUNTERS - 601).into())]).await;
    engine.shutdown().await;
}
