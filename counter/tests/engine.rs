//! The engine through its public door: durable, exact, and honest when the disk is not.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

use counter::{
    Ack, AddError, AddOp, Added, Adding, Bucket, Engine, EngineConfig, Event, OpenError, Token,
    engine::SNAPSHOT_LOG_BYTES,
    group::Group,
    ledger::Change,
    peers::{self, PeersConfig},
    recovery::{Recovered, Recovery},
};
use peering::Party;
use prometheus::Registry;
use proptest::prelude::*;
use protocol::{
    name::CounterKey,
    peer::Hello,
    time::Now,
    window::{Kept, Unit},
};
use std::{fs, path::Path, sync::Arc, time::Duration};

const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };

fn config(data_dir: &Path) -> EngineConfig {
    let (region, node) = ("eu".to_owned(), "c1".to_owned());
    let data_dir = data_dir.to_owned();
    EngineConfig {
        data_dir,
        region,
        node,
        default_ack: Ack::Fsync,
        clock: || NOON,
        epoch: 7,
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        votes_memory_bytes: 0,
    }
}

fn open(data_dir: &Path) -> Engine {
    Engine::open(config(data_dir), &Registry::new()).unwrap()
}

/// The log of a node whose data was all written in one segment.
fn log_of(data_dir: &Path) -> Vec<u8> {
    fs::read(data_dir.join("counter/000000000001.log")).unwrap()
}

/// A copy of what is on disk this moment, as `kill -9` leaves it.
fn killed(data_dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("counter")).unwrap();
    fs::write(copy.path().join("counter/000000000001.log"), log_of(data_dir)).unwrap();
    copy
}

fn recovered(log: &[u8]) -> Recovered {
    let mut recovery = Recovery::start(1);
    recovery.segment(1, log).unwrap();
    recovery.finish().unwrap()
}

fn key(text: &str) -> CounterKey {
    CounterKey::parse(text).unwrap()
}

fn token(number: u64) -> Token {
    let tail = [&[0, 0][..], &number.to_be_bytes()].concat();
    let uuid = uuid::Builder::from_unix_timestamp_millis(NOON.wall_ms, tail.as_slice().try_into().unwrap()).into_uuid();
    Token::parse(&uuid.to_string()).unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_a_retry_after_it_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let likes = key("likes");
    let added = engine.add(&likes, 5, Some(token(1)), None).await;
    assert_eq!(added, Ok(Added { value: 5, duplicate: false, acked: Ack::Fsync }));
    assert_eq!(engine.add(&likes, -2, None, Some(Ack::Replicated)).await.unwrap().acked, Ack::Fsync, "there is no peer");
    let copy = killed(dir.path());
    let engine = open(copy.path());
    assert_eq!(engine.read(&likes).unwrap().value, 3);
    let retried = engine.add(&likes, 5, Some(token(1)), None).await;
    assert_eq!(retried, Ok(Added { value: 3, duplicate: true, acked: Ack::Fsync }));
    assert_eq!(engine.entries(&likes)["eu/c1"].increments, 5);
    assert_eq!(engine.session(), "1.7-3", "the node goes on in the same life");
}

/// An older disk may have been put back. Positions that the others know already must not be written again, however soon
/// after the start somebody adds.
#[tokio::test]
async fn a_node_with_peers_counts_as_a_new_one_from_the_start_until_they_have_spoken() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).add(&key("a"), 1, None, None).await.unwrap();
    let copy = killed(dir.path());
    let engine = Engine::open(EngineConfig { epoch: 8, ..config(copy.path()) }, &Registry::new()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let me = Hello { cluster: "main".to_owned(), region: "eu".to_owned(), node: "c1".to_owned(), ..Hello::default() };
    let (party, seeds) = (Arc::new(Party::new(me, b"the key".to_vec(), None, || 9)), vec!["127.0.0.1:9".to_owned()]);
    let peers = PeersConfig { party, seeds, address: String::new(), producers: vec![], links: None, random_u64: || 9 };
    // Not polled yet, as when a client is quicker than the runtime.
    let talking = peers::serve(listener, engine.clone(), peers, std::future::pending());
    engine.add(&key("a"), 1, None, None).await.unwrap();
    assert_eq!(engine.session(), "1.7-1.8-2", "the first life as it was, and another one: its retirement, and the addition");
    drop(talking);
}

