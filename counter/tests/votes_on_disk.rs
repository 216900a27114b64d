//! Votes of which few may be in memory: nobody sees a difference but in the metrics.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

use counter::{Ack, Engine, EngineConfig, engine::Op, ledger::Change, outcomes::Outcomes};
use prometheus::Registry;
use protocol::{name::CounterKey, time::Now};
use std::{collections::BTreeSet, env, fs, os::unix::process::ExitStatusExt, path::Path, process::Command};

const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };
/// Two blocks of the thirty that the votes of this test fill.
const MEMORY_BYTES: u64 = 64 << 10;
const VOTERS: usize = 20_000;
/// A third of what their log takes.
const SNAPSHOT_LOG_BYTES: u64 = 300_000;

fn open(data_dir: &Path, snapshot_log_bytes: u64, registry: &Registry) -> Engine {
    let config = EngineConfig {
        data_dir: data_dir.to_owned(),
        region: "eu".to_owned(),
        node: "c1".to_owned(),
        default_ack: Ack::Fsync,
        clock: || NOON,
        epoch: 7,
        snapshot_log_bytes,
        votes_memory_bytes: MEMORY_BYTES,
    };
    Engine::open(config, registry).unwrap()
}

fn likes() -> CounterKey {
    CounterKey::parse("likes").unwrap()
}

fn user(number: usize) -> String {
    format!("user_{number:011}")
}

async fn vote(engine: &Engine, users: impl Iterator<Item = usize>, is_on: bool) {
    let (key, users) = (likes(), users.map(user).collect::<Vec<_>>());
    for users in users.chunks(500) {
        engine.room().await;
        let ops: Vec<Op<'_>> =
            users.iter().map(|user| Op { key: key.by_ref(), change: Change::Vote { user, is_on }, token: None }).collect();
        let mut outcomes = Outcomes::default();
        engine.stage_all(&ops, &mut outcomes);
        assert!(outcomes.iter().all(|outcome| outcome.is_ok()));
        engine.settle(outcomes.group(), None).await.unwrap();
    }
}

/// Everybody who has voted, as pages tell.
fn voters(engine: &Engine) -> BTreeSet<String> {
    let (mut all, mut after) = (BTreeSet::new(), None);
    loop {
        let page = engine.voters(likes().by_ref(), after.as_deref(), 1_000).unwrap();
        let count = page.users.len();
        all.extend(page.users);
        assert!(count <= 1_000);
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

fn metric(registry: &Registry, name: &str, place: Option<&str>) -> f64 {
    let family = registry.gather().into_iter().find(|family| family.name() == name).unwrap();
    let is_it = |one: &&prometheus::proto::Metric| place.is_none_or(|place| one.get_label()[0].value() == place);
    let one = family.get_metric().iter().find(is_it).unwrap().clone();
    one.get_gauge().get_value() + one.get_counter().get_value()
}

fn most_are_on_disk(registry: &Registry) {
    let bytes = |place| metric(registry, "headcount_counter_vote_bytes", Some(place));
    assert!(bytes("memory") <= 65_536.0 && bytes("disk") > 700_000.0, "{} and {}", bytes("memory"), bytes("disk"));
}

fn is_right(engine: &Engine, expected: &BTreeSet<String>) {
    assert_eq!(engine.read(&likes()).unwrap().value, i64::try_from(expected.len()).unwrap());
    assert_eq!(&voters(engine), expected);
    for number in (0..VOTERS).step_by(997) {
        assert_eq!(engine.has_voted(likes().by_ref(), &user(number)), expected.contains(&user(number)), "{number}");
    }
}

#[tokio::test]
async fn votes_on_disk_count_are_turned_and_listed_and_survive_a_kill_and_a_snapshot() {
    let (dir, registry) = (tempfile::tempdir().unwrap(), Registry::new());
    let engine = open(dir.path(), SNAPSHOT_LOG_BYTES, &registry);
    vote(&engine, 0..VOTERS, true).await;
    // Nearly all of them were put away by now.
    vote(&engine, (0..VOTERS).step_by(7), false).await;
    vote(&engine, (0..VOTERS).step_by(14), true).await;
    let turned_off: BTreeSet<usize> = (7..VOTERS).step_by(14).collect();
    let mut expected: BTreeSet<String> = (0..VOTERS).filter(|number| !turned_off.contains(number)).map(user).collect();
    is_right(&engine, &expected);
    assert_eq!(engine.take_back_votes(&user(3)).await, Ok(1));
    expected.remove(&user(3));

    most_are_on_disk(&registry);
    assert!(metric(&registry, "headcount_counter_vote_block_reads_total", None) > 20.0);
    let names: Vec<_> = fs::read_dir(dir.path().join("counter")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name == "snapshot") && names.iter().all(|name| name != "votes.tmp"), "{names:?}");
    drop(engine);

    for shuts_down in [true, false] {
        let registry = Registry::new();
        let engine = wait_for(dir.path(), SNAPSHOT_LOG_BYTES, &registry).await;
        is_right(&engine, &expected);
        vote(&engine, std::iter::once(usize::from(shuts_down)), false).await;
        expected.remove(&user(usize::from(shuts_down)));
        is_right(&engine, &expected);
        most_are_on_disk(&registry);
        if shuts_down {
            engine.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_log_without_a_snapshot_is_replayed_with_as_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), u64::MAX, &Registry::new());
    vote(&engine, 0..VOTERS, true).await;
    drop(engine);
    let registry = Registry::new();
    let engine = wait_for(dir.path(), u64::MAX, &registry).await;
    // The metrics are brought up to date with every group.
    vote(&engine, VOTERS..=VOTERS, true).await;
    most_are_on_disk(&registry);
    assert!(!dir.path().join("counter/snapshot").exists());
    is_right(&engine, &(0..=VOTERS).map(user).collect());
}

/// Where the program that is to lose its votes keeps them.
const LOSES: &str = "HEADCOUNT_LOSES_VOTES_IN";

#[tokio::test]
async fn a_vote_that_cannot_be_read_back_ends_the_process_and_the_next_start_has_it() {
    if let Some(dir) = env::var_os(LOSES) {
        let engine = open(dir.as_ref(), SNAPSHOT_LOG_BYTES, &Registry::new());
        vote(&engine, 0..VOTERS, true).await;
        empty_the_file_of_votes();
        let voters = voters(&engine);
        unreachable!("{} voters were read from an empty file", voters.len());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "a_vote_that_cannot_be_read_back_ends_the_process_and_the_next_start_has_it", "--nocapture"]);
    let ended = again.env(LOSES, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.signal(), Some(6), "{said}");
    assert!(said.contains("headcount: votes cannot be read back from page "), "{said}");
    is_right(&open(dir.path(), SNAPSHOT_LOG_BYTES, &Registry::new()), &(0..VOTERS).map(user).collect());
}

/// Of this process. It has no name but its descriptor's.
fn empty_the_file_of_votes() {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &std::path::PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().ends_with("votes.tmp (deleted)"));
    let found: Vec<_> = descriptors.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    fs::File::options().write(true).open(&found[0]).unwrap().set_len(0).unwrap();
}

/// The log thread of the engine before may still be about to end.
async fn wait_for(data_dir: &Path, snapshot_log_bytes: u64, registry: &Registry) -> Engine {
    for _ in 0..1_000 {
        if fs::File::open(data_dir.join("counter/lock")).unwrap().try_lock().is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    open(data_dir, snapshot_log_bytes, registry)
}
