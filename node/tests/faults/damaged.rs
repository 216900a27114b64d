//! Disks that hold something else than what was written: nobody starts from that.

use crate::{settle, until_counted};
use std::{fs, path::PathBuf};
use testkit::{Cluster, ClusterOptions, Load, LoadOptions, Node, cluster::PATIENCE, eventually, figure};
use tokio::time::Instant;

/// The largest file of a node's counters whose name begins so.
fn file(node: &Node, begin: &str) -> PathBuf {
    let entries = fs::read_dir(node.data_dir.join("counter")).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin)));
    named.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_disk_is_refused_and_without_it_the_others_give_everything_back() {
    let mut cluster = Cluster::start(3, ClusterOptions::default()).await.unwrap();
    let targets = cluster.targets();
    let load = Load::start(targets.clone(), LoadOptions::default());
    for damaged in ["snapshot-", "snapshot", "0"] {
        load.retarget(targets.clone());
        until_counted(&load, 200).await;
        // What was begun there is over when others have counted on for a while.
        load.retarget(targets.iter().copied().filter(|target| target.at != 0).collect());
        until_counted(&load, 200).await;
        eventually(PATIENCE, async || if cluster.is_held_elsewhere(0).await { Ok(()) } else { Err("it alone has something") }).await;
        let node = &mut cluster.nodes[0];
        if damaged == "0" {
            // Amid the log, which has not become a snapshot.
            node.kill9().await;
        } else {
            assert!(node.terminate().await.success());
        }
        let path = if damaged == "snapshot" { node.data_dir.join("counter/snapshot") } else { file(node, damaged) };
        let mut bytes = fs::read(&path).unwrap();
        // Of a log the first record follows its head; behind the last one there is nothing but zeros.
        let at = if damaged == "0" { 64 } else { bytes.len() / 2 };
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        node.restart_unready().await;
        assert!(!node.wait().await.success(), "it has started from a damaged {}", path.display());
        let log = node.log();
        assert!(log.to_lowercase().contains("restore the counter directory from a backup"), "{log}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "and left as it was");
        let since = Instant::now();
        cluster.replace_disk(0, None).await.unwrap();
        eventually(PATIENCE, async || {
            let (ours, theirs) = (cluster.read(0, "t0").await, cluster.read(1, "t0").await);
            let value = |reading: &Option<(u16, serde_json::Value)>| reading.as_ref().map(|(_, reading)| reading["value"].clone());
            if ours.as_ref().is_some_and(|(_, ours)| ours["complete"] == true) && value(&ours) == value(&theirs) {
                Ok(())
            } else {
                Err(format!("{ours:?}, {theirs:?}"))
            }
        })
        .await;
        figure::time("counter-damaged", "has everything again after a start without the directory", since.elapsed());
    }
    load.retarget(targets);
    settle("counter-damaged", &cluster, load).await;
}
