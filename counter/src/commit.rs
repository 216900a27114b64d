//! I/O: the log thread. It takes whatever is pending, makes it durable, wakes the waiters and takes what has come
//! meanwhile; so groups grow with the load and nobody waits for a timer.
//!
//! When the log cannot be written, additions are refused and reads go on. The thread then tries every second to start
//! over on a fresh segment and a snapshot of the state as it stands; a file whose write failed is never written again.

use crate::{
    engine::{EngineConfig, PENDING_BYTES_MAX, Staged},
    group::Group,
    interest::Interests,
    ledger::{AddError, Change, Ledger},
    log::Log,
    metrics::Metrics,
    record::Record,
    snapshot::Snapshot,
    token::Token,
};
use parking_lot::{Condvar, Mutex};
use protocol::{name::CounterKey, time::Now};
use std::{
    fs::File,
    io, mem,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Size at which a segment is closed and the next begun.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Pause between attempts to start over after the log could not be written.
const START_OVER: Duration = Duration::from_secs(1);

/// What the callers and the log thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) wake: Condvar,
    /// The pending group is over its bound.
    pub(crate) crowded: AtomicBool,
    pub(crate) durable: watch::Receiver<Durable>,
    pub(crate) metrics: Metrics,
    pub(crate) interests: Arc<Interests>,
    pub(crate) config: EngineConfig,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    pub(crate) pending: Group,
    pub(crate) spare: Option<Group>,
    pub(crate) failed: Option<Arc<str>>,
    pub(crate) closing: Option<Closing>,
}

/// How the log thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// With what is pending on disk.
    Abandon,
    /// With a snapshot too.
    Snapshot,
}

/// How far the log is durable.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    pub(crate) group: u64,
    pub(crate) failed: Option<Arc<str>>,
}

impl Shared {
    /// Makes one change in memory and puts it into the pending group.
    pub(crate) fn stage(&self, state: &mut State, key: &CounterKey, change: Change, token: Option<Token>) -> Result<Staged, AddError> {
        let State { ledger, pending, failed, closing, .. } = state;
        let now = token.map_or_else(Now::default, |_| (self.config.clock)());
        let result = match (failed, closing) {
            (Some(reason), _) => Err(AddError::Storage(Arc::clone(reason))),
            (None, Some(_)) => Err(AddError::Storage("the node is shutting down".into())),
            (None, None) => ledger.change(key, change, token, now, pending),
        };
        self.metrics.count(change, &result);
        if pending.byte_count() >= PENDING_BYTES_MAX {
            self.crowded.store(true, Ordering::Relaxed);
        }
        // What changed nothing now, such as a retry, waits for all that it may have seen.
        let group = pending.number() - u64::from(pending.is_empty());
        result.map(|changed| Staged { changed, group })
    }

    /// Waits until `group` is on disk.
    pub(crate) async fn durable(&self, group: u64) -> Result<(), AddError> {
        let mut durable = self.durable.clone();
        let reached = durable.wait_for(|durable| durable.group >= group || durable.failed.is_some()).await;
        match reached.as_deref() {
            Ok(Durable { group: reached, .. }) if *reached >= group => Ok(()),
            Ok(Durable { failed: Some(reason), .. }) => Err(AddError::Storage(Arc::clone(reason))),
            _ => Err(AddError::Storage("the log has ended".into())),
        }
    }

    pub(crate) fn close(&self, closing: Closing) {
        self.state.lock().closing.get_or_insert(closing);
        self.wake.notify_one();
    }
}

/// Owns the log's files, and the lock of their directory.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    _lock: File,
    dir: PathBuf,
    log: Log,
    snapshot: Option<Snapshotting>,
    /// The size of the log at which the next snapshot is due.
    snapshot_at: u64,
    /// Bytes of the log that the last snapshot does not cover, without those of the current segment.
    closed_bytes: u64,
    /// Dropped last: when it goes, the engine's user may take it that the directory is free.
    durable: watch::Sender<Durable>,
}

