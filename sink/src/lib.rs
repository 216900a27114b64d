//! Pure: the map of this crate. Counters, written behind into a table of a database that others own: each batch in one transaction with
//! the row that says how far the table has come, so that whoever writes it goes on from there.
//!
//! | file | what |
//! |---|---|
//! | `settings` | which database, which table, how fast; what a URL may be |
//! | `batch` | who may write a table, which rows a page of the change feed makes, and how new they are |
//! | `statements` | the SQL of both databases |
//! | `retry` | how long to wait after a failure |
//! | `postgres`, `tls`, `sqlite` | the databases |
//! | `writer` | reads the feed and writes the table, at its pace, until the end |
//! | `failure`, `metrics` | why a table was not written; what operators see |
//!
//! What the table promises is in docs/guarantees.md.

pub mod batch;
mod failure;
mod metrics;
mod postgres;
mod retry;
pub mod settings;
mod sqlite;
mod statements;
mod tls;
mod writer;

pub use failure::SinkError;
pub use metrics::METRICS;
pub use settings::{Settings, TableName, Target};
pub use writer::{Sinks, SinksConfig};
