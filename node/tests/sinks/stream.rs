//! Additions without pause, to some dozens of counters, as long as they are wanted.

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use testkit::http;
use tokio::task::JoinHandle;

/// Counters that are added to.
const COUNTERS: u64 = 60;
/// Of them in each request.
const EACH: u64 = 20;

/// Somebody who adds, and goes on when the node is away.
pub(crate) struct Stream {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Stream {
    pub(crate) fn start(node: SocketAddr) -> Stream {
        let (ends, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (until, counted) = (ends.clone(), answered.clone());
        let task = tokio::spawn(async move {
            for round in 0_u64.. {
                let ops: Vec<Value> =
                    (0..EACH).map(|number| json!({ "key": name((round * 7 + number * number) % COUNTERS), "by": number + 1 })).collect();
                if let Ok(answer) = http::post(node, "/v1/counters/batch", &json!({ "ops": ops })).await {
                    counted.fetch_add(u64::from(answer.status == 200), Ordering::Relaxed);
                }
                if until.load(Ordering::Relaxed) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        Stream { ends, answered, task }
    }

    /// Requests that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// What the node says of all of them, but for those that nobody added to.
pub(crate) async fn counters(node: SocketAddr) -> BTreeMap<String, i64> {
    let keys: Vec<String> = (0..COUNTERS).map(name).collect();
    let answer = http::get(node, &format!("/v1/counters?keys={}", keys.join(","))).await.unwrap().json();
    let counters = answer["counters"].as_array().unwrap().iter();
    let counters = counters.map(|counter| (counter["key"].as_str().unwrap().to_owned(), counter["value"].as_i64().unwrap()));
    counters.filter(|(_, value)| *value != 0).collect()
}

fn name(number: u64) -> String {
    if number.is_multiple_of(2) { format!("likes:{number}") } else { format!("views-{number}") }
}
