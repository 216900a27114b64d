//! A stock that three regions sell out, over links that come and go.

use crate::cluster::{Cluster, PATIENCE};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use testkit::eventually;
use tokio::sync::RwLock;
use uuid::Uuid;

const ITEMS: usize = 10_000;
const BUYERS: usize = 100_000;
/// Buyers who ask together, each for one item.
const GROUP: usize = 50;
const QUEUES: usize = 6;
/// How long a link is there, or away.
const FLAP: Duration = Duration::from_millis(300);

/// Buyers in one shop, each with a token, so that a retry buys nothing more.
struct Group {
    at: usize,
    tokens: Vec<Uuid>,
}

impl Group {
    fn new(at: usize) -> Group {
        Group { at, tokens: (0..GROUP).map(|_| Uuid::now_v7()).collect() }
    }

    /// Asks until each has bought one, or is told that there is none anywhere; how many have.
    async fn buy(mut self, cluster: &RwLock<Cluster>) -> usize {
        let mut bought = 0;
        while !self.tokens.is_empty() {
            let Some(answer) = self.ask(&*cluster.read().await).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let results = answer["results"].as_array().unwrap();
            let mut waiting = Vec::new();
            for (token, result) in self.tokens.iter().zip(results) {
                let error = &result["error"];
                match (result["value"].as_i64(), error["code"].as_str(), error["elsewhere"].as_i64()) {
                    (Some(value), ..) => {
                        assert!(value >= 0, "{result}");
                        bought += 1;
                    }
                    (None, Some("insufficient"), Some(0)) if error["here"] == 0 => {}
                    (None, Some("insufficient" | "storage_unavailable"), _) => waiting.push(*token),
                    _ => panic!("{result}"),
                }
            }
            self.tokens = waiting;
            tokio::time::sleep(Duration::from_millis(if self.tokens.is_empty() { 0 } else { 50 })).await;
        }
        bought
    }

    /// `None`: nobody answers.
    async fn ask(&self, cluster: &Cluster) -> Option<Value> {
        let ops: Vec<_> = self.tokens.iter().map(|token| json!({ "key": "stock:1", "by": -1, "token": token })).collect();
        let url = format!("{}/v1/counters/batch", cluster.nodes[self.at].url());
        let response = cluster.http.post(url).json(&json!({ "ops": ops })).send().await.ok()?;
        response.json().await.ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_buyers_in_three_regions_get_ten_thousand_items_over_links_that_come_and_go() {
    let cluster = Cluster::start().await;
    cluster.counted(0, "stock:1", json!({ "by": ITEMS, "ack": "replicated" })).await;
    cluster.until_all_read("stock:1", ITEMS.try_into().unwrap()).await;
    let cluster = Arc::new(RwLock::new(cluster));
    let (next, bought) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let queues: Vec<_> = (0..QUEUES)
        .map(|_| {
            let (cluster, next, bought) = (cluster.clone(), next.clone(), bought.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= BUYERS / GROUP {
                        return;
                    }
                    bought.fetch_add(Group::new(number % 3).buy(&cluster).await, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let ends = Arc::new(AtomicBool::new(false));
    let flapping = tokio::spawn({
        let (cluster, ends) = (cluster.clone(), ends.clone());
        async move {
            let mut cuts = 0_u64;
            while !ends.load(Ordering::Relaxed) {
                let at = usize::try_from(cuts % 3).unwrap();
                cluster.read().await.cut(at, (at + 1) % 3);
                tokio::time::sleep(FLAP).await;
                cluster.read().await.heal();
                tokio::time::sleep(FLAP).await;
                cuts += 1;
            }
            cuts
        }
    });
    // One of them dies in the middle of it.
    eventually(PATIENCE, async || if bought.load(Ordering::Relaxed) > ITEMS / 5 { Ok(()) } else { Err("nobody buys") }).await;
    {
        let mut cluster = cluster.write().await;
        cluster.nodes[1].kill9().await;
        cluster.nodes[1].restart().await;
    }
    for queue in queues {
        queue.await.unwrap();
    }
    ends.store(true, Ordering::Relaxed);
    let cuts = flapping.await.unwrap();
    assert_eq!(bought.load(Ordering::Relaxed), ITEMS);
    let cluster = cluster.read().await;
    cluster.until_all_read("stock:1", 0).await;
    for (name, expected) in [("headcount_counter_law_violations_total", 0.0), ("headcount_counter_digest_mismatches_total", 0.0)] {
        cluster.until_metric(name, expected).await;
    }
    assert!(cuts > 3, "the links were there all the time");
    // What comes in later is there for whoever asks, wherever it is.
    cluster.counted(2, "stock:1", json!({ "by": 3 })).await;
    cluster.until_all_read("stock:1", 3).await;
    assert_eq!(cluster.counted(0, "stock:1", json!({ "by": -2 })).await["value"], 1, "it waits for rights to come");
}
