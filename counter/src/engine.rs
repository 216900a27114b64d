//! I/O: the counter engine. Callers change the state under a short lock and wait for the log thread (`commit.rs`), which
//! makes group after group durable without pause. Reads are answered from memory and may show what is about to be durable.

use crate::{
    commit::Committer,
    group::Group,
    hot::{Hot, Hottest},
    interest::{Interest, Interests},
    ledger::{Change, Changed},
    lives::LIVES_FULL,
    log::{self, Log},
    metrics::Metrics,
    on_disk::{self, OnDisk},
    outcomes::Outcomes,
    outputs::Outputs,
    reading::Reading,
    recovery::Recovered,
    refusal::AddError,
    replica::Entry,
    scratch,
    session::BadSession,
    shared::{Closing, Durable, Shared, State},
    snapshot,
    token::Token,
};
use parking_lot::Mutex;
use prometheus::Registry;
use protocol::{
    name::{CounterKey, NameRef},
    time::Now,
    trace::SPANS,
};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tracing::{Instrument, info_span};

pub use crate::{
    cell::Overflow,
    op::{AddOp, Op},
    opening::{EngineConfig, OpenError},
};
pub use protocol::counting::Ack;

/// Bytes of records that wait for the disk; at the bound further additions wait before they are applied.
pub const PENDING_BYTES_MAX: usize = 2 << 20;
/// How long an addition waits for a peer's disk; then it is answered as [`Ack::Fsync`].
pub const REPLICATED_DEADLINE: Duration = Duration::from_secs(2);
/// Bytes of log after which a snapshot is taken, or the size of the last snapshot if that is more.
pub const SNAPSHOT_LOG_BYTES: u64 = 64 << 20;

/// Bytes of a region's and of a node's name.
pub const NODE_NAME_BYTES_MAX: usize = 127;

/// A change that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The value after it.
    pub value: i64,
    /// The token was used before; nothing changed now.
    pub duplicate: bool,
    /// The level that was reached.
    pub acked: Ack,
}

/// A change in memory, which the log has until [`Engine::settle`] to acknowledge.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    /// The value after it, and whether its token was used before.
    pub changed: Changed,
    /// The group that makes it durable.
    pub group: u64,
}

/// The counters of one node. Cheap to clone; when the last clone is dropped the log thread ends, without a snapshot.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close(Closing::Abandon);
    }
}

