//! Whatever comes between, a table ends as the counters are, and no row goes backwards: pages of a real engine, batches as they are made,
//! and a table that goes by the rule of the statements. The databases themselves are asked in the tests of the node.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

use counter::{Ack, Engine, EngineConfig, engine::SNAPSHOT_LOG_BYTES};
use prometheus::Registry;
use proptest::prelude::*;
use protocol::{name::CounterKey, time::Now};
use sink::batch::{Batch, LOOKED_ON_MS, Progress, Standing, claim};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

const NODE: &str = "eu/c1";

/// It is put back by some steps.
static CLOCK_MS: AtomicU64 = AtomicU64::new(1_700_000_000_000);

fn clock() -> Now {
    Now { mono_ms: 0, wall_ms: CLOCK_MS.fetch_add(1, Ordering::Relaxed) }
}

fn open(data_dir: &Path, epoch: u64) -> Engine {
    let (region, node, data_dir) = ("eu".to_owned(), "c1".to_owned(), data_dir.to_owned());
    let config = EngineConfig {
        data_dir,
        region,
        node,
        default_ack: Ack::Fsync,
        clock,
        epoch,
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        votes_memory_bytes: 0,
    };
    Engine::open(config, &Registry::new()).unwrap()
}

/// A database with one table and its state.
#[derive(Clone, Default)]
struct Database {
    rows: BTreeMap<String, (i128, i64)>,
    state: Option<Standing>,
}

impl Database {
    fn claim(&mut self, node: &str, is_silent: bool) -> Option<Progress> {
        let greatest = self.rows.values().map(|(_, seq)| *seq).max().unwrap_or(0);
        let state = self.state.clone().map(|state| Standing { silent_ms: if is_silent { 60_000 } else { 10 }, ..state });
        let progress = claim(state, greatest, (node, LOOKED_ON_MS)).ok()?;
        let cursor = progress.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        self.state = Some(Standing { owner: node.to_owned(), cursor, seq: progress.seq, as_of_ms: progress.as_of_ms, silent_ms: 0 });
        Some(progress)
    }

    /// One transaction; false if the state is not what the batch goes by.
    fn write(&mut self, batch: &Batch, node: &str) -> bool {
        let Some(state) = self.state.as_mut().filter(|state| state.owner == node && state.seq == batch.over) else { return false };
        (state.seq, state.as_of_ms) = (batch.progress.seq, batch.progress.as_of_ms);
        state.cursor = batch.progress.cursor.unwrap().to_string();
        for (key, value) in &batch.rows {
            let new = (*value, batch.progress.seq);
            match self.rows.get_mut(key.as_str()) {
                None => _ = self.rows.insert(key.as_str().to_owned(), new),
                Some(row) if new.1 > row.1 && new.0 != row.0 => *row = new,
                // Nothing that the table has is newer than what comes.
                Some(row) => assert!(new.1 > row.1, "{key:?}: {new:?} over {row:?}"),
            }
        }
        true
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add {
        key: u8,
        by: i64,
    },
    /// A batch of at most so many counters.
    Batch(usize),
    /// One whose outcome the sink does not hear of, whether or not it was written.
    Lost {
        limit: usize,
        is_written: bool,
    },
    RestartNode,
    PutClockBack,
    KeepCopy,
    RestoreDatabase,
    /// Somebody takes the state away.
    DropState,
    /// Another node takes the table, if it may.
    OtherOwner {
        is_silent: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u8..9, -3_i64..9).prop_map(|(key, by)| Step::Add { key, by }),
        6 => (1_usize..5).prop_map(Step::Batch),
        2 => (1_usize..5, any::<bool>()).prop_map(|(limit, is_written)| Step::Lost { limit, is_written }),
        1 => Just(Step::RestartNode),
        1 => Just(Step::PutClockBack),
        1 => Just(Step::KeepCopy),
        1 => Just(Step::RestoreDatabase),
        1 => Just(Step::DropState),
        1 => any::<bool>().prop_map(|is_silent| Step::OtherOwner { is_silent }),
    ]
}

/// A sink as the writer drives it: how far it has come, until it does not know.
#[derive(Default)]
struct Sink(Option<Progress>);

impl Sink {
    /// Whether there is more.
    async fn write(&mut self, engine: &Engine, database: &mut Database, limit: usize, lost: Option<bool>) -> bool {
        let Some(progress) = self.0.or_else(|| database.claim(NODE, false)) else { return true };
        let page = engine.changes(progress.cursor, limit).await.unwrap();
        let is_more = page.is_more;
        let batch = progress.batch(page, &[]);
        let is_written = lost != Some(false) && database.write(&batch, NODE);
        // Whoever did not hear asks the state.
        self.0 = (is_written && lost.is_none()).then_some(batch.progress);
        is_more || self.0.is_none()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_table_ends_as_the_counters_are_and_no_row_goes_backwards(steps in prop::collection::vec(step(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut engine, mut life, mut sink, mut database) = (open(dir.path(), 1), 1, Sink::default(), Database::default());
            let (mut truth, mut copy) = (BTreeMap::<String, i128>::new(), Database::default());
            for step in steps {
                match step {
                    Step::Add { key, by } => {
                        let name = format!("key:{key}");
                        let added = engine.add(&CounterKey::parse(&name).unwrap(), by, None, Some(Ack::Memory)).await.unwrap();
                        if by != 0 {
                            truth.insert(name, added.value.into());
                        }
                    }
                    Step::Batch(limit) => _ = sink.write(&engine, &mut database, limit, None).await,
                    Step::Lost { limit, is_written } => _ = sink.write(&engine, &mut database, limit, Some(is_written)).await,
                    Step::RestartNode => {
                        engine.shutdown().await;
                        drop(engine);
                        (life, sink) = (life + 1, Sink::default());
                        engine = open(dir.path(), life);
                    }
                    Step::PutClockBack => _ = CLOCK_MS.fetch_sub(10_000, Ordering::Relaxed),
                    Step::KeepCopy => copy = database.clone(),
                    Step::RestoreDatabase => database = copy.clone(),
                    Step::DropState => database.state = None,
                    Step::OtherOwner { is_silent } => {
                        let before = database.state.as_ref().map(|state| state.owner.clone());
                        let taken = database.claim("eu/c2", is_silent);
                        assert!(taken.is_none() || is_silent || before.is_none_or(|owner| owner == "eu/c2"));
                    }
                }
            }
            // The other node, if it has the table, is gone for good; then this one comes to the end.
            engine.add(&CounterKey::parse("last").unwrap(), 1, None, None).await.unwrap();
            truth.insert("last".to_owned(), 1);
            database.claim(NODE, true).unwrap();
            sink.0 = None;
            while sink.write(&engine, &mut database, 3, None).await {}
            let values: BTreeMap<String, i128> = database.rows.iter().map(|(key, (value, _))| (key.clone(), *value)).collect();
            assert_eq!(values, truth);
            assert!(database.state.unwrap().as_of_ms > 0);
        });
    }
}
