//! Pure: how an engine is set up, and why it may not start.

use crate::{
    engine::{Ack, NODE_NAME_BYTES_MAX},
    on_disk,
    recovery::Damage,
};
use protocol::time::Clock;
use std::{io, path::PathBuf};

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
    /// Memory for votes, beside about 14 bytes each for their index; those asked for least are on disk. 0: all stay in memory.
    pub votes_memory_bytes: u64,
}

impl EngineConfig {
    /// The engine's own directory.
    pub(crate) fn dir(&self) -> PathBuf {
        on_disk::dir_of(&self.data_dir)
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
    /// Region or node are too long, or no index is left for another origin.
    #[error("region and node must be at most {NODE_NAME_BYTES_MAX} bytes, and fewer than 65,532 lives of nodes known")]
    Identity,
    /// The metrics are registered already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}