impl Engine {
    /// Locks the directory, recovers what is in it and starts the log thread. Reads and writes files; may take seconds.
    pub fn open(config: EngineConfig, registry: &Registry) -> Result<Engine, OpenError> {
        let (dir, lock) = on_disk::claim(&config.data_dir)?;
        let io_error = on_disk::failed(&dir);
        let paging = scratch::open(&dir, config.votes_memory_bytes).map_err(&io_error)?;
        let OnDisk { recovered, snapshot_bytes, log_bytes, .. } = OnDisk::read(&dir, config.epoch, paging.as_ref())?;
        let Recovered { mut ledger, next_group, tail, first_segment, leftover } = recovered;
        snapshot::remove_superfluous(&dir).map_err(&io_error)?;
        log::remove_before(&dir, first_segment).map_err(&io_error)?;
        if let Some(tail) = tail.filter(|tail| tail.torn > 0) {
            tracing::warn!(segment = tail.segment, bytes = tail.torn, "counter log: cut off a write that a crash interrupted");
        }
        let log = match tail {
            Some(tail) => Log::resume(&dir, tail),
            None => Log::create(&dir, first_segment, next_group),
        };
        let log = log.map_err(&io_error)?;
        for segment in leftover.into_iter().filter(|segment| *segment != log.segment()) {
            fs::remove_file(log::path(&dir, segment)).map_err(&io_error)?;
        }
        let mut pending = Group::new(next_group, 1);
        let is_named = config.region.len().max(config.node.len()) <= NODE_NAME_BYTES_MAX;
        if !is_named || !ledger.replica.count_as(&config.region, &config.node, config.epoch, &mut pending) {
            return Err(OpenError::Identity);
        }
        let cut = ledger.replica.cut();
        ledger.replica.committed(&cut);

        let (durable, watching) = tokio::sync::watch::channel(Durable { group: next_group - 1, failed: None });
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(ledger, pending)),
            wake: parking_lot::Condvar::new(),
            crowded: false.into(),
            durable: watching,
            replicated: tokio::sync::watch::Sender::new(0),
            outputs: Outputs::default(),
            metrics: Metrics::register(registry)?,
            interests: Arc::new(Interests::default()),
            changes: Mutex::default(),
            // Greater than in the last life, unless the clock was put back.
            change_pages: (config.clock)().wall_ms.saturating_mul(1_000).into(),
            hot: Mutex::new(Hot::new((config.clock)())),
            ranked: Mutex::default(),
            config,
        });
        shared.metrics.replication.introduce(&shared.state.lock().ledger.replica.member());
        let committer = Committer::new(Arc::clone(&shared), durable, lock, log, (snapshot_bytes.unwrap_or(0), log_bytes));
        std::thread::Builder::new().name("counter-log".to_owned()).spawn(|| committer.run()).map_err(io_error)?;
        Ok(Engine { _owner: Arc::new(Owner(Arc::clone(&shared))), shared })
    }

    /// Adds `by` to `key` and returns once that is as safe as `ack` says. Dropping the future does not undo it.
    pub async fn add(&self, key: &CounterKey, by: i64, token: Option<Token>, ack: Option<Ack>) -> Result<Added, AddError> {
        self.change(key, Change::Add(by), token, ack).await
    }

    /// The same for a counter that never goes below zero; what is taken away this node must have rights to.
    pub async fn add_bounded(&self, key: &CounterKey, by: i64, token: Option<Token>, ack: Option<Ack>) -> Result<Added, AddError> {
        self.change(key, Change::AddBounded(by), token, ack).await
    }

    /// Observed reset: what this node knows of `key` no longer counts, what others count meanwhile does.
    pub async fn reset(&self, key: &CounterKey, token: Option<Token>, ack: Option<Ack>) -> Result<Added, AddError> {
        self.change(key, Change::Reset, token, ack).await
    }

    /// Does all of `ops`, in order and in one group; each has its own answer.
    pub async fn add_many(&self, ops: Vec<AddOp>) -> Vec<Result<Added, AddError>> {
        self.room().await;
        let mut outcomes = Outcomes::default();
        let borrowed: Vec<Op<'_>> = ops.iter().map(|op| Op { key: op.key.by_ref(), change: op.change(), token: op.token }).collect();
        self.stage_all(&borrowed, &mut outcomes);
        let mut answers = Vec::with_capacity(ops.len());
        for (op, outcome) in ops.iter().zip(outcomes.iter()) {
            answers.push(match outcome {
                Ok(changed) => self.acknowledge(Staged { changed, group: outcomes.group() }, op.token, op.ack).await,
                Err(error) => Err(error.clone()),
            });
        }
        answers
    }

    /// Makes one change in memory without waiting. Callers wait for [`Engine::room`] first, and acknowledge nothing
    /// before [`Engine::settle`] of its group.
    pub fn stage(&self, key: &CounterKey, change: Change<'_>, token: Option<Token>) -> Result<Staged, AddError> {
        let mut outcomes = Outcomes::default();
        self.stage_all(&[Op { key: key.by_ref(), change, token }], &mut outcomes);
        // One operation has one outcome.
        let outcome = outcomes.iter().next().map(|outcome| outcome.map_err(Clone::clone));
        let changed = outcome.unwrap_or_else(|| Err(AddError::Storage("nothing was done".into())))?;
        Ok(Staged { changed, group: outcomes.group() })
    }

    /// Makes many changes of one kind under one lock, in order, and appends their outcomes to `out`, which has none yet; otherwise as
    /// [`Engine::stage`].
    pub fn stage_all(&self, ops: &[Op<'_>], out: &mut Outcomes) {
        let mut state = self.shared.state.lock();
        let was_empty = state.pending.is_empty();
        self.shared.stage_all(&mut state, ops, out);
        let news = was_empty || state.is_due();
        drop(state);
        if news {
            self.shared.wake.notify_one();
        }
        if let Some(first) = ops.first() {
            self.shared.metrics.count(first.change, out);
        }
    }

    /// Waits while [`PENDING_BYTES_MAX`] bytes wait for the disk.
    pub async fn room(&self) {
        while self.shared.crowded.load(Ordering::Relaxed) {
            let pending = self.shared.state.lock().pending.number();
            if self.shared.durable(pending).await.is_err() {
                return;
            }
        }
    }

    /// Waits until `group` is as safe as `ack` says, and returns the level reached.
    pub async fn settle(&self, group: u64, ack: Option<Ack>) -> Result<Ack, AddError> {
        match ack.unwrap_or(self.shared.config.default_ack) {
            Ack::Memory => Ok(Ack::Memory),
            Ack::Fsync => self.shared.durable(group).await.map(|()| Ack::Fsync),
            Ack::Replicated => {
                self.shared.durable(group).await?;
                if self.shared.state.lock().links.is_none() {
                    return Ok(Ack::Fsync);
                }
                let mut replicated = self.shared.replicated.subscribe();
                let reached = tokio::time::timeout(REPLICATED_DEADLINE, replicated.wait_for(|reached| *reached >= group)).await;
                Ok(if matches!(reached, Ok(Ok(_))) { Ack::Replicated } else { Ack::Fsync })
            }
        }
    }

    pub(crate) fn now(&self) -> Now {
        (self.shared.config.clock)()
    }

    /// The value of a counter, with how current it is; 0 for one that nobody counted.
    pub fn read(&self, key: &CounterKey) -> Result<Reading, Overflow> {
        let now = self.now();
        let state = self.shared.state.lock();
        let value = state.ledger.value(key.by_ref())?;
        let mut reading = Reading::of_now(&self.shared.config.region, value, now);
        if let Some(links) = &state.links {
            links.say_how_current(&state.ledger, now, &mut reading);
        }
        Ok(reading)
    }

    /// Only the value; `None` for a counter that nobody counted since its last reset.
    pub fn get(&self, key: NameRef<'_>) -> Result<Option<i64>, Overflow> {
        let value = self.shared.state.lock().ledger.replica.value(key);
        value.map(|value| i64::try_from(value).map_err(|_| Overflow::of(value))).transpose()
    }

    /// Whether anything was counted since the last reset.
    #[must_use]
    pub fn contains(&self, key: NameRef<'_>) -> bool {
        self.shared.state.lock().ledger.replica.value(key).is_some()
    }

    /// What each node, as `region/node`, has counted since the last reset.
    #[must_use]
    pub fn entries(&self, key: &CounterKey) -> BTreeMap<String, Entry> {
        self.shared.state.lock().ledger.replica.entries(key.by_ref())
    }

    /// The counters that were added to here most often in the last minute, `limit` at most.
    #[must_use]
    pub fn hottest(&self, limit: usize) -> Hottest {
        self.shared.hot.lock().hottest(limit, self.now())
    }

    /// A session vector: a replica that covers it shows everything that was read or written here so far.
    #[must_use]
    pub fn session(&self) -> String {
        self.shared.state.lock().ledger.replica.session()
    }

    /// Whether this node shows everything that `session` saw.
    pub fn covers(&self, session: &str) -> Result<bool, BadSession> {
        self.shared.state.lock().ledger.replica.covers(session)
    }

    /// Waits until this node shows everything that `session` saw, for `most` at the longest; whether it does.
    pub async fn cover(&self, session: &str, most: Duration) -> Result<bool, BadSession> {
        // Whatever is learned of others becomes durable soon, and that wakes us.
        let mut durable = self.shared.durable.clone();
        let waiting = async {
            while !self.covers(session)? {
                if durable.changed().await.is_err() {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        tokio::time::timeout(most, waiting).await.unwrap_or(Ok(false))
    }

    /// A new watcher, which watches nothing yet.
    #[must_use]
    pub fn interest(&self) -> Interest {
        Interest::new(Arc::clone(&self.shared.interests))
    }

    /// Why additions are refused at the moment, or soon may be: the log cannot be written, or no other life can be known.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<str>> {
        let failed = self.shared.durable.borrow().failed.clone();
        failed.or_else(|| self.shared.state.lock().ledger.replica.origins.is_full().then(|| LIVES_FULL.into()))
    }

    /// Refuses further changes, makes pending ones durable, takes a snapshot and ends the log thread.
    pub async fn shutdown(&self) {
        self.shared.close(Closing::Snapshot);
        let mut durable = self.shared.durable.clone();
        while durable.changed().await.is_ok() {}
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) async fn change(
        &self,
        key: &CounterKey,
        change: Change<'_>,
        token: Option<Token>,
        ack: Option<Ack>,
    ) -> Result<Added, AddError> {
        self.room().await;
        let staged = self.stage(key, change, token)?;
        self.acknowledge(staged, token, ack).instrument(info_span!(target: SPANS, "commit")).await
    }

    async fn acknowledge(&self, staged: Staged, token: Option<Token>, ack: Option<Ack>) -> Result<Added, AddError> {
        let mut acked = self.settle(staged.group, ack).await?;
        // What a retry has found may be another node's, and in no group of this one.
        if let Some(token) = token.filter(|_| staged.changed.duplicate && acked == Ack::Replicated)
            && !self.shared.is_on_two_disks(token, REPLICATED_DEADLINE).await
        {
            acked = Ack::Fsync;
        }
        Ok(Added { value: staged.changed.value, duplicate: staged.changed.duplicate, acked })
    }
}