#[derive(Debug)]
struct Snapshotting {
    snapshot: Snapshot,
    /// Bytes of the log that it makes superfluous.
    log_bytes: u64,
    /// The group that makes everything durable that was copied into it; known when all is copied.
    complete_at: Option<u64>,
}

impl Committer {
    /// `on_disk` is the size of the snapshot and of the log after it.
    pub(crate) fn new(shared: Arc<Shared>, durable: watch::Sender<Durable>, lock: File, log: Log, on_disk: (u64, u64)) -> Committer {
        let (dir, snapshot_at) = (shared.config.dir(), shared.config.snapshot_log_bytes.max(on_disk.0));
        let closed_bytes = on_disk.1.saturating_sub(log.byte_count());
        Committer { shared, _lock: lock, dir, log, snapshot: None, snapshot_at, closed_bytes, durable }
    }

    /// The thread's life. Ends when the engine is closed; then waiters learn that the log has ended.
    pub(crate) fn run(mut self) {
        let closing = loop {
            let (group, closing) = self.next_work();
            if let Some(group) = group {
                let committed = self.commit(group).and_then(|()| self.rotate_if_due());
                if let Err(error) = committed
                    && !self.start_over_until_healed(&error)
                {
                    return;
                }
            } else if let Some(closing) = closing {
                break closing;
            }
            if let Err(error) = self.snapshot_step() {
                tracing::warn!(%error, "counter snapshot failed; the log keeps everything until the next");
                self.snapshot_done("error");
                self.snapshot_at = self.log_bytes() + self.shared.config.snapshot_log_bytes;
            }
        };
        if closing == Closing::Snapshot
            && let Err(error) = self.start_over()
        {
            tracing::warn!(%error, "no counter snapshot at shutdown; the next start replays the log");
        }
    }

    /// Waits for something to do; takes the pending group if it holds anything.
    fn next_work(&self) -> (Option<Group>, Option<Closing>) {
        let mut state = self.shared.state.lock();
        while state.pending.is_empty() && state.closing.is_none() && self.snapshot.is_none() {
            self.shared.wake.wait(&mut state);
        }
        let State { ledger, pending, spare, closing, .. } = &mut *state;
        self.shared.metrics.keys.set(i64::try_from(ledger.replica.count()).unwrap_or(i64::MAX));
        self.shared.metrics.tokens.set(i64::try_from(ledger.tokens.count()).unwrap_or(i64::MAX));
        let violations = &self.shared.metrics.law_violations;
        violations.inc_by(ledger.replica.law_violations().saturating_sub(violations.get()));
        let group = (!pending.is_empty()).then(|| {
            let (number, seq) = (pending.number() + 1, pending.next_seq());
            mem::replace(pending, spare.take().unwrap_or_else(|| Group::new(0, 0)).reused(number, seq))
        });
        self.shared.crowded.store(false, Ordering::Relaxed);
        (group, *closing)
    }

    fn commit(&mut self, mut group: Group) -> io::Result<()> {
        let timer = self.shared.metrics.commit_seconds.start_timer();
        self.log.append(group.seal())?;
        timer.observe_duration();
        self.durable.send_modify(|durable| durable.group = group.number());
        self.shared.metrics.log_bytes.set(i64::try_from(self.log_bytes()).unwrap_or(i64::MAX));
        if !self.shared.interests.is_empty() {
            self.shared.interests.tell(Record::decode_all(group.records()).filter_map(|record| match record {
                Ok(Record::Slot { key, .. } | Record::Floor { key, .. }) => Some(key),
                _ => None,
            }));
        }
        self.shared.state.lock().spare = Some(group);
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        self.closed_bytes + self.log.byte_count()
    }

    /// Begins a segment when the last one is full, or for the snapshot that is due when the log has grown enough.
    fn rotate_if_due(&mut self) -> io::Result<()> {
        if self.log.byte_count() >= SEGMENT_BYTES || (self.snapshot.is_none() && self.log_bytes() >= self.snapshot_at) {
            let first_group = self.durable.borrow().group + 1;
            let fresh = Log::create(&self.dir, self.log.segment() + 1, first_group)?;
            let full = mem::replace(&mut self.log, fresh);
            self.closed_bytes += full.byte_count();
        }
        Ok(())
    }

