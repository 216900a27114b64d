//! A node that the kernel kills for its memory: nobody asks it whether it is ready.

use std::{os::unix::process::ExitStatusExt, time::Duration};
use testkit::{ControlGroup, Node, NodeOptions, eventually, figure, resp::Reply, resp::Resp};
use tokio::time::Instant;

/// What it may take beside what it has.
const MORE_BYTES: u64 = 24 << 20;
const BATCH: usize = 500;
const SIGKILL: i32 = 9;

/// Counters with long names, so that they take much memory.
fn key(number: usize) -> String {
    format!("filler-{number}-{}", "x".repeat(200))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes root: cargo xtask faults"]
async fn a_node_that_is_killed_for_its_memory_loses_nothing_that_it_acknowledged() {
    let mut node = Node::start(NodeOptions::default()).await;
    let group = ControlGroup::of_memory(MORE_BYTES).unwrap();
    group.take(node.pid().unwrap()).unwrap();
    let (mut connection, resp, mut acknowledged) = (Resp::default(), node.resp.unwrap(), 0);
    let one = Reply::Integer(1);
    // Until it is dead.
    loop {
        let keys: Vec<String> = (acknowledged..acknowledged + BATCH).map(key).collect();
        let commands: Vec<Vec<&str>> = keys.iter().map(|key| vec!["INCR", key.as_str()]).collect();
        let Ok(Ok(replies)) = tokio::time::timeout(Duration::from_secs(60), connection.pipeline(resp, &commands)).await else { break };
        assert!(replies.iter().all(|reply| *reply == one), "{:?}", replies.iter().find(|reply| **reply != one));
        acknowledged += replies.len();
    }
    assert_eq!(node.wait().await.signal(), Some(SIGKILL));
    assert!(acknowledged >= BATCH, "{acknowledged}");
    drop(group);
    let since = Instant::now();
    node.restart().await;
    figure::time("memory", "ready again after", since.elapsed());
    figure::count("memory", "increments acknowledged, all there", acknowledged as u64);
    for first in (0..acknowledged).step_by(BATCH) {
        let keys: Vec<String> = (first..first + BATCH).map(key).collect();
        let words: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        let expected = Reply::List(vec![Reply::Text("1".to_owned()); BATCH]);
        let read = eventually(Duration::from_secs(60), async || Resp::default().command(resp, &words).await).await;
        assert_eq!(read, expected, "{} and following", keys[0]);
    }
}
