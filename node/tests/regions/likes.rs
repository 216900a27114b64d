//! Services that add likes by batches, each like with a token of its own, and what the counters must be then.

use crate::shared::{PATIENCE, Pair};
use core::net::SocketAddr;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use testkit::{
    eventually,
    resp::{Reply, Resp},
};
use tokio::time::sleep;
use uuid::Uuid;

/// Likes in one request; more would be more bytes than a request may have.
const BATCH: usize = 500;
/// Counters that are liked in turn.
const KEYS: usize = 4;
/// Each batch of so many is sent once more at another gateway, as by somebody who has not heard the answer.
const TWICE: u64 = 5;
/// Before a batch that was not counted as a whole is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// Likes so far.
pub(crate) struct Likes {
    http: reqwest::Client,
    counted: Mutex<BTreeMap<String, i64>>,
    batches: AtomicU64,
    /// Requests that had no answer.
    pub(crate) unanswered: AtomicU64,
    /// Answers that did not count everything.
    refused: Mutex<Vec<String>>,
}

impl Likes {
    pub(crate) fn new() -> Likes {
        // The second test of this process finds it installed.
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build().unwrap();
        let counters = (0..KEYS).map(|number| (format!("likes{number}"), 0)).collect();
        Likes { http, counted: Mutex::new(counters), batches: AtomicU64::new(0), unanswered: AtomicU64::new(0), refused: Mutex::default() }
    }

    /// Adds so many likes, at these gateways in turn; returns when every single one is acknowledged.
    pub(crate) async fn add(&self, doors: &[SocketAddr], count: usize) {
        let mut missing = count;
        while missing > 0 {
            let size = missing.min(BATCH);
            missing -= size;
            let keys: Vec<String> = (0..size).map(|number| format!("likes{}", number % KEYS)).collect();
            let ops: Vec<Value> = keys.iter().map(|key| json!({ "key": key, "by": 1, "token": Uuid::now_v7() })).collect();
            let batch = json!({ "ops": ops });
            let number = self.batches.fetch_add(1, Ordering::Relaxed);
            let mut turn = usize::try_from(number).unwrap();
            while !self.is_counted(doors[turn % doors.len()], &batch).await {
                turn += 1;
                sleep(AGAIN).await;
            }
            self.count(&keys);
            if number.is_multiple_of(TWICE) {
                // What comes of it nobody waits for: it counts already.
                self.is_counted(doors[(turn + 1) % doors.len()], &batch).await;
            }
        }
    }

    fn count(&self, keys: &[String]) {
        let mut counted = self.counted.lock().unwrap();
        keys.iter().for_each(|key| *counted.get_mut(key).unwrap() += 1);
    }

    /// Whether all of a batch is acknowledged.
    async fn is_counted(&self, door: SocketAddr, batch: &Value) -> bool {
        let sent = self.http.post(format!("http://{door}/v1/counters/batch")).json(batch).send();
        let answer = match sent.await {
            Ok(response) => response.text().await,
            Err(error) => Err(error),
        };
        let Ok(answer) = answer else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let results = serde_json::from_str::<Value>(&answer).unwrap_or_default()["results"].as_array().cloned().unwrap_or_default();
        let is_counted = !results.is_empty() && results.iter().all(|result| result["value"].is_i64());
        if !is_counted {
            self.refused.lock().unwrap().push(format!("{door}: {answer:.200}"));
        }
        is_counted
    }

    /// Nobody was told that something could not be counted.
    pub(crate) fn assert_nothing_was_refused(&self) {
        assert_eq!(*self.refused.lock().unwrap(), [""; 0]);
    }

    /// How many are acknowledged, of each counter.
    pub(crate) fn counted(&self) -> BTreeMap<String, i64> {
        self.counted.lock().unwrap().clone()
    }

    /// What a gateway reads now, of each counter.
    pub(crate) async fn read(&self, door: SocketAddr) -> Result<BTreeMap<String, i64>, String> {
        let keys: Vec<String> = self.counted().into_keys().collect();
        let url = format!("http://{door}/v1/counters?keys={}", keys.join(","));
        let answer: Value = self.http.get(url).send().await.map_err(text)?.json().await.map_err(text)?;
        let counters = answer["counters"].as_array().ok_or_else(|| answer.to_string())?;
        Ok(keys.into_iter().zip(counters.iter().map(|counter| counter["value"].as_i64().unwrap_or(i64::MIN))).collect())
    }

    /// Waits until every gateway and every counter node of both regions reads what was acknowledged.
    pub(crate) async fn until_equal(&self, pair: &Pair) {
        let counted = self.counted();
        for door in pair.doors() {
            eventually(PATIENCE, async || match self.read(door).await? {
                read if read == counted => Ok(()),
                read => Err(format!("{door} reads {read:?}, {counted:?} are acknowledged")),
            })
            .await;
        }
        for node in pair.sides.iter().flat_map(|side| &side.counters) {
            eventually(PATIENCE, async || {
                let words: Vec<&str> = ["MGET"].into_iter().chain(counted.keys().map(String::as_str)).collect();
                let read = Resp::default().command(node.resp.unwrap(), &words).await.map_err(text)?;
                let expected = Reply::List(counted.values().map(|value| Reply::Text(value.to_string())).collect());
                if read == expected { Ok(()) } else { Err(format!("{read:?}, {counted:?} are acknowledged")) }
            })
            .await;
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
