//! I/O: the audit log: calls of services and orders of operators as JSON lines, written by a thread of its own. Nobody who calls
//! waits for it.

mod trail;

use self::trail::Trail;
use crate::{clock, failure::Failure};
use prometheus::{IntCounterVec, Opts, Registry};
use protocol::audit::{Entry, Sink};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// Entries that wait to be written; at the bound new ones are lost, and counted.
const QUEUE_MAX: usize = 8_192;
/// Entries written at once.
const BATCH_MAX: usize = 256;
/// How often the thread looks whether there is something else to do.
const LOOK: Duration = Duration::from_millis(250);
/// How long the end of the node waits for what is still to be written.
const FINISH: Duration = Duration::from_secs(1);

/// The audit log as the rest of the node sees it.
#[derive(Debug)]
pub struct Audit {
    entries: SyncSender<Entry>,
    reads: bool,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Entries of which no line tells yet that they are missing.
    lost: AtomicU64,
    reopen: AtomicBool,
    end: AtomicBool,
    ended: AtomicBool,
    lines: IntCounterVec,
}

/// What the thread has.
struct Writer {
    trail: Trail,
    shared: Arc<Shared>,
    failing: bool,
}

impl Audit {
    /// Opens the file and starts the thread. `reads`: also calls that change nothing.
    pub fn start(path: &Path, reads: bool, registry: &Registry) -> Result<Audit, Failure> {
        let failed = |source| Failure::Audit { path: path.display().to_string(), source };
        let trail = Trail::open(path).map_err(failed)?;
        let lines = Opts::new("headcount_audit_entries_total", "Entries of the audit log, by result (written, queue_full, failed).");
        let lines = IntCounterVec::new(lines, &["result"]).map_err(anyhow::Error::from)?;
        for result in ["written", "queue_full", "failed"] {
            lines.with_label_values(&[result]);
        }
        registry.register(Box::new(lines.clone())).map_err(anyhow::Error::from)?;
        let never = || AtomicBool::new(false);
        let shared = Arc::new(Shared { lost: AtomicU64::new(0), reopen: never(), end: never(), ended: never(), lines });
        let (entries, queue) = sync_channel(QUEUE_MAX);
        let writer = Writer { trail, shared: shared.clone(), failing: false };
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&queue)).map_err(failed)?;
        Ok(Audit { entries, reads, shared })
    }

    /// The same of a configuration: `None` where none is asked for.
    pub fn of(path: Option<&PathBuf>, reads: bool, registry: &Registry) -> Result<Option<Arc<Audit>>, Failure> {
        path.map(|path| Audit::start(path, reads, registry).map(Arc::new)).transpose()
    }

    /// Where the node's doors put what they have done.
    #[must_use]
    pub fn sink(self: &Arc<Audit>) -> Sink {
        let audit = Arc::clone(self);
        Sink { reads: self.reads, record: Arc::new(move |entry| audit.record(entry)) }
    }

    fn record(&self, entry: Entry) {
        if self.entries.try_send(entry).is_err() {
            self.shared.lose("queue_full", 1);
        }
    }

    /// Goes on in the file that is at the path then.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
    }

    /// Waits until all that was recorded is written, for a second at most.
    pub async fn finish(&self) {
        self.shared.end.store(true, Ordering::Release);
        let written = async {
            while !self.shared.ended.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(FINISH, written).await.is_err() {
            tracing::warn!("the audit log was not written to its end");
        }
    }
}

impl Shared {
    fn lose(&self, result: &str, entries: u64) {
        self.lost.fetch_add(entries, Ordering::Relaxed);
        self.lines.with_label_values(&[result]).inc_by(entries);
    }
}

impl Writer {
    fn run(mut self, queue: &Receiver<Entry>) {
        loop {
            let first = queue.recv_timeout(LOOK);
            if self.shared.reopen.swap(false, Ordering::AcqRel)
                && let Err(error) = self.trail.reopen()
            {
                tracing::error!(%error, "the audit log could not be opened anew; the old file is written on");
            }
            match first {
                Ok(first) => self.write(std::iter::once(first).chain(queue.try_iter().take(BATCH_MAX - 1))),
                Err(RecvTimeoutError::Timeout) if self.shared.end.load(Ordering::Acquire) => break,
                Err(RecvTimeoutError::Timeout) => self.write(std::iter::empty()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.shared.ended.store(true, Ordering::Release);
    }

    fn write(&mut self, entries: impl Iterator<Item = Entry>) {
        let (mut lines, mut count) = (Vec::new(), 0);
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            put(&mut lines, &json!({ "time_ms": clock::now().wall_ms, "lost": lost }));
        }
        for entry in entries {
            put(&mut lines, &entry);
            count += 1;
        }
        let told = usize::from(lost > 0);
        let written = match self.trail.append(&lines) {
            Ok(()) => count + told,
            Err((written, error)) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the audit log cannot be written; calls go on, and what is missing is counted");
                }
                written
            }
        };
        if written < told {
            self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        }
        let (written, missing) = (written.saturating_sub(told), count - written.saturating_sub(told));
        self.shared.lines.with_label_values(&["written"]).inc_by(written as u64);
        if missing > 0 {
            self.shared.lose("failed", missing as u64);
        } else if count > 0 && std::mem::take(&mut self.failing) {
            tracing::info!("the audit log is written again");
        }
    }
}

fn put(lines: &mut Vec<u8>, line: &impl serde::Serialize) {
    // What is made of strings and numbers can be written to memory.
    let _ = serde_json::to_writer(&mut *lines, line);
    lines.push(b'\n');
}
