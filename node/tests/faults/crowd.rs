//! Many counters that are added to as fast as one connection can.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use testkit::{
    Cluster,
    cluster::PATIENCE,
    eventually, http,
    resp::{Reply, Resp},
};
use tokio::task::JoinHandle;

/// Additions in one write.
const PIPELINE: usize = 500;

/// A client that adds 1 to each of its counters in turn, again and again.
pub(crate) struct Crowd {
    keys: Arc<Vec<String>>,
    pub(crate) counted: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Crowd {
    /// With `count` counters, a multiple of [`PIPELINE`], whose keys have about so many bytes.
    pub(crate) fn start(at: SocketAddr, count: usize, key_bytes: usize) -> Crowd {
        let keys: Arc<Vec<String>> = Arc::new((0..count).map(|number| format!("crowd-{number:0key_bytes$}")).collect());
        let (counted, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn({
            let (keys, counted, ends) = (Arc::clone(&keys), Arc::clone(&counted), Arc::clone(&ends));
            async move {
                let mut connection = Resp::default();
                for keys in keys.chunks(PIPELINE).cycle() {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let commands: Vec<_> = keys.iter().map(|key| vec!["INCR", key.as_str()]).collect();
                    let replies = connection.pipeline(at, &commands).await.unwrap();
                    assert!(replies.iter().all(|reply| matches!(reply, Reply::Integer(_))), "{replies:?}");
                    counted.fetch_add(keys.len() as u64, Ordering::Relaxed);
                }
            }
        });
        Crowd { keys, counted, ends, task }
    }

    pub(crate) async fn until_counted(&self, count: u64) {
        eventually(PATIENCE, async || {
            let counted = self.counted.load(Ordering::Relaxed);
            if counted >= count { Ok(()) } else { Err(format!("{counted} of {count}")) }
        })
        .await;
    }

    /// Of a thousand of the counters, how many a node shows.
    pub(crate) async fn shown_at(&self, client: SocketAddr) -> usize {
        let sample: Vec<_> = self.keys.iter().step_by(self.keys.len() / 1000).map(String::as_str).collect();
        let mut shown = 0;
        for keys in sample.chunks(20) {
            let answer = http::get(client, &format!("/v1/counters?keys={}", keys.join(","))).await.unwrap().json();
            shown += answer["counters"].as_array().unwrap().iter().filter(|counter| counter["value"] != 0).count();
        }
        shown
    }

    /// Ends it, and waits until some of its counters read everywhere what it knows that they must.
    pub(crate) async fn end(self, cluster: &Cluster) {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        let (counted, count) = (self.counted.load(Ordering::Relaxed), self.keys.len() as u64);
        for number in (0..self.keys.len()).step_by(self.keys.len() / 20).chain([self.keys.len() - 1]) {
            let before = number as u64 / PIPELINE as u64 * PIPELINE as u64;
            let expected = i64::try_from(counted / count + u64::from(counted % count > before)).unwrap();
            for at in cluster.live() {
                eventually(PATIENCE, async || {
                    let value = cluster.read(at, &self.keys[number]).await.and_then(|(_, reading)| reading["value"].as_i64());
                    if value == Some(expected) { Ok(()) } else { Err(format!("{value:?} at {at}, not {expected}")) }
                })
                .await;
            }
        }
    }
}
