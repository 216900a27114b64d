//! Pure: why a table was not written. Of each it is tried again; whether the last batch was written, the table's state says then.

use crate::batch::{Refusal, Standing};
use counter::AddError;
use std::error::Error;

/// Why a table was not written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The server said no, or nothing, or the connection ended.
    #[error("PostgreSQL: {}", told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The file cannot be written.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// What a sink needs could not be made: TLS, or its metrics. Only at the start.
    #[error("{0}")]
    Setup(String),
    /// The database did not answer in time.
    #[error("the database did not answer within {0} s")]
    Late(u64),
    /// Another node writes the table. Nothing changed; this one waits.
    #[error(
        "{} writes this table, and was heard of {} s ago: another node may once that is 60 s, or when `owner` in headcount_sink names it",
        .0.owner, .0.silent_ms / 1_000
    )]
    Owned(Standing),
    /// Another node has taken the table, or somebody has changed its state. Nothing was written.
    #[error("the state of the table is not what this node has left: another node writes it, or it was restored")]
    Lost,
    /// The number of the newest batch is none of ours.
    #[error("seq in headcount_sink, or in the table, is {0}, which this service never writes")]
    Number(i64),
    /// The counters' log cannot be written.
    #[error(transparent)]
    Counters(#[from] AddError),
}

impl From<Refusal> for SinkError {
    fn from(refusal: Refusal) -> SinkError {
        match refusal {
            Refusal::Owned(state) => SinkError::Owned(state),
            Refusal::Number(seq) => SinkError::Number(seq),
        }
    }
}

/// With what stands behind the error: by itself it says only at what it happened.
fn told(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
