//! I/O: events that are counted by the minute, hour and day, beside what people use instead: an `INCR` for each bucket.

use super::pipelines::{CONNECTIONS, Operation, PIPELINE, Servers, command};
use std::fmt::Write;

/// A node whose counters keep what was counted when.
const NAMESPACE: &str = "[[namespace]]\nname = \"v\"\ntype = \"windowed\"\n";
/// Pages that are viewed.
const PAGES: usize = 1_000;
/// The buckets of a moment, as people name them.
const BUCKETS: [&str; 3] = ["2026-11-27T23:15", "2026-11-27T23", "2026-11-27"];

/// Rates, of so many operations in each run.
pub(super) async fn measure(pairs: usize, operations: usize, text: &mut String) -> anyhow::Result<()> {
    let servers = Servers::start(NAMESPACE).await?;
    writeln!(
        text,
        "{operations} events in each run, of {PAGES} pages in turn, over {CONNECTIONS} connections with {PIPELINE} in a pipeline: `INCR` in a namespace of\n\
         type `windowed`, which counts the event in its minute, hour and day and in all, beside three `INCR`, one for each bucket, of keys that Redis\n\
         is not told to expire. Medians of {pairs} pairs of runs in turn.\n"
    )?;
    let count = |number: usize, out: &mut String| command(&["INCR", &format!("v:{:010}", number % PAGES)], out);
    let count_each = |number: usize, out: &mut String| {
        BUCKETS.iter().for_each(|bucket| command(&["INCR", &format!("v:{:010}:{bucket}", number % PAGES)], out));
    };
    let (ours, theirs) = (Operation { replies: 1, write: count }, Operation { replies: BUCKETS.len(), write: count_each });
    servers.compare((pairs, operations), "events", ours, theirs, text).await
}
