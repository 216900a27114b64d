//! Pure: the ways in which the program ends, as exit codes (those of `sysexits.h`).

use crate::{config::BadConfig, data_dir::DataDirError, listeners::ListenError};
use counter::{ImportRefusal, OpenError};

/// Why the program ended; printed to stderr as it is.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 64: the configuration or an argument is bad. Nothing was started; starting again without a change never helps.
    #[error("{0}")]
    Usage(String),
    /// 64: as [`Failure::Usage`], with every problem of the configuration.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// 69: an address could not be listened on. Starting again helps once the address is free.
    #[error(transparent)]
    Unavailable(#[from] ListenError),
    /// 69: a port of the demo is taken. Starting again helps with another `--port`, or once it is free.
    #[error("cannot listen on {address}, for {what}: {source}; choose other ports with --port, or any that are free with --port 0")]
    #[allow(missing_docs)]
    DemoPort { what: String, address: core::net::SocketAddr, source: std::io::Error },
    /// 74, or 69 where no node runs on it: the data directory failed. Starting again helps once it is writable and free.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// 74: the audit log cannot be opened. Starting again helps once it can.
    #[error("cannot open audit.path {path}: {source}")]
    #[allow(missing_docs)]
    Audit { path: String, source: std::io::Error },
    /// 65: a line to import is bad. Nothing was imported.
    #[error("{file}: line {line}: {reason}; nothing was imported")]
    #[allow(missing_docs)]
    BadLine { file: String, line: u64, reason: String },
    /// 74: reading what is to be imported failed. Nothing was imported.
    #[error("cannot read {file}: {source}")]
    #[allow(missing_docs)]
    Input { file: String, source: std::io::Error },
    /// 69: the node that was to be told something does not answer. Trying again helps once it does.
    #[error("{0}")]
    Unreachable(String),
    /// 77: it would lose or double what was counted, move too much of the ring, or is nonsense. Nothing changed; the text says
    /// what to do instead.
    #[error("{0}")]
    Refused(String),
    /// 65, 70 or 74: the counters on disk cannot be started from, and were not changed; the text says what helps.
    #[error(transparent)]
    Counters(#[from] OpenError),
    /// 74: writing the answer failed.
    #[error("cannot write to stdout: {0}")]
    Output(std::io::Error),
    /// 1: what was looked at is not well. It was told on stdout, with what to do.
    #[error("{0}")]
    Unwell(String),
    /// 70: something that should not happen; whatever was acknowledged is on disk.
    #[error("internal error: {0:#}")]
    Internal(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Unwell(_) => 1,
            Failure::Usage(_) | Failure::Config(_) => 64,
            Failure::BadLine { .. } | Failure::Counters(OpenError::Damaged { .. }) => 65,
            Failure::Unavailable(_)
            | Failure::DemoPort { .. }
            | Failure::Unreachable(_)
            | Failure::DataDir(DataDirError::NotRunning(_)) => 69,
            Failure::Internal(_) | Failure::Counters(OpenError::Identity | OpenError::Metrics(_)) => 70,
            Failure::DataDir(_)
            | Failure::Audit { .. }
            | Failure::Input { .. }
            | Failure::Output(_)
            | Failure::Counters(OpenError::Io { .. } | OpenError::Locked(_)) => 74,
            Failure::Refused(_) => 77,
        }
    }
}

impl From<ImportRefusal> for Failure {
    fn from(refusal: ImportRefusal) -> Failure {
        match refusal {
            ImportRefusal::Open(error) => Failure::Counters(error),
            ImportRefusal::NotEmpty { .. } => Failure::Refused(refusal.to_string()),
        }
    }
}

/// 70, too: the runtime was stuck, and the watchdog has ended the process without anybody to return a [`Failure`] to.
pub const EXIT_STUCK: u8 = 70;

/// The table that `--help` shows.
pub const EXIT_CODES: &str = "\
Exit codes:
   0  ended as asked
   1  `doctor`, or `probe --once`, has found something that fails; stdout tells what, and what to do
  64  bad configuration or arguments; nothing was started
  65  the counters on disk, or the lines to import, are damaged; nothing was changed
  69  an address is in use or cannot be listened on, or the running node or etcd cannot be reached or does not answer
  70  internal error, or a runtime that was stuck for node.watchdog_s; whatever was acknowledged is on disk
  74  the data directory is in use, or a file cannot be read or written
  77  refused, because something could be lost, counted twice, or more than was meant; nothing was changed";
