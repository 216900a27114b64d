//! I/O: the counter engine. Callers change the state under a short lock and wait for the log thread (`commit.rs`), which
//! makes group after group durable without pause. Reads are answered from memory and may show what is about to be durable.

use crate::{
    commit::{Closing, Committer, Durable, Shared, State},
    group::Group,
    interest::{Interest, Interests},
    ledger::{AddError, Change, Changed},
    log::{self, Log},
    metrics::Metrics,
    reading::Reading,
    record::Record,
    recovery::{Damage, Recovered, Recovery},
    replica::Entry,
    session::BadSession,
    snapshot,
    token::Token,
};
use parking_lot::Mutex;
use prometheus::Registry;
use protocol::{
    name::{CounterKey, NameRef},
    time::{Clock, Now},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

pub use crate::cell::Overflow;

/// Bytes of records that wait for the disk; at the bound further additions wait before they are applied.
pub const PENDING_BYTES_MAX: usize = 8 << 20;
/// Bytes of log after which a snapshot is taken, or the size of the last snapshot if that is more.
pub const SNAPSHOT_LOG_BYTES: u64 = 64 << 20;

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ack {
    /// It is counted in memory; a crash may lose it.
    Memory,
    /// It is on this node's disk.
    #[default]
    Fsync,
    /// It is on a second node's disk; answered as [`Ack::Fsync`] where there is none.
    Replicated,
}

impl Ack {
    /// All levels with their names on the wire.
    pub const NAMES: [(&'static str, Ack); 3] = [("memory", Ack::Memory), ("fsync", Ack::Fsync), ("replicated", Ack::Replicated)];

    /// The level called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Ack> {
        Ack::NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, ack)| ack)
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        Ack::NAMES[self as usize].0
    }
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The node's data directory; the engine keeps to its subdirectory `counter`.
    pub data_dir: PathBuf,
    /// The node's region, at most 255 bytes.
    pub region: String,
    /// The node's name, at most 255 bytes.
    pub node: String,
    /// The level of callers that ask for none.
    pub default_ack: Ack,
    /// Where the time comes from.
    pub clock: Clock,
    /// A random number: the epoch, if this node has to start a new life.
    pub epoch: u64,
    /// See [`SNAPSHOT_LOG_BYTES`].
    pub snapshot_log_bytes: u64,
}

impl EngineConfig {
    /// The engine's own directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.data_dir.join("counter")
    }
}

