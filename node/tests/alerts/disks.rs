//! Disks of counter nodes that are full, too small, and slow; memory that changes by itself; and more tokens than a node remembers.

use crate::{
    memory::{self, BadWord},
    people::Habit,
    stage::{Seen, Stage},
    table::Scene,
};
use std::{sync::Arc, time::Duration};
use testkit::{FaultyDisk, Node, NodeOptions, SmallDisk, resp::Reply, resp::Resp};
use tokio::time::sleep;
use uuid::Uuid;

/// Room for the log of a small load, and a snapshot.
const SMALL_BYTES: u64 = 24 << 20;
/// Of a key, so that both become large soon.
const KEY_BYTES: usize = 240;
/// Commands that are sent at once.
const BATCH: usize = 1_000;
/// How long a disk stands still again and again, and goes on in between.
const STANDS: Duration = Duration::from_millis(300);
const GOES_ON: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn play(seen: Seen) {
    let (faults, of_snapshots) = (FaultyDisk::build().unwrap(), FaultyDisk::build().unwrap());
    let small = Arc::new(SmallDisk::mount(SMALL_BYTES).await.unwrap());
    let full = Node::start(NodeOptions { disk: Some(Arc::clone(&small)), ..NodeOptions::default() }).await;
    let growing = Node::start(NodeOptions { env: of_snapshots.env(), ..NodeOptions::default() }).await;
    let slow = Node::start(NodeOptions { env: faults.env(), ..NodeOptions::default() }).await;
    let forgetful = Node::start(NodeOptions::default()).await;
    let remembering = Node::start(NodeOptions::default()).await;
    // The budget is that of a job.
    let nodes = [("full", &full), ("growing", &growing), ("slow", &slow), ("forgetful", &forgetful), ("remembering", &remembering)];
    let targets = nodes.map(|(job, node)| (job, node.admin));
    let stage = Stage::start(Scene::Disks, &seen, &targets).await;

    let _adding = [adding(&full), adding(&slow)];
    let no_room = stage.fault(&["HeadcountCounterReadOnly", "HeadcountIncrementBudgetBurns"]).await;
    small.fill().unwrap();
    no_room.fires().await;
    small.free().unwrap();
    no_room.ends().await;

    let late = stage.fault(&["HeadcountCounterLogSlow"]).await;
    tokio::select! {
        () = late.fires() => {}
        () = halting(&faults) => {}
    }
    faults.heal().unwrap();
    late.ends().await;

    let not_written = stage.fault(&["HeadcountCounterSnapshotsFail"]).await;
    of_snapshots.fail_snapshots().unwrap();
    tokio::select! {
        () = not_written.fires() => {}
        () = grow(&growing) => {}
    }
    of_snapshots.heal().unwrap();
    not_written.ends().await;

    let broken = stage.fault(&["HeadcountCounterLawViolated"]).await;
    tokio::select! {
        () = broken.fires() => {}
        () = break_memory(&forgetful) => {}
    }
    broken.ends().await;

    let too_many = stage.fault(&["HeadcountCounterFull"]).await;
    remember_all(&remembering).await;
    too_many.fires().await;
    too_many.ends().await;
}

/// Adds new counters, a few at a time, and is not put off by errors.
fn adding(node: &Node) -> Habit {
    let (resp, mut connection) = (node.resp.unwrap(), Resp::default());
    Habit::of(tokio::spawn(async move {
        for number in 0_u64.. {
            let keys: Vec<String> = (0..50).map(|at| format!("filler-{}", number * 50 + at)).collect();
            let commands: Vec<_> = keys.iter().map(|key| vec!["INCR", key.as_str()]).collect();
            _ = connection.pipeline(resp, &commands).await;
            sleep(PAUSE).await;
        }
    }))
}

/// No sync ends at once.
async fn halting(disk: &FaultyDisk) {
    loop {
        disk.stall().unwrap();
        sleep(STANDS).await;
        disk.heal().unwrap();
        sleep(GOES_ON).await;
    }
}

/// Makes counters with long names, for as long as it is let.
async fn grow(node: &Node) {
    let (resp, mut connection) = (node.resp.unwrap(), Resp::default());
    for number in 0.. {
        let keys: Vec<String> = (0..BATCH).map(|at| format!("{:0>KEY_BYTES$}", number * BATCH + at)).collect();
        let commands: Vec<_> = keys.iter().map(|key| vec!["HC.ADD", key.as_str(), "1", "ACK", "memory"]).collect();
        _ = connection.pipeline(resp, &commands).await;
    }
}

/// Counts in one counter whose memory is bad, for as long as it is let: one addition in many is checked.
async fn break_memory(node: &Node) {
    let (resp, mut connection) = (node.resp.unwrap(), Resp::default());
    let key = format!("{:x>1$}", "bad", memory::KEY_BYTES);
    let count = async |connection: &mut Resp| connection.pipeline(resp, &vec![vec!["INCR", key.as_str()]; BATCH]).await.unwrap();
    for _ in 0..3 {
        count(&mut connection).await;
    }
    let Some(Reply::Integer(increments)) = count(&mut connection).await.pop() else { panic!("not counted") };
    let _bad = BadWord::of(node.pid().unwrap(), &key, increments.unsigned_abs()).unwrap();
    loop {
        count(&mut connection).await;
    }
}

/// Adds with a new token each time, until one is refused.
async fn remember_all(node: &Node) {
    let (resp, mut connection) = (node.resp.unwrap(), Resp::default());
    loop {
        let tokens: Vec<String> = (0..BATCH).map(|_| Uuid::now_v7().to_string()).collect();
        let commands: Vec<_> = tokens.iter().map(|token| vec!["HC.ADD", "likes", "1", "TOKEN", token, "ACK", "memory"]).collect();
        let answers = connection.pipeline(resp, &commands).await.unwrap();
        if answers.iter().any(|answer| matches!(answer, Reply::Error(_))) {
            return;
        }
    }
}
