//! Counters written behind into real databases: killed and restarted in mid-stream, tables end as the counters are, and every version of
//! every row that there ever was is looked at.

#![allow(clippy::unwrap_used)] // All of this is a test, also what stands outside of #[test] functions.

mod owners;
mod postgres;
mod sqlite;
mod stream;

use anyhow::{Result, ensure};
use std::{collections::BTreeMap, time::Duration};
use testkit::Node;

const PATIENCE: Duration = Duration::from_secs(60);

/// A version of a row.
#[derive(Debug)]
struct Version {
    key: String,
    value: i64,
    seq: i64,
}

/// Of counters that only grow, each version of a row is newer and more than the one before.
fn go_forwards(versions: &[Version]) {
    let mut last = BTreeMap::<&str, (i64, i64)>::new();
    for Version { key, value, seq } in versions {
        let before = last.insert(key, (*seq, *value));
        assert!(before.is_none_or(|(before, less)| before < *seq && less < *value), "{key}: {before:?}, then {seq} {value}");
    }
}

/// What a metric of the only sink shows.
async fn metric(node: &Node, name: &str) -> f64 {
    node.metric(&format!("{name}{{sink=\"headcount_counters\"}}")).await
}

/// Whether this node writes its table, and the table has everything.
async fn has_everything(node: &Node) -> Result<()> {
    let (owned, lag) = (metric(node, "headcount_sink_owned").await, metric(node, "headcount_sink_lag_seconds").await);
    ensure!(owned == 1.0 && lag == 0.0, "owned {owned}, lag {lag}");
    Ok(())
}
