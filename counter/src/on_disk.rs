//! I/O: the counter directory as it lies on disk: its lock, and what a snapshot and the log after it come to. A start, an
//! inspection and an import read it by this one way.

use crate::{
    blocks::Paging,
    engine::OpenError,
    log,
    recovery::{Recovered, Recovery},
    snapshot,
};
use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

/// Threads that read a directory, as many as there are cores; more would wait for memory.
const THREADS_MAX: usize = 8;

/// What was read. Nothing was changed.
#[derive(Debug)]
pub(crate) struct OnDisk {
    pub(crate) recovered: Recovered,
    /// Bytes of the snapshot, if there is one.
    pub(crate) snapshot_bytes: Option<u64>,
    /// Bytes of the log after it, without what an earlier use has left in its segments.
    pub(crate) log_bytes: u64,
    /// Segments that the snapshot does not make superfluous.
    pub(crate) segments: usize,
    /// Groups in them.
    pub(crate) groups: u64,
}

impl OnDisk {
    /// Reads the directory. Votes may be away meanwhile. `seed` is random; see [`crate::ledger::Ledger::new`].
    pub(crate) fn read(dir: &Path, seed: u64, paging: Option<&Arc<Paging>>) -> Result<OnDisk, OpenError> {
        let damaged = |damage| OpenError::Damaged { dir: dir.to_owned(), damage };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let snapshot = snapshot::read(dir, threads, paging).map_err(failed(dir))?.map_err(damaged)?;
        let snapshot_bytes = snapshot.as_ref().map(|(manifest, _)| manifest.byte_count());
        let mut recovery = match snapshot {
            Some((manifest, ledger)) => Recovery::from_snapshot(&manifest, ledger),
            None => Recovery::start(seed),
        }
        .on_threads(threads)
        .paged(paging);
        let (first_group, first) = (recovery.next_group(), recovery.first_segment());
        // One buffer for all: fresh memory for each segment would cost as much as reading it.
        let (mut segments, mut log_bytes, mut bytes) = (0, 0, Vec::new());
        for segment in log::segments(dir).map_err(failed(dir))?.into_iter().filter(|segment| *segment >= first) {
            bytes.clear();
            File::open(log::path(dir, segment)).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(failed(dir))?;
            recovery.segment(segment, &bytes).map_err(damaged)?;
            log_bytes += recovery.end() as u64;
            segments += 1;
        }
        let recovered = recovery.finish().map_err(damaged)?;
        let groups = recovered.next_group - first_group;
        Ok(OnDisk { recovered, snapshot_bytes, log_bytes, segments, groups })
    }
}

/// The engine's own part of a node's data directory.
pub(crate) fn dir_of(data_dir: &Path) -> PathBuf {
    data_dir.join("counter")
}

/// Makes the directory if it is not there, and locks it for as long as the file lives.
pub(crate) fn claim(data_dir: &Path) -> Result<(PathBuf, File), OpenError> {
    let dir = dir_of(data_dir);
    fs::create_dir_all(&dir).map_err(failed(&dir))?;
    log::sync_dir(data_dir).map_err(failed(&dir))?;
    let lock = File::create(dir.join("lock")).map_err(failed(&dir))?;
    lock_or_refuse(&dir, lock).map(|lock| (dir, lock))
}

/// Locks a directory that is there, without changing it. A copy that lacks the lock's file is used by nobody.
pub(crate) fn borrow(data_dir: &Path) -> Result<(PathBuf, Option<File>), OpenError> {
    let dir = dir_of(data_dir);
    fs::read_dir(&dir).map_err(failed(&dir))?;
    let lock = match File::open(dir.join("lock")) {
        Ok(lock) => Some(lock_or_refuse(&dir, lock)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&dir)(error)),
    };
    Ok((dir, lock))
}

/// Says which directory it was.
pub(crate) fn failed(dir: &Path) -> impl Fn(io::Error) -> OpenError + use<> {
    let dir = dir.to_owned();
    move |source| OpenError::Io { dir: dir.clone(), source }
}

fn lock_or_refuse(dir: &Path, lock: File) -> Result<File, OpenError> {
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(dir)(error)),
    }
}