#[tokio::test]
async fn a_shutdown_leaves_a_snapshot_and_refuses_what_comes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let [likes, views] = [key("likes"), key("views")];
    engine.add(&likes, 5, Some(token(1)), Some(Ack::Memory)).await.unwrap();
    engine.add(&views, 9, None, None).await.unwrap();
    engine.reset(&views, Some(token(2)), None).await.unwrap();
    engine.shutdown().await;
    assert!(matches!(engine.add(&likes, 1, None, None).await, Err(AddError::Storage(_))));
    assert_eq!(engine.read(&likes).unwrap().value, 5);
    drop(engine);
    assert!(!dir.path().join("counter/000000000001.log").exists(), "the snapshot replaces the log before it");
    let engine = open(dir.path());
    assert_eq!(engine.get(likes.by_ref()), Ok(Some(5)));
    assert_eq!(engine.get(views.by_ref()), Ok(None));
    assert!(engine.add(&likes, 5, Some(token(1)), None).await.unwrap().duplicate);
    assert_eq!(engine.add(&likes, 5, Some(token(2)), None).await, Err(AddError::TokenReused));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_additions_all_count_while_snapshots_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let config = EngineConfig { snapshot_log_bytes: 20_000, ..config(dir.path()) };
    let engine = Engine::open(config.clone(), &registry).unwrap();
    let tasks = (0..8_u64).map(|task| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for round in 0..500 {
                engine.add(&key(&format!("k{}", round % 50)), 1, Some(token(task * 1000 + round)), None).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let snapshots = registry.gather().into_iter().find(|family| family.name() == "headcount_counter_snapshots_total").unwrap();
    let taken = snapshots.get_metric().iter().filter(|one| one.get_label()[0].value() == "ok");
    assert!(taken.map(|one| one.get_counter().get_value()).sum::<f64>() > 1.0);
    engine.shutdown().await;
    let engine = Engine::open(config, &Registry::new()).unwrap();
    for at in 0..50 {
        assert_eq!(engine.read(&key(&format!("k{at}"))).unwrap().value, 80);
    }
    assert!(engine.add(&key("k7"), 1, Some(token(3007)), None).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_batch_is_one_group_and_each_operation_has_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let engine = Engine::open(config(dir.path()), &registry).unwrap();
    engine.add(&key("a"), i64::MAX, None, None).await.unwrap();
    let groups = || {
        let families = registry.gather();
        let commits = families.iter().find(|family| family.name() == "headcount_counter_commit_seconds").unwrap();
        commits.get_metric()[0].get_histogram().get_sample_count()
    };
    let before = groups();
    let op = |name: &str, by| AddOp { key: key(name), by, how: Adding::Plain, token: None, ack: None };
    let answers = engine.add_many(vec![op("a", 1), op("b", 2), op("a", -1), op("b", 0)]).await;
    assert!(matches!(answers[0], Err(AddError::Overflow(_))));
    let values: Vec<_> = answers[1..].iter().map(|answer| answer.as_ref().unwrap().value).collect();
    assert_eq!(values, [2, i64::MAX - 1, 2]);
    assert_eq!(groups(), before + 1);
}

#[tokio::test]
async fn a_disk_that_fails_refuses_additions_and_loses_and_doubles_none_when_it_is_well_again() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let engine = Engine::open(EngineConfig { snapshot_log_bytes: 1000, ..config(dir.path()) }, &registry).unwrap();
    let likes = key("likes");
    // The log's next segment cannot be created while a directory is in its place.
    let obstacle = dir.path().join("counter/000000000002.log");
    fs::create_dir(&obstacle).unwrap();
    let mut sent = 1;
    while engine.add(&likes, 1, Some(token(sent)), None).await.is_ok() {
        sent += 1;
    }
    let refused = engine.add(&likes, 1, Some(token(sent + 1)), Some(Ack::Memory)).await;
    let Err(AddError::Storage(reason)) = &refused else { panic!("{refused:?}") };
    assert!(reason.contains("directory"), "{reason}");
    assert!(engine.read(&likes).is_ok());
    assert!(
        registry
            .gather()
            .iter()
            .any(|family| family.name() == "headcount_counter_read_only" && family.get_metric()[0].get_gauge().get_value() > 0.0)
    );

    fs::remove_dir(&obstacle).unwrap();
    while let Err(error) = engine.add(&likes, 1, Some(token(sent)), None).await {
        assert!(matches!(error, AddError::Storage(_)));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let expected = i64::try_from(sent).unwrap();
    assert_eq!(engine.read(&likes).unwrap().value, expected);
    engine.shutdown().await;
    assert_eq!(open(dir.path()).read(&likes).unwrap().value, expected);
}

#[tokio::test]
async fn a_directory_in_use_or_damaged_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    assert!(matches!(Engine::open(config(dir.path()), &Registry::new()), Err(OpenError::Locked(_))));
    for _ in 0..3 {
        engine.add(&key("likes"), 1, None, None).await.unwrap();
    }
    let copy = killed(dir.path());
    let mut bytes = log_of(copy.path());
    let first_name = bytes.windows(5).position(|window| window == b"likes").unwrap();
    bytes[first_name] ^= 1;
    fs::write(copy.path().join("counter/000000000001.log"), &bytes).unwrap();
    let error = Engine::open(config(copy.path()), &Registry::new()).unwrap_err().to_string();
    assert!(error.contains(copy.path().to_str().unwrap()) && error.contains("Restore the counter directory from a backup"), "{error}");
    assert_eq!(log_of(copy.path()), bytes, "and left as it was");
}

#[tokio::test]
async fn watchers_hear_of_durable_changes_and_sessions_cover_them() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let interest = engine.interest();
    let [likes, views] = [key("likes"), key("views")];
    interest.watch(&likes);
    engine.add(&views, 1, None, None).await.unwrap();
    engine.add(&likes, 1, None, Some(Ack::Memory)).await.unwrap();
    assert_eq!(interest.changed().await, vec![likes.clone()]);
    engine.reset(&likes, None, None).await.unwrap();
    assert_eq!(interest.changed().await, vec![likes.clone()]);
    assert_eq!(engine.covers(&engine.session()), Ok(true));
    assert_eq!(engine.covers("1.7-ffff"), Ok(false));
    let reading = engine.read(&views).unwrap();
    assert_eq!((reading.as_of["eu"], reading.lag_ms, reading.complete), (NOON.wall_ms, 0, true));
}