    /// Begins a snapshot that is due, copies one more piece into the one under way, or installs it once the log has
    /// caught up with its content.
    fn snapshot_step(&mut self) -> io::Result<()> {
        match self.snapshot.take() {
            None if self.log_bytes() >= self.snapshot_at && self.log.is_fresh() => {
                let snapshot = Snapshot::begin(&self.dir, self.log.segment(), self.durable.borrow().group + 1)?;
                self.snapshot = Some(Snapshotting { snapshot, log_bytes: self.closed_bytes, complete_at: None });
            }
            None => {}
            Some(mut under_way) if under_way.complete_at.is_none() => {
                let state = self.shared.state.lock();
                if !under_way.snapshot.copy(&state.ledger) {
                    under_way.complete_at = Some(state.pending.number() - u64::from(state.pending.is_empty()));
                }
                drop(state);
                under_way.snapshot.write()?;
                self.snapshot = Some(under_way);
            }
            Some(under_way) if under_way.complete_at > Some(self.durable.borrow().group) => self.snapshot = Some(under_way),
            Some(Snapshotting { snapshot, log_bytes, .. }) => {
                self.snapshot_at = snapshot.install()?.max(self.shared.config.snapshot_log_bytes);
                self.closed_bytes -= log_bytes;
                self.snapshot_done("ok");
            }
        }
        Ok(())
    }

    fn snapshot_done(&mut self, result: &str) {
        self.snapshot = None;
        self.shared.metrics.snapshots.with_label_values(&[result]).inc();
        self.shared.metrics.log_bytes.set(i64::try_from(self.log_bytes()).unwrap_or(i64::MAX));
    }

    /// Refuses additions until the state is safe on fresh files. False if the engine was closed before that.
    fn start_over_until_healed(&mut self, error: &io::Error) -> bool {
        tracing::error!(%error, "counter log cannot be written; additions are refused until it can");
        self.shared.metrics.read_only.set(1);
        let reason: Arc<str> = format!("the counter log cannot be written: {error}").into();
        self.shared.state.lock().failed = Some(Arc::clone(&reason));
        self.durable.send_modify(|durable| durable.failed = Some(reason));
        self.snapshot = None;
        loop {
            let mut state = self.shared.state.lock();
            if state.closing.is_none() {
                self.shared.wake.wait_for(&mut state, START_OVER);
            }
            let closing = state.closing.is_some();
            drop(state);
            match self.start_over() {
                Ok(()) => break,
                Err(error) if closing => {
                    tracing::error!(%error, "counter log could not be written before the end; unacknowledged additions may be lost");
                    return false;
                }
                Err(error) => tracing::warn!(%error, "counter log still cannot be written"),
            }
        }
        tracing::info!("counter log is written again");
        self.shared.metrics.read_only.set(0);
        self.shared.interests.tell_all();
        true
    }

    /// Puts the whole state, which nobody may change meanwhile, into a snapshot, and the log on a fresh segment after it.
    /// Safe to repeat: it writes the same two files again.
    fn start_over(&mut self) -> io::Result<()> {
        let first_group = self.shared.state.lock().pending.number() + 1;
        let log = Log::create(&self.dir, self.log.segment() + 1, first_group)?;
        let mut snapshot = Snapshot::begin(&self.dir, log.segment(), first_group)?;
        while snapshot.copy(&self.shared.state.lock().ledger) {
            snapshot.write()?;
        }
        let snapshot_bytes = snapshot.install()?;
        (self.log, self.closed_bytes) = (log, 0);
        self.snapshot_at = snapshot_bytes.max(self.shared.config.snapshot_log_bytes);
        let mut state = self.shared.state.lock();
        state.pending = Group::new(first_group, state.ledger.replica.own_seq() + 1);
        state.failed = None;
        drop(state);
        self.durable.send_modify(|durable| *durable = Durable { group: first_group - 1, failed: None });
        self.snapshot_done("ok");
        Ok(())
    }
}