/// Why the engine did not start. The data on disk was not changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error("counter data in {dir}: {source}")]
    Io {
        /// The engine's directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("counter data in {0} is in use by another process")]
    Locked(PathBuf),
    /// The data cannot be started from.
    #[error("counter data in {dir}: {damage}")]
    Damaged {
        /// The engine's directory.
        dir: PathBuf,
        /// What is wrong, and what to do.
        damage: Damage,
    },
    /// Region or node are longer than 255 bytes, or 65,535 origins are known.
    #[error("region and node must be at most 255 bytes, and fewer than 65,536 lives of nodes known")]
    Identity,
    /// The metrics are registered already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// One addition.
#[derive(Clone, Debug)]
pub struct AddOp {
    /// The counter.
    pub key: CounterKey,
    /// The amount; 0 changes nothing.
    pub by: i64,
    /// Makes a retry exact.
    pub token: Option<Token>,
    /// The level to wait for; `None`: the engine's default.
    pub ack: Option<Ack>,
}

/// One change of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// The counter.
    pub key: NameRef<'a>,
    /// What is done to it.
    pub change: Change,
    /// Makes a retry exact.
    pub token: Option<Token>,
}

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
        let dir = config.dir();
        let io_error = |source| OpenError::Io { dir: dir.clone(), source };
        fs::create_dir_all(&dir).map_err(io_error)?;
        log::sync_dir(&config.data_dir).map_err(io_error)?;
        let lock = File::create(dir.join("lock")).map_err(io_error)?;
        lock.try_lock().map_err(|_| OpenError::Locked(dir.clone()))?;

        let (recovered, snapshot_bytes, log_bytes) = recover(&dir)?;
        let Recovered { mut ledger, next_group, tail, first_segment, leftover } = recovered;
        let log = match tail {
            Some(tail) => Log::resume(&dir, tail),
            None => Log::create(&dir, first_segment, next_group),
        };
        let log = log.map_err(io_error)?;
        for segment in leftover.into_iter().filter(|segment| *segment != log.segment()) {
            fs::remove_file(log::path(&dir, segment)).map_err(io_error)?;
        }
        ledger.tokens.forget((config.clock)());
        if config.region.len().max(config.node.len()) > usize::from(u8::MAX) {
            return Err(OpenError::Identity);
        }
        let pending = match ledger.replica.count_as(&config.region, &config.node, config.epoch) {
            Some(origin @ Record::Origin { seq, .. }) => Group::new(next_group, seq + 1).with(&origin),
            _ => return Err(OpenError::Identity),
        };

        let (durable, watching) = tokio::sync::watch::channel(Durable { group: next_group - 1, failed: None });
        let shared = Arc::new(Shared {
            state: Mutex::new(State { ledger, pending, spare: None, failed: None, closing: None }),
            wake: parking_lot::Condvar::new(),
            crowded: false.into(),
            durable: watching,
            metrics: Metrics::register(registry)?,
            interests: Arc::new(Interests::default()),
            config,
        });
        let committer = Committer::new(Arc::clone(&shared), durable, lock, log, (snapshot_bytes, log_bytes));
        std::thread::Builder::new().name("counter-log".to_owned()).spawn(|| committer.run()).map_err(io_error)?;
        Ok(Engine { _owner: Arc::new(Owner(Arc::clone(&shared))), shared })
    }

    /// Adds `by` to `key` and returns once that is as safe as `ack` says. Dropping the future does not undo it.
    pub async fn add(&self, key: &CounterKey, by: i64, token: Option<Token>, ack: Option<Ack>) -> Result<Added, AddError> {
        self.change(key, Change::Add(by), token, ack).await
    }

    /// Observed reset: what this node knows of `key` no longer counts, what others count meanwhile does.
    pub async fn reset(&self, key: &CounterKey, token: Option<Token>, ack: Option<Ack>) -> Result<Added, AddError> {
        self.change(key, Change::Reset, token, ack).await
    }

    /// Does all of `ops`, in order and in one group; each has its own answer.
    pub async fn add_many(&self, ops: Vec<AddOp>) -> Vec<Result<Added, AddError>> {
        self.room().await;
        let staged: Vec<_> = {
            let mut state = self.shared.state.lock();
            ops.iter().map(|op| self.shared.stage(&mut state, &op.key, Change::Add(op.by), op.token)).collect()
        };
        self.shared.wake.notify_one();
        let mut answers = Vec::with_capacity(ops.len());
        for (op, staged) in ops.iter().zip(staged) {
            answers.push(match staged {
                Ok(staged) => self.acknowledge(staged, op.ack).await,
                Err(error) => Err(error),
            });
        }
        answers
    }

    /// Makes one change in memory without waiting. Callers wait for [`Engine::room`] first, and acknowledge nothing
    /// before [`Engine::settle`] of its group.
    pub fn stage(&self, key: &CounterKey, change: Change, token: Option<Token>) -> Result<Staged, AddError> {
        let staged = self.shared.stage(&mut self.shared.state.lock(), key, change, token);
        self.shared.wake.notify_one();
        staged
    }

    /// Makes many changes under one lock, in order, and appends the outcome of each to `out`; otherwise as [`Engine::stage`].
    pub fn stage_all(&self, ops: &[Op<'_>], out: &mut Vec<Result<Staged, AddError>>) {
        let mut state = self.shared.state.lock();
        out.extend(ops.iter().map(|op| self.shared.stage(&mut state, &op.key.to_name(), op.change, op.token)));
        drop(state);
        self.shared.wake.notify_one();
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
            // Without peers nothing better than the own disk can be had.
            Ack::Fsync | Ack::Replicated => self.shared.durable(group).await.map(|()| Ack::Fsync),
        }
    }

    /// The value of a counter, with how current it is; 0 for one that nobody counted.
    pub fn read(&self, key: &CounterKey) -> Result<Reading, Overflow> {
        let value = self.shared.state.lock().ledger.value(key)?;
        let now: Now = (self.shared.config.clock)();
        Ok(Reading { value, as_of: [(self.shared.config.region.clone(), now.wall_ms)].into(), lag_ms: 0, complete: true })
    }

    /// Only the value; `None` for a counter that nobody counted since its last reset.
    pub fn get(&self, key: &CounterKey) -> Result<Option<i64>, Overflow> {
        let value = self.shared.state.lock().ledger.replica.value(key);
        value.map(|value| i64::try_from(value).map_err(|_| Overflow { value })).transpose()
    }

    /// Whether anything was counted since the last reset.
    #[must_use]
    pub fn contains(&self, key: &CounterKey) -> bool {
        self.shared.state.lock().ledger.replica.value(key).is_some()
    }

    /// What each node, as `region/node`, has counted since the last reset.
    #[must_use]
    pub fn entries(&self, key: &CounterKey) -> BTreeMap<String, Entry> {
        self.shared.state.lock().ledger.replica.entries(key)
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

    /// A new watcher, which watches nothing yet.
    #[must_use]
    pub fn interest(&self) -> Interest {
        Interest::new(Arc::clone(&self.shared.interests))
    }

    /// Refuses further changes, makes pending ones durable, takes a snapshot and ends the log thread.
    pub async fn shutdown(&self) {
        self.shared.close(Closing::Snapshot);
        let mut durable = self.shared.durable.clone();
        while durable.changed().await.is_ok() {}
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn default_ack(&self) -> Ack {
        self.shared.config.default_ack
    }

    async fn change(&self, key: &CounterKey, change: Change, token: Option<Token>, ack: Option<Ack>) -> Result<Added, AddError> {
        self.room().await;
        let staged = self.stage(key, change, token)?;
        self.acknowledge(staged, ack).await
    }

    async fn acknowledge(&self, staged: Staged, ack: Option<Ack>) -> Result<Added, AddError> {
        let acked = self.settle(staged.group, ack).await?;
        Ok(Added { value: staged.changed.value, duplicate: staged.changed.duplicate, acked })
    }
}

/// Reads the directory. Also returns the size of the snapshot and of the log after it.
fn recover(dir: &Path) -> Result<(Recovered, u64, u64), OpenError> {
    let io_error = |source| OpenError::Io { dir: dir.to_owned(), source };
    let damaged = |damage| OpenError::Damaged { dir: dir.to_owned(), damage };
    let snapshot = snapshot::read(dir).map_err(io_error)?;
    let mut recovery = Recovery::start(snapshot.as_deref()).map_err(damaged)?;
    let mut log_bytes = 0;
    let first = recovery.first_segment();
    for segment in log::segments(dir).map_err(io_error)?.into_iter().filter(|segment| *segment >= first) {
        let bytes = fs::read(log::path(dir, segment)).map_err(io_error)?;
        recovery.segment(segment, &bytes).map_err(damaged)?;
        log_bytes += bytes.len() as u64;
    }
    let recovered = recovery.finish().map_err(damaged)?;
    log::remove_before(dir, recovered.first_segment).map_err(io_error)?;
    if let Some(tail) = recovered.tail.filter(|tail| tail.torn > 0) {
        tracing::warn!(segment = tail.segment, bytes = tail.torn, "counter log: cut off a write that a crash interrupted");
    }
    Ok((recovered, snapshot.map_or(0, |bytes| bytes.len() as u64), log_bytes))
}
