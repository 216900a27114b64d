//! The change feed through the engine's door: whoever reads it to its end has every counter as it is on disk.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

use counter::{Ack, ChangeCursor, ChangePage, Engine, EngineConfig, engine::SNAPSHOT_LOG_BYTES, ledger::Change};
use prometheus::Registry;
use proptest::prelude::*;
use protocol::{name::CounterKey, time::Now};
use std::{collections::BTreeMap, path::Path, time::Duration};

const NOON: Now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };

fn open(data_dir: &Path, epoch: u64) -> Engine {
    let (region, node) = ("eu".to_owned(), "c1".to_owned());
    let data_dir = data_dir.to_owned();
    let config = EngineConfig {
        data_dir,
        region,
        node,
        default_ack: Ack::Fsync,
        clock: || NOON,
        epoch,
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        votes_memory_bytes: 0,
    };
    Engine::open(config, &Registry::new()).unwrap()
}

fn key(text: &str) -> CounterKey {
    CounterKey::parse(text).unwrap()
}

fn values(page: &ChangePage) -> Vec<(&str, i128)> {
    page.counters.iter().map(|counter| (counter.key.as_str(), counter.value)).collect()
}

/// A consumer that keeps what it was told last of each counter, and how new that is.
#[derive(Default)]
struct Consumer {
    cursor: Option<ChangeCursor>,
    known: BTreeMap<String, (i128, u64)>,
    walks: usize,
}

impl Consumer {
    async fn read(&mut self, engine: &Engine, limit: usize) -> ChangePage {
        let page = engine.changes(self.cursor, limit).await.unwrap();
        assert!(page.counters.len() <= limit);
        for counter in &page.counters {
            let known = self.known.insert(counter.key.as_str().to_owned(), (counter.value, page.seq));
            assert!(known.is_none_or(|(_, seq)| seq < page.seq), "{known:?} then {}", page.seq);
        }
        self.walks += usize::from(page.is_walk);
        // Cursors travel as texts.
        self.cursor = Some(page.next.to_string().parse().unwrap());
        page
    }

    async fn read_to_the_end(&mut self, engine: &Engine) {
        while self.read(engine, 3).await.is_more {}
    }

    fn values(&self) -> BTreeMap<&str, i128> {
        self.known.iter().map(|(key, (value, _))| (key.as_str(), *value)).collect()
    }
}

#[tokio::test]
async fn a_consumer_gets_all_counters_and_then_what_changes_with_votes_counted_where_they_belong() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), 7);
    for number in 0..10 {
        engine.add(&key(&format!("old:{number}")), number + 1, None, None).await.unwrap();
    }
    engine.vote(&key("liked"), "ann", true, None).await.unwrap();
    let mut consumer = Consumer::default();
    consumer.read_to_the_end(&engine).await;
    let mut expected: BTreeMap<String, i128> = (0..10).map(|number| (format!("old:{number}"), i128::from(number) + 1)).collect();
    expected.insert("liked".to_owned(), 1);
    assert!(consumer.values().into_iter().eq(expected.iter().map(|(key, value)| (key.as_str(), *value))), "{:?}", consumer.known);
    assert!(consumer.walks > 1, "a walk in several pages");

    engine.vote(&key("liked"), "bob", true, None).await.unwrap();
    engine.vote(&key("liked"), "ann", false, None).await.unwrap();
    engine.vote(&key("liked"), "zoe", true, None).await.unwrap();
    engine.add(&key("new"), -3, None, None).await.unwrap();
    engine.reset(&key("old:1"), None, None).await.unwrap();
    let page = consumer.read(&engine, 9).await;
    assert_eq!((values(&page), page.is_walk, page.is_more), (vec![("liked", 2), ("new", -3), ("old:1", 0)], false, false));
    let page = consumer.read(&engine, 9).await;
    assert_eq!((page.counters.len(), page.is_more), (0, false));
}