#[derive(Clone, Debug)]
enum Op {
    Add { key: usize, by: i64 },
    Stock { by: i64 },
    View { minutes_ago: u64, by: i64 },
    Reset { key: usize },
    Vote { key: usize, user: &'static str, is_on: bool },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let user = proptest::sample::select(&["ann", "bob"][..]);
    let op = prop_oneof![
        5 => (0..3_usize, -9..=9_i64).prop_map(|(key, by)| Op::Add { key, by }),
        3 => (-9..=9_i64).prop_map(|by| Op::Stock { by }),
        3 => (0..150_u64, -2..4_i64).prop_map(|(minutes_ago, by)| Op::View { minutes_ago, by }),
        1 => (0..3_usize).prop_map(|key| Op::Reset { key }),
        3 => (0..3_usize, user, any::<bool>()).prop_map(|(key, user, is_on)| Op::Vote { key, user, is_on }),
    ];
    proptest::collection::vec(op, 1..12)
}

const KEPT: Kept = Kept { minutes: 60, hours: 4, days: 0 };

/// The buckets of the last hours, as they are read.
fn hours(read: impl Fn(Kept, Unit, std::ops::Range<u64>) -> Vec<Bucket>) -> Vec<Bucket> {
    read(KEPT, Unit::Hour, KEPT.readable(Unit::Hour, NOON.wall_ms / 1_000))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// After a crash at any byte of the log, the state is the one after some number of whole operations, none that was
    /// acknowledged by then is missing, and retrying all of them leads to exactly the state without the crash.
    #[test]
    fn a_crash_at_any_byte_of_the_log_loses_and_doubles_nothing(ops in ops()) {
        let keys = [key("a"), key("b"), key("c"), key("stock"), key("views")];
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let mut changes: Vec<_> = ops.iter().map(|op| match op {
            Op::Add { key, by } => (&keys[*key], Change::Add(*by)),
            Op::Stock { by } => (&keys[3], Change::AddBounded(*by)),
            Op::View { minutes_ago, by } => {
                (&keys[4], Change::AddWindowed(*by, Event { at_s: NOON.wall_ms / 1_000 - 60 * minutes_ago, kept: KEPT }))
            }
            Op::Reset { key } => (&keys[*key], Change::Reset),
            Op::Vote { key, user, is_on } => (&keys[*key], Change::Vote { user, is_on: *is_on }),
        }).collect();
        // After each acknowledgement: the values, and how far the log had grown.
        let in_hours = || hours(|kept, unit, numbers| engine.buckets(keys[4].by_ref(), kept, unit, numbers));
        let mut moments = vec![([0; 5], in_hours(), 0)];
        let mut number = 0;
        changes.retain(|(key, change)| {
            let done = match change {
                Change::Add(by) => runtime.block_on(engine.add(key, *by, Some(token(number)), None)),
                Change::AddBounded(by) => runtime.block_on(engine.add_bounded(key, *by, Some(token(number)), None)),
                Change::AddWindowed(by, event) => {
                    let op = AddOp { key: (*key).clone(), by: *by, how: Adding::Windowed(*event), token: Some(token(number)), ack: None };
                    runtime.block_on(engine.add_many(vec![op])).remove(0)
                }
                Change::Reset => runtime.block_on(engine.reset(key, Some(token(number)), None)),
                Change::Vote { user, is_on } => runtime.block_on(engine.vote(key, user, *is_on, None)),
            };
            // What was refused leaves nothing.
            if matches!(done, Err(AddError::Short(_))) {
                return false;
            }
            done.unwrap();
            number += 1;
            let written = recovered(&log_of(dir.path())).tail.unwrap().end;
            moments.push((keys.each_ref().map(|key| engine.read(key).unwrap().value), in_hours(), written));
            true
        });
        let (last, last_hours, written) = moments.last().unwrap().clone();
        let log = log_of(dir.path());
        for cut in 0..=written {
            let mut ledger = recovered(&log[..cut]).ledger;
            let values = keys.each_ref().map(|key| ledger.value(key.by_ref()).unwrap());
            let buckets = hours(|kept, unit, numbers| ledger.replica.buckets(keys[4].by_ref(), kept, unit, numbers));
            let acknowledged = moments.iter().rposition(|(.., written)| *written <= cut).unwrap();
            let is_moment = moments[acknowledged..].iter().take(2).any(|(moment, in_hours, _)| *moment == values && *in_hours == buckets);
            prop_assert!(is_moment, "cut at {}: {:?}, {:?}", cut, values, buckets);

            let mut group = Group::new(1, 1);
            ledger.replica.count_as("eu", "c1", 7, &mut group);
            for (number, (key, change)) in (0..).zip(&changes) {
                let op = counter::engine::Op { key: key.by_ref(), change: *change, token: Some(token(number)) };
                let done = ledger.change(ledger.replica.locate_for(&op), op.change, op.token, NOON, &mut group).unwrap();
                // Adding nothing uses no token up, and a vote may have been taken back since.
                let is_event = matches!(change, Change::AddWindowed(..));
                let may_change = (change.amount() == Some(0) && !is_event) || matches!(change, Change::Vote { .. });
                prop_assert!(done.duplicate || may_change || usize::try_from(number).unwrap() >= acknowledged);
            }
            prop_assert_eq!(keys.each_ref().map(|key| ledger.value(key.by_ref()).unwrap()), last);
            prop_assert_eq!(&hours(|kept, unit, numbers| ledger.replica.buckets(keys[4].by_ref(), kept, unit, numbers)), &last_hours);
        }
        testkit::figure::count("counter-torn", "places in one log at which it was torn", written as u64);
    }
}
