//! Pure: the ways in which the program ends, as exit codes (those of `sysexits.h`).

use crate::{config::BadConfig, data_dir::DataDirError, listeners::ListenError};

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
    /// 74: the data directory failed. Starting again helps once it is writable and free.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// 74: writing the answer failed.
    #[error("cannot write to stdout: {0}")]
    Output(std::io::Error),
    /// 70: something that should not happen; whatever was acknowledged is on disk.
    #[error("internal error: {0:#}")]
    Internal(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::Config(_) => 64,
            Failure::Unavailable(_) => 69,
            Failure::Internal(_) => 70,
            Failure::DataDir(_) | Failure::Output(_) => 74,
        }
    }
}

/// The table that `--help` shows.
pub const EXIT_CODES: &str = "\
Exit codes:
   0  ended as asked
  64  bad configuration or arguments; nothing was started
  69  an address is in use or cannot be listened on
  70  internal error
  74  the data directory is in use, or a file cannot be read or written";