#[tokio::test]
async fn what_a_page_tells_is_on_disk_whatever_its_callers_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), 7);
    let mut consumer = Consumer::default();
    consumer.read_to_the_end(&engine).await;
    for number in 1..=20 {
        engine.add(&key("likes"), 1, None, Some(Ack::Memory)).await.unwrap();
        // The second one changes what the first one's group has not yet brought to the disk.
        let staged = engine.stage(&key("likes"), Change::Add(1), None).unwrap();
        let page = engine.changes(None, 9).await.unwrap();
        assert_eq!(values(&page), [("likes", 2 * number)]);
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("counter")).unwrap();
        std::fs::copy(dir.path().join("counter/000000000001.log"), copy.path().join("counter/000000000001.log")).unwrap();
        assert_eq!(open(copy.path(), 8).get(key("likes").by_ref()).unwrap(), Some(2 * i64::try_from(number).unwrap()), "{staged:?}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_life_begins_a_walk_and_so_does_one_that_somebody_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), 7);
    for number in 0..50 {
        engine.add(&key(&format!("likes:{number}")), 1, None, None).await.unwrap();
    }
    let mut consumer = Consumer::default();
    consumer.read_to_the_end(&engine).await;
    engine.shutdown().await;
    drop(engine);
    let engine = open(dir.path(), 8);
    assert!(engine.has_changed(&consumer.cursor.unwrap()));
    (consumer.walks, consumer.known) = (0, BTreeMap::new());
    consumer.read_to_the_end(&engine).await;
    assert_eq!((consumer.known.len(), consumer.walks > 1), (50, true));
    assert!(!engine.has_changed(&consumer.cursor.unwrap()));

    let Some(after) = consumer.cursor.map(|cursor| cursor.to_string()) else { panic!("no cursor") };
    let made_up = ["1.8.ffff".to_owned(), format!("{after}.0.1.0"), format!("{after}.1.0.0"), format!("{after}.7f.ffffffff.ffffffff")];
    for made_up in made_up {
        let page = engine.changes(Some(made_up.parse().unwrap()), 1_000).await.unwrap();
        assert_eq!((page.counters.len(), page.is_walk), (50, true), "{made_up}");
    }
    let none = format!("{after}.ffffffff.0.0").parse().unwrap();
    assert_eq!(engine.changes(Some(none), 1_000).await.unwrap().counters.len(), 50);
}

#[tokio::test]
async fn who_waits_hears_of_the_next_change_and_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), 7);
    let mut consumer = Consumer::default();
    consumer.read_to_the_end(&engine).await;
    let cursor = consumer.cursor.unwrap();
    let (waiting, other) = (engine.clone(), engine.clone());
    let waiter = tokio::spawn(async move { waiting.changed(&cursor).await });
    engine.add(&key("likes"), 1, None, None).await.unwrap();
    let is_there = tokio::time::timeout(Duration::from_secs(60), waiter).await.unwrap().unwrap();
    assert!(is_there);
    consumer.read_to_the_end(&engine).await;
    let cursor = consumer.cursor.unwrap();
    let waiter = tokio::spawn(async move { other.changed(&cursor).await });
    engine.shutdown().await;
    assert!(!tokio::time::timeout(Duration::from_secs(60), waiter).await.unwrap().unwrap());
}

#[derive(Clone, Debug)]
enum Step {
    Add { key: u8, by: i64 },
    Vote { key: u8, user: u8, is_on: bool },
    Reset(u8),
    Page(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..9, -3_i64..9).prop_map(|(key, by)| Step::Add { key, by }),
        2 => (9_u8..12, 0_u8..4, any::<bool>()).prop_map(|(key, user, is_on)| Step::Vote { key, user, is_on }),
        1 => (0_u8..9).prop_map(Step::Reset),
        5 => (1_usize..5).prop_map(Step::Page),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn however_it_comes_the_consumer_ends_with_the_counters(steps in prop::collection::vec(step(), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut engine, mut life, mut consumer) = (open(dir.path(), 1), 1, Consumer::default());
            let mut truth = BTreeMap::<String, i128>::new();
            let mut votes = BTreeMap::<(u8, u8), bool>::new();
            let name = |number: u8| format!("key:{number}");
            for step in steps {
                match step {
                    Step::Add { key: number, by } => {
                        let added = engine.add(&key(&name(number)), by, None, Some(Ack::Memory)).await.unwrap();
                        if by != 0 {
                            truth.insert(name(number), added.value.into());
                        }
                    }
                    Step::Vote { key: number, user, is_on } => {
                        engine.vote(&key(&name(number)), &format!("user {user}"), is_on, Some(Ack::Memory)).await.unwrap();
                        // One that was never cast cannot be taken back.
                        if is_on || votes.contains_key(&(number, user)) {
                            votes.insert((number, user), is_on);
                            let on = votes.iter().filter(|((of, _), is_on)| *of == number && **is_on).count();
                            truth.insert(name(number), i128::try_from(on).unwrap());
                        }
                    }
                    Step::Reset(number) => {
                        engine.reset(&key(&name(number)), None, Some(Ack::Memory)).await.unwrap();
                        truth.entry(name(number)).and_modify(|value| *value = 0);
                    }
                    Step::Page(limit) => _ = consumer.read(&engine, limit).await,
                    Step::Restart => {
                        engine.shutdown().await;
                        drop(engine);
                        life += 1;
                        engine = open(dir.path(), life);
                        // The clock of this test stands still.
                        consumer.known.values_mut().for_each(|(_, seq)| *seq = 0);
                    }
                }
            }
            // What was acknowledged in memory only is told when it is durable.
            engine.add(&key("last"), 1, None, None).await.unwrap();
            truth.insert("last".to_owned(), 1);
            consumer.read_to_the_end(&engine).await;
            let expected: BTreeMap<&str, i128> = truth.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            assert_eq!(consumer.values(), expected);
        });
    }
}
