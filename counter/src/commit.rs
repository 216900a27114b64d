//! I/O: the log thread. It takes whatever is pending, makes it durable, wakes the waiters and takes what has come meanwhile; so groups
//! grow with the load and nobody waits for a timer.
//!
//! When the log cannot be written, additions are refused and reads go on. The thread then tries every second to start
//! over on a fresh segment and a snapshot of the state as it stands; a file whose write failed is never written again.

use crate::{
    group::Group,
    log::{self, Log},
    record::Record,
    shared::{Closing, Durable, Shared, State},
    snapshot::{self, Snapshot},
};
use std::{
    fs::File,
    io, mem,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// Size at which a segment is closed and the next begun.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Pause between attempts to start over after the log could not be written.
const START_OVER: Duration = Duration::from_secs(1);

/// How long a group that nobody waits for gathers changes, unless it reaches [`UNWANTED_BYTES`] before: a log thread that
/// wrote without pause would take a core from those who count in memory.
const UNWANTED: Duration = Duration::from_millis(10);

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
    /// Absorptions when it began.
    absorptions: u64,
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
        let mut is_late = false;
        while state.closing.is_none() && self.snapshot.is_none() && !state.is_due() && !is_late {
            if state.pending.is_empty() {
                self.shared.wake.wait(&mut state);
            } else {
                is_late = self.shared.wake.wait_for(&mut state, UNWANTED).timed_out();
            }
        }
        let State { ledger, pending, spare, closing, .. } = &mut *state;
        self.shared.metrics.show(ledger);
        let group = (!pending.is_empty()).then(|| {
            let (number, seq) = (pending.number() + 1, pending.next_seq());
            pending.cut = ledger.replica.cut();
            mem::replace(pending, spare.take().unwrap_or_else(|| Group::new(0, 0)).reused(number, seq))
        });
        self.shared.crowded.store(false, Ordering::Relaxed);
        (group, *closing)
    }

    fn commit(&mut self, mut group: Group) -> io::Result<()> {
        let timer = self.shared.metrics.commit_seconds.start_timer();
        self.log.append(group.seal())?;
        timer.observe_duration();
        // Before anybody is told that it is durable: what was acknowledged is in the next page.
        self.shared.note_changes(&group);
        self.durable.send_modify(|durable| durable.group = group.number());
        self.shared.metrics.log_bytes.set(i64::try_from(self.log_bytes()).unwrap_or(i64::MAX));
        if !self.shared.interests.is_empty() {
            self.shared.interests.tell(Record::decode_all(group.records()).filter_map(|record| match record {
                Ok(Record::Fact { fact, .. }) => fact.counter(),
                _ => None,
            }));
        }
        self.shared.hot.lock().count(group.changes(), (self.shared.config.clock)());
        self.shared.committed(group);
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

    /// Begins a snapshot that is due, copies one more piece into the one under way, or installs it once the log has caught up.
    fn snapshot_step(&mut self) -> io::Result<()> {
        match self.snapshot.take() {
            None if self.log_bytes() >= self.snapshot_at && self.log.is_fresh() => {
                let mut state = self.shared.state.lock();
                state.ledger.replica.fold_all();
                let absorptions = state.ledger.replica.absorptions;
                let snapshot = Snapshot::begin(&self.dir, self.log.segment(), self.durable.borrow().group + 1, &state.ledger)?;
                drop(state);
                self.snapshot = Some(Snapshotting { snapshot, log_bytes: self.closed_bytes, absorptions, complete_at: None });
            }
            None => {}
            Some(mut under_way) if under_way.complete_at.is_none() => {
                let mut state = self.shared.state.lock();
                if under_way.absorptions != state.ledger.replica.absorptions {
                    // What was copied and what would be now do not go together: another one later.
                    drop(state);
                    tracing::info!("counter snapshot abandoned: an origin was absorbed meanwhile");
                    return Ok(());
                }
                if !under_way.snapshot.copy(&state.ledger) {
                    under_way.complete_at = Some(state.pending.number() - u64::from(state.pending.is_empty()));
                }
                state.ledger.put_votes_away();
                drop(state);
                under_way.snapshot.write()?;
                self.snapshot = Some(under_way);
            }
            Some(under_way) if under_way.complete_at > Some(self.durable.borrow().group) => self.snapshot = Some(under_way),
            Some(Snapshotting { snapshot, log_bytes, .. }) => {
                let (bytes, segment) = snapshot.install()?;
                self.snapshot_at = bytes.max(self.shared.config.snapshot_log_bytes);
                self.closed_bytes -= log_bytes;
                clean_up(log::recycle_before(&self.dir, segment));
                // The file system frees a large file for as long as many fsyncs take.
                let dir = self.dir.clone();
                let removing = move || clean_up(snapshot::remove_older(&dir));
                if let Err(error) = std::thread::Builder::new().name("counter-clean".to_owned()).spawn(removing) {
                    tracing::warn!(%error, "no thread to remove the last counter snapshot; the next one will be");
                }
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
            // Refused additions wake this thread, too.
            self.shared.wake.wait_while_for(&mut state, |state| state.closing.is_none(), START_OVER);
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
        self.shared.state.lock().ledger.replica.fold_all();
        let mut snapshot = Snapshot::begin(&self.dir, log.segment(), first_group, &self.shared.state.lock().ledger)?;
        while snapshot.copy(&self.shared.state.lock().ledger) {
            self.shared.state.lock().ledger.put_votes_away();
            snapshot.write()?;
        }
        let (snapshot_bytes, segment) = snapshot.install()?;
        clean_up(snapshot::remove_superfluous(&self.dir).and_then(|()| log::remove_before(&self.dir, segment)));
        (self.log, self.closed_bytes) = (log, 0);
        self.snapshot_at = snapshot_bytes.max(self.shared.config.snapshot_log_bytes);
        let mut state = self.shared.state.lock();
        let cut = state.ledger.replica.cut();
        state.ledger.replica.committed(&cut);
        state.pending = Group::new(first_group, state.ledger.replica.own_seq() + 1);
        let is_healed = state.failed.take().is_some();
        drop(state);
        if is_healed {
            // Of what could not be written nobody was told.
            self.shared.changes.lock().forget();
        }
        self.durable.send_modify(|durable| *durable = Durable { group: first_group - 1, failed: None });
        self.snapshot_done("ok");
        Ok(())
    }
}

fn clean_up(done: io::Result<()>) {
    if let Err(error) = done {
        tracing::warn!(%error, "counter files that a snapshot replaces could not be removed; the next start will");
    }
}
